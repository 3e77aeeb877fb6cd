"""A role without the rights is told which one it lacks; it is never taken for our own bug."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest

from phasegate.cli import main
from phasegate.contract.errors import SourceError
from phasegate.migrate.sessions import interrupting, open_session, unreachable
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters, open_migrating


@pytest.mark.parametrize("guard", [interrupting, unreachable])
def test_a_right_that_is_lacking_is_named_with_what_gives_it(
    database: Database, guard: Callable[[], AbstractContextManager[None]]
) -> None:
    with open_session(connect_parameters(database)) as session:
        session.execute("SET ROLE pg_monitor")
        with (
            pytest.raises(SourceError, match=r"role lacks a right: .*init --grants") as error,
            guard(),
        ):
            session.execute("CREATE SCHEMA phasegate")
    assert error.value.exit_code == 4
    assert isinstance(error.value.__cause__, psycopg.errors.InsufficientPrivilege)


@pytest.mark.parametrize("command", [["status"], ["pause"], ["abort"], ["partitions"]])
def test_a_journal_that_a_role_may_not_read_ends_with_4(
    database: Database, tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    database.execute(
        "CREATE TABLE public.t (id bigint PRIMARY KEY);"
        "CREATE TABLE public.audit_logs (created_at timestamptz) PARTITION BY RANGE (created_at)"
    )
    with open_migrating(database, tmp_path, ("public.t",)):
        pass
    url = database.conninfo(options="-c role=pg_checkpoint")
    file = tmp_path / "phasegate.yaml"
    file.write_text(
        f'database: {{url: "{url}"}}\n'
        "tables: [{name: public.t}]\n"
        "audit: {table: public.audit_logs}\n"
    )
    with pytest.raises(SystemExit) as ended:
        main(["migrate", *command, "--config", str(file)])
    assert ended.value.code == 4
    assert "role lacks a right: permission denied" in capsys.readouterr().err
