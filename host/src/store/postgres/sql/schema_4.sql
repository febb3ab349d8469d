-- Version 4 of the schema: servers of neighbouring releases on one database.

ALTER TABLE dormouse.nodes
    ADD IF NOT EXISTS schema int,
    ADD IF NOT EXISTS links_oldest int,
    ADD IF NOT EXISTS links_newest int;
COMMENT ON COLUMN dormouse.nodes.schema IS 'The version of the schema that its program knows; it also serves the next one.';
COMMENT ON COLUMN dormouse.nodes.links_oldest IS 'The oldest version of the links between servers that it speaks.';
COMMENT ON COLUMN dormouse.nodes.links_newest IS 'The newest of these versions.';
