"""Verdicts while others work on the database: a load test beside them, an old application in it."""

from __future__ import annotations

import re
import subprocess
import threading
from pathlib import Path

from tests.fixtures.database import Database
from tests.integration.validators.test_verdicts import Pipeline, origin, pipeline, report

__all__ = ["pipeline"]

PERMISSIONS = """
CREATE TABLE user_roles (user_id int REFERENCES users, role_id int, valid_until timestamptz,
    PRIMARY KEY (user_id, role_id));
CREATE TABLE role_permissions (role_id int, permission_id int,
    PRIMARY KEY (role_id, permission_id));
CREATE TABLE permissions (id int PRIMARY KEY, name text);
INSERT INTO permissions SELECT i, 'permission ' || i FROM generate_series(1, 30) AS i;
INSERT INTO role_permissions SELECT i % 5, i FROM generate_series(1, 30) AS i;
INSERT INTO user_roles SELECT id, id % 5, now() + interval '1 day' FROM users;
ANALYZE;
"""
# The guide's own query, for users that are drawn at random.
PERMISSION_CHECK = r"""
\set id random(1, 1000)
SELECT uuid FROM users WHERE id = :id \gset
SELECT p.name FROM users u
JOIN user_roles ur ON u.id = ur.user_id
JOIN role_permissions rp ON ur.role_id = rp.role_id
JOIN permissions p ON rp.permission_id = p.id
WHERE u.uuid = :uuid::uuid AND ur.valid_until > NOW();
"""
LEGACY = """
ALTER TABLE users ALTER uuid DROP DEFAULT;
UPDATE users SET uuid = NULL;
"""
FILLING = """
CREATE FUNCTION fill_uuid() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.uuid := coalesce(NEW.uuid, gen_random_uuid());
    RETURN NEW;
END $$;
CREATE TRIGGER fill_uuid BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION fill_uuid();
ALTER TABLE users ENABLE ALWAYS TRIGGER fill_uuid;
"""
SWEEP = "UPDATE users SET uuid = gen_random_uuid() WHERE uuid IS NULL"


def test_the_verdict_comes_beside_a_load_test_of_the_permission_check(
    pipeline: Pipeline, database: Database, tmp_path: Path
) -> None:
    database.execute(PERMISSIONS)
    script = tmp_path / "permission.sql"
    script.write_text(PERMISSION_CHECK)
    command = [
        str(database.server.binaries / "pgbench"),
        "--no-vacuum",
        "-M",
        "prepared",
        "-R",
        "200",
    ]
    with subprocess.Popen(
        [*command, "-T", "12", "-f", str(script), database.conninfo()],
        stdout=subprocess.PIPE,
        text=True,
    ) as load:
        flags = ("--since", origin(), "--wait", "60s", "--min-span", "5s", "--format", "json")
        code, out, _ = pipeline.validate("--criterion", "uuid_lookup_latency", *flags)
        assert load.stdout is not None
        told = load.stdout.read()
    assert code == 0, out
    [subject] = report(out)["judgements"][0]["facts"]["subjects"]
    assert subject["end"] - subject["start"] >= 5
    assert load.returncode == 0, told
    done = re.search(r"transactions actually processed: (\d+)", told)
    assert done is not None, told
    assert int(done[1]) > 1_000, told


def test_missing_uuids_reach_zero_while_the_old_application_goes_on_inserting(
    pipeline: Pipeline, database: Database
) -> None:
    database.execute(LEGACY)
    missing = ("--criterion", "uuid_missing", "--wait", "60s", "--format", "json")
    code, out, _ = pipeline.validate(*missing, "--since", origin())
    assert code == 1, out
    assert report(out)["judgements"][0]["measured"] == 1_000

    stop = threading.Event()
    inserted: list[tuple[bool]] = []

    def insert_as_before() -> None:
        while not stop.wait(0.02):
            # An explicit NULL beats any default.
            rows = "INSERT INTO users (id, uuid) VALUES (%s, NULL) RETURNING uuid IS NULL"
            inserted.extend(database.execute(rows, [100_000 + len(inserted)]))

    old = threading.Thread(target=insert_as_before)
    old.start()
    try:
        while not inserted:
            stop.wait(0.02)
        database.execute(FILLING)
        database.execute(SWEEP)
        code, out, _ = pipeline.validate(*missing, "--since", origin())
    finally:
        stop.set()
        old.join()
    assert code == 0, out
    assert inserted[0] == (True,)
    assert inserted[-1] == (False,)
    assert database.execute("SELECT count(*), count(DISTINCT uuid) FROM users") == [
        (1_000 + len(inserted),) * 2
    ]
