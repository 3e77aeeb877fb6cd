"""The guide's checklist and its four phases as steps: what they are made of, in which order."""

from __future__ import annotations

from phasegate.contract.settings import Settings
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.model import Step


def make_steps(settings: Settings, catalog: Catalog) -> tuple[Step, ...]:
    """Every step of every phase, in order; a step without an operation has nothing to do here."""
    del settings, catalog
    return ()
