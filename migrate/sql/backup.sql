-- What a backup is compared with, and what stands for the time after it.

-- name: tables
-- Every table whose rows pg_dump writes: those of extensions it leaves to them.
SELECT
    n.nspname::text,
    c.relname::text,
    c.oid::bigint,
    greatest(c.reltuples, 0)::bigint,
    COALESCE(s.n_tup_ins, 0)::bigint,
    COALESCE(s.n_tup_upd, 0)::bigint,
    COALESCE(s.n_tup_del, 0)::bigint
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'r'
    AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema'
    AND n.nspname NOT LIKE 'pg\_%'
    AND NOT EXISTS (
        SELECT FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
    )
ORDER BY n.nspname, c.relname;

-- name: server
SELECT
    current_setting('server_version_num')::integer,
    current_database()::text,
    (SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()),
    pg_current_wal_lsn()::text,
    extract(epoch FROM transaction_timestamp())::double precision,
    ARRAY(SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1),
    EXISTS (
        SELECT FROM pg_collation AS c
        WHERE c.collprovider = 'i' AND c.collnamespace <> 'pg_catalog'::regnamespace
    );

-- name: epoch
-- Since when the counters of writes count; a crash sets the second one.
SELECT concat_ws(
    ' ',
    (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
    (SELECT stats_reset FROM pg_stat_bgwriter),
    (SELECT oid FROM pg_database WHERE datname = current_database())
);

-- name: prepare
-- How values are written, alike on every server.
SELECT
    set_config('IntervalStyle', 'iso_8601', false),
    set_config('bytea_output', 'hex', false),
    set_config('extra_float_digits', '1', false),
    set_config('lc_monetary', 'C', false),
    set_config('xmloption', 'content', false),
    set_config('statement_timeout', '0', false),
    set_config('lock_timeout', '10s', false);

-- name: pieces
-- What our own loops wrote since: nobody's loss.
SELECT COALESCE(sum(rows), 0)::bigint FROM phasegate.pieces WHERE finished > to_timestamp(%s);
