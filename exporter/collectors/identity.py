"""Which server answers, in which role and in which life of its counters; and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from phasegate.contract import metrics
from phasegate.contract.model import Sample
from phasegate.exporter.queries import load_queries
from phasegate.exporter.runner import Collector
from phasegate.exporter.targets import Identity, Target
from phasegate.exporter.wiring import Wiring

QUERIES = load_queries("identity")
COLUMNS = (
    *("system_identifier", "timeline", "database", "in_recovery", "version", "version_text"),
    *("read_only", "track_counts", "epoch"),
)


class DatabaseIdentity(Collector):
    """Reads one server's identity, and decides with it whether the target is up."""

    def __init__(self, target: Target, environment: str) -> None:
        self.name = "identity" if target.kind == "database" else f"identity/{target.name}"
        self._subject = target
        self._environment = environment

    async def collect(self, timeout: float) -> Sequence[Sample]:
        target = self._subject
        async with target.fast.session(self.name, timeout) as session:
            [row] = await session.dicts(QUERIES["identity"].sql)
        target.identity = identity = database_identity(row)
        target.up = True
        return [
            metrics.TARGET_INFO(
                1,
                target.name,
                self._environment,
                identity.system_identifier,
                str(identity.timeline),
                identity.database,
                identity.role,
            ),
            metrics.SOURCE_EPOCH(identity.epoch_number, target.name),
        ]

    def missed(self) -> None:
        self._subject.up = False

    def kept(self) -> Sequence[Sample]:
        return [metrics.UP(float(self._subject.up), self._subject.name)]


def identity_of_row(row: Sequence[Any]) -> Identity:
    """The same from a row without names, as a question among others gives it."""
    return database_identity(dict(zip(COLUMNS, row, strict=True)))


def database_identity(row: dict[str, Any]) -> Identity:
    """The identity from one row of the query `identity`."""
    return Identity(
        system_identifier=row["system_identifier"],
        timeline=row["timeline"],
        database=row["database"],
        role="standby" if row["in_recovery"] else "primary",
        epoch=f"{row['system_identifier']}/{row['epoch']}",
        version=row["version"],
        version_text=row["version_text"],
        in_recovery=row["in_recovery"],
        track_counts=row["track_counts"],
    )


def build(wiring: Wiring) -> list[Collector]:
    """One for each database; a cache's identity comes with its own topic."""
    environment = wiring.settings.environment or ""
    return [DatabaseIdentity(target, environment) for target in wiring.databases]
