"""The parent of one throw-away server: sees to it that the server never outlives its owner.

It runs as a script of its own (`python -I -S supervisor.py DIRECTORY UID GID COMMAND...`), so it
imports nothing but the standard library, and little of that. A UID of -1 keeps the account. The
owner holds the other end of standard input; when that closes, or the owner is no longer the
parent, every process below is killed and DIRECTORY removed. A pipe, because it also tells of an
owner killed by SIGKILL; and the parent's id beside it, because a forked child of the owner may
keep the pipe open. The server itself dies with the supervisor (PR_SET_PDEATHSIG).

The server's id is the first line on standard output, its output goes to standard error, and the
exit code is its own (128 + signal where one ended it).
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
OWNER_CHECK_SECONDS = 1.0
SWEEP_SECONDS = 0.01


def descendants(ancestor: int) -> list[int]:
    """Ids of all processes below `ancestor`, parents before their children."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except OSError:
                continue  # ended since the folder was listed
            # The name in brackets may hold brackets too: what follows the last one counts.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = list(children.get(ancestor, ()))
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def signal_descendants(ancestor: int, number: int) -> int:
    """Sends a signal to all processes below `ancestor`; returns how many there were."""
    found = descendants(ancestor)
    for pid in found:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
    return len(found)


def spawn(uid: int, gid: int, command: list[str]) -> int:
    """Forks and executes `command` under the account; returns the child's id."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Backends of a killed postmaster become ours, so that the last sweep finds them.
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # A change of account clears it, hence after that.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == parent:
            os.execv(command[0], command)  # noqa: S606  # the owner's own command line
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error}\n".encode())
    os._exit(127)


def owner_ended(owner: int, seconds: float) -> bool:
    """Waits up to `seconds` for the owner's end; True from then on."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable and not os.read(0, 1)) or os.getppid() != owner


def end_with_owner(owner: int) -> None:
    """Waits for the owner's end, then kills all that is below us."""
    while not owner_ended(owner, OWNER_CHECK_SECONDS):
        pass
    while signal_descendants(os.getpid(), signal.SIGKILL):
        time.sleep(SWEEP_SECONDS)


def main(arguments: list[str]) -> int:
    """Runs one server to its end and returns its exit code."""
    directory, uid, gid, *command = arguments
    owner = os.getppid()
    pid = spawn(int(uid), int(gid), command)
    os.write(1, f"{pid}\n".encode())
    threading.Thread(target=end_with_owner, args=(owner,), daemon=True).start()
    _, status = os.waitpid(pid, 0)
    while signal_descendants(os.getpid(), signal.SIGKILL):
        os.waitpid(-1, 0)
    if owner_ended(owner, 0):
        import shutil  # noqa: PLC0415  # 10 ms that no start should pay

        shutil.rmtree(directory, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
