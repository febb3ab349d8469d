-- $1…$3 room, epoch, token; $4 the next owner. A row without commits is removed, so names that somebody tries out leave
-- nothing; a next owner is about to claim it.
WITH removed AS (
    DELETE FROM dormouse.rooms r USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS i (room, epoch, token)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND NOT r.stored AND $4::bigint IS NULL
    RETURNING r.id),
freed AS (
    UPDATE dormouse.rooms r SET owner = $4::bigint
    FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS i (room, epoch, token)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND (r.stored OR $4::bigint IS NOT NULL)
    RETURNING r.id)
SELECT id FROM removed UNION ALL SELECT id FROM freed
