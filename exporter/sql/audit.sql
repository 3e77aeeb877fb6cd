-- Rows that reached the audit log. The statistics of every table that stores some of it are read at
-- each scrape without a lock; counting rows has a slow schedule and a limit of its own.

-- name: source
-- rights: pg_monitor (pg_control_system)
-- locks: none
-- cost: under 1 ms
SELECT
    s.system_identifier::text || '/' || d.oid::text AS identity,
    pg_is_in_recovery() AS in_recovery,
    concat_ws(
        '/',
        pg_postmaster_start_time(),
        COALESCE(pg_stat_get_db_stat_reset_time(d.oid)::text, '-'),
        -- A crash discards the statistics without moving the postmaster's start; this it moves.
        COALESCE(pg_stat_get_bgwriter_stat_reset_time()::text, '-')
    ) AS epoch,
    current_setting('track_counts')::bool AS track_counts
FROM pg_control_system() AS s
CROSS JOIN pg_database AS d
WHERE d.datname = current_database();

-- name: members
-- rights: pg_monitor
-- locks: none on user tables
-- cost: 9 ms for 3,000 partitions
WITH RECURSIVE links AS MATERIALIZED (
    SELECT i.inhrelid, i.inhparent, i.xmin, i.cmin
    -- The column came with version 14: before it, the name means the constant outside.
    FROM (SELECT false AS inhdetachpending) AS before_14
    CROSS JOIN LATERAL (
        SELECT p.inhrelid, p.inhparent, p.xmin, p.cmin
        FROM pg_inherits AS p
        WHERE NOT inhdetachpending
    ) AS i
),

tree (oid, xid, command, is_root) AS (
    -- When a table entered the log is the youngest of the links that lead to it. A root that was
    -- the log already has none; a new one may have been renamed into its place, full.
    SELECT
        c.oid,
        CASE WHEN c.oid::int8 IS DISTINCT FROM %(root)s::int8 THEN c.xmin END,
        c.cmin::text::int8,
        true
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT
        i.inhrelid,
        CASE WHEN younger.link THEN i.xmin ELSE t.xid END,
        CASE WHEN younger.link THEN i.cmin::text::int8 ELSE t.command END,
        false
    FROM tree AS t
    JOIN links AS i ON i.inhparent = t.oid
    CROSS JOIN LATERAL (
        SELECT
            t.xid IS NULL OR age(i.xmin) < age(t.xid)
            OR (i.xmin = t.xid AND i.cmin::text::int8 > t.command) AS link
    ) AS younger
)

SELECT
    c.oid::int8 AS oid,
    c.relkind = 'r' AS stores_rows,
    t.is_root,
    t.xid::text AS xid,
    t.command,
    pg_stat_get_tuples_inserted(c.oid) AS inserted,
    pg_stat_get_tuples_updated(c.oid) AS updated,
    pg_stat_get_tuples_deleted(c.oid) AS deleted,
    pg_stat_get_live_tuples(c.oid) AS live,
    pg_stat_get_dead_tuples(c.oid) AS dead,
    pg_stat_get_vacuum_count(c.oid) + pg_stat_get_autovacuum_count(c.oid)
    + pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) AS upkeep,
    c.relfilenode::int8 AS file
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.oid
WHERE c.relkind IN ('r', 'p');

-- name: departed
-- rights: pg_monitor
-- locks: none on user tables
-- cost: under 1 ms, only after a DETACH
SELECT -- it left the log, and what came in before is still to be booked
    c.oid::int8 AS oid,
    pg_stat_get_tuples_inserted(c.oid) AS inserted,
    pg_stat_get_tuples_updated(c.oid) AS updated,
    pg_stat_get_tuples_deleted(c.oid) AS deleted,
    pg_stat_get_live_tuples(c.oid) AS live,
    pg_stat_get_dead_tuples(c.oid) AS dead,
    pg_stat_get_vacuum_count(c.oid) + pg_stat_get_autovacuum_count(c.oid)
    + pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) AS upkeep,
    c.relfilenode::int8 AS file
FROM unnest(%(oids)s::oid[]) AS asked (oid)
JOIN pg_class AS c ON c.oid = asked.oid;

-- name: births
-- rights: none beyond CONNECT
-- locks: none
-- cost: 10 ms for 3,000 partitions, only for new ones
SELECT -- a system column's row never changes: its transaction is the one that made the table
    a.attrelid::int8 AS oid,
    a.xmin::text AS xid
FROM unnest(%(oids)s::oid[]) AS asked (oid)
JOIN pg_attribute AS a ON a.attrelid = asked.oid AND a.attnum = -1;

-- name: places
-- rights: pg_monitor
-- locks: none on user tables
-- cost: 5 ms for 3,000 partitions, only for those that are to be counted
SELECT
    c.oid::int8 AS oid,
    n.nspname::text AS schema,
    c.relname::text AS table,
    GREATEST(c.reltuples::int8, pg_stat_get_live_tuples(c.oid)) AS estimate
FROM unnest(%(oids)s::oid[]) AS asked (oid)
JOIN pg_class AS c ON c.oid = asked.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE NOT EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.relation = c.oid
        AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
);

-- name: count
-- rights: SELECT on every partition (a grant on the parent does not reach them)
-- locks: ACCESS SHARE on the counted partitions, with a lock time-out
-- cost: reads the partitions that changed since their last count; at most reconcile_rate rows/s
SELECT
    {oid}::int8 AS oid,
    count(*) AS rows,
    {fresh}::int8 AS fresh,
    pg_snapshot_xmax(pg_current_snapshot())::text AS following,
    ARRAY(SELECT r.xid::text FROM pg_snapshot_xip(pg_current_snapshot()) AS r (xid)) AS running
FROM ONLY {table};

-- name: events
-- rights: SELECT on the category and time columns
-- locks: ACCESS SHARE on the audit log, with a lock time-out
-- cost: reads the last hour by an index on the time, else the partitions that hold it
SELECT
    {category} AS category,
    count(*) AS events,
    EXTRACT(EPOCH FROM max({time}))::float8 AS latest
FROM {table}
WHERE {time} > now() - INTERVAL '1 hour'
GROUP BY 1;
