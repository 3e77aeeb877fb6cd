-- What `status` asks besides the journal.

-- name: runner
SELECT format(
    '%%s on %%s, pid %%s, since %%s', a.application_name, COALESCE(host(a.client_addr), 'local'),
    a.pid, to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
)
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (l.classid::bigint << 32 | l.objid::bigint) = %s;

-- name: progress
SELECT
    step, object, unit, done, total, rate, note,
    extract(epoch FROM updated)::double precision
FROM phasegate.progress
ORDER BY updated;
