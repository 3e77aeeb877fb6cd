"""The flags of the command that are refused before anything is started."""

from __future__ import annotations

from unittest.mock import MagicMock

import click
import pytest

from phasegate.exporter.app import Exporter
from phasegate.exporter.command import parse_telemetry_path
from phasegate.exporter.http import FIXED_PATHS, make_application


@pytest.mark.parametrize("path", ["/metrics", "/a/b-c_d.e~f", "/metrics/", "/.well/x"])
def test_a_path_of_the_metrics_is_taken(path: str) -> None:
    assert parse_telemetry_path(path) == path


@pytest.mark.parametrize(
    "path", ["metrics", "", "/{x}", "/a b", "/a?b", "/a#b", "//a", "/a/../b", "/.", "/%41", "/a\n"]
)
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(click.BadParameter, match=r"begins with /|page of its own"):
        parse_telemetry_path(path)


def test_no_other_pages_path_is_taken_for_the_metrics() -> None:
    router = make_application(MagicMock(spec=Exporter), telemetry_path="/metrics").router
    paths = {resource.canonical for resource in router.resources()} - {"/metrics"}
    assert paths == set(FIXED_PATHS)
    for path in (*paths, "/config/"):
        with pytest.raises(click.BadParameter, match="page of its own"):
            parse_telemetry_path(path)
