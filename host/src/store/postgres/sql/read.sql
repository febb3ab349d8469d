-- The content of rooms together with their fences, in one snapshot: kind, room, key, value as in `records.rs`.
-- $1 rooms
SELECT 1::smallint AS kind, id AS room, int8send(epoch) AS key, int8send(token) AS value
FROM dormouse.rooms WHERE id = ANY ($1::bigint[])
UNION ALL
SELECT 2::smallint, room, key, value FROM dormouse.entries WHERE room = ANY ($1::bigint[])
UNION ALL
SELECT 3::smallint, room, name, int8send(at) || int4send(attempt) || payload
FROM dormouse.timers WHERE room = ANY ($1::bigint[])
UNION ALL
SELECT 5::smallint, room, int8send(number), int8send(at) || int4send(attempt) || int4send(length(head)) || head || body
FROM dormouse.posts WHERE room = ANY ($1::bigint[])
UNION ALL
SELECT 6::smallint, room, sender, int8send(number) FROM dormouse.taken WHERE room = ANY ($1::bigint[])
