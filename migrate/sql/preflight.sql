-- What is looked at before a migration begins. Whoever lacks a right gets NULL, not an error, where
-- the server allows that.

-- name: place
-- Where the server's files are, and by which way we came.
SELECT
    CASE
        WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory')
    END,
    inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1',
    current_setting('port')::integer,
    pg_size_bytes(current_setting('max_wal_size'));

-- name: sizes
SELECT COALESCE(sum(pg_total_relation_size(c.oid)), 0)::bigint
FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS named (schema, name)
JOIN pg_namespace AS n ON n.nspname = named.schema
JOIN pg_class AS root ON root.relnamespace = n.oid AND root.relname = named.name
CROSS JOIN LATERAL (
    SELECT root.oid AS oid
    UNION
    SELECT relid::oid FROM pg_partition_tree(root.oid)
) AS c;

-- name: transactions
SELECT
    COALESCE(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::double precision,
    (SELECT count(*) FROM pg_prepared_xacts)
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid();

-- name: replication
SELECT
    current_setting('wal_level'),
    (
        SELECT COALESCE(max(extract(epoch FROM replay_lag)), 0)::double precision
        FROM pg_stat_replication
    ),
    ARRAY(
        SELECT slot_name::text FROM pg_replication_slots WHERE NOT active ORDER BY slot_name
    );

-- name: privileges
-- Tables that are not ours, schemas where we may make nothing, and whether ours can be made.
SELECT
    ARRAY(
        SELECT format('%%I.%%I', n.nspname, c.relname)
        FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS named (schema, name)
        JOIN pg_namespace AS n ON n.nspname = named.schema
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
        WHERE NOT pg_has_role(c.relowner, 'USAGE')
    ),
    ARRAY(
        SELECT DISTINCT quote_ident(n.nspname)
        FROM unnest(%(schemas)s::text[]) AS named (schema)
        JOIN pg_namespace AS n ON n.nspname = named.schema
        WHERE NOT has_schema_privilege(n.oid, 'CREATE')
    ),
    has_database_privilege(current_database(), 'CREATE')
        OR EXISTS (SELECT FROM pg_namespace WHERE nspname = 'phasegate');
