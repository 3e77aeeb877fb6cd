-- Who answers: the facts that tell one server, database and life of its counters from another.

-- name: identity
-- rights: pg_monitor (pg_control_system, pg_control_checkpoint)
-- locks: none
-- cost: under 1 ms
SELECT
    s.system_identifier::text AS system_identifier,
    -- During recovery the control file lags behind the replayed timeline until a restartpoint.
    COALESCE(
        (SELECT r.received_tli FROM pg_stat_wal_receiver AS r), c.timeline_id
    ) AS timeline,
    current_database()::text AS database,
    d.oid::text AS database_oid,
    pg_is_in_recovery() AS in_recovery,
    current_setting('server_version_num')::int AS version,
    current_setting('server_version') AS version_text,
    current_setting('transaction_read_only') AS read_only,
    current_setting('track_counts')::bool AS track_counts,
    pg_postmaster_start_time() AS started,
    pg_stat_get_db_stat_reset_time(d.oid) AS database_reset,
    -- A crash discards the statistics without moving the postmaster's start; this one it moves.
    pg_stat_get_bgwriter_stat_reset_time() AS bgwriter_reset
FROM pg_control_system() AS s
CROSS JOIN pg_control_checkpoint() AS c
CROSS JOIN pg_database AS d
WHERE d.datname = current_database();
