-- What a rehearsal asks of the copy, and of the original before there is one.

-- name: settings
-- What decides how much is written to the write-ahead log.
SELECT name, setting
FROM pg_settings
WHERE name IN ('wal_level', 'full_page_writes', 'wal_log_hints');

-- name: place
-- Which running server: a copy of its files has another start, or another port.
SELECT
    (SELECT system_identifier::text FROM pg_control_system()),
    pg_postmaster_start_time()::text,
    current_setting('port');

-- name: copies
SELECT datname::text FROM pg_database WHERE starts_with(datname::text, %s) ORDER BY datname;

-- name: size
SELECT
    (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint,
    pg_database_size(current_database());

-- name: tables
SELECT
    greatest(c.reltuples, 0)::bigint,
    pg_total_relation_size(c.oid)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s;

-- name: waits
-- Sessions of the load and of the mover that wait for a lock: since when, and for which.
SELECT
    a.application_name,
    extract(epoch FROM clock_timestamp() - a.query_start)::double precision,
    CASE
        WHEN l.locktype = 'relation' THEN l.mode || ' on ' || l.relation::regclass::text
        WHEN l.locktype = 'tuple' THEN 'a row of ' || l.relation::regclass::text
        WHEN l.locktype = 'transactionid' THEN 'a row that another transaction holds'
        ELSE COALESCE(l.mode || ' on ' || l.locktype, a.wait_event, 'unknown')
    END
FROM pg_stat_activity AS a
LEFT JOIN pg_locks AS l ON l.pid = a.pid AND NOT l.granted
WHERE a.datname = current_database()
    AND a.application_name = ANY(%s)
    AND a.state = 'active'
    AND a.wait_event_type = 'Lock';
