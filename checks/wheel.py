"""Proves the wheel: it holds what is tracked, and lives beside packages that bear our rooms' names.

The rooms lie at the project's root under names that PyPI gives to others (`validators`), and are
mapped into `phasegate.` when packed. A mapping that forgets a room still builds and installs
without a word, and one that maps too little overwrites the neighbour: hence this proof.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from checks.tree import ROOT, fetch_rooms, fetch_tracked_files, plan_wheel

NEIGHBOUR = "validators"
# What an sdist holds beyond the wheel's files.
SDIST_EXTRAS = frozenset({".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"})
OTHER_INPUTS = (
    "LICENSE",
    "README.md",
    "checks/installed_probe.py",
    "checks/tree.py",
    "checks/wheel.py",
    "pyproject.toml",
    "requirements-dev.lock",
    "requirements.lock",
)
PROBE = Path(__file__).with_name("installed_probe.py")


class ProofFailed(Exception):
    """The wheel is not what it must be; the message says how."""


def run(command: list[str], cwd: Path) -> str:
    """Run a command outside any Python path of ours; its output, or ProofFailed with it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        raise ProofFailed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


def build(kind: str, source: Path, target: Path) -> Path:
    """Build the `sdist` or `wheel` of the tree `source` into the new folder `target`."""
    run(
        [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)],
        cwd=source,
    )
    (built,) = target.iterdir()
    return built


def unpack_sdist(sdist: Path, target: Path) -> Path:
    """Unpack an sdist into `target`; the folder that holds its pyproject.toml."""
    target.mkdir()
    # Not by `tarfile`: Debian 12's Python has no `filter` for it, and later ones warn without.
    run(["tar", "-xzf", str(sdist)], cwd=target)
    (folder,) = target.iterdir()
    return folder


def digest_wheel(wheel: Path) -> dict[str, str]:
    """Each file of a wheel but its metadata: name -> SHA-256."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name: hashlib.sha256(archive.read(name)).hexdigest()
            for name in archive.namelist()
            if ".dist-info/" not in name
        }


def evaluate_difference(what: str, found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Sentences on how two sets of files, name -> digest, differ; empty if they are the same."""
    faults = [f"{what}: {name} is missing" for name in sorted(expected.keys() - found.keys())]
    faults += [f"{what}: {name} is too much" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{what}: {name} has other content"
        for name in sorted(found.keys() & expected.keys())
        if found[name] != expected[name]
    ]
    return faults


def digest_tree(root: Path, names: dict[str, str]) -> dict[str, str]:
    """SHA-256 of files: name -> path below `root` becomes name -> digest."""
    return {
        name: hashlib.sha256((root / path).read_bytes()).hexdigest() for name, path in names.items()
    }


def apply_build_proof(root: Path, work: Path) -> Path:
    """Build all ways, compare all lists; the wheel that was proved."""
    plan = plan_wheel(fetch_tracked_files(root), fetch_rooms(root))
    sdist = build("sdist", root, work / "sdist")
    unpacked = unpack_sdist(sdist, work / "unpacked")
    wheel = build("wheel", root, work / "wheel")
    wheel_of_sdist = build("wheel", unpacked, work / "wheel-of-sdist")
    expected = digest_tree(root, plan)
    in_sdist = {
        str(path.relative_to(unpacked)): str(path.relative_to(unpacked))
        for path in unpacked.rglob("*")
        if path.is_file() and str(path.relative_to(unpacked)) not in SDIST_EXTRAS
    }
    faults = [
        *evaluate_difference("wheel of the tree", digest_wheel(wheel), expected),
        *evaluate_difference("wheel of the sdist", digest_wheel(wheel_of_sdist), expected),
        *evaluate_difference(
            "sdist",
            digest_tree(unpacked, in_sdist),
            digest_tree(root, {path: path for path in plan.values()}),
        ),
    ]
    if faults:
        raise ProofFailed("\n".join(faults))
    return wheel


def make_environment(root: Path, folder: Path, *requirements: Path) -> Path:
    """An empty virtual environment with just the locked `requirements`; its Python."""
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)], cwd=root)
    python = folder / "bin" / "python"
    for requirement in requirements:
        pip_install(python, "--require-hashes", "--requirement", str(requirement))
    return python


def pip_install(python: Path, *arguments: str) -> None:
    """Install into another environment by this one's pip."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", *arguments], cwd=python.parent)


def locked_entry(lock: str, name: str) -> str:
    """The lines of one package in the text of a lock file."""
    lines = lock.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    last = next(i for i in range(first, len(lines)) if not lines[i].endswith("\\"))
    return "\n".join(lines[first : last + 1]) + "\n"


def apply_install_proof(root: Path, wheel: Path, work: Path) -> None:
    """Install the wheel beside its neighbour and use both."""
    neighbour = work / "neighbour.lock"
    neighbour.write_text(locked_entry((root / "requirements-dev.lock").read_text(), NEIGHBOUR))
    python = make_environment(root, work / "venv", root / "requirements.lock", neighbour)
    pip_install(python, "--no-deps", str(wheel))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    run([*pip, "check"], cwd=work)
    run([str(python), "-I", "-W", "error", str(PROBE)], cwd=work)
    version = run([str(python.parent / "phasegate"), "--version"], cwd=work)
    expected = importlib.metadata.version("phasegate")
    if expected not in version.split():
        raise ProofFailed(f"phasegate --version says {version.strip()!r}, not {expected}")


def digest_inputs(root: Path) -> str:
    """What the proof depends on, as one digest: the packed files, the locks, this Python."""
    plan = plan_wheel(fetch_tracked_files(root), fetch_rooms(root))
    digests = digest_tree(root, plan | {name: name for name in OTHER_INPUTS})
    text = repr([sys.version, sorted(digests.items())])
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> int:
    """Prove the wheel of this checkout, unless the very same files were proved before."""
    stamp = ROOT / ".cache" / "wheel" / digest_inputs(ROOT)
    if stamp.exists():
        print("wheel: proved before, nothing changed since")
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="phasegate-wheel-") as folder:
            work = Path(folder)
            wheel = apply_build_proof(ROOT, work)
            apply_install_proof(ROOT, wheel, work)
            count = len(digest_wheel(wheel))
    except ProofFailed as failure:
        print(f"wheel: {failure}", file=sys.stderr)
        return 1
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.touch()
    print(f"wheel: {count} files as tracked, from the tree and from the sdist; works installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
