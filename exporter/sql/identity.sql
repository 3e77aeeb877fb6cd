-- Who answers: the facts that tell one server, database and life of its counters from another.

-- name: identity
-- rights: pg_monitor (pg_control_system, pg_control_checkpoint)
-- locks: none
-- cost: under 1 ms
SELECT
    s.system_identifier::text AS system_identifier,
    -- The control file lags behind: during recovery until a restartpoint, after a promotion until
    -- the first checkpoint, which may take minutes.
    CASE
        WHEN pg_is_in_recovery()
            THEN COALESCE((SELECT r.received_tli FROM pg_stat_wal_receiver AS r), c.timeline_id)
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    END AS timeline,
    current_database()::text AS database,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version_num')::int AS version,
    current_setting('server_version') AS version_text,
    current_setting('transaction_read_only') AS read_only,
    current_setting('track_counts')::bool AS track_counts,
    -- As text: a client that reads a time depends on the role's own DateStyle.
    concat_ws(
        '/',
        d.oid::text,
        pg_postmaster_start_time(),
        COALESCE(pg_stat_get_db_stat_reset_time(d.oid)::text, '-'),
        -- A crash discards the statistics without moving the postmaster's start; this it moves.
        COALESCE(pg_stat_get_bgwriter_stat_reset_time()::text, '-')
    ) AS epoch
FROM pg_control_system() AS s
CROSS JOIN pg_control_checkpoint() AS c
CROSS JOIN pg_database AS d
WHERE d.datname = current_database();
