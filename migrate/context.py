"""What a work needs of the run that it is part of, and nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg

from phasegate.contract.errors import ContractError
from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.journal import Journal
from phasegate.migrate.model import Patience, Say

Connection = psycopg.Connection[Any]


class Control(Protocol):
    """Whether to go on."""

    def check(self) -> None:
        """Interrupted where somebody asked for a pause or an abort, a signal came, the window is
        over, or the lock of the one runner was lost. Cheap: called between small pieces."""

    def sleep(self, seconds: float) -> None:
        """Wait so long, and raise as `check` as soon as there is a reason."""

    def watching(self, connection: Connection, /) -> AbstractContextManager[None]:
        """What the session does meanwhile is cancelled by an abort."""
        ...


class Throttle(Protocol):
    """How hard a loop over rows may work."""

    def pace(self) -> float:
        """Share of full speed, above 0 and at most 1; waits while nothing may go on, and raises
        Interrupted as `Control.check`."""


class AtFullSpeed:
    """No throttle."""

    def pace(self) -> float:
        """Always 1."""
        return 1.0


class NothingStops:
    """No control, for a work that runs by itself."""

    def check(self) -> None:
        """Never raises."""

    def sleep(self, seconds: float) -> None:
        """Just waits."""
        time.sleep(seconds)

    def watching(self, _: Connection, /) -> AbstractContextManager[None]:
        """Nobody aborts it."""
        return nullcontext()


def _nobody_to_ask(criteria: tuple[str, ...]) -> None:
    raise ContractError("context.ask", f"nobody can judge {', '.join(criteria)} here")


@dataclass
class Context:
    """`step` is the name of the step that the work is part of; `connect` opens a session of our
    own, which whoever asks closes; `report` shows progress: object, done, total, unit."""

    settings: Settings
    step: str
    connect: Callable[[Patience], Connection]
    journal: Journal
    catalog: Catalog
    say: Say
    control: Control = field(default_factory=NothingStops)
    throttle: Throttle = field(default_factory=AtFullSpeed)
    ask: Callable[[tuple[str, ...]], None] = _nobody_to_ask
    """Wait until these criteria of the phase's gate pass; raises GateClosed where they do not."""
    report: Callable[[str, float, float, str], None] = lambda *_: None
