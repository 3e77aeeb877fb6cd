"""What the Dockerfile says, read and not run; tests/integration/project/test_image.py runs it."""

from __future__ import annotations

import io
import json
import re

import pytest
from dockerfile_parse import DockerfileParser

from checks.tree import ROOT


@pytest.fixture(scope="module")
def steps() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_bytes()
    structure = DockerfileParser(fileobj=io.BytesIO(text)).structure
    return [(step["instruction"], step["value"]) for step in structure]


def values(steps: list[tuple[str, str]], instruction: str) -> list[str]:
    """The values of every line with this instruction."""
    return [value for name, value in steps if name == instruction]


def test_two_stages_of_one_base(steps: list[tuple[str, str]]) -> None:
    build, final = values(steps, "FROM")
    assert build == f"{final} AS build"
    assert re.fullmatch(r"python:3\.\d+-slim-bookworm", final)


def test_every_package_is_hashed(steps: list[tuple[str, str]]) -> None:
    installs = [line for line in values(steps, "RUN") if " install " in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)


def test_runs_as_a_number_that_is_not_root(steps: list[tuple[str, str]]) -> None:
    (user,) = values(steps, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)


def test_says_how_it_is_reached_stopped_and_watched(steps: list[tuple[str, str]]) -> None:
    assert values(steps, "EXPOSE") == ["9899"]
    assert values(steps, "STOPSIGNAL") == ["SIGTERM"]
    (health,) = values(steps, "HEALTHCHECK")
    assert "--timeout=" in health
    assert json.loads(health[health.index("CMD ") + 4 :])[0] == "python"


def test_state_goes_to_the_volume(steps: list[tuple[str, str]]) -> None:
    (volume,) = values(steps, "VOLUME")
    (command,) = values(steps, "CMD")
    assert json.loads(values(steps, "ENTRYPOINT")[0]) == ["phasegate"]
    assert json.loads(command) == ["exporter", f"--storage.path={volume}"]


def test_carries_the_labels_of_an_open_image(steps: list[tuple[str, str]]) -> None:
    (labels,) = values(steps, "LABEL")
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
