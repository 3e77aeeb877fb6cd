"""The files for Argo Rollouts and Flagger, held against the real answers of `validate serve`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from phasegate.validators.serve.answers import GATE_STATUS, ROLLBACK_STATUS
from phasegate.validators.serve.questions import HOOKS
from tests.fixtures.answers import Answering, answering
from tests.fixtures.judges import Judging, judging
from tests.fixtures.pipeline import write_config
from tests.fixtures.rollouts import assess, measure
from tests.integration.deploy.test_pipelines import PIPELINES, arrange, load

CODES = {"passed": 0, "failed": 1, "inconclusive": 3, "error": 4}
PHASES = {
    "passed": "Successful",
    "failed": "Failed",
    "inconclusive": "Inconclusive",
    "error": "Inconclusive",
}
TOKEN = "canary-4711"


@pytest.fixture(scope="module")
def exporter() -> Iterator[Answering]:
    with answering(Answering()) as server:
        yield server


@pytest.fixture(scope="module")
def judge(exporter: Answering, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judging]:
    """Started with the flags of our own Deployment, but for places and the port."""
    folder = tmp_path_factory.mktemp("judge")
    (folder / "token").write_text(TOKEN)
    text = (PIPELINES / "validate-serve.yaml").read_text(encoding="utf-8")
    deployment, service = yaml.safe_load_all(text)
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    flags = [flag for flag in container["args"][2:] if "bearer-file" in flag]
    assert container["args"][:2] == ["validate", "serve"]
    assert deployment["spec"]["replicas"] == 1
    assert [port["port"] for port in service["spec"]["ports"]] == [9898]
    flags = [flag.replace("/run/secrets/phasegate", str(folder)) for flag in flags]
    with judging(write_config(folder, exporter.url), *flags, token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def metric() -> dict[str, Any]:
    (found,) = load("argo-rollouts.yaml")["spec"]["metrics"]
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("verdict", CODES)
def test_argo_measures_what_the_verdict_says(
    judge: Judging, exporter: Answering, metric: dict[str, Any], verdict: str
) -> None:
    web = metric["provider"]["web"]
    assert "jsonPath" not in web
    (header,) = web["headers"]
    arrange(exporter, CODES[verdict])
    parts = urlsplit(web["url"].replace("{{args.release}}", verdict))
    shown = header["value"].replace("{{args.token}}", TOKEN)
    path = f"{parts.path}?{parts.query}&window=10m"
    assert measure(metric, *judge.ask(path, header=shown)) == PHASES[verdict]
    assert measure(metric, *judge.ask(path, header="Bearer x")) == "Error"
    assert measure(metric, *judge.ask(f"{path}&nope=1")) == "Error"


def test_argo_promotes_only_after_a_pass(metric: dict[str, Any]) -> None:
    count = metric["count"]
    assert assess(metric, ["Inconclusive"] * count) == "Inconclusive"
    assert assess(metric, ["Inconclusive"] * (count - 1)) == "Running"
    assert assess(metric, ["Inconclusive"] * (count - 1) + ["Successful"]) == "Successful"
    assert assess(metric, ["Successful", "Failed"]) == "Failed"
    assert assess(metric, ["Error"] * 5) == "Error"
    assert assess(metric, ["Error"] * 4 + ["Inconclusive"] * count) == "Inconclusive"
    # With a limit that lets all be undecided it would be promoted on nothing.
    loose = metric | {"inconclusiveLimit": count}
    assert assess(loose, ["Inconclusive"] * count) == "Successful"


def webhooks() -> list[dict[str, Any]]:
    found = load("flagger.yaml")["spec"]["analysis"]["webhooks"]
    assert isinstance(found, list)
    return found


def test_flagger_s_hooks_go_to_the_pages_of_their_kind() -> None:
    assert {hook["type"] for hook in webhooks()} == {
        *("confirm-rollout", "confirm-promotion", "rollback")
    }
    for hook in webhooks():
        assert urlsplit(hook["url"]).path == f"/flagger/{hook['type']}"
        assert all(isinstance(value, str) for value in hook["metadata"].values())


@pytest.mark.parametrize("verdict", CODES)
@pytest.mark.parametrize("kind", HOOKS)
def test_flagger_is_answered_by_the_verdict_in_every_phase(
    judge: Judging, exporter: Answering, kind: str, verdict: str
) -> None:
    arrange(exporter, CODES[verdict])
    given: dict[str, str] = next(
        (hook["metadata"] for hook in webhooks() if hook["type"] == kind), {}
    )
    criteria = "uuid_missing, uuid_lookup_latency"
    body = {
        "name": "api",
        "namespace": "prod",
        "phase": "Progressing",
        "checksum": f"{kind}-{verdict}",
        "metadata": given | {"criterion": criteria, "window": "10m"},
    }
    expected = ROLLBACK_STATUS if kind == "rollback" else GATE_STATUS
    status, said = judge.ask(f"/flagger/{kind}", body)
    assert (status, said["verdict"]) == (expected[said["verdict"]], verdict)
    assert (status <= 202) is (verdict == ("failed" if kind == "rollback" else "passed"))


def test_flagger_s_own_metadata_is_understood(judge: Judging, exporter: Answering) -> None:
    arrange(exporter, 0)
    for hook in webhooks():
        body = {"name": "a", "namespace": "b", "checksum": "c", "metadata": hook["metadata"]}
        assert judge.ask(f"/flagger/{hook['type']}", body)[0] in (200, 425)
