"""One variable of an env file, set or taken out: for hooks, safe to run twice and to kill.

    python -m phasegate.migrate.env_file set .env.production MAINTENANCE_MODE=true
    python -m phasegate.migrate.env_file unset .env.production MAINTENANCE_MODE

The guide's `echo … >> .env` appends again on every run, and its `sed -i` leaves a file without its
last line end where that was missing. Here a line is set once, and taking it out gives back the file
as it was, byte for byte.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import click

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = "# set by phasegate"


def set_line(text: str, name: str, value: str) -> str:
    """The text with the variable, once. What had it before is kept in a comment."""
    bare = unset_line(text, name)
    kept = bare
    before = re.search(rf"^(?:export )?{name}=.*$", bare, re.MULTILINE)
    if before is not None:
        kept = bare[: before.start()] + f"{_MARK}, was: {before[0]}" + bare[before.end() :]
        place = kept.index(f"{_MARK}, was: {before[0]}")
        return kept[:place] + f"{name}={value} " + kept[place:]
    end = "" if not bare or bare.endswith("\n") else "\n"
    joint = " (no line end before)" if end else ""
    return f"{bare}{end}{name}={value} {_MARK}{joint}\n"


def unset_line(text: str, name: str) -> str:
    """The text as it was before `set_line`; without any line of the variable that we did not set
    it is unchanged."""
    text = re.sub(
        rf"^{name}=.* {_MARK}, was: (.*)$", lambda found: found[1], text, flags=re.MULTILINE
    )
    text = re.sub(rf"\n{name}=.* {_MARK} \(no line end before\)\n", "", text)
    return re.sub(rf"^{name}=.* {_MARK}\n", "", text, flags=re.MULTILINE)


def write_whole(file: Path, text: str) -> None:
    """Replace the file at once, with its mode; a kill leaves the old or the new one."""
    mode = file.stat().st_mode & 0o7777 if file.exists() else 0o600
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(mode)
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@click.command()
@click.argument("verb", type=click.Choice(["set", "unset"]))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("variable")
def main(verb: str, file: Path, variable: str) -> None:
    """Set NAME=VALUE in FILE, or take NAME out again."""
    name, equals, value = variable.partition("=")
    if not _NAME.fullmatch(name) or bool(equals) is (verb == "unset") or "\n" in value:
        form = "NAME=VALUE" if verb == "set" else "NAME"
        raise click.UsageError(f"found {variable!r}, expected {form}")
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            before = stream.read()
    except FileNotFoundError:
        before = ""
    after = set_line(before, name, value) if verb == "set" else unset_line(before, name)
    if after != before:
        write_whole(file, after)


if __name__ == "__main__":
    main(prog_name=f"{Path(sys.executable).name} -m phasegate.migrate.env_file")
