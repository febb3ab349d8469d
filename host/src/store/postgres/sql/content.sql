-- The content of rooms, as round_all.sql and write.sql write it. Each has its own condition, which may name `i.room`.
-- $1…$3 entries: room, key, value; $4, $5 entries to remove: room, key; $6…$10 timers: room, name, at, attempt, payload;
-- $11, $12 timers to remove: room, name; $13…$18 posts: room, number, at, attempt, head, body; $19, $20 posts to remove:
-- room, number; $21…$23 accepted posts: room, sender, number; $24, $25 accepted posts to remove: room, sender;
-- $26…$28 records of the store: room, key, value (null: remove)
put_entries AS (
    INSERT INTO dormouse.entries (room, key, value)
    SELECT i.room, i.key, i.value FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS i (room, key, value)
    WHERE {condition}
    ON CONFLICT (room, key) DO UPDATE SET value = EXCLUDED.value),
del_entries AS (
    DELETE FROM dormouse.entries d USING unnest($4::bigint[], $5::bytea[]) AS i (room, key)
    WHERE d.room = i.room AND d.key = i.key AND {condition}),
put_timers AS (
    INSERT INTO dormouse.timers (room, name, at, attempt, payload)
    SELECT i.room, i.name, i.at, i.attempt, i.payload
    FROM unnest($6::bigint[], $7::bytea[], $8::bigint[], $9::int[], $10::bytea[]) AS i (room, name, at, attempt, payload)
    WHERE {condition}
    ON CONFLICT (room, name) DO UPDATE SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, payload = EXCLUDED.payload),
del_timers AS (
    DELETE FROM dormouse.timers d USING unnest($11::bigint[], $12::bytea[]) AS i (room, name)
    WHERE d.room = i.room AND d.name = i.name AND {condition}),
put_posts AS (
    INSERT INTO dormouse.posts (room, number, at, attempt, head, body)
    SELECT i.room, i.number, i.at, i.attempt, i.head, i.body
    FROM unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::int[], $17::bytea[], $18::bytea[])
        AS i (room, number, at, attempt, head, body)
    WHERE {condition}
    ON CONFLICT (room, number) DO UPDATE
    SET at = EXCLUDED.at, attempt = EXCLUDED.attempt, head = EXCLUDED.head, body = EXCLUDED.body),
del_posts AS (
    DELETE FROM dormouse.posts d USING unnest($19::bigint[], $20::bigint[]) AS i (room, number)
    WHERE d.room = i.room AND d.number = i.number AND {condition}),
put_taken AS (
    INSERT INTO dormouse.taken (room, sender, number)
    SELECT i.room, i.sender, i.number FROM unnest($21::bigint[], $22::bytea[], $23::bigint[]) AS i (room, sender, number)
    WHERE {condition}
    ON CONFLICT (room, sender) DO UPDATE SET number = EXCLUDED.number),
del_taken AS (
    DELETE FROM dormouse.taken d USING unnest($24::bigint[], $25::bytea[]) AS i (room, sender)
    WHERE d.room = i.room AND d.sender = i.sender AND {condition}),
put_records AS (
    INSERT INTO dormouse.records (key, value)
    SELECT i.key, i.value FROM unnest($26::bigint[], $27::bytea[], $28::bytea[]) AS i (room, key, value)
    WHERE i.value IS NOT NULL AND {condition}
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value),
del_records AS (
    DELETE FROM dormouse.records d USING unnest($26::bigint[], $27::bytea[], $28::bytea[]) AS i (room, key, value)
    WHERE d.key = i.key AND i.value IS NULL AND {condition}),
