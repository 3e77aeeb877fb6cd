"""Carries out the Dockerfile without a container runtime, line by line, in mount namespaces.

Each stage is a folder that becomes the root of its own mount namespace, so that every line runs
literally, at the paths that it names. What differs from a runtime, and is therefore not proved:
the base image is stood in for by this machine's /usr and /etc and its Python; nothing is layered,
and no network is set apart. RUN lines run as a user who is not root, which is more than is asked.
"""

from __future__ import annotations

import fnmatch
import io
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from dockerfile_parse import DockerfileParser

from checks.tree import fetch_tracked_files

BASE_PYTHON = Path("/usr/bin/python3")
BASE_PATH = "/base/bin:/usr/bin:/bin"
BUILDER = 65533
# The order matters: a link of Debian's merged /usr points to what is mounted before.
SHARED = ("usr", "etc", "dev", "proc", "bin", "sbin", "lib", "lib64")


@dataclass
class Stage:
    """One FROM and what the instructions after it have set."""

    root: Path
    name: str
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    folder: str = "/"
    user: int = BUILDER
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    stop_signal: str = ""
    volumes: list[str] = field(default_factory=list)


def namespaces_are_allowed() -> bool:
    """Whether this user may make a mount namespace here."""
    return subprocess.run([*unshare(), "true"], check=False, capture_output=True).returncode == 0


def unshare() -> list[str]:
    """The command that enters a new mount namespace; as one's own root where one is not root."""
    return ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def make_stage(root: Path, name: str) -> Stage:
    """An empty stage: mount points for what is shared, and a `python` as the base image has it."""
    for shared in SHARED:
        host = Path("/") / shared
        if host.is_symlink():
            (root / shared).symlink_to(host.readlink())
        elif host.is_dir():
            (root / shared).mkdir(parents=True)
    (root / "base/bin").mkdir(parents=True)
    (root / "base/bin/python").symlink_to(BASE_PYTHON)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    return Stage(root, name)


def enter(stage: Stage, argv: list[str], environment: dict[str, str], locked: bool) -> list[str]:
    """The command that runs `argv` inside a stage as its user; `locked`: the root is read-only."""
    root = shlex.quote(str(stage.root))
    steps = [f"mount --bind {root} {root}"]
    for shared in SHARED:
        if (stage.root / shared).is_dir() and not (stage.root / shared).is_symlink():
            steps.append(f"mount --rbind /{shared} {root}/{shared}")
    if locked:
        for volume in stage.volumes:
            steps.append(f"mount --bind {root}{volume} {root}{volume}")
        steps.append(f"mount -o remount,bind,ro {root}")
    as_user = f"--userspec={stage.user}:{stage.user} --groups=" if os.geteuid() == 0 else ""
    variables = [f"{key}={value}" for key, value in (stage.environment | environment).items()]
    inside = ["env", "-i", *variables, "sh", "-c", 'cd "$0" && exec "$@"', stage.folder, *argv]
    steps.append(f"exec chroot {as_user} {root} {shlex.join(inside)}")
    return [*unshare(), "sh", "-ec", "\n".join(steps)]


def registry_environment() -> dict[str, str]:
    """How this machine reaches its package registry."""
    return {key: value for key, value in os.environ.items() if key.startswith("PIP_")}


def build_image(context: Path, work: Path) -> Stage:
    """Carry out every instruction; the last stage. Raises AssertionError with a line's output."""
    parser = DockerfileParser(fileobj=io.BytesIO((context / "Dockerfile").read_bytes()))
    stages: list[Stage] = []
    for step in parser.structure:
        instruction, value = step["instruction"], step["value"]
        if instruction == "FROM":
            stages.append(make_stage(work / f"stage{len(stages)}", value.partition(" AS ")[2]))
        elif instruction != "COMMENT":
            apply_instruction(instruction, value, stages, context)
    return stages[-1]


def apply_instruction(instruction: str, value: str, stages: list[Stage], context: Path) -> None:
    """Carry out one instruction in the newest stage."""
    stage = stages[-1]
    match instruction:
        case "ENV":
            stage.environment |= dict(item.split("=", 1) for item in shlex.split(value))
        case "WORKDIR":
            stage.folder = value
            make_folder(stage, value)
        case "COPY":
            apply_copy(value, stages, context)
        case "RUN":
            apply_run(value, stage)
        case "USER":
            stage.user = int(value.split(":", maxsplit=1)[0])
        case "VOLUME":
            stage.volumes.append(value)
        case "STOPSIGNAL":
            stage.stop_signal = value
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(value)
        case "CMD":
            stage.command = json.loads(value)
        case "HEALTHCHECK":
            stage.health = json.loads(value[value.index("CMD ") + 4 :])
        case "ARG" | "LABEL" | "EXPOSE":
            pass
        case _:
            raise AssertionError(f"{instruction} is not known here")


def make_folder(stage: Stage, path: str) -> Path:
    """Make a folder of a stage, for the user that builds."""
    folder = stage.root / path.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0 and stage.user == BUILDER:
        os.chown(folder, BUILDER, BUILDER)
    return folder


def apply_run(line: str, stage: Stage) -> None:
    """Run one RUN line as a user who owns the stage and is not root."""
    if os.geteuid() == 0:
        os.chown(stage.root, BUILDER, BUILDER)
        make_folder(stage, "/opt")
    done = subprocess.run(
        enter(stage, ["sh", "-c", line], registry_environment(), locked=False),
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, f"RUN {line}\n{done.stdout}"


def apply_copy(value: str, stages: list[Stage], context: Path) -> None:
    """Copy from the context, less what .dockerignore names, or from an earlier stage."""
    words = shlex.split(value)
    flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
    *sources, target = [word for word in words if not word.startswith("--")]
    stage = stages[-1]
    place = stage.root / str(PurePosixPath(stage.folder) / target).strip("/")
    if "from" in flags:
        (origin,) = (other.root for other in stages if other.name == flags["from"])
        shutil.copytree(origin / sources[0].strip("/"), place, symlinks=True)
    else:
        copy_context(context, sources, place)
    owner = int(flags.get("chown", "0").split(":", maxsplit=1)[0]) if "from" in flags else BUILDER
    if os.geteuid() == 0:
        for path in [place, *place.rglob("*")]:
            os.chown(path, owner, owner, follow_symlinks=False)


def copy_context(context: Path, sources: list[str], place: Path) -> None:
    """Copy files of the build context; a source is a file's name, or `.` for all."""
    for name in list_context(context):
        if "." in sources or name in sources:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(context / name, place / name, follow_symlinks=False)


def list_context(context: Path) -> Iterator[str]:
    """The tracked files that .dockerignore lets through."""
    lines = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for name in sorted(fetch_tracked_files(context)):
        path = PurePosixPath(name)
        if not any(ignores(pattern, path) for pattern in patterns):
            yield name


def ignores(pattern: str, path: PurePosixPath) -> bool:
    """Whether one line of .dockerignore covers a path or a folder above it."""
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern[3:]) for part in path.parts)
    tops = [path, *path.parents]
    return any(fnmatch.fnmatch(str(top), pattern) for top in tops if top.parts)
