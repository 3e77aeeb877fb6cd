"""Steps come in their order and stop at the first that fails, as a user sees it who calls `run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.database import Database
from tests.fixtures.underway import Mover

CONFIG = """\
environment: test
database: {{url: "${{DATABASE_URL}}"}}
tables: [{{name: public.people}}]
migrate:
  permission_tables: true
  backup: {{directory: "{folder}/backups"}}
  hooks:
    deploy_api: {{command: [sh, -c, "echo api >> {folder}/deployed"]}}
    deploy_web: {{command: [sh, -c, "echo web >> {folder}/deployed"]}}
"""
BLOCKS = """
CREATE FUNCTION block() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no new tables on Fridays'; END $$;
CREATE EVENT TRIGGER block ON ddl_command_start WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION block();
"""


@pytest.fixture
def mover(database: Database, tmp_path: Path) -> Mover:
    database.execute(
        "CREATE TABLE people (id integer PRIMARY KEY, name text);"
        "INSERT INTO people SELECT n, 'p' FROM generate_series(1, 100) n"
    )
    made = Mover(database.server, database.name, tmp_path)
    (tmp_path / "phasegate.yaml").write_text(CONFIG.format(folder=tmp_path), encoding="utf-8")
    return made


@pytest.fixture
def journalled(database: Database) -> Callable[..., list[str]]:
    """Steps in the order in which they were journalled so."""

    def of(*events: str) -> list[str]:
        rows = database.execute(
            "SELECT step FROM phasegate.journal WHERE event = ANY(%s) ORDER BY number",
            [list(events)],
        )
        return [step for (step,) in rows]

    return of


def test_the_first_error_stops_it_and_the_next_command_is_printed(
    mover: Mover, database: Database, journalled: Callable[..., list[str]]
) -> None:
    assert mover.call("run", "--until", "infrastructure")[0] == 0
    database.execute(BLOCKS)
    code, _, told = mover.call("run", "--until", "schema")
    assert code == 1
    assert "04-add-permission-tables" in told
    assert "no new tables on Fridays" in told
    assert f"next: phasegate migrate resume --config {mover.folder}/phasegate.yaml" in told
    assert journalled("step_failed") == ["04-add-permission-tables"]
    begun = journalled("step_started")
    assert begun == ["01-add-uuid-fields", "populate-uuids", "02-add-indexes", begun[-1]]
    assert begun[-1] == "04-add-permission-tables"
    assert "failed: 04-add-permission-tables" in mover.call("status")[1]
    database.execute("DROP EVENT TRIGGER block")
    code, _, told = mover.call("resume", "--until", "schema")
    assert code == 0, told
    # From where it failed, in order: what was done before is not begun again.
    assert journalled("step_started")[len(begun) :] == [
        *("04-add-permission-tables", "05-reorder-columns", "06-add-constraints", "prove-uuids")
    ]


def test_the_frontend_waits_for_a_healthy_api(
    mover: Mover, database: Database, journalled: Callable[..., list[str]]
) -> None:
    red, deployed = mover.folder / "red", mover.folder / "deployed"
    red.touch()
    code, _, told = mover.call("run", "--until", "application", UNHEALTHY=str(red))
    assert code == 1, told
    assert "health failed" in told
    assert "rollback --strategy gradual" in told
    assert deployed.read_text() == "api\n"
    assert journalled("hook") == ["deploy-api"]
    # Again: neither a second API, nor the frontend.
    assert mover.call("resume", "--until", "application", UNHEALTHY=str(red))[0] == 1
    assert deployed.read_text() == "api\n"
    red.unlink()
    code, _, told = mover.call("resume", "--until", "application", UNHEALTHY=str(red))
    assert code == 0, told
    assert deployed.read_text() == "api\nweb\n"
    assert journalled("hook") == ["deploy-api", "deploy-web"]
