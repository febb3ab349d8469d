-- $1, $2 namespace and name; $3 this node; $4 owners that may be replaced; $5 the token
WITH want AS MATERIALIZED (
    SELECT r.id, w.ord, r.owner
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (namespace, name, ord)
    JOIN dormouse.rooms r ON r.namespace = w.namespace AND r.name = w.name),
-- The row lock waits for claims and commits that are on their way, and then reads the newest row.
old AS MATERIALIZED (
    SELECT r.id, r.token FROM dormouse.rooms r
    WHERE r.id = ANY (ARRAY(SELECT id FROM want))
        AND (r.owner IS NULL OR r.owner = $3 OR r.owner = ANY ($4::bigint[]))
    ORDER BY r.id FOR UPDATE),
-- A new room begins behind the highest number of a deleted one: other rooms remember the numbers of its posts.
deleted AS MATERIALIZED (
    SELECT dormouse.number_at(value, 0) AS rooms, dormouse.number_at(value, 8) AS highest
    FROM dormouse.records WHERE key = '\x0064656c6574696f6e73'),
mine AS (
    UPDATE dormouse.rooms r SET owner = $3, epoch = r.epoch + 1, token = $5,
        number = CASE WHEN r.stored THEN r.number ELSE greatest(r.number, (SELECT highest FROM deleted)) END,
        generation = CASE WHEN r.stored THEN r.generation ELSE coalesce((SELECT rooms FROM deleted), 0) END
    FROM old WHERE r.id = old.id
    RETURNING r.id, r.owner, r.epoch, r.token, old.token AS old_token, r.number, r.bytes, r.generation, r.data_version,
        r.stored)
-- Two kinds of rows, which the caller joins: the rooms that are there, with their place among $1, and those claimed.
SELECT ord, id, owner, NULL::bigint AS epoch, NULL::bigint AS token, NULL::bigint AS old_token, NULL::bigint AS number,
    NULL::bigint AS bytes, NULL::bigint AS generation, NULL::bigint AS data_version, NULL::bool AS stored FROM want
UNION ALL
SELECT NULL, id, owner, epoch, token, old_token, number, bytes, generation, data_version, stored FROM mine
