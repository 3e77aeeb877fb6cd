"""The exporter as a process: storage over a restart, reload, signals, what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from phasegate.servers.cache import CacheServer
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.integration.exporter.test_latency import CONFIG, WITH_UUID

PROBED = ("db_query_duration_seconds_count", "uuid_lookup")


@contextmanager
def running(environ: dict[str, str], *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    command = [sys.executable, "-m", "phasegate", "exporter", *flags]
    command += ["--web.listen-address", f"127.0.0.1:{port}"]
    with subprocess.Popen(command, env=os.environ | environ, stderr=subprocess.PIPE) as process:
        try:
            yield process, f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def read(url: str) -> str:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
                text: str = answer.read().decode()
                return text
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"no answer from {url}")


def probes(url: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(read(f"{url}/metrics"))
        for sample in family.samples
        if (sample.name, sample.labels.get("query_type")) == PROBED
    )


def probes_above(url: str, least: float) -> float:
    for _ in range(100):
        found = probes(url)
        if found > least:
            return found
        time.sleep(0.1)
    raise AssertionError(f"still {found} probes")


def test_counts_survive_a_restart_and_sigterm_ends_within_two_seconds(
    database: Database, tmp_path: Path
) -> None:
    database.execute(WITH_UUID)
    config = tmp_path / "phasegate.yaml"
    config.write_text(f"environment: test\n{CONFIG}", encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo()}
    flags = ("--config.file", str(config), "--storage.path", str(tmp_path / "state"))
    with running(environ, *flags) as (process, url):
        before = probes_above(url, 20)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert time.monotonic() - began < 2
    with running(environ, *flags) as (process, url):
        assert probes(url) >= before


@pytest.mark.parametrize("after_ms", [0, 10, 20, 30])
def test_sigterm_just_after_the_start_ends_it_without_a_warning(
    database: Database, tmp_path: Path, after_ms: int
) -> None:
    database.execute("CREATE TABLE audit_log (id int PRIMARY KEY, created_at timestamptz)")
    database.execute(WITH_UUID)
    config = tmp_path / "phasegate.yaml"
    audit = "audit: {table: public.audit_log}"
    config.write_text(f"environment: test\n{CONFIG}{audit}\n", encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo()}
    with running(environ, "--config.file", str(config)) as (process, _):
        assert process.stderr is not None
        seen = b""
        while b"listening" not in seen:
            seen += process.stderr.readline()
        time.sleep(after_ms / 1000)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
        assert b"asyncio" not in process.stderr.read()


def test_a_second_exporter_on_one_storage_is_refused(database: Database, tmp_path: Path) -> None:
    environ = {"DATABASE_URL": database.conninfo()}
    flags = ("--storage.path", str(tmp_path / "state"))
    with running(environ, *flags) as (first, url):
        read(f"{url}/-/ready")
        with running(environ, *flags) as (second, _):
            assert second.wait(10) == 2
            assert second.stderr is not None
            assert f"process {first.pid} on ".encode() in second.stderr.read()


def test_a_refused_reload_keeps_the_last_good_configuration(
    database: Database, tmp_path: Path
) -> None:
    config = tmp_path / "phasegate.yaml"
    config.write_text("environment: test\n", encoding="utf-8")
    environ = {"DATABASE_URL": database.conninfo()}
    flags = ("--config.file", str(config), "--web.enable-lifecycle")
    with running(environ, *flags) as (_, url):
        read(f"{url}/-/ready")
        config.write_text("environmnt: test\n", encoding="utf-8")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}/-/reload", data=b"", timeout=5)  # noqa: S310
        with refused.value as error:
            assert error.code == 500
            assert "environment" in error.read().decode()
        assert "phasegate_config_last_reload_successful 0.0" in read(f"{url}/metrics")
        assert 'phasegate_up{target="database"} 1.0' in read(f"{url}/metrics")
        config.write_text("environment: staging\n", encoding="utf-8")
        urllib.request.urlopen(f"{url}/-/reload", data=b"", timeout=5).close()  # noqa: S310
        assert 'environment="staging"' in read(f"{url}/metrics")


def test_once_exits_4_when_the_target_is_down() -> None:
    environ = {"DATABASE_URL": f"postgresql://u:canary-pw@127.0.0.1:{free_port()}/x"}
    done = subprocess.run(
        [sys.executable, "-m", "phasegate", "exporter", "--once"],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 4
    assert 'phasegate_up{target="database"} 0.0' in done.stdout
    assert "canary-pw" not in done.stdout + done.stderr


def test_the_guides_grep_finds_all_three_names(database: Database, tmp_path: Path) -> None:
    database.execute(WITH_UUID)
    config = tmp_path / "phasegate.yaml"
    sql = "SELECT id FROM users WHERE uuid = $1"
    query = f"{{query_type: permission_check, parameter: users.uuid, sql: '{sql}'}}"
    config.write_text(f"environment: test\n{CONFIG}lookups: [{query}]\n", encoding="utf-8")
    with CacheServer() as cache:
        environ = {"DATABASE_URL": database.conninfo(), "REDIS_URL": cache.url()}
        with running(environ, "--config.file", str(config)) as (_, url):
            probes_above(url, 5)
            page = read(f"{url}/metrics")
    found = subprocess.run(
        ["grep", "-E", "(uuid_lookup|cache_hit|permission_check)"],
        input=page,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in ("uuid_lookup", "cache_hit", "permission_check"):
        assert any(name in line for line in found.splitlines() if not line.startswith("#")), name
