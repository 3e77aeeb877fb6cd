-- How the server would look up: the generic plan of each timed lookup. Nothing is executed.
-- By PREPARE on every version: EXPLAIN (GENERIC_PLAN) wants a key where statements are pipelined.

-- name: members
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms; 4 ms for 3,000 partitions
WITH RECURSIVE tree (schema, name, oid) AS (
    SELECT n.nspname::text, c.relname::text, c.oid
    FROM unnest(%(schemas)s::text[], %(tables)s::text[]) AS asked (schema, name)
    JOIN pg_namespace AS n ON n.nspname = asked.schema
    JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = asked.name
    UNION
    SELECT t.schema, t.name, i.inhrelid
    FROM tree AS t
    JOIN pg_inherits AS i ON i.inhparent = t.oid
)

SELECT t.schema, t.name AS table, n.nspname::text AS member_schema, c.relname::text AS member
FROM tree AS t
JOIN pg_class AS c ON c.oid = t.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace;

-- name: setting
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms
SELECT set_config(%(name)s, %(value)s, true);

-- name: prepare
-- rights: SELECT on what the lookup reads
-- locks: ACCESS SHARE on what the lookup reads, while it is planned
-- cost: under 1 ms
PREPARE phasegate_lookup AS {lookup};

-- name: explain
-- rights: SELECT on what the lookup reads
-- locks: ACCESS SHARE on what the lookup reads, while it is planned
-- cost: the planning of the lookup
EXPLAIN (VERBOSE, COSTS OFF, FORMAT JSON) EXECUTE phasegate_lookup (NULL);

-- name: deallocate
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms
DEALLOCATE phasegate_lookup;
