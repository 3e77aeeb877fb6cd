"""The hooks for Kubernetes do the guide's steps in its order, and a step that fails stops."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from phasegate.contract.errors import StepFailed
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.migrate.operations.hook import RunHook
from tests.fixtures.database import Database
from tests.fixtures.manifests import DEPLOY
from tests.fixtures.migrating import Migrating, open_migrating

HOOKS = DEPLOY / "kubernetes/hooks"


@pytest.fixture
def migrating(database: Database, tmp_path: Path) -> Iterator[Migrating]:
    with open_migrating(database, tmp_path, ()) as found:
        yield found


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The hooks as they are shipped, run where docker and kubectl only say what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("docker", "kubectl"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/said\ntest "{name}" != "${{FAILS:-}}"\n'
        )
        program.chmod(0o755)
    shutil.copy(HOOKS / "deploy.sh", tmp_path)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    return load_settings(HOOKS / "hooks.yaml", {}, measures=False)


def run(migrating: Migrating, settings: Settings, *names: str) -> list[str]:
    """What was called while those hooks ran."""
    said = Path("said")
    said.unlink(missing_ok=True)
    for name in names:
        migrating.apply(RunHook(name), settings=settings)
    return said.read_text().splitlines()


def test_images_are_built_and_deployed_the_api_first(
    migrating: Migrating, settings: Settings
) -> None:
    names = ("maintenance_on", "deploy_api", "deploy_web", "maintenance_off")
    assert run(migrating, settings, *names) == [
        "kubectl set image deployment/web web=mono-web:maintenance",
        "kubectl rollout status deployment/web --timeout=300s",
        "docker build --tag mono-api:v2.0.0 --file ./apps/api/Dockerfile .",
        "kubectl set image deployment/api api=mono-api:v2.0.0",
        "kubectl rollout status deployment/api --timeout=300s",
        "docker build --tag mono-web:v2.0.0 --file ./apps/web/Dockerfile .",
        "kubectl set image deployment/web web=mono-web:v2.0.0",
        "kubectl rollout status deployment/web --timeout=300s",
        "kubectl rollout restart deployment/api deployment/web",
    ]


def test_the_way_back_takes_the_images_of_before(migrating: Migrating, settings: Settings) -> None:
    assert run(migrating, settings, "rollback_web", "rollback_api") == [
        "kubectl set image deployment/web web=mono-web:v1.9.0",
        "kubectl rollout status deployment/web --timeout=300s",
        "kubectl set image deployment/api api=mono-api:v1.9.0",
        "kubectl rollout status deployment/api --timeout=300s",
    ]


def test_what_was_not_built_is_not_deployed(
    migrating: Migrating, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "docker")
    with pytest.raises(StepFailed, match="the hook deploy_api ended with exit code 1"):
        run(migrating, settings, "deploy_api")
    assert [line.split()[0] for line in Path("said").read_text().splitlines()] == ["docker"]


def test_a_registry_gets_the_image_before_the_cluster_asks_for_it(
    migrating: Migrating, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGISTRY", "registry.example")
    assert [line.split()[:2] for line in run(migrating, settings, "deploy_api")] == [
        ["docker", "build"],
        ["docker", "push"],
        ["kubectl", "set"],
        ["kubectl", "rollout"],
    ]
