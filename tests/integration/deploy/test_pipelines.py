"""The pipelines that people copy: their form, and that their own command lines fail the job.

The lines are taken from the files and run by a shell as the runner would, against an exporter with
evidence that passes, fails, decides nothing, or that does not answer.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.tree import ROOT
from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import NOW, observations, probe_block, probes
from tests.fixtures.pipeline import serve_now, write_config

PIPELINES = ROOT / "deploy" / "ci"
BIN = Path(sys.executable).parent
HIDING = re.compile(r"\|\|| \| |;|\bset \+e\b|\btrue\b|\bif\b|&$", re.MULTILINE)


def load(name: str) -> Any:
    return yaml.safe_load((PIPELINES / name).read_text(encoding="utf-8"))


def github_script() -> str:
    steps = load("github-actions.yml")["jobs"]["gate"]["steps"]
    return str(next(step["run"] for step in steps if step.get("name") == "Judge"))


def gitlab_script() -> str:
    return "\n".join(load("gitlab-ci.yml")["gate"]["script"])


def jenkins_script() -> str:
    text = (PIPELINES / "Jenkinsfile").read_text(encoding="utf-8")
    (script,) = re.findall(r"sh '''(.*?)'''", text, re.DOTALL)
    return str(script)


# How each runner starts its shell.
SCRIPTS = {
    "github": (["bash", "--noprofile", "--norc", "-eo", "pipefail"], github_script),
    "gitlab": (["bash", "-e"], gitlab_script),
    "jenkins": (["sh", "-xe"], jenkins_script),
}


def arrange(server: Answering, code: int) -> None:
    """Evidence by which the gate exits with that code."""
    server.status = 200
    if code == 0:
        serve_now(server)
    elif code == 1:
        serve_now(server, observations=observations(uuid_missing=7.0))
    elif code == 3:
        serve_now(server, series=(probes(probe_block(NOW - 1, good=20)),))
    else:
        server.status = 503


@pytest.fixture(scope="module")
def exporter() -> Iterator[Answering]:
    with answering(Answering()) as server:
        yield server


def environ(folder: Path, **more: str) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name != "PHASEGATE_CONFIG"}
    return found | {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "DEPLOYED_AT": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 600)),
        "WAIT": "1s",
        "RUNNER_TEMP": str(folder),
        "EXPORTER_PASSWORD": "canary-4711",
        **more,
    }


@pytest.mark.parametrize("code", [0, 1, 3, 4])
@pytest.mark.parametrize("runner", SCRIPTS)
def test_the_verdict_is_the_exit_code_of_the_job(
    runner: str, code: int, exporter: Answering, tmp_path: Path
) -> None:
    arrange(exporter, code)
    write_config(tmp_path, exporter.url)
    shell, script = SCRIPTS[runner]
    (tmp_path / "script").write_text(script())
    summary = tmp_path / "summary.md"
    done = subprocess.run(
        [*shell, str(tmp_path / "script")],
        cwd=tmp_path,
        env=environ(tmp_path, GITHUB_STEP_SUMMARY=str(summary)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert json.loads((tmp_path / "verdict.json").read_text())["exit_code"] == code
    assert (tmp_path / "evidence.json").is_file()
    result = json.loads((tmp_path / "evidence.intoto.json").read_text())["predicate"]["result"]
    assert (result == "PASSED") is (code == 0)
    assert "canary-4711" not in done.stdout + done.stderr
    assert (runner == "github") is summary.exists()


@pytest.mark.parametrize("runner", SCRIPTS)
def test_no_line_hides_an_exit_code_and_the_gate_comes_last(runner: str) -> None:
    script = SCRIPTS[runner][1]().strip()
    assert HIDING.findall(script) == []
    lines = script.replace("\\\n", " ").splitlines()
    assert lines[-1].split()[:2] == ["phasegate", "validate"]


@pytest.mark.parametrize(
    ("schema", "name"),
    [("github-workflows", "github-actions.yml"), ("gitlab-ci", "gitlab-ci.yml")],
)
def test_the_platforms_own_schema_accepts_it(schema: str, name: str) -> None:
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema", f"vendor.{schema}"]
    assert subprocess.run([*checker, str(PIPELINES / name)], check=False).returncode == 0


def test_what_must_not_be_retried_is_not() -> None:
    gate = load("gitlab-ci.yml")["gate"]
    assert (gate["retry"], gate["allow_failure"]) == (0, False)
    github = load("github-actions.yml")["jobs"]["gate"]
    assert all("continue-on-error" not in part for part in (github, *github["steps"]))
    assert "retry" not in (PIPELINES / "Jenkinsfile").read_text()
    assert "catchError" not in (PIPELINES / "Jenkinsfile").read_text()
    job = load("kubernetes-job.yaml")["spec"]
    assert (job["backoffLimit"], job["completions"], job["parallelism"]) == (0, 1, 1)
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    assert not {"podFailurePolicy", "backoffLimitPerIndex", "successPolicy"} & set(job)


def pods() -> list[dict[str, Any]]:
    """The pods of our Kubernetes files."""
    text = (PIPELINES / "validate-serve.yaml").read_text(encoding="utf-8")
    documents = [load("kubernetes-job.yaml"), *yaml.safe_load_all(text)]
    return [one["spec"]["template"]["spec"] for one in documents if one["kind"] != "Service"]


def test_pods_run_as_nobody_on_a_root_that_cannot_be_written() -> None:
    assert len(pods()) == 2
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"] for mount in container["volumeMounts"] if mount["readOnly"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert all("valueFrom" not in variable for variable in container["env"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_the_job_s_own_command_exits_by_the_verdict(
    code: int, exporter: Answering, tmp_path: Path
) -> None:
    arrange(exporter, code if code != 2 else 0)
    config = write_config(tmp_path, exporter.url)
    (container,) = load("kubernetes-job.yaml")["spec"]["template"]["spec"]["containers"]
    names = {one["name"]: one["value"] for one in container["env"]}
    real = environ(tmp_path)
    if code != 2:  # as it is shipped it names no time
        names |= {"DEPLOYED_AT": real["DEPLOYED_AT"]}
    names |= {"WAIT": "1s"}
    arguments = [
        re.sub(r"\$\((\w+)\)", lambda found: names[found[1]], argument).replace(
            "/etc/phasegate/phasegate.yaml", str(config)
        )
        for argument in container["args"]
    ]
    done = subprocess.run(
        [str(BIN / "phasegate"), *arguments],
        cwd=tmp_path,
        env=real,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
