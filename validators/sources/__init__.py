"""Where evidence comes from: one module a source, each found by its file, none registered.

A source is a module with `fill(dossier, request) -> Dossier`. It adds its part where the request
concerns it and gives the dossier back unchanged where not; it raises SourceError where it could
not be reached or read. Heavy imports belong inside `fill`, since every source is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from msgspec.structs import replace

from phasegate.contract.dossier import Dossier, Problem, Trouble
from phasegate.contract.errors import SourceError, SourceTimeout, SourceUnavailable
from phasegate.contract.settings import Settings


class Request(NamedTuple):
    """What is asked for: evidence since a Unix time for these criteria.

    `measurer` is the one source that gives counts and measured values: `exporter` or `prometheus`.
    `junit` are the globs of the files with results of tests, `baseline` the file that was named for
    one. `earlier` is what an earlier look of the same call found: what is tried on a server is
    tried once a call.
    """

    settings: Settings
    criteria: tuple[str, ...]
    since: float
    measurer: str
    junit: tuple[str, ...] = ()
    baseline: Path | None = None
    earlier: Dossier | None = None


class Source(Protocol):
    """What a module here offers."""

    def fill(self, dossier: Dossier, request: Request) -> Dossier:
        """The dossier with this source's part. Raises SourceError."""


def find_sources() -> Iterator[Source]:
    """Every source, in the order of their files' names."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem != "__init__":
            yield cast(Source, importlib.import_module(f"{__name__}.{path.stem}"))


def gather(request: Request, clock: Callable[[], float]) -> Dossier:
    """All that the sources give; what could not be read stands in the dossier as a problem.

    Judged is the moment (Unix seconds) after all was read, else it would lie in the future.
    """
    dossier = Dossier(clock(), measurer=request.measurer)
    for source in find_sources():
        try:
            dossier = source.fill(dossier, request)
        except SourceError as error:
            dossier = with_problem(dossier, error)
    return replace(dossier, judged=clock())


def with_problem(dossier: Dossier, error: SourceError) -> Dossier:
    """The dossier, saying that this source gave nothing."""
    unreachable = isinstance(error, SourceTimeout | SourceUnavailable)
    trouble = Trouble.UNREACHABLE if unreachable else Trouble.UNREADABLE
    problem = Problem(error.source, trouble, str(error))
    return replace(dossier, problems=(*dossier.problems, problem))
