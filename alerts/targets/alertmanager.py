"""Alertmanager: an example of routes, receivers and inhibitions for the alerts of this group."""

from __future__ import annotations

from phasegate.alerts.model import Group
from phasegate.alerts.routes import make_inhibitions, make_receivers, make_route, name_team
from phasegate.alerts.spelling import HEAD, to_yaml
from phasegate.contract.settings import Settings

HELP = "an example for Alertmanager 0.25 or later: routes, receivers, inhibitions; secrets by file"

_ESCALATION = """\
#
# An example: copy it, and put your own receivers into the copy. Who is told, and in which order:
#   1. the on-call engineer, by PagerDuty: every critical alert
#   2. #{team} on Slack: the same and every warning; info too, but info pages nobody
#   3. #platform-team on Slack: at once where an exporter or a target is gone
#   4. the incident commander, by PagerDuty: whom a person calls
#
# Alertmanager does not escalate: it knows neither how long a notification has been unanswered nor
# that somebody acknowledged it. Time is PagerDuty's part. Give the service behind
# pagerduty-on-call an escalation policy of these four levels, each after ten minutes without an
# acknowledgement; level 2 and 3 are the teams' schedules, level 4 is the commander's.
# By hand, at any time, without waiting for that:
#   amtool alert add IncidentRaised severity=critical escalation=platform-team \\
#     --annotation=summary="why"
#   amtool alert add IncidentRaised severity=critical escalation=incident-commander \\
#     --annotation=summary="why"
#
# Secrets are files with nothing in them but the key or the URL. `heartbeat.example` is whatever
# calls somebody once the Watchdog stops coming.
"""
_INHIBITIONS = """\
# A warning is not told beside its own critical, nor anything of an exporter that is itself gone,
# nor what nobody can know of a database or cache that does not answer. Labels that neither alert
# has are equal; add those by which your Prometheus tells its places apart.
"""


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """`alertmanager.yml`."""
    parts = (
        HEAD,
        _ESCALATION.format(team=name_team(settings)),
        _section("route", make_route(group, settings)),
        _section("receivers", make_receivers(settings)),
        _INHIBITIONS,
        _section("inhibit_rules", list(make_inhibitions(group))),
    )
    return {"alertmanager.yml": "".join(parts)}


def _section(name: str, content: object) -> str:
    return to_yaml({name: content}).removeprefix(HEAD)
