"""The composite action and the GitLab template: their form, and that they fail by the verdict."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.answers import Answering, answering
from tests.fixtures.manifests import DEPLOY, read
from tests.fixtures.pipeline import write_config
from tests.integration.deploy.test_pipelines import (
    BIN,
    HIDING,
    arrange,
    environ,
    github_script,
    gitlab_script,
)

ACTION = DEPLOY / "github-action/action.yml"


@pytest.fixture(scope="module")
def exporter() -> Iterator[Answering]:
    with answering(Answering()) as server:
        yield server


def steps() -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in read("github-action/action.yml")["runs"]["steps"]}


def gitlab() -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs, and the job that they fill."""
    text = (DEPLOY / "gitlab/template.yml").read_text(encoding="utf-8")
    head, jobs = yaml.safe_load_all(text)
    return head["spec"]["inputs"], jobs


def gitlab_filled() -> dict[str, Any]:
    """The job as GitLab makes it of the defaults, and of a wheel."""
    inputs, jobs = gitlab()
    text = yaml.safe_dump(jobs, width=2**20)
    for name, spec in inputs.items():
        text = text.replace(f"$[[ inputs.{name} ]]", str(spec.get("default", "phasegate.whl")))
    assert "$[[" not in text
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def run(shell: list[str], script: str, folder: Path, **names: str) -> tuple[int, str]:
    (folder / "script").write_text(script)
    done = subprocess.run(
        [*shell, str(folder / "script")],
        cwd=folder,
        env=environ(folder, **names),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_action_fails_by_the_verdict_and_says_the_code(
    code: int, exporter: Answering, tmp_path: Path
) -> None:
    arrange(exporter, code)
    config = write_config(tmp_path, exporter.url)
    output = tmp_path / "output"
    names = {
        "CONFIG": config.name,
        "GITHUB_OUTPUT": str(output),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
    found, said = run(bash, steps()["Judge"]["run"], tmp_path, **names)
    assert found == code, said
    assert output.read_text() == f"exit-code={code}\n"
    assert "canary-4711" not in said
    assert not (tmp_path / "exporter-password").exists()
    assert (tmp_path / "evidence.intoto.json").is_file()


@pytest.mark.parametrize("code", [0, 1, 3, 4])
def test_the_template_fails_by_the_verdict(code: int, exporter: Answering, tmp_path: Path) -> None:
    arrange(exporter, code)
    write_config(tmp_path, exporter.url)
    job = gitlab_filled()["phasegate-gate"]
    variables = {name: str(value) for name, value in job["variables"].items()} | {"WAIT": "1s"}
    found, said = run(["bash", "-e"], "\n".join(job["script"]), tmp_path, **variables)
    assert found == code, said


def test_the_platforms_own_schemas_accept_them(tmp_path: Path) -> None:
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema"]
    action = [*checker, "vendor.github-actions", str(ACTION)]
    assert subprocess.run(action, check=False).returncode == 0
    inputs, _ = gitlab()
    for name, document in (("head", {"spec": {"inputs": inputs}}), ("job", gitlab_filled())):
        path = tmp_path / f"{name}.yml"
        path.write_text(yaml.safe_dump(document))
        template = [*checker, "vendor.gitlab-ci", str(path)]
        assert subprocess.run(template, check=False).returncode == 0, name


def test_no_input_can_become_a_command() -> None:
    for step in steps().values():
        assert "${{" not in step.get("run", "")
    inputs = read("github-action/action.yml")["inputs"]
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", ACTION.read_text().split("runs:")[1]))
    assert used == set(inputs)


def test_nothing_hides_the_code() -> None:
    script = steps()["Judge"]["run"].strip().replace("\\\n", " ")
    lines = [line for line in script.splitlines() if not line.startswith("trap ")]
    assert lines[-1].split()[:2] == ["phasegate", "validate"]
    assert HIDING.findall("\n".join(lines)) == []
    assert all("continue-on-error" not in step for step in steps().values())
    _, jobs = gitlab()
    assert (jobs["phasegate-gate"]["retry"], jobs["phasegate-gate"]["allow_failure"]) == (0, False)


def test_all_pipelines_of_one_platform_ask_the_same() -> None:
    action = steps()["Judge"]["run"].replace("\\\n", " ").split("phasegate validate")[1].split()
    asked = github_script().replace("\\\n", " ").split("phasegate validate")[1].split()
    assert [one if one != '"$CONFIG"' else "phasegate.yaml" for one in action] == asked
    template = "\n".join(gitlab()[1]["phasegate-gate"]["script"])
    assert template.replace('"$PHASEGATE_CONFIG"', "phasegate.yaml") == gitlab_script().strip()
