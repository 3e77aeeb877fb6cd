-- The loop over ranges of pages.

-- name: size
SELECT
    (SELECT c.reltuples >= 0 FROM pg_class AS c WHERE c.oid = %s::regclass),
    pg_relation_size(%s::regclass) / current_setting('block_size')::bigint;

-- name: filenode
SELECT pg_relation_filenode(%s::regclass);

-- name: finished
SELECT lower, upper, pieces FROM phasegate.pieces WHERE step = %s AND object = %s;

-- name: announce
SELECT
    set_config('phasegate.backfill', 'on', true),
    pg_logical_emit_message(true, 'phasegate.backfill', 'on');

-- name: checkpoint
INSERT INTO phasegate.pieces (step, object, piece, pieces, lower, upper, rows, finished)
VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp());
