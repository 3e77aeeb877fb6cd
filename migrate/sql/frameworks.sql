-- name: tables
-- Tables of that name in any schema, with their columns.
SELECT
    n.nspname::text,
    c.relname::text,
    ARRAY(
        SELECT a.attname::text
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    )
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
ORDER BY 1, 2;
