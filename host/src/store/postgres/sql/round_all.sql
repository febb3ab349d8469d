-- As round_entries.sql, for rounds in which some commit also changes timers, posts, accepted posts or records of the
-- store, or deletes its room.
-- $1…$6 room, epoch, token, base, number, bytes (null: as before); $7…$34 the content, as $1…$28 of write.sql;
-- $35…$38 proofs: room, epoch, token, number; $39…$43 rooms to delete: room, epoch, token, base, number;
-- $44 versions of the data of $1 (null: as before)
WITH changed AS (
    UPDATE dormouse.rooms r SET number = i.number, bytes = coalesce(i.bytes, r.bytes),
        data_version = coalesce(i.data_version, r.data_version), stored = r.stored OR i.number > i.base
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
        $44::bigint[]) AS i (room, epoch, token, base, number, bytes, data_version)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base
    RETURNING r.id),
gone AS (
    DELETE FROM dormouse.rooms r
    USING unnest($39::bigint[], $40::bigint[], $41::bigint[], $42::bigint[], $43::bigint[])
        AS i (room, epoch, token, base, number)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base
    RETURNING r.id, r.namespace, r.name, r.stored, i.number),
ok AS (SELECT id FROM changed UNION ALL SELECT id FROM gone),
leftovers AS (
    INSERT INTO dormouse.deleted (room, namespace, name) SELECT id, namespace, name FROM gone WHERE stored),
-- Deletions are counted here: the counts of two lanes would overwrite each other.
counted AS (
    INSERT INTO dormouse.records (key, value)
    SELECT '\x0064656c6574696f6e73'::bytea, int8send(count(*)) || int8send(max(number)) FROM gone HAVING count(*) > 0
    ON CONFLICT (key) DO UPDATE SET value =
        int8send(dormouse.number_at(records.value, 0) + dormouse.number_at(EXCLUDED.value, 0))
        || int8send(greatest(dormouse.number_at(records.value, 8), dormouse.number_at(EXCLUDED.value, 8)))),
put_entries AS (
    INSERT INTO dormouse.entries (room, key, value)
    SELECT e.room, e.key, e.value FROM unnest($7::bigint[], $8::bytea[], $9::bytea[]) AS e (room, key, value)
    WHERE (e.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, key) DO UPDATE SET value = EXCLUDED.value),
del_entries AS (
    DELETE FROM dormouse.entries d USING unnest($10::bigint[], $11::bytea[]) AS x (room, key)
    WHERE d.room = x.room AND d.key = x.key AND (x.room IN (SELECT id FROM ok)) IS TRUE),
put_timers AS (
    INSERT INTO dormouse.timers (room, name, at, attempt, payload)
    SELECT t.room, t.name, t.at, t.attempt, t.payload
    FROM unnest($12::bigint[], $13::bytea[], $14::bigint[], $15::int[], $16::bytea[])
        AS t (room, name, at, attempt, payload)
    WHERE (t.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, name) DO UPDATE SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, payload = EXCLUDED.payload),
del_timers AS (
    DELETE FROM dormouse.timers d USING unnest($17::bigint[], $18::bytea[]) AS x (room, name)
    WHERE d.room = x.room AND d.name = x.name AND (x.room IN (SELECT id FROM ok)) IS TRUE),
put_posts AS (
    INSERT INTO dormouse.posts (room, number, at, attempt, head, body)
    SELECT p.room, p.number, p.at, p.attempt, p.head, p.body
    FROM unnest($19::bigint[], $20::bigint[], $21::bigint[], $22::int[], $23::bytea[], $24::bytea[])
        AS p (room, number, at, attempt, head, body)
    WHERE (p.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, number) DO UPDATE
    SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, head = EXCLUDED.head, body = EXCLUDED.body),
del_posts AS (
    DELETE FROM dormouse.posts d USING unnest($25::bigint[], $26::bigint[]) AS x (room, number)
    WHERE d.room = x.room AND d.number = x.number AND (x.room IN (SELECT id FROM ok)) IS TRUE),
put_taken AS (
    INSERT INTO dormouse.taken (room, sender, number)
    SELECT t.room, t.sender, t.number FROM unnest($27::bigint[], $28::bytea[], $29::bigint[]) AS t (room, sender, number)
    WHERE (t.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (room, sender) DO UPDATE SET number = EXCLUDED.number),
del_taken AS (
    DELETE FROM dormouse.taken d USING unnest($30::bigint[], $31::bytea[]) AS x (room, sender)
    WHERE d.room = x.room AND d.sender = x.sender AND (x.room IN (SELECT id FROM ok)) IS TRUE),
put_records AS (
    INSERT INTO dormouse.records (key, value)
    SELECT s.key, s.value FROM unnest($32::bigint[], $33::bytea[], $34::bytea[]) AS s (room, key, value)
    WHERE s.value IS NOT NULL AND (s.room IN (SELECT id FROM ok)) IS TRUE
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value),
del_records AS (
    DELETE FROM dormouse.records d USING unnest($32::bigint[], $33::bytea[], $34::bytea[]) AS x (room, key, value)
    WHERE d.key = x.key AND x.value IS NULL AND (x.room IN (SELECT id FROM ok)) IS TRUE),
message AS MATERIALIZED (
    SELECT pg_logical_emit_message(true, 'dormouse', '') WHERE cardinality($35::bigint[]) > 0)
SELECT id FROM ok
UNION ALL
SELECT r.id
FROM message, unnest($35::bigint[], $36::bigint[], $37::bigint[], $38::bigint[]) AS i (room, epoch, token, number)
    JOIN dormouse.rooms r ON r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.number
