-- What can be looked up: which of the configured columns exist, and which of them an index leads.

-- name: columns
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms
SELECT
    n.nspname::text AS schema,
    c.relname::text AS table,
    a.attname::text AS column,
    format_type(a.atttypid, NULL) AS type,
    EXISTS (
        SELECT FROM pg_index AS i
        WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum
    ) AS indexed,
    COALESCE(a.attnum = (
        SELECT i.indkey[0] FROM pg_index AS i
        WHERE i.indrelid = c.oid AND i.indisprimary AND i.indnkeyatts = 1
    ), false) AS key,
    c.reltuples::float8 AS rows,
    has_column_privilege(c.oid, a.attnum, 'SELECT')
    AND has_schema_privilege(n.oid, 'USAGE') AS readable
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE
    a.attnum > 0
    AND NOT a.attisdropped
    AND c.relkind IN ('r', 'p')
    AND (n.nspname, c.relname) IN (
        SELECT * FROM unnest(%(schemas)s::text[], %(tables)s::text[])
    );

-- name: indexes
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms; 5 ms for 3,000 partitions
WITH RECURSIVE tree (schema, name, oid) AS (
    SELECT n.nspname::text, c.relname::text, c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT t.schema, t.name, i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
)

SELECT t.schema, t.name AS table, a.attname::text AS key, i.indexrelid::int8 AS index
FROM tree AS t
JOIN pg_index AS i ON i.indrelid = t.oid AND i.indisvalid
JOIN pg_class AS x ON x.oid = i.indexrelid AND x.relkind = 'i'
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype)
ORDER BY 1, 2, 3, 4;

-- name: own_scans
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 0.1 ms; 1 ms for 3,000 partitions

-- Run by the probe after each of its statements and in that statement's transaction: which scans of
-- the keys' indexes its own backend has made, of what it has not yet reported to the statistics.
-- The row of number -1 is a marker: it counts this query's own scans of a small table of the
-- catalog, and being 1 again says that a report came between.
SELECT k.number, sum(pg_stat_get_xact_numscans(k.oid)) AS scans
FROM unnest({oids}::oid[], {numbers}::int4[]) AS k (oid, number)
GROUP BY k.number
UNION ALL
(SELECT -1, pg_stat_get_xact_numscans('pg_catalog.pg_am'::regclass) FROM pg_catalog.pg_am LIMIT 1);
