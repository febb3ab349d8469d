-- As round_entries.sql, for rounds in which some commit also changes timers, posts, accepted posts or records of the
-- store, or deletes its room.
-- $1…$28 the content, as in content.sql; $29…$34 room, epoch, token, base, number, bytes (null: as before);
-- $35 versions of the data of $29 (null: as before); $36…$39 proofs: room, epoch, token, number;
-- $40…$44 rooms to delete: room, epoch, token, base, number
WITH changed AS (
    UPDATE dormouse.rooms r SET number = i.number, bytes = coalesce(i.bytes, r.bytes),
        data_version = coalesce(i.data_version, r.data_version), stored = r.stored OR i.number > i.base
    FROM unnest($29::bigint[], $30::bigint[], $31::bigint[], $32::bigint[], $33::bigint[], $34::bigint[],
        $35::bigint[]) AS i (room, epoch, token, base, number, bytes, data_version)
    WHERE r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.base
    RETURNING r.id),
gone AS (
    DELETE FROM dormouse.rooms r
    USING unnest($40::bigint[], $41::bigint[], $42::bigint[], $43::bigint[], $44::bigint[])
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
{content}
message AS MATERIALIZED (
    SELECT pg_logical_emit_message(true, 'dormouse', '') WHERE cardinality($36::bigint[]) > 0)
SELECT id FROM ok
UNION ALL
SELECT r.id
FROM message, unnest($36::bigint[], $37::bigint[], $38::bigint[], $39::bigint[]) AS i (room, epoch, token, number)
    JOIN dormouse.rooms r ON r.id = i.room AND r.epoch = i.epoch AND r.token = i.token AND r.number = i.number
