-- How the columns of a table lie in its rows.

-- name: columns
SELECT
    a.attname::text,
    CASE a.attalign WHEN 'c' THEN 1 WHEN 's' THEN 2 WHEN 'i' THEN 4 ELSE 8 END,
    CASE WHEN a.attlen > 0 THEN a.attlen ELSE COALESCE(s.avg_width, 32) END::double precision,
    a.attlen > 0,
    COALESCE(s.null_frac, 0)::double precision
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stats AS s ON s.schemaname = n.nspname AND s.tablename = c.relname
    AND s.attname = a.attname AND NOT s.inherited
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum;
