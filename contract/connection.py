"""From the settings of a connection to what a driver takes, built fresh at each connect.

A password may live for minutes only, so its file is read and its command is run every time. What
was read is taught to the process's redactor. These functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
from pathlib import Path

from phasegate.contract.cache_address import CacheAddress, parse_cache_url
from phasegate.contract.errors import SourceTimeout, SourceUnavailable
from phasegate.contract.secrets import Dsn, Secret, redactor
from phasegate.contract.settings_connection import Access, Cache, Connection

PASSWORD_COMMAND_SECONDS = 10.0


def database_conninfo(connection: Connection, target: str = "database") -> dict[str, str]:
    """libpq's keywords of a server; several hosts stay several.

    `target` names the server in errors. Raises SourceUnavailable and SourceTimeout, whose texts
    hold neither the connection string nor what a file or a command said.
    """
    import psycopg  # noqa: PLC0415  (heavy, and the judge never connects)
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        given = conninfo_to_dict(_connection_string(connection, target).reveal())
    except psycopg.ProgrammingError:
        # No cause: libpq quotes the connection string.
        raise SourceUnavailable(
            target, "its connection string is malformed; expected a libpq URI or keyword=value"
        ) from None
    conninfo = {name: str(value) for name, value in given.items() if value is not None}
    password = fetch_password(connection, target)
    if password is not None:
        conninfo["password"] = password
    return conninfo


def cache_address(cache: Cache, target: str = "cache") -> CacheAddress:
    """Where the cache is, with its password of this moment. Raises as `database_conninfo`."""
    try:
        address = parse_cache_url(_connection_string(cache, target).reveal())
    except ValueError as error:
        raise SourceUnavailable(target, f"its URL is malformed: {error}") from None
    password = fetch_password(cache, target)
    return dataclasses.replace(address, password=Secret(password)) if password else address


def fetch_password(access: Access, target: str) -> str | None:
    """The password of the file or the command; None where neither is configured."""
    if access.password_file is not None:
        password = _read_secret(access.password_file, "password_file", target)
    elif access.password_command is not None:
        password = _run(access.password_command, target)
    else:
        return None
    redactor.learn([password])
    return password


def _connection_string(access: Access, target: str) -> Dsn:
    if isinstance(access.url, Dsn):
        return access.url
    if access.url_file is None:
        raise SourceUnavailable(target, "no url and no url_file is configured")
    string = Dsn(_read_secret(access.url_file, "url_file", target))
    redactor.learn(string.parts())
    return string


def _read_secret(path: Path, key: str, target: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SourceUnavailable(target, f"{key} {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        # No cause: its text holds the bytes.
        raise SourceUnavailable(target, f"{key} {path} is not UTF-8") from None
    if not text:
        raise SourceUnavailable(target, f"{key} {path} is empty")
    return text


def _run(command: tuple[str, ...], target: str) -> str:
    """What the command prints, trimmed; it is killed, with its children, after ten seconds."""
    name = f"password_command {Path(command[0]).name}"
    try:
        process = subprocess.Popen(  # noqa: S603  (the user's own command, without a shell)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its arguments cannot be passed"
        raise SourceUnavailable(target, f"{name} cannot be started: {reason}") from None
    try:
        output, _ = process.communicate(timeout=PASSWORD_COMMAND_SECONDS)
    except BaseException as error:
        # The whole group: a child that the command left behind may hold the pipe.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            limit = f"{PASSWORD_COMMAND_SECONDS:g} s"
            raise SourceTimeout(target, f"{name} took longer than {limit}") from None
        raise
    finally:
        assert process.stdout is not None
        process.stdout.close()
    if process.returncode != 0:
        raise SourceUnavailable(target, f"{name} ended with status {process.returncode}")
    password = output.decode("utf-8", errors="replace").strip()
    if not password or "\ufffd" in password or "\0" in password:
        raise SourceUnavailable(target, f"{name} printed no password")
    return password
