"""Behind a pooler that hands out another backend each time, nothing of a session would hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate import cli
from tests.fixtures.database import Database
from tests.fixtures.planned import make_legacy
from tests.fixtures.pooler import run_pooler

CONFIG = """\
environment: test
database: {{url: "{url}"}}
tables: [{{name: public.users}}]
migrate: {{backup: {{directory: {folder}/backups}}}}
"""
TOUCHED = (
    "SELECT to_regnamespace('phasegate')::text,"
    " (SELECT array_agg(xmin::text || relname ORDER BY oid) FROM pg_class WHERE relnamespace ="
    " 'public'::regnamespace), (SELECT sum(hashtext(u::text)) FROM users AS u),"
    " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan"],
        ["run"],
        ["resume"],
        ["backfill", "--table", "public.users"],
        ["rollback", "--strategy", "gradual"],
    ],
    ids=lambda one: one[0],
)
def test_a_pooler_is_refused_before_anything_is_touched(
    database: Database,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    make_legacy(database, rows=10)
    before = database.execute(TOUCHED)
    tmp_path.chmod(0o755)
    config = tmp_path / "phasegate.yaml"
    with run_pooler(database, tmp_path) as url:
        config.write_text(CONFIG.format(url=url, folder=tmp_path))
        with pytest.raises(SystemExit) as ended:
            cli.main(["migrate", *arguments, "--config", str(config)], program="phasegate")
        assert ended.value.code == 2
    told = capfd.readouterr()
    assert "database.url leads to a pooler" in told.err
    assert "name the server itself" in told.err
    assert told.out == ""
    assert database.execute(TOUCHED) == before
    assert not (tmp_path / "backups").exists()
