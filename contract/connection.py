"""From the settings of a connection to what a driver takes, built fresh at each connect.

A password may live for minutes only, so its file is read and its command is run every time. What
was read is taught to the process's redactor. These functions block: call them in a thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

from phasegate.contract.cache_address import CacheAddress, parse_cache_url
from phasegate.contract.document import join_key
from phasegate.contract.errors import ConfigError, ConfigFault, SourceTimeout, SourceUnavailable
from phasegate.contract.secrets import Dsn, Secret, redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_connection import Access, Cache, Connection

PASSWORD_COMMAND_SECONDS = 10.0
_CONNINFO = "a libpq URI or keyword=value pairs"
_PARAMETER = re.compile(r'invalid (?:connection option|URI query parameter:?) "(\w+)"')


def database_conninfo(connection: Connection, target: str = "database") -> dict[str, str]:
    """libpq's keywords of a server; several hosts stay several.

    `target` names the server in errors. Raises SourceUnavailable and SourceTimeout, whose texts
    hold neither the connection string nor what a file or a command said.
    """
    try:
        given = _keywords(_connection_string(connection, target).reveal())
    except ValueError as error:
        reason = f"its connection string is malformed: {error}"
        raise SourceUnavailable(target, f"{reason}; expected {_CONNINFO}") from None
    conninfo = {name: str(value) for name, value in given.items() if value is not None}
    password = fetch_password(connection, target)
    if password is not None:
        conninfo["password"] = password
    return conninfo


def check_connections(settings: Settings) -> None:
    """Let libpq read every connection string of the settings, without connecting.

    Raises ConfigError with each that it refuses; the judge never connects and does without.
    """
    given: dict[str, Secret | None] = {"database.url": settings.database.url}
    for name, replica in settings.database.replicas.items():
        given[join_key("database.replicas", name) + ".url"] = replica.url
    given["migrate.backup.scratch_url"] = settings.migrate.backup.scratch_url
    faults = []
    for key, url in given.items():
        try:
            _keywords(url.reveal() if url else "")
        except ValueError as error:
            file = str(settings.file or "the environment")
            faults.append(ConfigFault(file, 0, 0, key, str(error), _CONNINFO))
    if faults:
        raise ConfigError(tuple(faults))


def _keywords(dsn: str) -> dict[str, Any]:
    """What libpq reads in it. Raises ValueError, which quotes nothing but a parameter's name."""
    import psycopg  # noqa: PLC0415  (heavy, and the judge never connects)
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        return conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        known = [option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()]
        reason = _describe_refusal(str(error), known)
    # Outside, without a cause: libpq quotes the connection string.
    raise ValueError(reason)


def _describe_refusal(message: str, known: list[str]) -> str:
    named = _PARAMETER.match(message)
    if named is None:
        odd = "percent-encod" in message
        return "an odd percent-encoding" if odd else "no connection string that libpq can read"
    # A name that is like none may be the end of a password that holds the separator.
    near = difflib.get_close_matches(named[1], known, n=1)
    return (
        f"the parameter {named[1]}, perhaps meant as {near[0]}"
        if near
        else "a parameter that libpq does not know"
    )


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
