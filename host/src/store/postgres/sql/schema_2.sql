-- Version 2 of the schema: servers that share the rooms.

CREATE TABLE dormouse.nodes (
    id bigint PRIMARY KEY,
    address text NOT NULL,
    beat bigint NOT NULL,
    leaving bool NOT NULL,
    cluster_key bytea
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000);
COMMENT ON TABLE dormouse.nodes IS 'The servers of a cluster. Each changes its beat while it lives.';
COMMENT ON COLUMN dormouse.nodes.address IS 'The address at which other servers reach it.';
COMMENT ON COLUMN dormouse.nodes.cluster_key IS 'The SHA-256 of the public part of its cluster key.';
