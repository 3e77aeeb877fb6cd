"""What is copied follows its origin, and the check sees a copy that does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from checks.tree import ROOT
from deploy import generate


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what is read and written, freshly generated."""
    for room, patterns in (("dashboards", "*.json"), ("alerts/operator", "*.yaml")):
        (tmp_path / room).mkdir(parents=True)
        for path in (ROOT / room).glob(patterns):
            shutil.copy(path, tmp_path / room)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=lambda *_: ["secrets"])
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "DEPLOY", tmp_path / "deploy")
    assert generate.main([]) == 0
    return tmp_path


def test_what_was_just_made_is_current(tree: Path) -> None:
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize(
    "origin",
    [
        "dashboards/overview.json",
        "alerts/operator/prometheusrule.yaml",
        "deploy/kubernetes/base/deployment.yaml",
        "deploy/ci/argo-rollouts.yaml",
        "deploy/ci/gitlab-ci.yml",
    ],
)
def test_an_origin_that_changed_is_seen_and_followed(
    tree: Path, origin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tree / origin
    text = path.read_text()
    path.write_text(text.replace("phasegate", "phasegate1"))
    assert generate.main(["--check"]) == 1
    assert "phasegate1" in capsys.readouterr().out
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_copy_of_what_is_gone_is_seen_and_removed(tree: Path) -> None:
    (tree / "dashboards/overview.json").unlink()
    assert generate.main(["--check"]) == 1
    assert generate.main([]) == 0
    left = [path.name for path in (tree / "deploy").rglob("boards/*")]
    assert "overview.yaml" not in left
    assert len(left) == len(list((tree / "dashboards").glob("*.json")))


def test_boards_and_rules_are_those_of_the_project(tree: Path) -> None:
    files = generate.render_files()
    rules = files[f"{generate.CHART_FILES}/monitoring/prometheusrule.yaml"]
    assert rules == (ROOT / "alerts/operator/prometheusrule.yaml").read_text()
    for name, board in generate.read_boards().items():
        assert board == (ROOT / "dashboards" / name).read_text()
        copy = files[f"{generate.CHART_FILES}/monitoring/boards/{Path(name).stem}.yaml"]
        assert copy.count("\n") >= board.count("\n")
