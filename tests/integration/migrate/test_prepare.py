"""The phase `prepare` by its command: a backup proved, a preflight looked at, a gate asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from phasegate.migrate.programs import find_programs
from tests.fixtures.database import Database


def prepare(database: Database, folder: Path) -> subprocess.CompletedProcess[str]:
    config = folder / "phasegate.yaml"
    url = database.conninfo()
    config.write_text(
        f"database: {{url: '{url}'}}\n"
        "tables: [{name: public.t}]\n"
        "migrate: {backup: {directory: ./backups}}\n"
    )
    return subprocess.run(
        [sys.executable, "-m", "phasegate", "migrate", "run", "--phase", "prepare"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "PHASEGATE_CONFIG": str(config)},
    )


def test_a_proved_backup_and_one_cut_to_half(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t VALUES (1), (2)")
    first = prepare(database, tmp_path)
    # Without an exporter nobody can judge, so the gate stays closed; the steps are done.
    assert first.returncode == 3, first.stderr
    assert "is proved: restored into a throw-away PostgreSQL 18, all rows agree" in first.stderr
    assert "backup_age         ok" in first.stderr
    folder = tmp_path / "backups"
    assert folder.stat().st_mode & 0o777 == 0o700
    [dump] = folder.glob("*.dump")
    newest = max(find_programs(), key=lambda one: one.major)
    listed = subprocess.run(
        [newest.folder / "pg_restore", "-l", dump], capture_output=True, text=True, check=True
    )
    assert "TABLE DATA public t " in listed.stdout
    record = msgspec.json.decode(dump.with_name(dump.name + ".json").read_bytes())
    assert record["proof"]["where"] == "a throw-away PostgreSQL 18"

    dump.write_bytes(dump.read_bytes()[: record["size"] // 2])
    second = prepare(database, tmp_path)
    assert second.returncode == 1
    assert f"{dump} is not the dump that was written" in second.stderr
