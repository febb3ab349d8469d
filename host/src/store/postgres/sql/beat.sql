-- $1 this node; $2 its address; $3 whether it will end soon. A row that others have removed is made again.
WITH mine AS (
    INSERT INTO dormouse.nodes AS n (id, address, beat, leaving) VALUES ($1, $2, 1, $3)
    ON CONFLICT (id) DO UPDATE SET beat = n.beat + 1, leaving = excluded.leaving
    RETURNING id, address, beat, leaving)
SELECT id, address, beat, leaving FROM mine
UNION ALL
SELECT id, address, beat, leaving FROM dormouse.nodes WHERE id <> $1
