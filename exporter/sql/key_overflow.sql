-- How far the integer keys of the configured tables have come.

-- name: columns
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms
SELECT
    n.nspname::text AS schema,
    c.relname::text AS table,
    a.attname::text AS column,
    CASE a.atttypid WHEN 'int2'::regtype THEN 32767 ELSE 2147483647 END AS highest,
    CASE WHEN has_sequence_privilege(s.objid, 'USAGE, SELECT') THEN s.objid::int8 END AS sequence,
    -- On a partitioned table the highest key would be asked of every partition, each with a lock.
    c.relkind = 'r'
    AND k.indkey[0] = a.attnum
    AND has_column_privilege(c.oid, a.attnum, 'SELECT')
    AND has_schema_privilege(n.oid, 'USAGE') AS readable
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
JOIN pg_namespace AS n ON n.nspname = asked.schema
JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
JOIN pg_index AS k ON k.indrelid = c.oid AND k.indisprimary
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (k.indkey)
LEFT JOIN LATERAL (
    SELECT d.objid
    FROM pg_depend AS d
    JOIN pg_class AS q ON q.oid = d.objid AND q.relkind = 'S'
    WHERE d.classid = 'pg_class'::regclass
        AND d.refclassid = 'pg_class'::regclass
        AND d.refobjid = c.oid
        AND d.refobjsubid = a.attnum
        AND d.deptype IN ('a', 'i')
    LIMIT 1
) AS s ON true
WHERE a.atttypid IN ('int2'::regtype, 'int4'::regtype)
    -- Of a key of several columns only the one that counts up: references have keys of their own.
    AND (k.indnkeyatts = 1 OR s.objid IS NOT NULL);

-- name: sequence
-- rights: USAGE or SELECT on the sequence; without it the highest key alone is looked up
-- locks: ROW EXCLUSIVE on the sequence, with a lock time-out
-- cost: under 1 ms
SELECT COALESCE(pg_sequence_last_value(%(sequence)s::oid::regclass), 0);

-- name: highest
-- rights: SELECT on the key; without it the sequence alone is asked
-- locks: ACCESS SHARE on the table, with a lock time-out
-- cost: one scan of the key's index, which its counter of scans shows
SELECT COALESCE(max({column}), 0)::int8 FROM {table};
