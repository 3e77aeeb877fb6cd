"""The forms in which people bring boards into their Grafana, as pure functions on the built boards.

Each takes the boards (file name → JSON text) and the name of a folder, and gives the files to
write (path → text): for Grafana's own file provisioning, for the sidecar of its Helm chart
(ConfigMaps), and for Git Sync. The folder has the same uid in all of them and in `push`, so that
who changes from one form to another does not get a second folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import yaml

from phasegate.contract.errors import WorkFailed

FOLDER = "Phasegate"
GRAFANA_PATH = "/var/lib/grafana/dashboards/phasegate"
CONFIG_MAP_BYTES = 262_144
"""What the annotations of one object may hold together (Kubernetes, apimachinery
`TotalAnnotationSizeLimitB`); `kubectl apply` keeps the whole object in one of them."""

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_UID_CHARACTERS = 40
_HEAD = "# Made by `phasegate dashboards build`; do not edit.\n"


def folder_uid(folder: str) -> str:
    """The uid of the folder of that name: the same each time, another for each name."""
    if folder == FOLDER:
        return "phasegate"
    words = re.sub(r"[^a-z0-9]+", "-", folder.lower()).strip("-")
    digest = sha256(folder.encode()).hexdigest()[:10]
    return f"{words[: _UID_CHARACTERS - 11].rstrip('-')}-{digest}".lstrip("-")


def render_provisioning(
    boards: Mapping[str, str], folder: str = FOLDER, path: str = GRAFANA_PATH
) -> dict[str, str]:
    """A provider for `/etc/grafana/provisioning`, and the boards for the directory `path`.

    The provider is `provisioning/dashboards/phasegate.yaml`, the boards are in
    `dashboards/phasegate/`. Nobody can save over them in the browser: Grafana would keep that until
    the file changes, and then lose it.
    """
    provider = {
        "name": "phasegate",
        "orgId": 1,
        "folder": folder,
        "folderUid": folder_uid(folder),
        "type": "file",
        "disableDeletion": False,
        "allowUiUpdates": False,
        "updateIntervalSeconds": 30,
        "options": {"path": path, "foldersFromFilesStructure": False},
    }
    place = PurePosixPath(path)
    where = f"# The boards beside it belong into {place}.\n"
    document = _yaml({"apiVersion": 1, "providers": [provider]})
    return {"provisioning/dashboards/phasegate.yaml": _HEAD + where + document} | {
        f"dashboards/phasegate/{name}": boards[name] for name in sorted(boards)
    }


def render_config_maps(boards: Mapping[str, str], folder: str = FOLDER) -> dict[str, str]:
    """One ConfigMap for each board, by the labels that the sidecar of Grafana's chart looks for.

    Raises WorkFailed for a board that is too large for `kubectl apply`, however it is written.
    """
    return {
        f"configmaps/{PurePosixPath(name).stem}.yaml": _config_map(name, boards[name], folder)
        for name in sorted(boards)
    }


def render_git_sync(boards: Mapping[str, str], folder: str = FOLDER) -> dict[str, str]:
    """Each board as a resource, in a directory by the folder's name.

    Git Sync makes a folder of the directory; who pushes the files by Grafana's command line
    instead gets the folder that the annotation names. Grafana 12 and 13 both serve v1beta1.
    """
    place = folder.replace("/", "-")
    return {f"{place}/{name}": _resource(boards[name], folder) for name in sorted(boards)}


def _resource(text: str, folder: str) -> str:
    board = json.loads(text)
    resource = {
        "apiVersion": "dashboard.grafana.app/v1beta1",
        "kind": "Dashboard",
        "metadata": {
            "name": board["uid"],
            "annotations": {"grafana.app/folder": folder_uid(folder)},
        },
        # The resource's name is the uid; Grafana drops these three from what it reads.
        "spec": {key: value for key, value in board.items() if key not in ("id", "uid", "version")},
    }
    return json.dumps(resource, indent=2, ensure_ascii=False) + "\n"


def _config_map(name: str, text: str, folder: str) -> str:
    """As the board is written, for a diff that people can read; in one line where it must be."""
    board = json.loads(text)
    compact = json.dumps(board, separators=(",", ":"), ensure_ascii=False) + "\n"
    size = 0
    for content in (text, compact):
        resource = _as_config_map(board["uid"], name, content, folder)
        document = _HEAD + _yaml(resource)
        size = max(_applied_bytes(resource), len(document.encode()))
        if size < CONFIG_MAP_BYTES:
            return document
    raise WorkFailed(
        f"{name}: its ConfigMap would have {size:,} bytes, and kubectl apply takes fewer than "
        f"{CONFIG_MAP_BYTES:,}; bring this board in by `--format provisioning` or "
        "`phasegate dashboards push`"
    )


def _as_config_map(uid: str, name: str, text: str, folder: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": uid,
            "labels": {"app.kubernetes.io/name": "phasegate", "grafana_dashboard": "1"},
            "annotations": {
                # The name of the chart's documentation, and the sidecar's own where none is set.
                "grafana_folder": folder,
                "k8s-sidecar-target-directory": folder,
            },
        },
        "data": {name: text},
    }


def _applied_bytes(resource: Mapping[str, Any]) -> int:
    """The annotations' size after `kubectl apply`: Go's JSON, which escapes `<`, `>` and `&`."""
    applied = json.dumps(resource, separators=(",", ":"), ensure_ascii=False) + "\n"
    escaped = sum(applied.count(letter) for letter in "<>&\u2028\u2029")
    own = resource["metadata"]["annotations"]
    rest = sum(len(key.encode()) + len(value.encode()) for key, value in own.items())
    return len(applied.encode()) + 5 * escaped + len(_APPLIED) + rest


class _Readable(yaml.SafeDumper):
    """Texts of several lines stay lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _text)


def _yaml(value: object) -> str:
    return yaml.dump(
        value, Dumper=_Readable, sort_keys=False, allow_unicode=True, width=2**20, indent=2
    )
