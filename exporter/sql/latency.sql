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
