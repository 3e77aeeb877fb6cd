-- Partitions of the audit log. Nothing here may wait for a lock: pg_partition_tree() and the size
-- functions do, behind ACCESS EXCLUSIVE held or merely awaited, so the tree is walked through
-- pg_inherits, and sizes are asked only of what pg_locks shows as free.

-- name: activity
-- rights: pg_monitor
-- locks: none on user tables
-- cost: 11 ms for 3,000 partitions
WITH RECURSIVE links AS MATERIALIZED (
    SELECT i.inhrelid, i.inhparent, i.pending
    -- The column came with version 14: before it, the name means the constant outside.
    FROM (SELECT false AS inhdetachpending) AS before_14
    CROSS JOIN LATERAL (
        SELECT p.inhrelid, p.inhparent, inhdetachpending AS pending
        FROM pg_inherits AS p
    ) AS i
),

tree (oid, parent, pending) AS (
    SELECT c.oid, NULL::oid, false
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')
    UNION ALL
    SELECT l.inhrelid, l.inhparent, l.pending
    FROM tree AS t
    JOIN links AS l ON l.inhparent = t.oid
),

held AS (
    SELECT
        l.relation,
        bool_or(l.mode = 'AccessExclusiveLock') AS exclusive
    FROM pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
    GROUP BY l.relation
)

SELECT
    t.oid::int8 AS oid,
    t.parent::int8 AS parent,
    t.pending,
    c.xmin::text::int8 AS version,
    pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
    + pg_stat_get_tuples_deleted(c.oid) + pg_stat_get_vacuum_count(c.oid)
    + pg_stat_get_autovacuum_count(c.oid)
    + pg_stat_get_tuples_inserted(c.reltoastrelid) + pg_stat_get_tuples_deleted(c.reltoastrelid)
    + pg_stat_get_vacuum_count(c.reltoastrelid) + pg_stat_get_autovacuum_count(c.reltoastrelid)
    AS activity,
    h.relation IS NOT NULL OR ht.relation IS NOT NULL AS busy,
    COALESCE(h.exclusive, false) OR COALESCE(ht.exclusive, false) AS exclusive
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.oid
LEFT JOIN held AS h ON h.relation = c.oid
LEFT JOIN held AS ht ON ht.relation = c.reltoastrelid AND c.reltoastrelid <> 0;

-- name: describe
-- rights: none beyond CONNECT
-- locks: ACCESS SHARE on each asked partition (pg_get_expr, from 16)
-- cost: 10 ms for 3,000 partitions, only for new or altered ones
SELECT
    c.oid::int8 AS oid,
    n.nspname::text AS schema,
    c.relname::text AS name,
    c.relkind::text AS kind,
    c.relispartition AS attached,
    pg_get_expr(c.relpartbound, c.oid) AS bound
FROM unnest(%(oids)s::oid[]) AS asked (oid)
JOIN pg_class AS c ON c.oid = asked.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace;

-- name: sizes
-- rights: none beyond CONNECT
-- locks: ACCESS SHARE on each asked partition, with a lock time-out
-- cost: 23 µs a partition, only for those that may have changed
SELECT asked.oid::int8 AS oid, pg_table_size(asked.oid) AS bytes
FROM unnest(%(oids)s::oid[]) AS asked (oid);

-- name: shape
-- rights: pg_monitor
-- locks: none
-- cost: 5 ms for 3,000 partitions
SELECT
    count(*) FILTER (
        WHERE parent_index.indexrelid IS NOT NULL AND child_index.inhrelid IS NULL
    )::int8 AS missing_index,
    -- Only a range over a column of a time has a calendar: a number may count anything, and so may
    -- an expression.
    EXISTS (
        SELECT
        FROM pg_class AS c
        JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
        JOIN pg_partitioned_table AS p ON p.partrelid = c.oid AND p.partstrat = 'r'
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0]
        JOIN pg_type AS t ON t.oid = a.atttypid
        WHERE cn.nspname = %(schema)s
            AND c.relname = %(table)s
            AND COALESCE(NULLIF(t.typbasetype, 0), t.oid) IN (
                'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype
            )
    ) AS by_time
FROM pg_class AS root
JOIN pg_namespace AS n ON n.oid = root.relnamespace
JOIN pg_inherits AS part ON part.inhparent = root.oid
JOIN pg_index AS parent_index ON parent_index.indrelid = root.oid
LEFT JOIN LATERAL (
    SELECT ii.inhrelid
    FROM pg_inherits AS ii
    JOIN pg_index AS ci ON ci.indexrelid = ii.inhrelid
    WHERE ii.inhparent = parent_index.indexrelid AND ci.indrelid = part.inhrelid AND ci.indisvalid
    LIMIT 1
) AS child_index ON true
WHERE n.nspname = %(schema)s AND root.relname = %(table)s;

-- name: defaults
-- rights: none beyond CONNECT
-- locks: none
-- cost: 3 ms for 3,000 partitions, once a minute
WITH RECURSIVE parents (oid) AS (
    SELECT c.oid
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind = 'p'
    UNION ALL
    SELECT c.oid
    FROM parents AS p
    JOIN pg_inherits AS i ON i.inhparent = p.oid
    JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relkind = 'p'
)

SELECT n.nspname::text AS schema, c.relname::text AS name
FROM parents AS p
JOIN pg_partitioned_table AS t ON t.partrelid = p.oid
JOIN pg_class AS c ON c.oid = t.partdefid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY 1, 2;

-- name: used
-- rights: SELECT on the default partition
-- locks: ACCESS SHARE on the default partition, with a lock time-out
-- cost: reads up to the first row, once a minute
SELECT {schema} AS schema, {name} AS name, EXISTS (SELECT FROM {table}) AS used;
