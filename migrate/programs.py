"""PostgreSQL's own programs, pg_dump and pg_restore: which one fits a server, and one run of it.

Passwords go by the environment, never by an argument, which every user of the machine can read.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from psycopg.conninfo import make_conninfo

from phasegate.contract.errors import PhasegateError, StepFailed
from phasegate.contract.secrets import redactor
from phasegate.migrate.context import Control
from phasegate.servers.postgres import DEBIAN, EMBEDDED_MAJOR, find_postgres

POLL_SECONDS = 0.1
END_SECONDS = 5.0
LAST_CHARACTERS = 2_000
_SECRETS = frozenset({"password", "sslpassword"})
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True)
class Programs:
    """A folder with pg_dump and pg_restore of one major version."""

    folder: Path
    major: int


def find_programs() -> list[Programs]:
    """All at hand: the wheel's, Debian's, and those on the PATH."""
    folders = [path.parent for path in DEBIAN.glob("*/bin/pg_dump")]
    embedded = find_postgres(EMBEDDED_MAJOR)
    if embedded is not None:
        folders.insert(0, embedded)
    on_path = which("pg_dump")
    if on_path is not None:
        folders.append(Path(on_path).parent)
    found = ((folder, _major(folder)) for folder in dict.fromkeys(folders))
    return [Programs(folder, major) for folder, major in found if major]


def choose_programs(server_major: int, found: Sequence[Programs]) -> Programs | None:
    """The server's own major, else the nearest newer one: an older pg_dump refuses the server, and
    what a newer one writes cannot always be restored into the server again."""
    fit = [one for one in found if one.major >= server_major]
    return min(fit, key=lambda one: one.major, default=None)


def require_programs(server_major: int, step: str) -> Programs:
    """As `choose_programs` of all at hand; StepFailed with what to install."""
    found = find_programs()
    chosen = choose_programs(server_major, found)
    if chosen is not None:
        return chosen
    have = ", ".join(f"{one.major} in {one.folder}" for one in found) or "none"
    raise StepFailed(
        step,
        f"no pg_dump for PostgreSQL {server_major}: found {have}, needed {server_major} or newer; "
        f"install postgresql-client-{server_major} or phasegate[local]",
    )


def run_program(
    program: Path,
    arguments: Sequence[str],
    conninfo: Mapping[str, str],
    *,
    control: Control,
    fail: Callable[[str], PhasegateError],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Run it on the server that `conninfo` names, while `meanwhile` does its part.

    Raises what `fail` makes of the program's last words where it does not end with 0, and what
    `control` or `meanwhile` raise; then the program has been ended.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  # PostgreSQL's own program, found by us
            [program, *arguments, f"--dbname={_without_password(conninfo)}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env=_environment(conninfo),
            umask=0o077,
            # Ctrl-C in a terminal is for us, who then end it in order.
            start_new_session=True,
        )
        try:
            meanwhile()
            while process.poll() is None:
                control.check()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_SECONDS)
        except BaseException:
            _end(process)
            raise
        if process.returncode != 0:
            size = errors.seek(0, os.SEEK_END)
            errors.seek(max(0, size - LAST_CHARACTERS))
            words = redactor(errors.read().decode("utf-8", "replace").strip())
            raise fail(f"{program.name} ended with {process.returncode}: {words}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_SECONDS)
            return


def _without_password(conninfo: Mapping[str, str]) -> str:
    # sslpassword has no variable: a key that needs one is asked for in vain, and the server's
    # answer says so.
    return make_conninfo("", **{k: v for k, v in conninfo.items() if k not in _SECRETS})


def _environment(conninfo: Mapping[str, str]) -> dict[str, str]:
    # Variables of libpq would add to what the settings say.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    password = conninfo.get("password")
    return kept | {"LC_ALL": "C"} | ({"PGPASSWORD": password} if password else {})


def _major(folder: Path) -> int:
    """Of pg_dump in that folder; 0 where it or pg_restore is not there or does not run."""
    if not (folder / "pg_restore").exists():
        return 0
    try:
        told = subprocess.run(  # noqa: S603  # as above
            [folder / "pg_dump", "--version"],
            capture_output=True,
            check=True,
            text=True,
            timeout=10,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    found = _VERSION.search(told)
    return int(found[1]) if found else 0
