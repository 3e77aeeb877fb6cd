"""The exporter's series in a Prometheus-compatible API: the same evidence, from raw samples."""

from __future__ import annotations

from msgspec.structs import replace

from phasegate.contract.dossier import PROMETHEUS, Dossier
from phasegate.contract.judge import needs_exporter
from phasegate.validators.sources import Request


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the evidence since the time that is asked for, or with why it is not believed."""
    settings = request.settings.prometheus
    if request.measurer != PROMETHEUS or settings is None or not needs_exporter(request.criteria):
        return dossier
    # Every source is imported; only who asks this one needs what reads it.
    from phasegate.validators.prometheus_api import Api, Doubted  # noqa: PLC0415
    from phasegate.validators.prometheus_evidence import make_evidence  # noqa: PLC0415

    api = Api(settings, dossier.judged)
    try:
        evidence, doubts = make_evidence(api.ask, request, settings.match, dossier.judged)
    except Doubted as doubt:
        return replace(dossier, doubts={"": str(doubt)})
    return replace(dossier, evidence=evidence, doubts=doubts)
