-- Records that belong to no owned room, without a fence. It can be repeated.
-- $1…$28 the content, as in content.sql; $29…$34 rooms: id, namespace, name, number, bytes, generation;
-- $35 versions of the data of the rooms; $36 deleted rooms without any content
WITH
{content}
done AS (
    DELETE FROM dormouse.deleted d USING unnest($36::bigint[]) AS x (room) WHERE d.room = x.room),
put_rooms AS (
    INSERT INTO dormouse.rooms (id, namespace, name, number, bytes, generation, data_version, stored)
    SELECT i.id, i.namespace, i.name, i.number, i.bytes, i.generation, i.data_version, true
    FROM unnest($29::bigint[], $30::text[], $31::text[], $32::bigint[], $33::bigint[], $34::bigint[],
        $35::bigint[]) AS i (id, namespace, name, number, bytes, generation, data_version)
    -- The number may not be null: an error, if the room at this address has another id.
    ON CONFLICT (namespace, name) DO UPDATE
    SET number = CASE WHEN rooms.id = EXCLUDED.id THEN EXCLUDED.number END, bytes = EXCLUDED.bytes,
        generation = EXCLUDED.generation, data_version = EXCLUDED.data_version, stored = true)
SELECT
