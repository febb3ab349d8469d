-- $1, $2 room and token; $3 this node
UPDATE dormouse.rooms r SET epoch = r.epoch + 1
FROM unnest($1::bigint[], $2::bigint[]) AS i (room, token)
WHERE r.id = i.room AND r.token = i.token AND r.owner = $3
RETURNING r.id, r.epoch, r.number
