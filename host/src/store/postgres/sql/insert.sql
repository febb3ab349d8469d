-- Makes the rows of rooms that have none. It runs before the claim, as a transaction of its own: the claim then sees
-- these rows, and also what a deletion of a room with the same address has counted.
-- $1, $2 namespace and name, sorted, so that two servers that insert the same rooms wait for each other in one order
INSERT INTO dormouse.rooms (namespace, name)
SELECT w.namespace, w.name FROM unnest($1::text[], $2::text[]) AS w (namespace, name)
WHERE NOT EXISTS (SELECT FROM dormouse.rooms r WHERE r.namespace = w.namespace AND r.name = w.name)
ON CONFLICT DO NOTHING
