"""What collectors are built from: settings, targets, and what outlives a reload."""

from __future__ import annotations

from dataclasses import dataclass

from phasegate.contract.settings import Settings
from phasegate.exporter.counters import Counters
from phasegate.exporter.evidence import EvidenceStore
from phasegate.exporter.histograms import Histograms
from phasegate.exporter.targets import Target


@dataclass(frozen=True)
class Wiring:
    """Handed to each collector module's `build`. `targets` is in the order of configuration."""

    settings: Settings
    targets: dict[str, Target]
    counters: Counters
    histograms: Histograms
    evidence: EvidenceStore

    @property
    def database(self) -> Target:
        """The primary."""
        return self.targets["database"]

    @property
    def databases(self) -> list[Target]:
        """The primary and its replicas."""
        return [target for target in self.targets.values() if target.kind != "cache"]
