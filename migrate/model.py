"""A migration as data: phases hold steps, steps hold operations, operations say what is left to do.

An operation is asked again after each of its actions: what is left is what the catalog and the data
say, never what somebody remembers. So a second run sends nothing, and a run that was killed goes on
where it stood.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from phasegate.migrate.catalog import Catalog

if TYPE_CHECKING:
    from phasegate.migrate.context import Context


class LockMode(StrEnum):
    """PostgreSQL's table locks that changes of a schema take, weakest first."""

    ACCESS_SHARE = "ACCESS SHARE"
    ROW_SHARE = "ROW SHARE"
    ROW_EXCLUSIVE = "ROW EXCLUSIVE"
    SHARE_UPDATE_EXCLUSIVE = "SHARE UPDATE EXCLUSIVE"
    SHARE = "SHARE"
    SHARE_ROW_EXCLUSIVE = "SHARE ROW EXCLUSIVE"
    EXCLUSIVE = "EXCLUSIVE"
    ACCESS_EXCLUSIVE = "ACCESS EXCLUSIVE"


class Patience(StrEnum):
    """How long an action may wait for locks, and run: its class of time-outs."""

    METADATA = "metadata"
    """A short change under a strong lock: gives way before the server looks for deadlocks."""
    SCAN = "scan"
    """Reads a whole table under a weak lock: as long as it takes, once it has the lock."""
    CONCURRENT = "concurrent"
    """CREATE INDEX CONCURRENTLY and its like, which wait for old snapshots for minutes."""
    BATCH = "batch"
    """One small piece of a long work on rows."""


@dataclass(frozen=True)
class Lock:
    """One lock that an action takes on one relation (as SQL writes its name)."""

    mode: LockMode
    relation: str


class Work(Protocol):
    """What no list of statements can say: loops over rows, other programs, other servers."""

    def run(self, context: Context) -> Mapping[str, Any]:
        """Do it, or go on with it; what it did is journalled. Raises PhasegateError.

        It looks at `context.control` between its pieces, and keeps its own checkpoints in the
        transactions of the pieces. When it returns, the whole of it is done.
        """


@dataclass(frozen=True)
class Action:
    """One thing that is sent, or done, as a whole.

    `what` says it in words. `statements` go in one transaction, with the journal's entry; where
    `transactional` is false each goes by itself outside of any. An action without statements is
    its `work`. `locks`, `scans` and `rewrites` are by table, as the documentation of the server
    says; names are written as SQL writes them. `rows`: about how many are read or written.
    `changes`: what was measured before it says nothing of what comes after.
    """

    what: str
    statements: tuple[str, ...] = ()
    patience: Patience = Patience.METADATA
    transactional: bool = True
    work: Work | None = None
    locks: tuple[Lock, ...] = ()
    scans: tuple[str, ...] = ()
    rewrites: tuple[str, ...] = ()
    rows: int = 0
    changes: bool = True
    clears: bool = False
    """It clears what a broken try left; done at once where the data themselves break one."""
    before: Work | None = None
    """Done before each try to get the locks, outside of the transaction: so that little is left
    to do under them."""
    remedy: str = ""
    """What to do where rows are there that do not allow it."""
    suppressions: Mapping[str, str] = field(default_factory=dict)
    """Rules of the linter squawk that do not apply, each with the reason."""


@dataclass(frozen=True)
class Refusal:
    """Why nothing can begin: the object, what was found, and what would remedy it."""

    object: str
    found: str
    remedy: str


class Operation(Protocol):
    """One kind of change, on one object. A frozen dataclass: its fields are its definition."""

    kind: ClassVar[str]
    loss: ClassVar[str]
    """What is lost by undoing it; empty for nothing."""

    @property
    def object(self) -> str:
        """The table (column, index …) that it is about, for people."""

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        """What makes it unsafe or impossible; asked before anything is touched."""

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """What is left to do, in order; empty where the catalog says that all is done.

        Also asked where what comes before it (a column that is not there yet) is not done: then it
        is what will be left.
        """

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        """What takes it back, in order; empty where nothing of it is there."""


class ChangesNoSchema:
    """What an operation answers that sends no statement: the catalog speaks against nothing, and
    there is nothing to take back."""

    loss: ClassVar[str] = ""

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:  # noqa: ARG002
        """None."""
        return ()

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:  # noqa: ARG002
        """Nothing."""
        return ()


@dataclass(frozen=True)
class Step:
    """One step of a phase, by the guide's name. `operations` are done in order."""

    name: str
    phase: str
    title: str
    operations: tuple[Operation, ...]


Say = Callable[[str], None]
