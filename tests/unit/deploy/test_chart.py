"""The chart, rendered by Helm's own code: the objects of kustomize, and what values change."""

from __future__ import annotations

import base64
import gzip
import json
import re
from typing import Any

import pytest
import yaml

from phasegate import __version__
from tests.fixtures.manifests import (
    CHART,
    DEPLOY,
    OLDEST,
    check_schemas,
    kustomize,
    lint_chart,
    pods_of,
    read,
    render_chart,
    render_notes,
)

pytestmark = pytest.mark.xdist_group("chart")
CONFIG = (DEPLOY / "kubernetes/base/phasegate.yaml").read_text(encoding="utf-8")
RELEASE_BYTES = 1_048_576
"""What Helm may keep of a release in one secret (Kubernetes, `MaxSecretSize`)."""


def render(**values: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and name -> object."""
    documents = render_chart({"config": CONFIG} | values)
    found = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert len(found) == len(documents)
    return found


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], dict[str, Any]]:
    return render()


def without_labels(document: dict[str, Any]) -> dict[str, Any]:
    """What a release adds is left out: labels of the object, and how its pods find their image."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    found["metadata"].pop("labels", None)
    for pod in pods_of([found]).values():
        pod["containers"][0].pop("imagePullPolicy", None)
    spec = found.get("spec") or {}
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    if "template" in spec:
        spec["template"]["metadata"].pop("annotations", None)
    return found


def test_by_default_it_renders_what_kustomize_does(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    wanted = {(one["kind"], one["metadata"]["name"]): one for one in kustomize("kubernetes")}
    assert objects.keys() == wanted.keys()
    for name, document in objects.items():
        assert without_labels(document) == without_labels(wanted[name]), name


def test_every_object_carries_the_release_and_fits_the_schemas(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    for document in objects.values():
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "mono"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
    assert check_schemas(list(objects.values())) == len(objects) - 2


def test_the_chart_is_of_this_version() -> None:
    chart = read("helm/phasegate/Chart.yaml")
    assert chart["version"] == chart["appVersion"] == __version__
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


def test_lint_is_content() -> None:
    found = lint_chart({"config": CONFIG})
    assert found["errors"] == []
    assert [one["error"] for one in found["messages"]] == ["icon is recommended"]


def test_values_reach_every_pod() -> None:
    objects = render(
        image={"repository": "registry.example/phasegate", "tag": "1.2.3"},
        pod={"nodeSelector": {"zone": "a"}, "imagePullSecrets": [{"name": "pull"}]},
        exporter={
            "secret": "ours",
            "arguments": ["--log.level=debug"],
            "resources": {"limits": {"memory": "1Gi"}},
            "storage": {"size": "5Gi", "className": "fast"},
        },
        partitions={"secret": "theirs", "schedule": "5 4 * * *"},
        judge={"enabled": True, "secret": "judges", "analysisTemplate": True},
    )
    assert check_schemas(list(objects.values()))
    pods = pods_of(list(objects.values()))
    assert set(pods) == {"phasegate", "phasegate-partitions", "phasegate-judge"}
    for pod in pods.values():
        assert pod["containers"][0]["image"] == "registry.example/phasegate:1.2.3"
        assert pod["nodeSelector"] == {"zone": "a"}
        assert pod["imagePullSecrets"] == [{"name": "pull"}]
        assert pod["securityContext"]["runAsNonRoot"] is True
    secrets = {
        name: [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v]
        for name, pod in pods.items()
    }
    assert secrets == {
        "phasegate": ["ours"],
        "phasegate-partitions": ["theirs"],
        "phasegate-judge": ["judges"],
    }
    exporter = pods["phasegate"]["containers"][0]
    assert exporter["args"][-1] == "--log.level=debug"
    assert exporter["resources"] == {"limits": {"memory": "1Gi"}}
    claim = objects["PersistentVolumeClaim", "phasegate-state"]["spec"]
    assert claim["storageClassName"] == "fast"
    assert claim["resources"]["requests"]["storage"] == "5Gi"
    assert objects["CronJob", "phasegate-partitions"]["spec"]["schedule"] == "5 4 * * *"


def test_the_judge_and_its_analysis_are_those_of_the_pipelines() -> None:
    objects = render(judge={"enabled": True, "analysisTemplate": True})
    for document in kustomize("ci"):
        name = (document["kind"], document["metadata"]["name"])
        assert without_labels(objects[name]) == without_labels(document), name


def test_a_changed_configuration_starts_new_pods() -> None:
    def checksum(config: str) -> str:
        template = render(config=config)["Deployment", "phasegate"]["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum(CONFIG) == checksum(CONFIG) != checksum(f"{CONFIG}# more\n")


def test_monitoring_of_one_s_own() -> None:
    rules = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    own = rules | {"metadata": {"name": "phasegate"}, "spec": {"groups": [{"name": "ours"}]}}
    monitoring = {
        "serviceMonitor": {
            "labels": {"release": "kps"},
            "interval": "30s",
            "endpoint": {"scheme": "https"},
        },
        "rules": {"labels": {"release": "kps"}, "file": yaml.safe_dump(own)},
        "boards": {"enabled": False},
    }
    objects = render(monitoring=monitoring, networkPolicy={"namespace": "observability"})
    rule = objects["PrometheusRule", "phasegate"]
    assert rule["spec"] == own["spec"]
    monitor = objects["ServiceMonitor", "phasegate"]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["interval"], endpoint["scheme"], endpoint["port"]) == ("30s", "https", "http")
    for document in (rule, monitor):
        assert document["metadata"]["labels"]["release"] == "kps"
    assert [name for kind, name in objects if kind == "ConfigMap"] == ["phasegate"]
    (entry,) = objects["NetworkPolicy", "phasegate"]["spec"]["ingress"]
    namespaces = [one for one in entry["from"] if "namespaceSelector" in one]
    assert namespaces[0]["namespaceSelector"]["matchLabels"] == {
        "kubernetes.io/metadata.name": "observability"
    }


def test_all_but_the_exporter_can_be_left_out() -> None:
    off = {"enabled": False}
    objects = render(
        partitions=off,
        networkPolicy=off,
        monitoring={"serviceMonitor": off, "rules": off, "boards": off},
    )
    assert {kind for kind, _ in objects} == {
        *("ConfigMap", "PersistentVolumeClaim", "Service", "PodDisruptionBudget", "Deployment")
    }


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"config": ""}, "--set-file config=phasegate.yaml"),
        ({"config": {"environment": "production"}}, "got object, want string"),
        ({"image": {"repository": "x", "tag": "latest"}}, "image/tag"),
        ({"exporter": {"secrets": "typo"}}, "'secrets' not allowed"),
        ({"exporter": {"storage": {"size": "much"}}}, "exporter/storage/size"),
        ({"pod": {"containers": []}}, "/pod"),
        ({"replicas": 2}, "'replicas' not allowed"),
    ],
)
def test_what_cannot_be_meant_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(said)):
        render_chart({"config": CONFIG} | values)


def test_notes_say_what_is_left_to_do() -> None:
    notes = render_notes({"config": CONFIG, "partitions": {"enabled": False}})
    assert "--check-config --connect" in notes
    assert "monitoring.rules.file" in notes
    assert "Nobody makes the audit log's partitions" in notes


def test_a_release_fits_into_its_secret(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    kept = {str(path): path.read_text() for path in CHART.rglob("*") if path.is_file()}
    release = json.dumps([kept, "\n".join(yaml.safe_dump(one) for one in objects.values())])
    # Helm encodes it in base64, and Kubernetes counts what it says decoded once.
    assert len(base64.b64encode(gzip.compress(release.encode()))) < RELEASE_BYTES / 2
