"""What the servers of the compose file are told, told to real ones.

A container runtime is missing here: paths and ports are replaced, all else is as it stands.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
import redis

from phasegate.contract.secrets import Dsn
from phasegate.contract.settings_connection import Cache
from phasegate.migrate.preflight import fetch_cache_findings
from phasegate.servers.cache import find_cache_server
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.manifests import DEPLOY, read
from tests.fixtures.presence import require_present

COMPOSE = DEPLOY / "compose"
PASSWORD = "canary-4711"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The cache's data, its configuration and its secret, in place of the container's."""
    (tmp_path / "data").mkdir()
    (tmp_path / "cache-password").write_text(PASSWORD)
    text = (COMPOSE / "valkey/valkey.conf").read_text().replace("/data", str(tmp_path / "data"))
    (tmp_path / "valkey.conf").write_text(text)
    return tmp_path


@contextmanager
def cache(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The container's own command; killed at the end."""
    binary = find_cache_server()
    require_present("valkey-server", binary is not None)
    shell, flags, script = read("compose/compose.yaml")["services"]["valkey"]["command"]
    script = script.replace("$$", "$").replace("/run/secrets", str(folder))
    script = script.replace("valkey-server /etc/valkey", f"{binary} {folder}")
    script = script.replace("requirepass", f"port {port}\nbind 127.0.0.1\nrequirepass")
    with subprocess.Popen([shell, flags, script], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)


def connect(port: int, password: str | None = PASSWORD) -> redis.Redis:
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 100)
    return redis.Redis(
        host="127.0.0.1",
        port=port,
        password=password,
        retry=retry,
        retry_on_error=[redis.ConnectionError, redis.BusyLoadingError],
    )


def test_the_cache_keeps_its_keys_over_a_kill(folder: Path) -> None:
    port = free_port()
    with cache(folder, port) as process, closing(connect(port)) as client:
        client.set("perm:1", "kept")
        # What is acknowledged is on the disk within a second; a kill of the process loses nothing.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with cache(folder, port), closing(connect(port)) as client:
        assert client.get("perm:1") == b"kept"


def test_the_preflight_is_content_with_the_cache(folder: Path) -> None:
    port = free_port()
    with cache(folder, port), closing(connect(port)) as client:
        client.ping()
        url = Dsn(f"redis://127.0.0.1:{port}/0")
        settings = Cache(url=url, password_file=folder / "cache-password")
        found = {one.name: one for one in fetch_cache_findings(settings)}
    assert found["cache_persistence"].value == 1.0
    assert found["cache_memory"].value == 1.0
    assert found["cache_memory"].warning == ""


def test_the_cache_asks_for_the_password_and_shows_it_nowhere(folder: Path) -> None:
    port = free_port()
    with cache(folder, port) as process, closing(connect(port)) as client:
        client.ping()
        with closing(connect(port, None)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        variables = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"valkey" in arguments
        assert PASSWORD.encode() not in arguments + variables


def test_the_cache_ends_at_once_when_compose_stops_it(folder: Path) -> None:
    port = free_port()
    with cache(folder, port) as process, closing(connect(port)) as client:
        client.ping()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=5) == 0


def test_a_first_start_makes_the_roles_with_the_passwords_of_their_files(tmp_path: Path) -> None:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    roles = ("exporter", "validator", "migrator")
    for role in roles:
        (tmp_path / f"{role}-password").write_text(f"it's {role}'s")
    with PostgresServer(18) as server:
        server.execute("CREATE DATABASE mono_prod")
        # In the order in which the image's entry point takes them.
        for script in sorted((COMPOSE / "postgres").glob("*.sql")):
            local = tmp_path / script.name
            local.write_text(script.read_text().replace("/run/secrets", str(tmp_path)))
            done = subprocess.run(
                [
                    str(server.binaries / "psql"),
                    *("-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-d", server.conninfo("mono_prod")),
                    *("-f", str(local)),
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        for role in roles:
            conninfo = server.conninfo("mono_prod", f"phasegate_{role}", f"it's {role}'s")
            with psycopg.connect(conninfo) as session:
                cursor = session.execute("SELECT pg_has_role(current_user, 'pg_monitor', 'member')")
                assert cursor.fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.conninfo("mono_prod", "phasegate_exporter", "else"))
