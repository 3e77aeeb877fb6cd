"""The demo as a user runs it: to its end, interrupted, kept, on given servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from phasegate.servers.cache import CacheServer
from phasegate.servers.postgres import PostgresServer

# A machine that runs tests keeps no 10 ms.
COMMAND = [
    *(sys.executable, "-m", "phasegate.demo", "--rows", "3000"),
    *("--seconds", "4", "--limit", "1s"),
]
LIMIT_SECONDS = 220
SWEEP_SECONDS = 3


class Run:
    """One run with a folder of its own, in which everything that it starts lives."""

    def __init__(self, folder: Path, arguments: list[str], variables: dict[str, str]) -> None:
        self.folder = folder
        environ = {key: value for key, value in os.environ.items() if not key.endswith("_URL")}
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environ, **variables, "TMPDIR": str(folder)},
        )
        self.text = ""

    def read_until(self, beginning: str) -> str:
        """The first line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            if line.startswith(beginning):
                return line
        pytest.fail(f"no line begins with {beginning!r}:\n{self.text}")

    def finish(self) -> int:
        """The exit code; what was printed since is added to `text`."""
        rest, _ = self.process.communicate(timeout=LIMIT_SECONDS)
        self.text += rest
        return self.process.returncode

    def leftovers(self) -> list[str]:
        """Folders of this run, and processes that live in one or name one."""
        found = [str(path) for path in self.folder.iterdir()]
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                try:
                    place = str((process / "cwd").readlink())
                    command = (process / "cmdline").read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                if str(self.folder) in place + command:
                    found.append(command)
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short folder that a server's own account can pass through, empty at the end."""
    path = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    path.rmdir()


@pytest.mark.parametrize(
    ("number", "beginning"),
    [
        (signal.SIGTERM, "  users"),
        (signal.SIGINT, "$ phasegate migrate"),
        pytest.param(signal.SIGINT, "embedded", marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, "application v1", marks=pytest.mark.long),
    ],
)
def test_interrupt_leaves_nothing(number: signal.Signals, beginning: str, folder: Path) -> None:
    run = Run(folder, [], {})
    run.read_until(beginning)
    run.process.send_signal(number)
    assert run.finish() == 5, run.text
    assert "nothing is left behind" in run.text
    assert run.leftovers() == []


def test_kill_leaves_nothing(folder: Path) -> None:
    run = Run(folder, [], {})
    run.read_until("  before")
    run.process.kill()
    run.finish()
    deadline = time.monotonic() + SWEEP_SECONDS
    while run.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run.leftovers() == []


ENDS = re.compile(r"^→ exit code (\d)", re.MULTILINE)


def test_whole_demo_migrates_refuses_passes_and_leaves_nothing(folder: Path) -> None:
    run = Run(folder, ["--rows", "20000", "--kill"], {})
    assert run.finish() == 0, run.text
    assert run.leftovers() == []
    assert re.search(r"UUID lookup P95 +absent: .+ [\d.]+ ms of \d+ probes", run.text), run.text
    for version in ("v1", "v2"):
        told = rf"Users of {version} sent [\d,]+ requests, none failed; the slowest took \d+ ms"
        assert re.search(told, run.text), run.text
    # Baseline, two phases, what a kill left, a gate that refuses and then opens, and two more.
    assert ENDS.findall(run.text) == ["0", "0", "0", "3", "0", "0", "0", "0"]
    assert "ended without a word: phasegate migrate resume" in run.text
    assert re.search(r"goes on at \d+ of \d+ pages", run.text), run.text
    for phase in ("prepare", "infrastructure", "schema", "application", "validation"):
        assert f"gate of {phase}: open:" in run.text


@pytest.mark.long
def test_a_gate_that_fails_and_the_way_back(folder: Path) -> None:
    run = Run(folder, ["--fail-gate"], {})
    assert run.finish() == 0, run.text
    assert run.leftovers() == []
    assert ENDS.findall(run.text) == ["0", "0", "1", "0", "0", "0"]
    assert "uuid_lookup_latency failed" in run.text
    assert "drop public.users.uuid" in run.text
    assert re.search(r"schema +rolled_back", run.text), run.text
    assert re.search(r"Users of v1 sent [\d,]+ requests, none failed", run.text), run.text


@pytest.mark.long
def test_kept_on_given_servers_until_interrupted(
    folder: Path, postgres15: PostgresServer, cache_server: CacheServer
) -> None:
    names = "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1"
    before = postgres15.execute(names)
    variables = {"DATABASE_URL": postgres15.conninfo(), "REDIS_URL": cache_server.url()}
    run = Run(folder, ["--keep"], variables)
    run.read_until("Running until Ctrl-C")
    url = run.read_until("  - exporter: ").split()[-1]
    with urllib.request.urlopen(url) as answer:  # noqa: S310  # the exporter's own address
        assert b"db_query_duration_seconds" in answer.read()
    run.process.send_signal(signal.SIGINT)
    assert run.finish() == 0, run.text
    assert "embedded" not in run.text
    assert postgres15.password not in run.text
    assert postgres15.execute(names) == before
    assert run.leftovers() == []
