-- Version 3 of the schema: revocations that all servers share.

-- Ids may have any character, so they are bytea. A removed revocation stays for a while: servers that read only what is
-- new must see that it is gone.
CREATE TABLE dormouse.revocations (
    kind smallint NOT NULL,
    id bytea NOT NULL,
    room bytea NOT NULL DEFAULT '',
    until bigint,
    removed bool NOT NULL DEFAULT false,
    version bigint NOT NULL,
    PRIMARY KEY (kind, id, room)
);
CREATE INDEX ON dormouse.revocations (version);
COMMENT ON TABLE dormouse.revocations IS 'Revoked users, tokens, and users in rooms.';
COMMENT ON COLUMN dormouse.revocations.kind IS '0 a user, 1 a token, 2 a user in a room.';
COMMENT ON COLUMN dormouse.revocations.until IS 'Of a user, the last Unix second of refused times of issue; of a token, when it expires.';
COMMENT ON COLUMN dormouse.revocations.version IS 'The number of the change that made the row as it is.';

ALTER TABLE dormouse.meta
    ADD revocations bigint NOT NULL DEFAULT 0,
    ADD revocations_forgotten bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN dormouse.meta.revocations IS 'The number of the last change of revocations.';
COMMENT ON COLUMN dormouse.meta.revocations_forgotten IS 'Removals up to this change are forgotten: a server that has not seen them reads all.';
