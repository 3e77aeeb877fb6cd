"""Every error that Phasegate raises on purpose, and the exit code that each stands for.

    PhasegateError
    ├ ConfigError(faults)             exit 2   all faults of a file at once
    ├ ContractError(entry)            exit 70  a contradiction in contract/: our own bug
    ├ CollectError(collector, reason)          one collector's failure; never leaves the runner
    ├ SourceError(source)             exit 4   a server or source that the work needs
    │ ├ SourceTimeout
    │ └ SourceUnavailable
    ├ PlanRefused(refusals)           exit 2   a plan that cannot be carried out safely
    ├ GateClosed(phase, code)         exit 1, 4 or 3, as its verdict says
    ├ WorkFailed                      exit 1   the work itself failed
    │ ├ ServerStartFailed(server)              a throw-away server that did not come up
    │ └ StepFailed(step)                       a step of a migration
    ├ JournalMismatch                 exit 2   the journal is of another plan, server or release
    └ Interrupted                     exit 5   stopped part-way; the same command goes on
      └ LockNotAcquired                        a lock that others did not give up in time

A message says what failed, what was found, what is needed and what to do next; it never holds a
DSN or a password. Facts are attributes. Only `phasegate.cli` turns errors into exit codes;
whatever is not a `PhasegateError` is our own bug and exits 70.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class PhasegateError(Exception):
    """Root of the tree. `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


@dataclass(frozen=True)
class ConfigFault:
    """One fault of a configuration file.

    `line` and `column` count from 1; 0 where the fault has no place (an absent key, an
    environment variable). `key` is the dotted path, e.g. `audit.partition`.
    """

    file: str
    line: int
    column: int
    key: str
    found: str
    expected: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        text = f"{place}: {self.key}: found {self.found}, expected {self.expected}"
        return f"{text}; {self.hint}" if self.hint else text


class ConfigError(PhasegateError):
    """The configuration cannot be used; holds every fault that was found."""

    exit_code = 2

    def __init__(self, faults: tuple[ConfigFault, ...]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))


class ContractError(PhasegateError):
    """An entry of the contract contradicts itself or another one."""

    exit_code = 70

    def __init__(self, entry: str, reason: str) -> None:
        self.entry = entry
        super().__init__(f"contract entry {entry}: {reason}")


class CollectError(PhasegateError):
    """One collection failed. `reason` is a short word fit for a label."""

    def __init__(self, collector: str, reason: str, message: str) -> None:
        self.collector = collector
        self.reason = reason
        super().__init__(message)


class SourceError(PhasegateError):
    """A server or a source of evidence could not be reached or read."""

    exit_code = 4

    def __init__(self, source: str, message: str) -> None:
        self.source = source
        super().__init__(f"{source}: {message}")


class SourceTimeout(SourceError):
    """The source did not answer in time."""


class SourceUnavailable(SourceError):
    """The source refused, or is not there."""


class WorkFailed(PhasegateError):
    """The work that was asked for failed."""


class ServerStartFailed(WorkFailed):
    """A throw-away server did not come up; the message ends with its last log lines."""

    def __init__(self, server: str, message: str) -> None:
        self.server = server
        super().__init__(f"{server} did not start: {message}")


class PlanRefused(PhasegateError):
    """What was asked for cannot be done safely; every reason at once, each with its remedy."""

    exit_code = 2

    def __init__(self, refusals: tuple[str, ...]) -> None:
        self.refusals = refusals
        super().__init__("the plan is refused, nothing was touched\n" + "\n".join(refusals))


class GateClosed(PhasegateError):
    """A phase may not end yet. An outcome and no crash: `exit_code` is the verdict's own."""

    def __init__(self, phase: str, code: int, message: str) -> None:
        self.phase = phase
        self.exit_code = code  # type: ignore[misc]
        super().__init__(f"the gate of phase {phase} is closed: {message}")


class StepFailed(WorkFailed):
    """A step of a migration failed; what it did before stays, and it can be started again."""

    def __init__(self, step: str, message: str) -> None:
        self.step = step
        super().__init__(f"step {step}: {message}")


class JournalMismatch(PhasegateError):
    """The journal tells of another plan, server or release than this one."""

    exit_code = 2


class Interrupted(PhasegateError):
    """Stopped part-way, and resumable: the same command goes on."""

    exit_code = 5


class LockNotAcquired(Interrupted):
    """Others did not give up a lock in time; the message names them."""
