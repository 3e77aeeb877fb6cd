-- The journal of a migration, as `phasegate migrate` writes it.

-- name: present
-- rights: none beyond CONNECT
-- locks: none
-- cost: under 1 ms
SELECT to_regclass('phasegate.journal') IS NOT NULL;

-- name: newest
-- rights: SELECT on schema phasegate (pg_monitor has it)
-- locks: ACCESS SHARE on phasegate.journal
-- cost: under 1 ms
SELECT
    (SELECT j.id::text FROM phasegate.journal AS j WHERE j.number = %(seen)s) AS known,
    (SELECT max(j.format) FROM phasegate.journal AS j WHERE j.number > %(seen)s) AS format,
    (SELECT c.wanted FROM phasegate.control AS c) AS wanted;

-- name: entries
-- rights: SELECT on schema phasegate (pg_monitor has it)
-- locks: ACCESS SHARE on phasegate.journal
-- cost: reads what is new since the scrape before
SELECT
    j.number, j.id::text, extract(epoch FROM j.at)::double precision AS at, j.run::text,
    j.event, j.phase, j.step,
    -- What was sent stands in the journal, and is not needed here.
    CASE WHEN j.event = 'action' THEN '{}' ELSE j.facts END AS facts,
    j.by, j.identity
FROM phasegate.journal AS j
WHERE j.number > %(seen)s
ORDER BY j.number;

-- name: progress
-- rights: SELECT on schema phasegate (pg_monitor has it)
-- locks: ACCESS SHARE on phasegate.progress
-- cost: under 1 ms
SELECT p.step, p.object, p.unit, p.done, p.total, p.rate,
    extract(epoch FROM p.updated)::double precision AS updated
FROM phasegate.progress AS p;
