"""Every way to start a command ends with the pinned exit codes and a message, not a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from checks.tree import fetch_rooms
from phasegate import cli
from phasegate.contract.errors import (
    PhasegateError,
    SourceUnavailable,
    WorkFailed,
)
from phasegate.contract.secrets import redactor
from phasegate.servers.ports import free_port

ABSENT = "/nonexistent/phasegate.yaml"
CALLS = [
    (["phasegate.exporter", "--config.file", ABSENT, "--once"], 2, "a file that cannot be read"),
    (["phasegate", "exporter", "--config.file", ABSENT, "--once"], 2, "a file that cannot be read"),
    (["phasegate.exporter", "--nope"], 2, "python -m phasegate.exporter --help"),
    (["phasegate.operate", "init", "--grants", "--config", ABSENT], 2, "cannot be read"),
    (["phasegate.operate", "init", "--grants", "--force"], 2, "no other flag"),
    (["phasegate.operate", "init"], 4, "Connection refused"),
    (["phasegate.validators", "--config", ABSENT], 2, "cannot be read"),
    (["phasegate", "validate", "--nope"], 2, "phasegate validate --help"),
    (["phasegate.demo", "--rows", "1"], 2, "--rows"),
    (["phasegate.demo"], 4, "DATABASE_URL: cannot be used"),
]


def run(arguments: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("PHASEGATE_")}
    url = f"postgresql://u:canary-4711@127.0.0.1:{free_port()}/d"
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        env=own | {"DATABASE_URL": url},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(("arguments", "code", "said"), CALLS)
def test_a_room_called_by_itself_exits_as_the_console_script(
    arguments: list[str], code: int, said: str, tmp_path: Path
) -> None:
    done = run(arguments, tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary-4711" not in done.stdout + done.stderr


def test_every_room_with_a_command_can_be_called_by_itself() -> None:
    with_commands = {place.split(".")[1] for place in cli.COMMANDS.values()}
    root = Path(cli.__file__).parent
    assert {room for room in fetch_rooms() if (root / room / "__main__.py").is_file()} == (
        with_commands
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SourceUnavailable("x", "gone"), 4),
        (WorkFailed("failed"), 1),
        (click.UsageError("wrong"), 2),
        (click.ClickException("wrong"), 2),
        (click.Abort(), 5),
        (KeyboardInterrupt(), 5),
        (ValueError("canary-0815"), 70),
    ],
)
def test_each_error_has_its_code(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    redactor.learn({"canary-0815"})

    @click.command()
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.main([], fail, "python -m somewhere")
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert ("Traceback" in said) is (code == 70)
    assert "canary-0815" not in said
    if isinstance(error, PhasegateError):
        assert said == f"phasegate: {error}\n"
