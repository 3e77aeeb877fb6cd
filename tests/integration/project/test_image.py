"""The Dockerfile's lines, carried out: builds as non-root, runs on a read-only root, stops well."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from checks.tree import ROOT
from phasegate import __version__
from phasegate.servers.ports import free_port
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present
from tests.integration.project.image import (
    BASE_PYTHON,
    Stage,
    build_image,
    enter,
    list_context,
    namespaces_are_allowed,
)

pytestmark = pytest.mark.xdist_group("image")
SECONDS_TO_START = 15.0
SECONDS_TO_STOP = 2.0


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    require_present("a mount namespace", namespaces_are_allowed())
    require_present(str(BASE_PYTHON), BASE_PYTHON.exists())
    work = tmp_path_factory.mktemp("image")
    # Pytest's folders are closed to other users, and the image runs as one.
    for folder in (work, work.parent, work.parent.parent):
        folder.chmod(0o711)
    return build_image(ROOT, work)


def run(image: Stage, argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the image as `docker run --read-only` would."""
    return subprocess.run(
        enter(image, argv, environment, locked=True),
        check=False,
        text=True,
        capture_output=True,
        timeout=60,
    )


@contextmanager
def running(
    image: Stage, argv: list[str], log: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The image's main process while the block lasts; its output goes to `log`."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            enter(image, argv, environment, locked=True), stdout=output, stderr=output
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_only_what_the_wheel_needs_enters_the_build() -> None:
    tops = {name.split("/")[0] for name in list_context(ROOT)}
    assert {"src", "contract", "pyproject.toml", "requirements.lock", "README.md"} <= tops
    assert tops.isdisjoint({".git", ".venv", "tests", "checks", "docs", "requirements-dev.lock"})


def test_entrypoint_runs_as_the_user_of_the_image(image: Stage) -> None:
    assert image.user not in {0, 65533}
    done = run(image, [*image.entrypoint, "--version"])
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


def test_only_the_volume_can_be_written_to(image: Stage) -> None:
    (volume,) = image.volumes
    assert run(image, ["touch", f"{volume}/it"]).returncode == 0
    for path in ("/it", "/tmp/it", "/opt/phasegate/it"):  # noqa: S108
        refused = run(image, ["touch", path])
        assert "Read-only file system" in refused.stderr


def test_no_tool_of_the_build_stays(image: Stage) -> None:
    for tool in ("pip", "hatchling"):
        assert run(image, ["python", "-c", f"import {tool}"]).returncode == 1


def test_exporter_becomes_healthy_and_stops_at_its_signal(
    image: Stage, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "DATABASE_URL": database.conninfo(),
        "PHASEGATE_HEALTH_URL": f"http://127.0.0.1:{port}/-/healthy",
        # A proxy must not be asked for what runs in the container itself.
        "http_proxy": "http://127.0.0.1:9",
    }
    argv = [*image.entrypoint, *image.command, f"--web.listen-address=127.0.0.1:{port}"]
    log = tmp_path / "exporter.log"
    with running(image, argv, log, **environment) as process:
        deadline = time.monotonic() + SECONDS_TO_START
        while (health := run(image, image.health, **environment)).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, health.stderr + log.read_text()
            time.sleep(0.2)
        process.send_signal(getattr(signal, image.stop_signal))
        assert process.wait(timeout=SECONDS_TO_STOP) == 0, log.read_text()
    assert run(image, image.health, **environment).returncode == 1
