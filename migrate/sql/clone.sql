-- What a clone of a few tables needs beside them. Reads the catalog alone.

-- name: surroundings
-- Of the asked tables: schemas that hold them or what they use, and the tables and views in those
-- schemas that are neither asked for nor linked, as a dump leaves them out.
WITH RECURSIVE asked AS (
    SELECT c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS a (schema, name)
    JOIN pg_namespace AS n ON n.nspname = a.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = a.name
),
views AS (
    -- What stands on them, and on that.
    SELECT oid FROM asked
    UNION
    SELECT r.ev_class
    FROM views AS v
    JOIN pg_depend AS d
        ON d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = v.oid
    JOIN pg_rewrite AS r ON r.oid = d.objid
),
kept AS (
    -- What a view reads besides, and what a table inherits from.
    SELECT oid FROM views
    UNION
    SELECT x.oid
    FROM kept AS k
    CROSS JOIN LATERAL (
        SELECT d.refobjid AS oid
        FROM pg_rewrite AS r
        JOIN pg_depend AS d
            ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass
        WHERE r.ev_class = k.oid
        UNION ALL
        SELECT i.inhparent FROM pg_inherits AS i WHERE i.inhrelid = k.oid
    ) AS x
),
used_types AS (
    SELECT a.atttypid AS oid
    FROM kept AS k
    JOIN pg_attribute AS a ON a.attrelid = k.oid AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT x.oid
    FROM used_types AS u
    JOIN pg_type AS t ON t.oid = u.oid
    CROSS JOIN LATERAL (VALUES (t.typelem), (t.typbasetype)) AS x (oid)
    WHERE x.oid <> 0
),
needed AS (
    SELECT c.relnamespace AS oid FROM kept AS k JOIN pg_class AS c ON c.oid = k.oid
    UNION
    SELECT t.typnamespace FROM used_types AS u JOIN pg_type AS t ON t.oid = u.oid
    UNION
    SELECT p.pronamespace
    FROM kept AS k
    JOIN pg_trigger AS g ON g.tgrelid = k.oid AND NOT g.tgisinternal
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    UNION
    SELECT p.pronamespace
    FROM kept AS k
    JOIN pg_attrdef AS e ON e.adrelid = k.oid
    JOIN pg_depend AS d
        ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
        AND d.refclassid = 'pg_proc'::regclass
    JOIN pg_proc AS p ON p.oid = d.refobjid
    UNION
    SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = 'phasegate'
)
SELECT
    n.nspname::text,
    COALESCE((
        SELECT array_agg(c.relname::text ORDER BY c.relname)
        FROM pg_class AS c
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND c.oid NOT IN (SELECT oid FROM kept) AND n.nspname <> 'phasegate'
    ), '{}')
FROM pg_namespace AS n
WHERE n.oid IN (SELECT oid FROM needed)
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
ORDER BY n.nspname;

-- name: relations
-- Of the clone, by oid, before an action: their names, and whether others can meet their locks.
SELECT c.oid::bigint, n.nspname::text, c.relname::text
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname !~ '^(pg_|information_schema$)';

-- name: held
SELECT l.relation::bigint, l.mode
FROM pg_locks AS l
WHERE l.pid = %s AND l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());

-- name: waits
SELECT count(*) > 0 FROM pg_locks AS l WHERE l.pid = %s AND NOT l.granted;
