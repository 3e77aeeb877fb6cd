"""vmalert of VictoriaMetrics: Prometheus' rule file, as far as its oldest supported version goes.

vmalert 1.79 refuses a whole file over one `keep_firing_for`. What else differs from Prometheus is
nothing: tests evaluate each expression on both.
"""

from __future__ import annotations

from phasegate.alerts.model import Group
from phasegate.alerts.spelling import spell_group, to_yaml
from phasegate.contract.settings import Settings

HELP = (
    "a rule file of vmalert 1.79 or later, without keep_firing_for, which 1.79 refuses: an alert "
    "there ends with its condition; what is recorded needs -remoteWrite.url"
)


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """`vmalert/database.yml`."""
    document = {"groups": [spell_group(group, settings, keep=False)]}
    return {"vmalert/database.yml": to_yaml(document)}
