-- What `status` asks besides the journal.

-- name: progress
SELECT
    step, object, unit, done, total, rate, note,
    extract(epoch FROM updated)::double precision
FROM phasegate.progress
ORDER BY updated;
