"""The lock files are whole, hashed, free of addresses, and in step with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from checks.tree import ROOT

LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")


def read_pins(name: str) -> dict[str, str]:
    """Package -> pinned version of one lock file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", text, flags=re.MULTILINE))


def demanded(lock: str) -> list[Requirement]:
    """What pyproject.toml wants to find in a lock file."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    runtime = list(project["project"]["dependencies"])
    extras = [
        line for extra in project["project"]["optional-dependencies"].values() for line in extra
    ]
    dev = [line for line in groups["dev"] if isinstance(line, str)]
    wanted = {
        "requirements.lock": runtime,
        "requirements-build.lock": groups["build"],
        "requirements-dev.lock": [*runtime, *extras, *groups["build"], *dev],
    }
    return [Requirement(line) for line in wanted[lock]]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_pins_what_the_project_demands(lock: str) -> None:
    pins = read_pins(lock)
    for requirement in demanded(lock):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_is_hashed_and_names_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index-url" not in text
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(read_pins(lock))
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_agree_on_versions(lock: str) -> None:
    assert read_pins(lock).items() <= read_pins("requirements-dev.lock").items()


def test_the_builder_of_the_lock_is_the_builder_that_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["build-system"]["requires"]) <= set(project["dependency-groups"]["build"])
