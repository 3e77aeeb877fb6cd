"""`phasegate dashboards build` and `check`, and an overlay, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from phasegate.cli import main

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "dashboards"
NAMES = (
    *("overview.json", "database-performance.json", "cache-metrics.json", "audit-system.json"),
    "migration.json",
)
CONFIG = """\
database: {url: "postgresql://127.0.0.1:1/none"}
criteria: {uuid_lookup_latency: {warning: 5ms, critical: 50ms}}
"""


def run(*arguments: str) -> int:
    """The exit code of `phasegate dashboards …`."""
    try:
        main(["dashboards", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A directory with the boards of the defaults."""
    assert run("build", "--output", str(tmp_path)) == 0
    return tmp_path


def test_the_committed_files_are_the_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    code = run("check", "--output", str(COMMITTED))
    assert (code, capsys.readouterr().out) == (0, "")


def test_one_byte_is_told_as_a_difference(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = built / "cache-metrics.json"
    path.write_text(path.read_text("utf-8").replace('"0.9', '"0.8').replace("0.9", "0.7", 1))
    capsys.readouterr()
    assert run("check", "--output", str(built)) == 1
    told = capsys.readouterr().out
    assert f"--- {path}" in told
    assert [line for line in told.splitlines() if line.startswith(("-", "+"))][2:] != []
    assert "overview.json" not in told


def test_a_file_that_is_gone_is_a_difference(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (built / "overview.json").unlink()
    assert run("check", "--output", str(built)) == 1
    assert "+++ built/overview.json" in capsys.readouterr().out


def test_other_ends_of_lines_are_no_difference(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in NAMES:
        path = built / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    capsys.readouterr()
    assert run("check", "--output", str(built)) == 0
    assert capsys.readouterr().out == ""


def test_a_configuration_changes_the_boards(tmp_path: Path) -> None:
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    assert run("build", "--config", str(config), "--output", str(tmp_path / "out")) == 0
    text = (tmp_path / "out" / "database-performance.json").read_text("utf-8")
    assert "UUID lookup p95 (≤ 5 ms)" in text
    assert run("check", "--config", str(config), "--output", str(tmp_path / "out")) == 0
    assert run("check", "--output", str(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("criteria: {uuid_lookup_latency: {warning: 50ms}}", "a warning limit beyond the critical"),
        ("criteria: {hit_ratio: {warning: 0.9}}", "hit_ratio"),
        ("monitoring: {scrape_interval: 15}", "scrape_interval"),
        ("monitoring: {runbooks: 'https://wiki.example'}", "runbooks"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_by_its_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, told: str
) -> None:
    file = tmp_path / "phasegate.yaml"
    file.write_text(config, encoding="utf-8")
    assert run("build", "--config", str(file), "--output", str(tmp_path / "out")) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_written_is_a_faulty_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run("build", "--output", str(tmp_path / "file" / "below")) == 2
    assert "file" in capsys.readouterr().err


def overlay(folder: Path, text: str) -> Path:
    """A file of jsonnet."""
    path = folder / "ours.jsonnet"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_overlay_changes_what_it_names_and_leaves_each_figure_as_it_was(
    built: Path, tmp_path: Path
) -> None:
    ours = overlay(
        tmp_path,
        "function(board) board + (if board.uid == 'phasegate-cache'"
        " then {refresh: '1m', tags+: ['ours']} else {})",
    )
    out = tmp_path / "out"
    assert run("build", "--output", str(out), "--overlay", str(ours)) == 0
    for name in NAMES:
        before, after = (built / name).read_text("utf-8"), (out / name).read_text("utf-8")
        if name != "cache-metrics.json":
            assert after == before
    changed = json.loads((out / "cache-metrics.json").read_text("utf-8"))
    assert changed == {
        **json.loads((built / "cache-metrics.json").read_text("utf-8")),
        "refresh": "1m",
        "tags": ["phasegate", "ours"],
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import 'other.libsonnet'", "imports nothing"),
        ("function(board) board + {x: importstr '/etc/passwd'}", "imports nothing"),
        ("function(board) board + {", "ours.jsonnet"),
        ("function(board) [board]", "no board of uid"),
        ("function(board) board + {uid: 'mine'}", "no board of uid"),
        ("function(board) error 'no'", "no"),
    ],
)
def test_an_overlay_that_is_no_function_of_a_board_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    ours = overlay(tmp_path, text)
    assert run("build", "--output", str(tmp_path / "out"), "--overlay", str(ours)) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_overlay_that_breaks_a_rule_is_told_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = overlay(tmp_path, "function(board) board + {editable: true}")
    assert run("build", "--output", str(tmp_path), "--overlay", str(ours)) == 0
    assert "overview.json: board: can be edited" in capsys.readouterr().err
    assert json.loads((tmp_path / "overview.json").read_text("utf-8"))["editable"] is True


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("provisioning", "provisioning/dashboards/phasegate.yaml"),
        ("configmap", "configmaps/overview.yaml"),
        ("gitsync", "Ours/overview.json"),
    ],
)
def test_each_form_is_written_and_checked(tmp_path: Path, form: str, file: str) -> None:
    how = ("--format", form, "--folder", "Ours", "--output", str(tmp_path))
    assert run("build", *how) == 0
    assert yaml.safe_load((tmp_path / file).read_text("utf-8"))
    assert run("check", *how) == 0


@pytest.mark.parametrize("folder", ["", "..", "a\nb"])
def test_a_folder_without_a_usable_name_is_refused(tmp_path: Path, folder: str) -> None:
    assert run("build", "--folder", folder, "--output", str(tmp_path / "out")) == 2
