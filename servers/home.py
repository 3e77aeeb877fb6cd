"""Where a throw-away server lives, and as whom: a private folder and, under root, another account.

PostgreSQL refuses to run as root, so root's servers run as an unprivileged account. That account
must reach the folder and the server's binaries, and no folder above them is opened for it: the
folder is made where the account can already go, and binaries out of its reach (a checkout below
/root, say) are copied into the folder. The folder itself stays the owner's: root writes nothing
where the other account could have put a symbolic link.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from phasegate.contract.errors import ServerStartFailed

# The first that exists; all of them are made for work that must own nothing.
UNPRIVILEGED = ("nobody", "daemon", "www-data")
# A socket's path holds at most 107 bytes, ours needs 40 of them.
LONGEST_BASE = 60


@dataclass(frozen=True)
class Account:
    """Whom the server runs as; -1 and -1 where it is the owner's own account."""

    uid: int
    gid: int

    @property
    def changes(self) -> bool:
        """True where the server runs as somebody else than its owner."""
        return self.uid >= 0


def choose_account() -> Account:
    """The owner's own account, or an unprivileged one under root."""
    if os.geteuid() != 0:
        return Account(-1, -1)
    for name in UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise ServerStartFailed(
        "server", f"run as root, it needs one of the accounts {', '.join(UNPRIVILEGED)}"
    )


@dataclass(frozen=True)
class ServerTls:
    """PEM files of a server; `ca` is what it accepts client certificates from."""

    cert: Path
    key: Path
    ca: Path | None = None


class Home:
    """The private folder of one server, removed with this object or at exit."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.account = choose_account()
        base = _choose_base(self.account)
        self.directory = Path(tempfile.mkdtemp(prefix="phasegate-", dir=base))
        self._finalizer = weakref.finalize(self, _remove, self.directory, os.getpid())
        if self.account.changes:
            self.directory.chmod(0o711)  # to be passed through, not to be listed or written
        self.log = self.directory / "server.log"
        self.log.touch(mode=0o600)

    def make_directory(self, name: str) -> Path:
        """A folder inside that only the server's account (and root) can enter."""
        path = self.directory / name
        path.mkdir(mode=0o700)
        self._give(path)
        return path

    def write_private(self, name: str, content: str) -> Path:
        """A file inside that only the server's account (and root) can read."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_text(content, "utf-8")
        self._give(path)
        return path

    def copy_private(self, files: Mapping[str, Path]) -> dict[str, str]:
        """Copies each file to one of that name inside, readable by the server's account alone."""
        return {
            name: str(self.write_private(name, path.read_text("utf-8")))
            for name, path in files.items()
        }

    def make_runnable(self, program: Path, root: Path, parts: Sequence[Path]) -> Path:
        """`program` as the server's account can run it: itself, or as a copy.

        `parts` are the folders below `root` that it needs; the copy keeps their places, since
        programs look for libraries relative to themselves.
        """
        if self._can_run(program):
            return program
        copy = self.directory / "program"
        if not copy.exists():
            for part in parts:
                shutil.copytree(part, copy / part.relative_to(root), symlinks=True)
            for path in (copy, *copy.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755)
        return copy / program.relative_to(root)

    def log_tail(self, lines: int) -> str:
        """The last lines of the server's log; empty before its first start."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def remove(self) -> None:
        """Deletes the folder and all in it; the server must have ended."""
        self._finalizer()

    def _give(self, path: Path) -> None:
        if self.account.changes:
            os.chown(path, self.account.uid, self.account.gid)

    def _can_run(self, program: Path) -> bool:
        account = self.account
        try:
            subprocess.run(  # noqa: S603  # a server's own binary, found by us
                [program, "--version"],
                check=True,
                capture_output=True,
                cwd="/",
                user=account.uid if account.changes else None,
                group=account.gid if account.changes else None,
                extra_groups=() if account.changes else None,
            )
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True


def _remove(directory: Path, owner: int) -> None:
    """Deletes the folder, unless a forked child of its owner is what ends here."""
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


def _choose_base(account: Account) -> Path:
    """The first usual place for temporary files that the account can reach."""
    candidates = [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]  # noqa: S108
    for base in candidates:
        if len(os.fsencode(base)) <= LONGEST_BASE and _can_search(account, base):
            return base
    tried = ", ".join(str(base) for base in candidates)
    raise ServerStartFailed(
        "server", f"its account cannot reach a folder for temporary files (tried {tried})"
    )


def _can_search(account: Account, directory: Path) -> bool:
    """True where every folder down to `directory` may be entered by anybody."""
    resolved = directory.resolve()
    if not resolved.is_dir():
        return False
    if not account.changes:
        return os.access(resolved, os.W_OK | os.X_OK)
    return all(path.stat().st_mode & 0o001 for path in (resolved, *resolved.parents))
