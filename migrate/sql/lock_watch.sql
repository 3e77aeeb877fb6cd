-- What the sessions of a run do to those of others.

-- name: locks
-- A relation that its own transaction made is not in pg_class for us: nobody can wait for it.
WITH l AS MATERIALIZED (
    SELECT locktype, database, relation, classid, objid, pid, mode, granted, waitstart
    FROM pg_locks
),
ours AS (
    SELECT l.pid
    FROM l
    JOIN pg_database AS d ON d.oid = l.database
    WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database()
        AND (l.classid::bigint << 32 | l.objid::bigint) = %(key)s
)
SELECT 'ours' AS kind, pid, '' AS object, NULL::double precision AS age, '{}'::integer[] AS blockers
FROM ours
UNION ALL
SELECT 'hold', l.pid, format('%%I.%%I', n.nspname, c.relname), NULL, '{}'
FROM l
JOIN ours ON ours.pid = l.pid
JOIN pg_class AS c ON c.oid = l.relation
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE l.granted AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
    AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'phasegate')
UNION ALL
SELECT
    'wait', l.pid, COALESCE(format('%%I.%%I', n.nspname, c.relname), 'a row'),
    extract(epoch FROM clock_timestamp() - l.waitstart)::double precision,
    pg_blocking_pids(l.pid)
FROM l
LEFT JOIN pg_database AS d ON d.datname = current_database() AND d.oid = l.database
LEFT JOIN pg_class AS c ON d.oid IS NOT NULL AND c.oid = l.relation
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT l.granted AND l.pid NOT IN (SELECT ours.pid FROM ours);
