"""However the owner of a server ends, no process and no folder of it is left."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import phasegate
from phasegate.servers.cache import find_cache_server
from phasegate.servers.postgres import PostgresServer, find_postgres
from phasegate.servers.supervisor import descendants
from tests.fixtures.presence import require_present

OWNER = Path(__file__).with_name("owner.py")
GONE_SECONDS = 20.0
IMPORTS = os.pathsep.join([str(Path(phasegate.__file__).parents[1]), sysconfig.get_path("purelib")])


@dataclass(frozen=True)
class Owned:
    """What an owner has: its servers' folders, the processes below it, a child that outlives it."""

    homes: list[Path]
    pids: list[int]
    child: int | None


@pytest.fixture(autouse=True)
def _servers() -> None:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    require_present("valkey-server", find_cache_server() is not None)


def _own(
    way: str, user: str | None = None, python: str = sys.executable
) -> tuple[subprocess.Popen[str], Owned]:
    owner = subprocess.Popen(
        [python, OWNER, way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": IMPORTS},
        user=user,
        extra_groups=None if user is None else (),
        start_new_session=True,
    )
    assert owner.stdout is not None
    line = owner.stdout.readline().split()
    owner.stdout.close()
    numbers = [int(word) for word in line[2:]]
    pids = [number for number in numbers if number > 0]
    child = next((-number for number in numbers if number < 0), None)
    # Two supervisors, a postmaster with at least four children, a cache server.
    assert len(pids) >= 8
    return owner, Owned([Path(word) for word in line[:2]], pids, child)


def _find_python_of(user: str) -> str | None:
    same_version = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, same_version):
        try:
            subprocess.run(
                [python, "-c", "import phasegate.servers.postgres"],
                check=True,
                capture_output=True,
                env={"PYTHONPATH": IMPORTS},
                user=user,
                extra_groups=(),
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def _await(holds: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)


def _await_nothing_left(owned: Owned) -> None:
    def left() -> list[object]:
        return [*_alive(owned.pids), *(home for home in owned.homes if home.exists())]

    _await(lambda: not left(), left)


def test_an_owner_that_ends_by_itself_leaves_nothing() -> None:
    owner, owned = _own("thread")

    assert owner.wait(30) == 0
    _await_nothing_left(owned)


def test_a_terminals_interrupt_is_for_the_owner_alone() -> None:
    owner, owned = _own("wait")
    os.killpg(owner.pid, signal.SIGINT)

    assert owner.wait(30) == -signal.SIGINT
    _await_nothing_left(owned)


@pytest.mark.parametrize(("way", "number"), [("wait", signal.SIGTERM), ("frozen", signal.SIGKILL)])
def test_an_owner_that_is_killed_leaves_nothing(way: str, number: signal.Signals) -> None:
    owner, owned = _own(way)
    assert _alive(owned.pids) == owned.pids
    owner.send_signal(number)
    owner.wait(30)

    _await_nothing_left(owned)


def test_a_forked_child_of_the_owner_keeps_no_server_alive() -> None:
    owner, owned = _own("fork")
    owner.kill()
    owner.wait(30)
    assert owned.child is not None
    try:
        _await_nothing_left(owned)
        assert _alive([owned.child])
    finally:
        os.kill(owned.child, signal.SIGKILL)


def test_servers_of_an_ordinary_user_need_no_other_account() -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    python = _find_python_of("nobody")
    if python is None:
        pytest.skip("no Python that the account nobody can run")
    owner, owned = _own("wait", "nobody", python)
    owners = {home.stat().st_uid for home in owned.homes}
    owner.kill()
    owner.wait(30)

    assert owners == {pwd.getpwnam("nobody").pw_uid}
    _await_nothing_left(owned)


def test_a_server_ends_with_its_supervisor() -> None:
    with PostgresServer(settings={"fsync": False}) as server:
        postmaster = server.pid
        [supervisor] = [pid for pid in descendants(os.getpid()) if postmaster in descendants(pid)]
        below = descendants(supervisor)
        os.kill(supervisor, signal.SIGKILL)

        _await(lambda: not _alive(below), lambda: _alive(below))


def test_backends_end_with_a_killed_postmaster_even_while_they_compute() -> None:
    with PostgresServer(settings={"fsync": False}) as server:
        busy = subprocess.Popen(
            [server.binaries / "psql", server.conninfo(), "-c", _ENDLESS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _await(lambda: _active(server) == 1, lambda: _active(server))
        below = descendants(server.pid)
        os.kill(server.pid, signal.SIGKILL)

        _await(lambda: not _alive(below), lambda: _alive(below))
        busy.wait(30)


_ENDLESS = "do $$ begin loop perform 1; end loop; end $$"


def _active(server: PostgresServer) -> int:
    [[count]] = server.execute("select count(*) from pg_stat_activity where query like 'do %'")
    assert isinstance(count, int)
    return count
