"""How a migration runs: its mode, the user's own steps, backups, and what its preflight demands."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phasegate.contract import settings_rules as rules
from phasegate.contract.frozen import keyed
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import MapOf, Section, setting
from phasegate.contract.settings_kinds import COMMAND, DATABASE_URL
from phasegate.contract.shapes import (
    Choice,
    Duration,
    FilePath,
    HttpUrl,
    Number,
    Shape,
    Size,
    Switch,
    Text,
)


@keyed
class Hook:
    """One step of the user's own: a command, or an HTTP POST."""

    command: tuple[str, ...] | None = setting(
        COMMAND, "Program and arguments; no shell.", None, example='["kubectl", "apply", "-f", "…"]'
    )
    url: str | None = setting(
        HttpUrl(), "Asked by POST instead of a command; a status of 2xx is success.", None,
        example='"http://127.0.0.1:8080/hooks/drain"',
    )  # fmt: skip
    environment: Mapping[str, Secret] = setting(
        MapOf(Text(secret=True), "variables", Text("a variable", r"[A-Za-z_][A-Za-z0-9_]*")),
        "More variables of the command's environment.",
        dict,
        example="{KUBECONFIG: /etc/kube/config}",
    )
    timeout: float = setting(
        Duration(0.1, 86_400), "Limit, after which the process group is killed.", 300.0
    )
    retries: int = setting(Number("retries", 0, 100, whole=True), "Tries after the first.", 0)


_HOOK: Shape = Section(Hook, "command or url, environment, timeout, retries", rules.of_hook)


def _hook(doc: str) -> Hook | None:
    found: Hook | None = setting(
        _HOOK, doc, None, example='{command: ["kubectl", "…"], timeout: 300s}'
    )
    return found


@keyed
class Hooks:
    """The steps that only the user's platform can do."""

    maintenance_on: Hook | None = _hook("Turns maintenance on.")
    maintenance_off: Hook | None = _hook("Turns maintenance off.")
    drain: Hook | None = _hook("Drains the application's connections.")
    framework_migrate: Hook | None = _hook("Runs the framework's own migrations.")
    deploy_api: Hook | None = _hook("Deploys the new API.")
    deploy_web: Hook | None = _hook("Deploys the new frontend.")
    rollback_api: Hook | None = _hook("Deploys the previous API.")
    rollback_web: Hook | None = _hook("Deploys the previous frontend.")


@keyed
class Backup:
    """Where backups go, and where one is proved by a restore."""

    directory: Path = setting(
        FilePath(), "Folder of the dumps.", Path("backups"), example="./backups"
    )
    scratch_url: Secret | None = setting(
        DATABASE_URL,
        "A server where a dump is restored to prove it; absent: a throw-away one.",
        None,
        example='"${SCRATCH_DATABASE_URL}"',
    )


@keyed
class Demands:
    """What the preflight demands, and what is stated where it cannot see it."""

    cpu_limit: float = setting(
        Number("a share of the cores", 0.1, 1000),
        "Highest load of the server's machine, as a share of its cores.",
        0.8,
    )
    cpu_load: float | None = setting(
        Number("a share of the cores", 0, 1000),
        "The load of the server's machine, as you know it, where it is not the one that migrates.",
        None,
        example="0.3",
    )
    free_disk: int | None = setting(
        Size(),
        "Free space on the server's disk, as you know it, where it is not to be seen from here.",
        None,
        example="200GiB",
    )


@keyed
class Migrate:
    """How the migration runs."""

    mode: str = setting(
        Choice(("online", "maintenance")), "Under traffic, or in a maintenance window.", "online"
    )
    hooks: Hooks = setting(Section(Hooks, "hooks by name"), "Steps of the user's own.", Hooks)
    permission_tables: bool = setting(
        Switch(), "Make missing tables of roles and permissions beside the first table.", False
    )
    backup: Backup = setting(Section(Backup, "directory, scratch_url"), "Backups.", Backup)
    preflight: Demands = setting(
        Section(Demands, "cpu_limit, cpu_load, free_disk"),
        "What must be there before anything begins.",
        Demands,
    )
