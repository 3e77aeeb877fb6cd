"""The alerts of a Prometheus or an Alertmanager that tell of customers' issues."""

from __future__ import annotations

from msgspec.structs import replace

from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError
from phasegate.contract.judge import asks_for_issues
from phasegate.validators.sources import Request, with_problem

NAME = "alerts"


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the answer of each; one that gives none leaves those of the others."""
    sources = request.settings.issues.alerts
    if not sources or not asks_for_issues(request.criteria):
        return dossier
    from phasegate.validators.alert_apis import read_alertmanager, read_prometheus  # noqa: PLC0415

    found = []
    for source in sources:
        read = read_prometheus if source.api == "prometheus" else read_alertmanager
        try:
            found.append(read(source, f"{NAME} {source.name}"))
        except SourceError as error:
            dossier = with_problem(dossier, error)
    return replace(dossier, issues=replace(dossier.issues, alerts=tuple(found)))
