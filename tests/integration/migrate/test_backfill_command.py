"""The backfill by itself, as a user runs it, and what holds it back."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phasegate.contract.errors import Interrupted, PlanRefused, SourceUnavailable
from phasegate.contract.settings import Exporter, Settings
from phasegate.migrate.command import migrate
from phasegate.migrate.context import Connection
from phasegate.migrate.model import Patience
from phasegate.migrate.throttle import Load, ProbeThrottle
from tests.fixtures.database import Database
from tests.fixtures.migrating import open_migrating
from tests.integration.migrate.test_backfill import COLUMN, COUNTS

ROWS = 2_000
CONFIG = """
database: {{url: "{url}"}}
exporter: {exporter}
tables: [{{name: public.t, accept_triggers: [{accepted}]}}]
migrate: {{backup: {{directory: "{folder}"}}}}
"""
NOSY = """
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER nosy BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()
"""


@pytest.fixture
def table(database: Database, tmp_path: Path) -> Database:
    database.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, name text);"
        f"INSERT INTO t SELECT n, repeat('x', 60) FROM generate_series(1, {ROWS}) n"
    )
    with open_migrating(database, tmp_path / "made", ("public.t",)) as migrating:
        migrating.apply(COLUMN)
    # Its entries are of another identity than a whole run's.
    database.execute("TRUNCATE phasegate.journal")
    return database


def backfill(
    database: Database, folder: Path, *flags: str, exporter: str = "{}", accepted: str = ""
) -> Result:
    config = folder / "phasegate.yaml"
    url = database.conninfo()
    config.write_text(
        CONFIG.format(url=url, exporter=exporter, accepted=accepted, folder=folder / "kept"),
        encoding="utf-8",
    )
    arguments = ["backfill", "--config", str(config), *flags]
    return CliRunner().invoke(migrate, arguments)


class Prober:
    """An exporter that probes once in 50 ms, while it is `alive`."""

    def __init__(self) -> None:
        self.alive = True
        prober = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                time.sleep(0.01)
                probe = {"time": time.time(), "query_type": "id_lookup", "seconds": 0.001}
                body = json.dumps({"latency": [probe] if prober.alive else []}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def prober() -> Iterator[Prober]:
    found = Prober()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_it_runs_alone_says_that_nothing_holds_it_back_and_a_second_time_changes_nothing(
    table: Database, tmp_path: Path
) -> None:
    done = backfill(table, tmp_path)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "no exporter.url is configured" in done.output
    assert table.execute(COUNTS) == [(0, 0)]
    before = table.execute("SELECT id, uuid FROM t ORDER BY id")
    assert backfill(table, tmp_path, "--table", "public.t").exit_code == 0
    assert table.execute("SELECT id, uuid FROM t ORDER BY id") == before
    assert table.execute("SELECT sum(rows) FROM phasegate.pieces") == [(ROWS,)]


def test_triggers_of_others_are_refused_until_the_configuration_names_them(
    table: Database, tmp_path: Path
) -> None:
    table.execute(NOSY)
    refused = backfill(table, tmp_path)
    assert isinstance(refused.exception, PlanRefused)
    assert "accept_triggers" in str(refused.exception)
    [(missing, _)] = table.execute(COUNTS)
    assert missing == ROWS
    assert backfill(table, tmp_path, accepted="nosy").exit_code == 0
    assert table.execute(COUNTS) == [(0, 0)]


def test_a_table_that_is_not_configured_and_a_column_that_is_missing_are_told(
    table: Database, tmp_path: Path
) -> None:
    unknown = backfill(table, tmp_path, "--table", "public.u")
    assert (unknown.exit_code, "the configured tables are: public.t" in unknown.output) == (2, True)
    table.execute("ALTER TABLE t DROP uuid CASCADE")
    assert "there is no such column" in str(backfill(table, tmp_path).exception)


def test_while_the_exporter_is_silent_nothing_is_written_and_it_goes_on_when_it_speaks(
    table: Database, tmp_path: Path, prober: Prober
) -> None:
    prober.alive = False
    exporter = f'{{url: "{prober.url}"}}'
    closed = backfill(table, tmp_path, "--window", "1500ms", exporter=exporter)
    assert isinstance(closed.exception, Interrupted)
    assert "waits: the exporter tells of no new probe" in closed.output
    assert table.execute(COUNTS)[0][0] == ROWS
    prober.alive = True
    opened = backfill(table, tmp_path, exporter=exporter)
    assert opened.exit_code == 0, (opened.output, opened.exception)
    assert table.execute(COUNTS) == [(0, 0)]


def test_it_stops_when_the_exporter_falls_silent_and_goes_on_by_itself(
    table: Database, tmp_path: Path, prober: Prober, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phasegate.migrate.throttle.SILENT_SECONDS", 0.5)
    monkeypatch.setattr("phasegate.migrate.throttle.POLL_SECONDS", 0.05)
    said: list[str] = []
    done = threading.Event()
    settings = Settings(exporter=Exporter(url=prober.url, probe_interval=0.05))
    with open_migrating(table, tmp_path, ("public.t",), settings) as migrating:
        context = migrating.context()
        throttle = ProbeThrottle(settings, context.connect, context.control, said.append)
        assert throttle.pace() == 1.0
        prober.alive = False

        def wait() -> None:
            time.sleep(0.7)
            throttle.pace()
            done.set()

        thread = threading.Thread(target=wait)
        thread.start()
        assert not done.wait(1.5)
        assert any("waits: " in line for line in said)
        prober.alive = True
        assert done.wait(3)
        thread.join()
        assert said[-1] == "at full speed again"
        throttle.close()


def test_the_servers_own_load_is_read_and_a_server_that_is_silent_is_no_load(
    table: Database, tmp_path: Path
) -> None:
    with open_migrating(table, tmp_path, ("public.t",)) as migrating:
        context = migrating.context()
        throttle = ProbeThrottle(Settings(), context.connect, context.control, lambda _: None)
        load = throttle._fetch_load()
        assert load is not None
        assert load._replace(oldest_seconds=None, retained_bytes=None) == Load()
        throttle.close()

        def refuse(_: Patience) -> Connection:
            raise SourceUnavailable("database", "gone")

        throttle.connect = refuse
        assert throttle._fetch_load() is None
