-- What tells that a loop over rows does harm.

-- name: load
SELECT
    -- To whoever may not see it, all but the process is null.
    count(*) FILTER (WHERE r.state IS NULL),
    (max(extract(epoch FROM r.replay_lag)) FILTER (WHERE r.state <> 'backup'))::double precision,
    (SELECT
        (max(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)))::double precision
     FROM pg_replication_slots AS s),
    (SELECT (min(s.safe_wal_size))::double precision FROM pg_replication_slots AS s),
    (SELECT (max(extract(epoch FROM clock_timestamp() - a.xact_start)))::double precision
     FROM pg_stat_activity AS a
     WHERE a.backend_xmin IS NOT NULL AND a.backend_type IN ('client backend', 'walsender')
        AND a.datname = current_database() AND a.application_name <> %s)
FROM pg_stat_replication AS r;
