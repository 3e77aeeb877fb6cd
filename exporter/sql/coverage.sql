-- Whether every change of the watched tables leaves a row in the audit log: the triggers as the
-- catalog holds them, and counters that can support it. Nothing is asked of a table itself.

-- name: triggers
-- rights: none beyond CONNECT
-- locks: none on user tables
-- cost: 6 ms; 55 ms for 1,000 partitions with two triggers each
WITH RECURSIVE tree (schema, name, oid) AS (
    SELECT asked.schema, asked.name, c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT t.schema, t.name, i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
),

relations AS MATERIALIZED (
    SELECT
        c.oid,
        c.relkind,
        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
        EXISTS (SELECT FROM pg_subscription_rel AS s WHERE s.srrelid = c.oid) AS subscribed,
        ARRAY(
            SELECT quote_ident(above.nspname) || '.' || quote_ident(p.relname)
            FROM pg_inherits AS i
            JOIN pg_class AS p ON p.oid = i.inhparent
            JOIN pg_namespace AS above ON above.oid = p.relnamespace
            WHERE i.inhrelid = c.oid
            ORDER BY i.inhseqno
        ) AS parents
    FROM (SELECT DISTINCT t.oid FROM tree AS t) AS found
    JOIN pg_class AS c ON c.oid = found.oid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
),

-- Those of foreign keys and other constraints are the server's own.
triggers AS MATERIALIZED (
    SELECT g.*
    FROM relations AS r
    JOIN pg_trigger AS g ON g.tgrelid = r.oid
    JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE p.pronamespace <> 'pg_catalog'::regnamespace
),

functions AS MATERIALIZED (
    SELECT
        p.oid,
        n.nspname::text AS schema,
        p.proname::text AS function,
        quote_ident(n.nspname) || '.' || quote_ident(p.proname) AS name,
        encode(sha256(convert_to(pg_get_functiondef(p.oid), 'UTF8')), 'hex') AS sha256,
        -- What is in comments inserts nothing; what looks like one in quotes is none.
        regexp_replace(
            p.prosrc,
            '("([^"]|"")*"|''([^'']|'''')*'')|--[^\n]*|/\*[^*]*\*+([^/*][^*]*\*+)*/',
            '\1 ',
            'g'
        ) ~ %(inserts)s AS inserts
    FROM (SELECT DISTINCT g.tgfoid FROM triggers AS g) AS called
    JOIN pg_proc AS p ON p.oid = called.tgfoid
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
)

SELECT
    t.schema,
    t.name AS table,
    r.name AS relation,
    r.relkind::text AS kind,
    r.subscribed,
    r.parents,
    quote_ident(g.tgname) AS trigger,
    g.tgtype::int AS type,
    g.tgenabled::text AS enabled,
    g.tgqual IS NOT NULL AS condition,
    g.tgattr::text <> '' AS columns,
    g.tgoldtable IS NOT NULL AS old,
    g.tgnewtable IS NOT NULL AS new,
    g.tgparentid <> 0 AS cloned,
    f.schema AS function_schema,
    f.function,
    f.name AS function_name,
    f.sha256,
    f.inserts
FROM tree AS t
JOIN relations AS r ON r.oid = t.oid
LEFT JOIN triggers AS g ON g.tgrelid = r.oid
LEFT JOIN functions AS f ON f.oid = g.tgfoid
ORDER BY t.schema, t.name, r.name, g.tgname;

-- name: counts
-- rights: none beyond CONNECT
-- locks: none on user tables
-- cost: 1 ms; 6 ms for 1,000 partitions
WITH RECURSIVE tree (oid, logs) AS (
    SELECT c.oid, (n.nspname, c.relname) = (%(schema)s, %(table)s)
    FROM unnest(
        %(schemas)s::text[] || %(schema)s::text, %(tables)s::text[] || %(table)s::text
    ) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    WHERE c.relkind IN ('r', 'p')
    UNION
    SELECT i.inhrelid, t.logs
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
)

SELECT
    t.oid::int8 AS oid,
    t.logs,
    pg_stat_get_tuples_inserted(t.oid) AS inserted,
    pg_stat_get_tuples_updated(t.oid) AS updated,
    pg_stat_get_tuples_deleted(t.oid) AS deleted,
    ARRAY(
        SELECT quote_ident(w.rulename) || ' ON ' || t.oid::regclass::text
        FROM pg_rewrite AS w
        WHERE t.logs AND w.ev_class = t.oid
            AND w.ev_type = '3' AND w.is_instead AND w.ev_enabled <> 'D'
    ) AS diversions,
    pg_stat_get_db_xact_rollback(d.oid) AS rollbacks
FROM tree AS t
CROSS JOIN pg_database AS d
WHERE d.datname = current_database();
