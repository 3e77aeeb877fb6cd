"""The wheel, installed into an empty environment outside the checkout, measures a real server.

And the proof of the wheel that `make check` gives can fail: each way of packing wrong is made once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from checks.tree import ROOT, fetch_tracked_files
from checks.wheel import ProofFailed, apply_build_proof, build, make_environment, pip_install
from phasegate import __version__
from tests.fixtures.database import Database

# One environment for all of them.
pytestmark = pytest.mark.xdist_group("wheel")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the commands of an environment that holds the wheel and what it needs."""
    work = tmp_path_factory.mktemp("installed")
    wheel = build("wheel", ROOT, work / "wheel")
    python = make_environment(ROOT, work / "venv", ROOT / "requirements.lock")
    pip_install(python, "--no-deps", str(wheel))
    return python.parent


def run(
    command: Path, *arguments: str, folder: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run an installed command in a folder that is not the checkout, with nothing else set."""
    return subprocess.run(
        [command, *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder)} | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "phasegate", "--version", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout


def test_installed_exporter_measures_a_server(
    installed: Path, tmp_path: Path, any_database: Database
) -> None:
    url = any_database.conninfo()
    done = run(installed / "phasegate", "exporter", "--once", folder=tmp_path, DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(
        line.startswith("phasegate_up{") and 'target="database"' in line and line.endswith(" 1.0")
        for line in lines
    ), done.stdout


def test_installed_validate_lists_what_it_would_judge(installed: Path, tmp_path: Path) -> None:
    url = "postgresql://127.0.0.1:1/x"
    done = run(installed / "validate", "--list", folder=tmp_path, DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "* health " in done.stdout


def forget_a_room(tree: Path) -> None:
    """A line of `only-include` was not written."""
    replace(tree / "pyproject.toml", '"exporter", "migrate"', '"migrate"')


def map_a_room_to_the_top(tree: Path) -> None:
    """A line of `sources` was not written: the room overwrites its namesake."""
    replace(tree / "pyproject.toml", '"servers" = "phasegate/servers"\n', "")


def pack_what_is_not_tracked(tree: Path) -> None:
    """The builder takes a file that the repository does not have."""
    replace(tree / ".gitignore", "/backups/", "/contract/names.py\n!/contract")
    git(tree, "rm", "--quiet", "--cached", "contract/names.py")
    replace(tree / "pyproject.toml", "[tool.hatch.build]", "[tool.hatch.build]\nignore-vcs = true")


def leave_out_by_pattern(tree: Path) -> None:
    """A pattern leaves out data that the code needs."""
    replace(
        tree / "pyproject.toml", "[tool.hatch.build]", '[tool.hatch.build]\nexclude = ["*.sql"]'
    )


def git(tree: Path, *arguments: str) -> None:
    """Run git in a tree."""
    subprocess.run(["git", *arguments], cwd=tree, check=True, capture_output=True)


def replace(path: Path, old: str, new: str) -> None:
    """Replace text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (forget_a_room, "phasegate/exporter/__init__.py is missing"),
        (map_a_room_to_the_top, "servers/__init__.py is too much"),
        (pack_what_is_not_tracked, "phasegate/contract/names.py is too much"),
        (leave_out_by_pattern, "partitions.sql is missing"),
    ],
)
def test_a_wheel_that_is_packed_wrong_is_refused(
    damage: Callable[[Path], None], complaint: str, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for name in fetch_tracked_files():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name, follow_symlinks=False)
    git(tree, "init", "--quiet")
    git(tree, "add", "--all")
    damage(tree)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ProofFailed, match=complaint):
        apply_build_proof(tree, work)
