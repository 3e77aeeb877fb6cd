"""The results of tests that a pipeline ran before it asks: JUnit files, by the globs of `--junit`.

The files are of whoever wrote the tests, so they are read as a stranger's: no document type and so
no entity, no larger and no deeper than results are, and nothing beyond the file itself. Elements
count; an attribute can only withhold a pass, never give one.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.tests_passed import ResultFile
from phasegate.validators.printable import one_line
from phasegate.validators.sources import Request, with_problem

if TYPE_CHECKING:
    from phasegate.validators.junit_reader import JunitReader

NAME = "junit"
MOST_BYTES = 64 * 2**20
"""Of one file. Results with the whole output of each test stay far below it."""
MOST_FILES = 10_000
_CHUNK = 1 << 16


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the results of every file; one that cannot be read leaves those of the others."""
    if not request.junit:
        return dossier
    paths: dict[Path, Path] = {}
    for pattern in request.junit:
        try:
            paths |= {path.resolve(): path for path in find_files(pattern)}
        except SourceError as error:
            dossier = with_problem(dossier, error)
    found = []
    for path in paths.values():
        try:
            found.append(read_results(path))
        except SourceError as error:
            dossier = with_problem(dossier, error)
    return replace(dossier, tests=tuple(found))


def find_files(pattern: str) -> list[Path]:
    """The files that a glob names, `**` for folders below, sorted. Raises SourceUnavailable where
    there is none, SourceError where there are too many to be results."""
    shown = one_line(pattern)
    # A file may be called by what would be a pattern, such as `results[1].xml`.
    try:
        # Path.glob takes no absolute pattern.
        found = glob.glob(pattern, recursive=True)  # noqa: PTH207
        names = [pattern] if Path(pattern).is_file() else found
        paths = sorted(path for name in names if (path := Path(name)).is_file())
    except OSError as error:
        raise SourceUnavailable(NAME, f"{shown}: {error.strerror}") from None
    if not paths:
        raise SourceUnavailable(NAME, f"{shown}: no such file")
    if len(paths) > MOST_FILES:
        raise SourceError(NAME, f"{shown}: {len(paths):,} files, at most {MOST_FILES:,} are read")
    return paths


def read_results(path: Path) -> ResultFile:
    """The results of one file. Raises SourceUnavailable or SourceError with its name."""
    from phasegate.validators.junit_reader import JunitFault, JunitReader  # noqa: PLC0415

    reader, digest = JunitReader(), hashlib.sha256()
    try:
        written = path.stat().st_mtime
        for chunk in _chunks(path):
            digest.update(chunk)
            reader.feed(chunk)
        reader.close()
    except OSError as error:
        raise SourceUnavailable(NAME, f"{one_line(str(path))}: {error.strerror}") from None
    except JunitFault as fault:
        raise SourceError(NAME, f"{one_line(str(path))}: {fault}") from None
    return _summary(path, digest.hexdigest(), written, reader)


def _chunks(path: Path) -> Iterator[bytes]:
    left = MOST_BYTES
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise SourceError(NAME, f"{one_line(str(path))}: larger than {MOST_BYTES:,} bytes")
            yield chunk


def _summary(path: Path, sha256: str, written: float, reader: JunitReader) -> ResultFile:
    # A copy is younger than the tests in it; without a time of its own there is only the file's.
    return ResultFile(
        one_line(str(path)),
        sha256,
        min([written, *reader.times]),
        reader.passed,
        reader.failed,
        reader.skipped,
        tuple(reader.named),
        reader.contradiction,
    )
