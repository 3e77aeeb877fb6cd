"""Hooks, the env file they may change, and the drain: within their time, whole, and told."""

from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from phasegate.contract.errors import Interrupted, StepFailed
from phasegate.contract.secrets import Secret
from phasegate.contract.settings import Settings
from phasegate.contract.settings_migrate import Hook, Hooks, Migrate
from phasegate.migrate.env_file import set_line, unset_line
from phasegate.migrate.operations.drain import Drain
from phasegate.migrate.operations.hook import RunHook
from tests.fixtures.database import Database
from tests.fixtures.migrating import Migrating, PausedAfter, open_migrating


@pytest.fixture
def migrating(database: Database, tmp_path: Path) -> Iterator[Migrating]:
    with open_migrating(database, tmp_path, ()) as found:
        yield found


def run(migrating: Migrating, hook: Hook, **more: Any) -> None:
    hooks = Hooks(deploy_api=hook)
    settings = replace(Settings(), migrate=Migrate(hooks=hooks))
    migrating.apply(RunHook("deploy_api"), settings=settings, **more)


def journalled(migrating: Migrating) -> dict[str, Any]:
    [(facts,)] = migrating.database.execute(
        "SELECT facts FROM phasegate.journal WHERE event = 'hook' ORDER BY number DESC LIMIT 1"
    )
    found: dict[str, Any] = facts
    return found


def test_a_program_on_the_path_gets_its_arguments_as_they_are(
    migrating: Migrating, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {tmp_path}/argv; exit $FAILS\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    command = ("kubectl", "set", "image", "deployment/web", "web=mono web:$(maintenance)")
    run(migrating, Hook(command=command, environment={"FAILS": Secret("0")}))
    restart = ("kubectl", "rollout", "restart", "deployment/web")
    run(migrating, Hook(command=restart, environment={"FAILS": Secret("0")}))
    assert (tmp_path / "argv").read_text().splitlines() == [*command[1:], *restart[1:]]
    with pytest.raises(StepFailed, match="the hook deploy_api ended with exit code 3"):
        run(migrating, Hook(command=command, environment={"FAILS": Secret("3")}, retries=1))
    assert (journalled(migrating)["code"], journalled(migrating)["tries"]) == (3, 2)


def test_past_its_limit_it_is_killed_with_its_children(
    migrating: Migrating, tmp_path: Path
) -> None:
    script = f"sleep 400 & echo $! > {tmp_path}/child; trap '' TERM; sleep 400"
    began = time.monotonic()
    with pytest.raises(StepFailed, match=r"took longer than 0.5 s and was killed"):
        run(migrating, Hook(command=("sh", "-c", script), timeout=0.5))
    assert time.monotonic() - began < 10
    child = int((tmp_path / "child").read_text())
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_what_it_prints_is_shown_and_journalled_without_its_secrets(migrating: Migrating) -> None:
    secret = {"TOKEN": Secret("canary-0815-token")}
    run(
        migrating,
        Hook(command=("sh", "-c", "echo deploying with $TOKEN"), environment=secret),
    )
    assert journalled(migrating)["output"] == "deploying with ***\n"
    assert "canary-0815-token" not in "".join(migrating.said)


def test_a_pause_ends_the_hook_too(migrating: Migrating) -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted, match="paused"):
        run(migrating, Hook(command=("sleep", "60")), control=PausedAfter(2))
    assert time.monotonic() - began < 10


def test_a_program_that_is_not_there_fails_the_step(migrating: Migrating) -> None:
    with pytest.raises(StepFailed, match="nonesuch cannot be started: No such file"):
        run(migrating, Hook(command=("nonesuch",)))


@pytest.fixture
def posts() -> Iterator[tuple[str, list[bytes]]]:
    received: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200 if self.path == "/good" else 503)
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", received
        server.shutdown()


def test_a_post_is_a_hook_too(migrating: Migrating, posts: tuple[str, list[bytes]]) -> None:
    url, received = posts
    run(migrating, Hook(url=f"{url}/good"))
    assert received == [b'{"hook": "deploy_api", "step": "step"}']
    with pytest.raises(StepFailed, match="answered 503"):
        run(migrating, Hook(url=f"{url}/bad"))
    assert journalled(migrating)["output"] == "said"


FILES = [
    "",
    "A=1\n",
    "A=1",
    "A=1\nMAINTENANCE_MODE=false\nB=2",
    "export MAINTENANCE_MODE='no'\r\nB=2\r\n",
    "# MAINTENANCE_MODE=true\nNOT_MAINTENANCE_MODE=1\n\n\n",
]


@pytest.mark.parametrize("before", FILES)
def test_the_env_file_is_set_once_and_given_back_byte_for_byte(before: str) -> None:
    once = set_line(before, "MAINTENANCE_MODE", "true")
    assert once.count("MAINTENANCE_MODE=true ") == 1
    assert set_line(once, "MAINTENANCE_MODE", "true") == once
    assert unset_line(once, "MAINTENANCE_MODE") == before
    assert unset_line(before, "MAINTENANCE_MODE") == before


def test_the_env_file_of_a_hook(migrating: Migrating, tmp_path: Path) -> None:
    file = tmp_path / ".env.production"
    file.write_bytes(b"A=1\nB=2")
    file.chmod(0o640)
    call = (sys.executable, "-m", "phasegate.migrate.env_file")
    for _ in range(2):
        run(migrating, Hook(command=(*call, "set", str(file), "MAINTENANCE_MODE=true")))
    assert file.read_bytes().count(b"MAINTENANCE_MODE=true") == 1
    # Killed while it writes, it leaves the old file or the new one, and never a part.
    killed = subprocess.Popen([*call, "unset", str(file), "MAINTENANCE_MODE"])
    killed.kill()
    killed.wait()
    run(migrating, Hook(command=(*call, "unset", str(file), "MAINTENANCE_MODE")))
    assert file.read_bytes() == b"A=1\nB=2"
    assert file.stat().st_mode & 0o777 == 0o640


def test_the_drain_waits_for_open_transactions_and_names_what_is_left(
    migrating: Migrating,
) -> None:
    conninfo = migrating.database.conninfo(application_name="checkout")
    holder = psycopg.connect(conninfo)
    holder.execute("SELECT 1")
    idle = psycopg.connect(conninfo, autocommit=True)
    with pytest.raises(Interrupted, match=r"not drained within 0.5 s: checkout \(pid \d+, role"):
        migrating.apply(Drain(0.5))
    timer = threading.Timer(0.3, holder.rollback)
    timer.start()
    migrating.apply(Drain(10))
    timer.join()
    holder.execute("BEGIN; PREPARE TRANSACTION 'stuck'")
    with pytest.raises(Interrupted, match="prepared transaction stuck of postgres"):
        migrating.apply(Drain(0.2))
    migrating.database.execute("ROLLBACK PREPARED 'stuck'")
    holder.close()
    idle.close()
