"""Prometheus 2.42 and later: a rule file."""

from __future__ import annotations

from phasegate.alerts.model import Group
from phasegate.alerts.spelling import spell_group, to_yaml
from phasegate.contract.settings import Settings

HELP = "a rule file of Prometheus 2.42 or later"


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """The guide's `database.yml`."""
    return {"database.yml": to_yaml({"groups": [spell_group(group, settings)]})}
