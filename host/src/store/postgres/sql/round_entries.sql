-- Commits of rooms that change entries only, and proofs. The rows of rooms are locked in the order of $6.
-- $1…$3 entries to write: room, key, value; $4, $5 entries to remove: room, key;
-- $6…$11 room, epoch, token, base, number, bytes (null: as before); $12 versions of the data of $6 (null: as before);
-- $13…$16 proofs: room, epoch, token, number
WITH ok AS (
    UPDATE dormouse.rooms r SET number = i.number, bytes = coalesce(i.bytes, r.bytes),
        data_version = coalesce(i.data_version, r.data_version), stored = r.stored OR i.number > i.base
    FROM unnest($6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[],
        $12::bigint[]) AS i (room, epoch, token, base, number, bytes, data_version)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base
    RETURNING r.id),
-- `IS TRUE` keeps the planner from making a join of it. The sub-plan is hashed then; the join is quadratic.
put AS (
    INSERT INTO dormouse.entries (room, key, value)
    SELECT e.room, e.key, e.value FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS e (room, key, value)
    WHERE (e.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, key) DO UPDATE SET value = EXCLUDED.value),
del AS (
    DELETE FROM dormouse.entries d USING unnest($4::bigint[], $5::bytea[]) AS x (room, key)
    WHERE d.room = x.room AND d.key = x.key AND (x.room IN (SELECT id FROM ok)) IS TRUE),
-- A transaction that writes nothing waits for no standby, so a primary that was replaced answers it. A proof is a row
-- of the join with this message, so there is none without it. Refused commits write nothing either.
message AS MATERIALIZED (
    SELECT pg_logical_emit_message(true, 'dormouse', '') WHERE cardinality($13::bigint[]) > 0)
SELECT id FROM ok
UNION ALL
SELECT r.id
FROM message, unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[]) AS i (room, epoch, token, number)
    JOIN dormouse.rooms r ON r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.number
