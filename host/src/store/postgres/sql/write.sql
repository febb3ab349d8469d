-- Records that belong to no owned room, without a fence. It can be repeated.
-- The content: $1…$3 entries: room, key, value; $4, $5 entries to remove: room, key; $6…$10 timers: room, name, at,
-- attempt, payload; $11, $12 timers to remove: room, name; $13…$18 posts: room, number, at, attempt, head, body;
-- $19, $20 posts to remove: room, number; $21…$23 accepted posts: room, sender, number; $24, $25 accepted posts to
-- remove: room, sender; $26…$28 records of the store: room (not used), key, value (null: remove)
-- $29…$34 rooms: id, namespace, name, number, bytes, generation; $35 deleted rooms without any content;
-- $36 versions of the data of the rooms
WITH put_entries AS (
    INSERT INTO dormouse.entries (room, key, value)
    SELECT e.room, e.key, e.value FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS e (room, key, value)
    ON CONFLICT (room, key) DO UPDATE SET value = EXCLUDED.value),
del_entries AS (
    DELETE FROM dormouse.entries d USING unnest($4::bigint[], $5::bytea[]) AS x (room, key)
    WHERE d.room = x.room AND d.key = x.key),
put_timers AS (
    INSERT INTO dormouse.timers (room, name, at, attempt, payload)
    SELECT t.room, t.name, t.at, t.attempt, t.payload
    FROM unnest($6::bigint[], $7::bytea[], $8::bigint[], $9::int[], $10::bytea[]) AS t (room, name, at, attempt, payload)
    ON CONFLICT (room, name) DO UPDATE SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, payload = EXCLUDED.payload),
del_timers AS (
    DELETE FROM dormouse.timers d USING unnest($11::bigint[], $12::bytea[]) AS x (room, name)
    WHERE d.room = x.room AND d.name = x.name),
put_posts AS (
    INSERT INTO dormouse.posts (room, number, at, attempt, head, body)
    SELECT p.room, p.number, p.at, p.attempt, p.head, p.body
    FROM unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::int[], $17::bytea[], $18::bytea[])
        AS p (room, number, at, attempt, head, body)
    ON CONFLICT (room, number) DO UPDATE
    SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, head = EXCLUDED.head, body = EXCLUDED.body),
del_posts AS (
    DELETE FROM dormouse.posts d USING unnest($19::bigint[], $20::bigint[]) AS x (room, number)
    WHERE d.room = x.room AND d.number = x.number),
put_taken AS (
    INSERT INTO dormouse.taken (room, sender, number)
    SELECT t.room, t.sender, t.number FROM unnest($21::bigint[], $22::bytea[], $23::bigint[]) AS t (room, sender, number)
    ON CONFLICT (room, sender) DO UPDATE SET number = EXCLUDED.number),
del_taken AS (
    DELETE FROM dormouse.taken d USING unnest($24::bigint[], $25::bytea[]) AS x (room, sender)
    WHERE d.room = x.room AND d.sender = x.sender),
put_records AS (
    INSERT INTO dormouse.records (key, value)
    SELECT s.key, s.value FROM unnest($26::bigint[], $27::bytea[], $28::bytea[]) AS s (room, key, value)
    WHERE s.value IS NOT NULL
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value),
del_records AS (
    DELETE FROM dormouse.records d USING unnest($26::bigint[], $27::bytea[], $28::bytea[]) AS x (room, key, value)
    WHERE d.key = x.key AND x.value IS NULL),
done AS (
    DELETE FROM dormouse.deleted d USING unnest($35::bigint[]) AS x (room) WHERE d.room = x.room),
put_rooms AS (
    INSERT INTO dormouse.rooms (id, namespace, name, number, bytes, generation, data_version, stored)
    SELECT i.id, i.namespace, i.name, i.number, i.bytes, i.generation, i.data_version, true
    FROM unnest($29::bigint[], $30::text[], $31::text[], $32::bigint[], $33::bigint[], $34::bigint[],
        $36::bigint[]) AS i (id, namespace, name, number, bytes, generation, data_version)
    -- The number may not be null: an error, if the room at this address has another id.
    ON CONFLICT (namespace, name) DO UPDATE
    SET number = CASE WHEN rooms.id = EXCLUDED.id THEN EXCLUDED.number END, bytes = EXCLUDED.bytes,
        generation = EXCLUDED.generation, data_version = EXCLUDED.data_version, stored = true)
SELECT
