"""The units: what systemd says of them, and that their commands are understood."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from tests.fixtures.manifests import DEPLOY
from tests.fixtures.programs import run_program

UNITS = DEPLOY / "systemd"
BIN = Path(sys.executable).parent
PROGRAM = "/opt/phasegate/bin/phasegate"
EXPOSURE = 15
"""Of a hundred; what is left is the network, and the host's own file tree, read-only."""
SERVICES = ("phasegate-exporter.service", "phasegate-partitions.service")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as on a host where the program is installed."""
    for path in (*UNITS.glob("*.service"), *UNITS.glob("*.timer")):
        (tmp_path / path.name).write_text(path.read_text().replace(PROGRAM, "/bin/true"))
    return tmp_path


def settings(name: str) -> dict[str, str]:
    """The section `[Service]` of a unit; of a key that comes twice, the last."""
    parser = RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((UNITS / name).read_text().replace("\\\n", " "))
    return dict(parser["Service"])


def test_systemd_understands_every_line(installed: Path) -> None:
    files = sorted(installed.iterdir())
    assert len(files) == 3
    done = run_program("systemd-analyze", "verify", *files)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_that_systemd_does_not_know_is_seen(installed: Path) -> None:
    path = installed / SERVICES[0]
    path.write_text(path.read_text().replace("ProtectClock", "ProtectClocks"))
    assert "ProtectClocks" in run_program("systemd-analyze", "verify", path).stderr


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_could_do_to_its_host_is_little(name: str, installed: Path) -> None:
    threshold = f"--threshold={EXPOSURE}"
    done = run_program("systemd-analyze", "security", "--offline=true", threshold, installed / name)
    assert done.returncode == 0, done.stdout


def test_both_services_are_locked_down_alike() -> None:
    first, second = (
        re.findall(r"^(?:DynamicUser=.*\n)(?:.+\n)+", (UNITS / name).read_text(), re.MULTILINE)
        for name in SERVICES
    )
    assert len(first) == 1
    assert first == second


def command(name: str, folder: Path) -> list[str]:
    """A service's own command line, with its files here."""
    line = settings(name)["ExecStart"].replace(PROGRAM, str(BIN / "phasegate"))
    line = line.replace("/etc/phasegate", str(folder)).replace("%S", str(folder))
    return shlex.split(line)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {"CREDENTIALS_DIRECTORY": str(folder), "STATE_DIRECTORY": str(folder)}
    return subprocess.run(
        arguments,
        cwd=folder,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A folder as /etc/phasegate, with secrets of servers that nobody can reach."""
    (tmp_path / "phasegate.yaml").write_bytes((UNITS / "phasegate.yaml").read_bytes())
    (tmp_path / "database-url").write_text("postgresql://phasegate@127.0.0.1:1/mono_prod")
    (tmp_path / "cache-url").write_text("redis://127.0.0.1:1/0")
    return tmp_path


def test_the_exporter_accepts_its_command_and_its_configuration(host: Path) -> None:
    done = run([*command(SERVICES[0], host), "--check-config"], host)
    assert (done.returncode, done.stdout) == (0, "configuration: ok\n"), done.stderr


def test_partitions_reach_for_the_database(host: Path) -> None:
    assert run(command(SERVICES[1], host), host).returncode == 4


@pytest.mark.parametrize("name", SERVICES)
def test_what_stays_wrong_is_not_tried_again(name: str) -> None:
    found = settings(name)
    assert found["Restart"] == "on-failure"
    assert "2" in found["RestartPreventExitStatus"].split()
    assert found["DynamicUser"] == "yes"


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_credentials_that_the_configuration_names(name: str) -> None:
    loaded = re.findall(r"^LoadCredential=([a-z-]+):", (UNITS / name).read_text(), re.MULTILINE)
    text = (UNITS / "phasegate.yaml").read_text()
    named = re.findall(r"\$\{CREDENTIALS_DIRECTORY\}/([a-z-]+)", text)
    assert sorted(loaded) == sorted(named)
    assert not re.search(r"^Environment=.*(PASSWORD|URL|TOKEN)", (UNITS / name).read_text(), re.M)


def test_the_timer_makes_good_what_was_missed() -> None:
    text = (UNITS / "phasegate-partitions.timer").read_text()
    assert "Persistent=yes" in text
    assert "UTC" in text
    calendar = re.findall(r"^OnCalendar=(.*)$", text, re.MULTILINE)
    assert run_program("systemd-analyze", "calendar", *calendar).returncode == 0
