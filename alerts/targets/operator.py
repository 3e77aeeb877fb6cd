"""The Prometheus operator: the same rules as a resource of Kubernetes.

Oldest supported is 0.66, the first whose definition has `keep_firing_for`. An older one prunes the
field without a word, so that alerts would flap there and nobody would know why.
"""

from __future__ import annotations

from phasegate.alerts.model import Group
from phasegate.alerts.spelling import spell_group, to_yaml
from phasegate.contract.settings import Settings

HELP = (
    "a PrometheusRule for operator 0.66 or later, Prometheus 2.42 or later; add the labels that "
    "your Prometheus' ruleSelector asks for"
)


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """`operator/prometheusrule.yaml`."""
    # One resource for each job, so that two pipelines in one namespace do not overwrite each other.
    name = "".join(sign if sign.isalnum() else "-" for sign in settings.monitoring.job.lower())
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": name.strip("-") or "phasegate",
            "labels": {"app.kubernetes.io/name": "phasegate"},
        },
        "spec": {"groups": [spell_group(group, settings)]},
    }
    return {"operator/prometheusrule.yaml": to_yaml(document)}
