-- Commits of rooms that change entries only, and proofs. The rows of rooms are locked in the order of $1.
-- $1…$6 room, epoch, token, base, number, bytes (null: as before); $7…$9 room, key, value of entries to write;
-- $10, $11 room, key of entries to remove; $12…$15 room, epoch, token, number of proofs;
-- $16 versions of the data of $1 (null: as before)
WITH ok AS (
    UPDATE dormouse.rooms r SET number = i.number, bytes = coalesce(i.bytes, r.bytes),
        data_version = coalesce(i.data_version, r.data_version), stored = r.stored OR i.number > i.base
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $16::bigint[]) AS i (room, epoch, token, base, number, bytes, data_version)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base
    RETURNING r.id),
-- `IS TRUE` keeps the planner from making a join of it. The sub-plan is hashed then; the join is quadratic.
put AS (
    INSERT INTO dormouse.entries (room, key, value)
    SELECT e.room, e.key, e.value FROM unnest($7::bigint[], $8::bytea[], $9::bytea[]) AS e (room, key, value)
    WHERE (e.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, key) DO UPDATE SET value = EXCLUDED.value),
del AS (
    DELETE FROM dormouse.entries d USING unnest($10::bigint[], $11::bytea[]) AS x (room, key)
    WHERE d.room = x.room AND d.key = x.key AND (x.room IN (SELECT id FROM ok)) IS TRUE),
-- A transaction that writes nothing waits for no standby, so a primary that was replaced answers it. A proof is a row
-- of the join with this message, so there is none without it. Refused commits write nothing either.
message AS MATERIALIZED (
    SELECT pg_logical_emit_message(true, 'dormouse', '') WHERE cardinality($12::bigint[]) > 0)
SELECT id FROM ok
UNION ALL
SELECT r.id
FROM message, unnest($12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]) AS i (room, epoch, token, number)
    JOIN dormouse.rooms r ON r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.number
