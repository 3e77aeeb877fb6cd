"""What the exporter hands to a judge: raw counts and measured values, and of which server they are.

The form is versioned: a judge that does not know the version must not guess.
"""

from __future__ import annotations

import msgspec

from phasegate.contract.audit_facts import AuditFacts
from phasegate.contract.model import Observation, Series

EVIDENCE_VERSION = 1
DATABASE, CACHE = "database", "cache"
"""The names of the two targets that every configuration can have; replicas have their own."""
CLOCK_SKEW_SECONDS = 5.0
"""How far the clocks of two machines may be apart, before one's times are of the other's future."""
LONGEST_SCRAPE_SECONDS = 60.0
"""Of series that are scraped more seldom, no longer gaps are accepted."""
EVIDENCE_PATH = "/api/v1/evidence"


class TargetState(msgspec.Struct, frozen=True):
    """One target when the evidence was served; identity and epoch are empty before its first
    answer. `kind` is `database`, `replica` or `cache`."""

    name: str
    kind: str
    up: bool
    identity: str
    epoch: str


class Override(msgspec.Struct, frozen=True):
    """A criterion that somebody accepted at a phase's gate, though it did not pass; why, when (Unix
    seconds)."""

    criterion: str
    phase: str
    by: str
    reason: str
    time: float


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole answer. Times are Unix seconds.

    `started` is the exporter's start, `since` what was asked for (0: everything kept). Before
    `complete_since` blocks may have been dropped, being too old or too many; since then a gap
    between blocks is a time in which nobody measured.
    `settings_hash` is of all settings; each block has the hash of what its own criterion needs.
    `audit` is None where nothing is watched, or nothing was seen yet; an absent key says the same.
    `overrides` are those that the migration's journal tells, and no roll-back has taken back.
    """

    version: int
    build: str
    environment: str
    started: float
    generated: float
    since: float
    complete_since: float
    block_seconds: float
    settings_hash: str
    targets: tuple[TargetState, ...]
    series: tuple[Series, ...]
    observations: tuple[Observation, ...]
    audit: AuditFacts | None = None
    overrides: tuple[Override, ...] = ()
