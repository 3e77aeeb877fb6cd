-- What goes on in the database beside us: sessions, transactions, waits, replication, wraparound.

-- name: sessions
-- rights: pg_monitor (pg_stat_activity shows others' states)
-- locks: none
-- cost: under 1 ms
WITH clients AS (
    SELECT
        COALESCE(translate(state, ' ()', '_'), 'unknown') AS state,
        clock_timestamp() - xact_start AS transaction
    FROM pg_stat_activity
    WHERE datname = current_database()
        AND backend_type = 'client backend'
        AND pid <> pg_backend_pid()
)

SELECT
    jsonb_object_agg(states.state, states.sessions) AS states,
    max(states.longest) AS longest_seconds,
    (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()) AS prepared,
    (
        SELECT COALESCE(max(EXTRACT(EPOCH FROM clock_timestamp() - prepared)), 0)::float8
        FROM pg_prepared_xacts
        WHERE database = current_database()
    ) AS prepared_seconds,
    (SELECT max(age(datfrozenxid)) FROM pg_database) AS transactions_age,
    (SELECT max(mxid_age(datminmxid)) FROM pg_database) AS multixacts_age
FROM (
    SELECT
        state,
        count(*) AS sessions,
        GREATEST(max(EXTRACT(EPOCH FROM transaction)), 0)::float8 AS longest
    FROM clients
    GROUP BY state
) AS states;

-- name: waiters
-- rights: pg_monitor
-- locks: none on user tables; pg_blocking_pids() of those that wait
-- cost: 1 ms; 3 ms for 3,000 partitions; more while somebody waits
WITH RECURSIVE tree (root, oid) AS (
    SELECT c.oid, c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT t.root, i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
),

locks AS MATERIALIZED (
    SELECT l.* FROM pg_locks AS l
),

-- Who waits for a row waits for its writer's transaction, and holds the row's tuple lock meanwhile.
waits AS (
    SELECT w.pid, w.relation, to_jsonb(w) AS lock
    FROM locks AS w
    WHERE NOT w.granted AND w.relation IS NOT NULL
    UNION ALL
    SELECT w.pid, held.relation, to_jsonb(w)
    FROM locks AS w
    JOIN locks AS held ON held.pid = w.pid AND held.locktype = 'tuple' AND held.granted
    WHERE NOT w.granted AND w.relation IS NULL
),

found AS (
    -- waitstart came with version 14.
    SELECT
        t.root,
        w.pid,
        max(
            EXTRACT(EPOCH FROM clock_timestamp() - (w.lock ->> 'waitstart')::timestamptz)
        ) AS seconds
    FROM waits AS w
    JOIN tree AS t ON t.oid = w.relation
    GROUP BY t.root, w.pid
),

blockers AS (
    SELECT f.root, count(DISTINCT b.pid) AS sessions
    FROM found AS f
    CROSS JOIN LATERAL unnest(pg_blocking_pids(f.pid)) AS b (pid)
    GROUP BY f.root
)

SELECT
    n.nspname::text AS schema,
    c.relname::text AS table,
    (SELECT count(*) FROM found AS f WHERE f.root = c.oid) AS waiting,
    COALESCE((SELECT b.sessions FROM blockers AS b WHERE b.root = c.oid), 0) AS blocking,
    COALESCE(
        (SELECT GREATEST(max(f.seconds), 0) FROM found AS f WHERE f.root = c.oid), 0
    )::float8 AS longest_seconds
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.root
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.oid = t.root;

-- name: standbys
-- rights: pg_monitor (pg_stat_replication)
-- locks: none
-- cost: under 1 ms
WITH here AS (
    SELECT
        CASE
            WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
            ELSE pg_current_wal_lsn()
        END AS lsn
)

SELECT
    r.application_name AS standby,
    max(GREATEST(pg_wal_lsn_diff(here.lsn, r.replay_lsn), 0))::float8 AS bytes,
    -- NULL where the standby has caught up and nothing was written since; else its lag is unknown.
    max(
        CASE
            WHEN r.replay_lag IS NOT NULL THEN EXTRACT(EPOCH FROM r.replay_lag)
            WHEN r.replay_lsn >= r.sent_lsn THEN 0
        END
    )::float8 AS seconds
FROM pg_stat_replication AS r
CROSS JOIN here
GROUP BY r.application_name;

-- name: slots
-- rights: pg_monitor
-- locks: none
-- cost: under 1 ms
SELECT
    s.slot_name::text AS slot,
    s.active,
    GREATEST(
        pg_wal_lsn_diff(
            CASE
                WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn()
            END,
            s.restart_lsn
        ),
        0
    )::float8 AS bytes
FROM pg_replication_slots AS s;

-- name: replay
-- rights: pg_monitor (pg_stat_wal_receiver)
-- locks: none
-- cost: under 1 ms; on replicas
SELECT
    GREATEST(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::float8
        AS bytes,
    -- Caught up is no lag only while somebody sends: else time goes on and nothing arrives.
    CASE
        WHEN
            pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_stat_wal_receiver AS w WHERE w.status = 'streaming')
            THEN 0
        ELSE GREATEST(EXTRACT(EPOCH FROM clock_timestamp() - pg_last_xact_replay_timestamp()), 0)
    END::float8 AS seconds
WHERE pg_is_in_recovery();
