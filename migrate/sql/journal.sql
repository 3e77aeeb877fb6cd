-- What of ours stands in the database that is migrated: all in schema phasegate.

-- name: exists
SELECT to_regclass('phasegate.journal') IS NOT NULL;

-- name: create_schema
CREATE SCHEMA phasegate;

-- name: create
CREATE TABLE phasegate.journal (
    number    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id        uuid NOT NULL UNIQUE,
    at        timestamptz NOT NULL,
    run       uuid NOT NULL,
    event     text NOT NULL,
    phase     text NOT NULL,
    step      text NOT NULL,
    operation text NOT NULL,
    what      text NOT NULL,
    seconds   double precision,
    checksum  text NOT NULL,
    facts     jsonb NOT NULL,
    by        text NOT NULL,
    host      text NOT NULL,
    version   text NOT NULL,
    identity  text NOT NULL,
    format    integer NOT NULL
);
-- Where a loop over rows stands: one row a piece, written in the transaction of the piece.
CREATE TABLE phasegate.pieces (
    step      text NOT NULL,
    object    text NOT NULL,
    piece     bigint NOT NULL,
    pieces    bigint NOT NULL,
    lower     bigint NOT NULL,
    upper     bigint NOT NULL,
    rows      bigint NOT NULL,
    finished  timestamptz NOT NULL,
    PRIMARY KEY (step, object, piece)
);
-- What a run is at now, for whoever watches; the journal does not need it.
CREATE TABLE phasegate.progress (
    step      text NOT NULL,
    object    text NOT NULL,
    unit      text NOT NULL,
    done      double precision NOT NULL,
    total     double precision NOT NULL,
    rate      double precision NOT NULL,
    note      text NOT NULL,
    updated   timestamptz NOT NULL,
    PRIMARY KEY (step, object)
);
-- What somebody wants of the runner: run, pause or abort.
CREATE TABLE phasegate.control (
    single    boolean PRIMARY KEY DEFAULT true CHECK (single),
    wanted    text NOT NULL DEFAULT 'run' CHECK (wanted IN ('run', 'pause', 'abort')),
    by        text NOT NULL DEFAULT '',
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO phasegate.control DEFAULT VALUES;
-- Whoever may read all statistics may see how far a migration is; nothing here is a secret.
GRANT USAGE ON SCHEMA phasegate TO pg_monitor;
GRANT SELECT ON ALL TABLES IN SCHEMA phasegate TO pg_monitor;

-- name: insert
INSERT INTO phasegate.journal (
    id, at, run, event, phase, step, operation, what, seconds, checksum, facts,
    by, host, version, identity, format
)
VALUES (
    %(id)s, to_timestamp(%(at)s), %(run)s, %(event)s, %(phase)s, %(step)s, %(operation)s,
    %(what)s, %(seconds)s, %(checksum)s, %(facts)s, %(by)s, %(host)s, %(version)s,
    %(identity)s, %(format)s
);

-- name: entries
SELECT
    id::text, extract(epoch FROM at)::double precision AS at, run::text, event, phase, step,
    operation, what, seconds, checksum, facts, by, host, version, identity
FROM phasegate.journal
ORDER BY number;

-- name: newest_format
SELECT max(format) FROM phasegate.journal;

-- name: wanted
SELECT wanted, by FROM phasegate.control;

-- name: want
UPDATE phasegate.control SET wanted = %s, by = %s, at = clock_timestamp();

-- name: progress
INSERT INTO phasegate.progress (step, object, unit, done, total, rate, note, updated)
VALUES (%s, %s, %s, %s, %s, %s, %s, clock_timestamp())
ON CONFLICT (step, object) DO UPDATE SET
    unit = excluded.unit, done = excluded.done, total = excluded.total, rate = excluded.rate,
    note = excluded.note, updated = excluded.updated;
