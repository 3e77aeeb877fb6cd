-- Which keys are still read: scans of their indexes, and what foreign keys can explain of them.

-- name: scans
-- rights: pg_monitor (pg_control_system)
-- locks: none
-- cost: under 1 ms; 4 ms for 3,000 partitions
WITH RECURSIVE tree (root, oid) AS (
    SELECT c.oid, c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT t.root, i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
),

keys AS (
    SELECT c.oid, n.nspname, c.relname, a.attname, a.attnum
    FROM unnest(%(schemas)s::text[], %(tables)s::text[], %(columns)s::text[])
        AS asked (schema, name, uuid)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE a.attname = asked.uuid
        OR (
            a.attnotnull
            AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
            -- Unique is enough: where the UUID is the primary key, the integer stays a key.
            AND EXISTS (
                SELECT FROM pg_index AS i
                WHERE i.indrelid = c.oid
                    AND i.indisunique
                    AND i.indpred IS NULL
                    AND i.indnkeyatts = 1
                    AND i.indkey[0] = a.attnum
            )
        )
),

-- In the same statement as the counters: a later look could belong to their next life. Not the
-- database's own moment of reset, which a reset of one table moves too.
epoch AS (
    SELECT
        concat_ws(
            '/',
            (SELECT s.system_identifier FROM pg_control_system() AS s),
            (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()),
            pg_postmaster_start_time(),
            -- A crash discards the statistics without moving the postmaster's start; this it moves.
            pg_stat_get_bgwriter_stat_reset_time()
        ) AS epoch
),

foreign_keys AS (
    SELECT k.oid, k.attnum, f.conrelid, count(*) AS keys
    FROM keys AS k
    JOIN pg_constraint AS f ON f.contype = 'f' AND f.confrelid = k.oid AND f.confkey[1] = k.attnum
    JOIN pg_class AS child ON child.oid = f.conrelid AND child.relkind = 'r'
    GROUP BY k.oid, k.attnum, f.conrelid
)

SELECT
    e.epoch,
    'index' AS kind,
    k.nspname::text AS schema,
    k.relname::text AS table,
    k.attname::text AS key,
    i.indexrelid::int8 AS source,
    pg_stat_get_numscans(i.indexrelid) AS counted
FROM keys AS k
CROSS JOIN epoch AS e
JOIN tree AS t ON t.root = k.oid
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attname = k.attname AND NOT a.attisdropped
JOIN pg_index AS i ON i.indrelid = t.oid AND i.indkey[0] = a.attnum
JOIN pg_class AS x ON x.oid = i.indexrelid AND x.relkind = 'i'
UNION ALL
SELECT
    e.epoch,
    'reference',
    k.nspname::text,
    k.relname::text,
    k.attname::text,
    f.conrelid::int8,
    f.keys
    * (pg_stat_get_tuples_inserted(f.conrelid) + pg_stat_get_tuples_updated(f.conrelid))
FROM keys AS k
CROSS JOIN epoch AS e
JOIN foreign_keys AS f ON f.oid = k.oid AND f.attnum = k.attnum;

-- name: own
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms; 5 ms for 3,000 partitions
WITH RECURSIVE tree (oid) AS (
    SELECT c.oid
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    UNION
    SELECT i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
)

SELECT a.attname::text AS key, sum(pg_stat_get_xact_numscans(i.indexrelid)) AS scans
FROM tree AS t
JOIN pg_index AS i ON i.indrelid = t.oid
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
GROUP BY a.attname;
