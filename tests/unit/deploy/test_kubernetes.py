"""The kustomizations: against Kubernetes' own schemas, and what each object promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phasegate import __version__
from phasegate.contract.settings import Settings
from phasegate.contract.units import format_duration
from phasegate.dashboards.export import CONFIG_MAP_BYTES
from tests.fixtures.manifests import DEPLOY, check_schemas, kustomize, pods_of, read

BIN = Path(sys.executable).parent
CONFIG = DEPLOY / "kubernetes/base/phasegate.yaml"


@pytest.fixture(scope="module")
def objects() -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and name -> object, of the whole kustomization."""
    found = {(one["kind"], one["metadata"]["name"]): one for one in kustomize("kubernetes")}
    assert len(found) == len(kustomize("kubernetes"))
    return found


def jobs() -> list[dict[str, Any]]:
    """What is created for each run."""
    return [read("kubernetes/migrate/job.yaml"), read("ci/kubernetes-job.yaml")]


def everything(objects: dict[tuple[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    claim = read("kubernetes/migrate/persistentvolumeclaim.yaml")
    return [*objects.values(), *kustomize("ci"), *jobs(), claim]


def test_the_schemas_of_kubernetes_accept_every_object(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    kinds = {kind for kind, _ in objects}
    assert kinds >= {
        *("Deployment", "Service", "ServiceMonitor", "PrometheusRule", "ConfigMap"),
        *("NetworkPolicy", "PodDisruptionBudget", "CronJob", "PersistentVolumeClaim"),
    }
    documents = everything(objects)
    assert "AnalysisTemplate" in {one["kind"] for one in documents}
    foreign = {"ServiceMonitor", "PrometheusRule", "AnalysisTemplate"}
    native = [one for one in documents if one["kind"] not in foreign]
    assert check_schemas(documents) == len(native)


def test_the_check_by_schema_can_fail(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    check_schemas([])
    deployment = objects["Deployment", "phasegate"]
    broken = deployment | {"spec": deployment["spec"] | {"replicaCount": 2}}
    with pytest.raises(Exception, match="replicaCount"):
        check_schemas([broken])


def test_pods_run_as_nobody_on_a_root_that_cannot_be_written(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    pods = pods_of(everything(objects))
    assert set(pods) == {
        *("phasegate", "phasegate-partitions", "phasegate-judge"),
        *("phasegate-gate-", "phasegate-migrate-"),
    }
    for name, pod in pods.items():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]) == {"requests", "limits"}, name
        assert container["image"].endswith(f":{__version__}"), name
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        # Secrets come as files that the group may read, never as variables.
        assert all("valueFrom" not in variable for variable in container.get("env", ()))
        assert all(v["secret"]["defaultMode"] == 0o440 for v in volumes.values() if "secret" in v)


def test_all_that_is_named_is_there(objects: dict[tuple[str, str], dict[str, Any]]) -> None:
    claim = read("kubernetes/migrate/persistentvolumeclaim.yaml")["metadata"]["name"]
    claims = {name for kind, name in objects if kind == "PersistentVolumeClaim"} | {claim}
    for pod in pods_of(everything(objects)).values():
        for volume in pod["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in objects
    labels = objects["Deployment", "phasegate"]["spec"]["template"]["metadata"]["labels"]
    assert objects["Service", "phasegate"]["spec"]["selector"] == labels
    for kind, key in (("NetworkPolicy", "podSelector"), ("PodDisruptionBudget", "selector")):
        assert objects[kind, "phasegate"]["spec"][key]["matchLabels"] == labels
    monitor = objects["ServiceMonitor", "phasegate"]["spec"]
    assert (
        monitor["selector"]["matchLabels"] == objects["Service", "phasegate"]["metadata"]["labels"]
    )
    (port,) = objects["Service", "phasegate"]["spec"]["ports"]
    assert monitor["endpoints"][0]["port"] == port["name"]


def test_the_exporter_is_watched_without_its_database(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    (container,) = pods_of([objects["Deployment", "phasegate"]])["phasegate"]["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "http"}
    # Two at once would write to one volume.
    assert objects["Deployment", "phasegate"]["spec"]["strategy"] == {"type": "Recreate"}


def test_rules_find_the_series_after_relabelling(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    (endpoint,) = objects["ServiceMonitor", "phasegate"]["spec"]["endpoints"]
    defaults = Settings().monitoring
    assert endpoint["interval"] == format_duration(defaults.scrape_interval)
    replaced = {
        one["targetLabel"]: one for one in endpoint["relabelings"] if one["action"] == "replace"
    }
    assert replaced["job"]["replacement"] == defaults.job
    # Of the service, so that a new pod is the same instance; nothing of the pod is left.
    assert not any("pod" in label for label in replaced["instance"]["sourceLabels"])
    (dropped,) = (one for one in endpoint["relabelings"] if one["action"] == "labeldrop")
    assert set(dropped["regex"].split("|")) == {"pod", "container", "endpoint", "service"}


def test_boards_fit_what_kubectl_apply_takes(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    boards = [one for (kind, name), one in objects.items() if kind == "ConfigMap"]
    boards = [one for one in boards if "grafana_dashboard" in one["metadata"].get("labels", {})]
    assert len(boards) == len(list((DEPLOY.parent / "dashboards").glob("*.json")))
    for board in boards:
        assert sum(len(text.encode()) for text in board["data"].values()) < CONFIG_MAP_BYTES


def test_partitions_are_made_by_one_at_a_time_and_tried_again_where_that_helps(
    objects: dict[tuple[str, str], dict[str, Any]],
) -> None:
    spec = objects["CronJob", "phasegate-partitions"]["spec"]
    assert (spec["concurrencyPolicy"], spec["timeZone"]) == ("Forbid", "Etc/UTC")
    job = spec["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob"
    (container,) = job["template"]["spec"]["containers"]
    assert rule["onExitCodes"] == {
        "containerName": container["name"],
        "operator": "In",
        # Codes of cli.py: configuration, and a bug of ours.
        "values": [2, 70],
    }
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_a_run_of_the_migration_is_never_repeated_by_the_platform() -> None:
    job = read("kubernetes/migrate/job.yaml")["spec"]
    assert (job["backoffLimit"], job["completions"], job["parallelism"]) == (0, 1, 1)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert not {"podFailurePolicy", "backoffLimitPerIndex", "successPolicy"} & set(job)


def command(pod: dict[str, Any], config: Path, *more: str, **names: str) -> list[str]:
    """A workload's own command, with its configuration here and its variables filled in."""
    (container,) = pod["containers"]
    arguments = list(container["args"])
    for variable in container.get("env", ()):
        value = names.get(variable["name"], variable["value"])
        arguments = [one.replace(f"$({variable['name']})", value) for one in arguments]
    found = [one.replace("/etc/phasegate/phasegate.yaml", str(config)) for one in arguments]
    return [str(BIN / "phasegate"), *found, *more]


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The shipped configuration, with secrets of a database that nobody can reach."""
    text = CONFIG.read_text().replace("/run/secrets/phasegate", str(tmp_path))
    (tmp_path / "database-url").write_text("postgresql://phasegate@127.0.0.1:1/mono_prod")
    (tmp_path / "cache-url").write_text("redis://127.0.0.1:1/0")
    (tmp_path / "phasegate.yaml").write_text(text.replace("/var/lib/phasegate", str(tmp_path)))
    return tmp_path / "phasegate.yaml"


def test_the_exporter_accepts_its_arguments_and_its_configuration(
    objects: dict[tuple[str, str], dict[str, Any]], config: Path, tmp_path: Path
) -> None:
    pod = pods_of([objects["Deployment", "phasegate"]])["phasegate"]
    done = run(command(pod, config, "--check-config"), tmp_path)
    assert (done.returncode, done.stdout) == (0, "configuration: ok\n"), done.stderr
    assert objects["ConfigMap", "phasegate"]["data"]["phasegate.yaml"] == CONFIG.read_text()


def test_partitions_reach_for_the_database(
    objects: dict[tuple[str, str], dict[str, Any]], config: Path, tmp_path: Path
) -> None:
    pod = pods_of([objects["CronJob", "phasegate-partitions"]])["phasegate-partitions"]
    done = run(command(pod, config), tmp_path)
    assert done.returncode == 4, done.stderr


def test_a_run_needs_a_phase_that_somebody_named(config: Path, tmp_path: Path) -> None:
    pod = pods_of([read("kubernetes/migrate/job.yaml")])["phasegate-migrate-"]
    refused = run(command(pod, config), tmp_path)
    assert refused.returncode == 2
    assert "SET-THE-PHASE" in refused.stderr
    done = run(command(pod, config, UNTIL="prepare", BY="a-test"), tmp_path)
    assert done.returncode == 4, done.stderr


def test_an_overlay_brings_one_s_own_image_configuration_labels_and_a_password(
    tmp_path: Path,
) -> None:
    documents = kustomize("kubernetes/example")
    assert check_schemas(documents)
    objects = {(one["kind"], one["metadata"]["name"]): one for one in documents}
    assert {one["metadata"]["namespace"] for one in documents} == {"phasegate"}
    for pod in pods_of(documents).values():
        assert pod["containers"][0]["image"] == f"registry.example/phasegate:{__version__}"
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert objects[kind, "phasegate"]["metadata"]["labels"]["release"]
    (endpoint,) = objects["ServiceMonitor", "phasegate"]["spec"]["endpoints"]
    assert set(endpoint["basicAuth"]) == {"username", "password"}
    pod = pods_of([objects["Deployment", "phasegate"]])["phasegate"]
    config = tmp_path / "phasegate.yaml"
    config.write_text(objects["ConfigMap", "phasegate"]["data"]["phasegate.yaml"])
    text = (
        "basic_auth_users:\n  judge: $2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay\n"
    )
    (tmp_path / "web.yaml").write_text(text)
    arguments = command(pod, config, "--check-config")
    arguments = [one.replace("/run/secrets/phasegate", str(tmp_path)) for one in arguments]
    done = run(arguments, tmp_path)
    assert (done.returncode, done.stdout) == (0, "configuration: ok\n"), done.stderr
    (tmp_path / "web.yaml").write_text("basic_auth_users: {}\n")
    assert run(arguments, tmp_path).returncode == 2
