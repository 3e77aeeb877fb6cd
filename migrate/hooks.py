"""The user's own steps: a command, or a POST, each within its time and told in the journal.

A command is a process group of its own, which goes as a whole where its time is over: what it has
started must not go on behind our back. What it prints is shown and journalled, redacted and short.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
import urllib.error
import urllib.request
from typing import NamedTuple

from phasegate.contract.secrets import redactor
from phasegate.contract.settings_migrate import Hook
from phasegate.migrate.context import Control

KEPT_CHARACTERS = 4_000
"""Of the end of what a hook printed."""
GRACE_SECONDS = 2.0
"""From SIGTERM to SIGKILL."""
_POLL_SECONDS = 0.2


class HookResult(NamedTuple):
    """`code` is the exit code of a command or the HTTP status, None where there was none; `why`
    says what is wrong, empty for success."""

    why: str
    code: int | None
    output: str
    seconds: float
    tries: int


def run_hook(name: str, hook: Hook, control: Control, step: str) -> HookResult:
    """Run it, again after a failure as often as it says. Raises Interrupted as `control`, after
    the process group is gone."""
    for secret in hook.environment.values():
        redactor.learn([secret.reveal()])
    began, tries = time.monotonic(), 0
    while True:
        tries += 1
        control.check()
        why, code, output = _run_command(hook, control) if hook.command else _post(name, hook, step)
        if not why or tries > hook.retries:
            text = redactor(output)[-KEPT_CHARACTERS:]
            return HookResult(redactor(why), code, text, time.monotonic() - began, tries)
        control.sleep(min(10.0, 2.0 ** (tries - 1)))


def _run_command(hook: Hook, control: Control) -> tuple[str, int | None, str]:
    assert hook.command is not None
    given = {key: value.reveal() for key, value in hook.environment.items()}
    try:
        process = subprocess.Popen(  # noqa: S603  (the user's own command, without a shell)
            hook.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | given,
            start_new_session=True,
        )
    except OSError as error:
        return f"{hook.command[0]} cannot be started: {error.strerror}", None, ""
    deadline = time.monotonic() + hook.timeout
    output = bytearray()
    try:
        over = _read_until_end(process, deadline, control, output)
    except BaseException:
        _end_group(process)
        raise
    text = output.decode(errors="replace")
    if over:
        _end_group(process)
        return f"took longer than {hook.timeout:g} s and was killed", None, text
    # What it left behind holds no pipe, and still belongs to it.
    _end_group(process)
    code = process.returncode
    return "" if code == 0 else f"ended with exit code {code}", code, text


def _read_until_end(
    process: subprocess.Popen[bytes], deadline: float, control: Control, output: bytearray
) -> bool:
    """Whether its time was over before it ended."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while process.poll() is None:
            control.check()
            if time.monotonic() >= deadline:
                return True
            for _ in selector.select(_POLL_SECONDS):
                _read(process, output)
        while selector.select(0) and _read(process, output):
            pass
    return False


def _read(process: subprocess.Popen[bytes], output: bytearray) -> bool:
    assert process.stdout is not None
    chunk = os.read(process.stdout.fileno(), 65_536)
    output += chunk
    del output[: -4 * KEPT_CHARACTERS]
    if not chunk:
        time.sleep(_POLL_SECONDS / 10)
    return bool(chunk)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """The whole group: first asked, then killed."""
    for number, wait in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, GRACE_SECONDS)):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        until = time.monotonic() + wait
        while time.monotonic() < until and _lives(process.pid):
            process.poll()
            time.sleep(0.02)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_SECONDS)
    if process.stdout is not None:
        process.stdout.close()


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _post(name: str, hook: Hook, step: str) -> tuple[str, int | None, str]:
    assert hook.url is not None
    body = json.dumps({"hook": name, "step": step}).encode()
    request = urllib.request.Request(  # noqa: S310  (the shape admits http and https only)
        hook.url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=hook.timeout) as answer:  # noqa: S310
            return "", answer.status, answer.read(KEPT_CHARACTERS).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            text = error.read(KEPT_CHARACTERS).decode(errors="replace")
        return f"answered {error.code}", error.code, text
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"did not answer: {reason}", None, ""
