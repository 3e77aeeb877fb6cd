"""The export forms: their structure by schema, their determinism and their sizes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from phasegate.contract.errors import WorkFailed
from phasegate.contract.settings import Settings
from phasegate.dashboards.build import render_boards
from phasegate.dashboards.export import (
    CONFIG_MAP_BYTES,
    folder_uid,
    render_config_maps,
    render_git_sync,
    render_provisioning,
)
from phasegate.dashboards.modern import SCHEMA_VERSION

QUERY = 'sum by (job) (rate(x{job=~"$job"}[5m])) > 0 && "<ü>" \\ | # : - {}'


def board(uid: str, filler: str = "") -> dict[str, Any]:
    panels = [{"id": 1, "title": "Größe\tin\nZeilen ", "expr": QUERY, "description": filler}]
    return {"id": None, "uid": uid, "title": f"Title of {uid}", "version": 1, "panels": panels,
            "schemaVersion": 41, "tags": ["phasegate"]}  # fmt: skip


def written(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


BOARDS = {
    "overview.json": written(board("phasegate-overview")),
    "cache-metrics.json": written(board("phasegate-cache")),
}

# Of Kubernetes' own OpenAPI (io.k8s.api.core.v1.ConfigMap, ObjectMeta), what a server refuses.
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_LABEL = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$"
CONFIG_MAP = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "data"],
    "properties": {
        "apiVersion": {"const": "v1"},
        "kind": {"const": "ConfigMap"},
        "metadata": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "labels", "annotations"],
            "properties": {
                "name": {"type": "string", "maxLength": 253, "pattern": _NAME},
                "labels": {
                    "type": "object",
                    "required": ["grafana_dashboard"],
                    "propertyNames": {"pattern": _QUALIFIED},
                    "properties": {"grafana_dashboard": {"const": "1"}},
                    "additionalProperties": {
                        "type": "string", "maxLength": 63, "pattern": _LABEL,
                    },
                },
                "annotations": {
                    "type": "object",
                    "required": ["grafana_folder"],
                    "propertyNames": {"pattern": _QUALIFIED},
                    "additionalProperties": {"type": "string"},
                },
            },
        },
        "data": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "propertyNames": {"pattern": r"^[-._a-zA-Z0-9]{1,253}$"},
            "additionalProperties": {"type": "string"},
        },
    },
}  # fmt: skip

# What Grafana's reader of provider files knows (docs, "Provision Grafana", dashboards).
PROVIDER_FILE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "providers"],
    "properties": {
        "apiVersion": {"const": 1},
        "providers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "type", "options", "folder", "allowUiUpdates"],
                "properties": {
                    "name": {"type": "string", "minLength": 1},
                    "orgId": {"type": "integer"},
                    "folder": {"type": "string"},
                    "folderUid": {"type": "string", "maxLength": 40},
                    "type": {"const": "file"},
                    "disableDeletion": {"type": "boolean"},
                    "updateIntervalSeconds": {"type": "integer", "minimum": 10},
                    "allowUiUpdates": {"const": False},
                    "options": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["path"],
                        "properties": {
                            "path": {"type": "string", "pattern": "^/"},
                            "foldersFromFilesStructure": {"type": "boolean"},
                        },
                    },
                },
            },
        },
    },
}


def test_provisioning_is_a_provider_and_the_boards_as_they_are() -> None:
    files = render_provisioning(BOARDS, "Ops & Co: #1", "/srv/boards")
    provider = yaml.safe_load(files.pop("provisioning/dashboards/phasegate.yaml"))
    jsonschema.validate(provider, PROVIDER_FILE)
    (only,) = provider["providers"]
    assert only["folder"] == "Ops & Co: #1"
    assert only["folderUid"] == folder_uid("Ops & Co: #1")
    assert only["options"] == {"path": "/srv/boards", "foldersFromFilesStructure": False}
    assert files == {f"dashboards/phasegate/{name}": text for name, text in BOARDS.items()}


def test_config_maps_hold_one_board_each_and_are_valid() -> None:
    files = render_config_maps(BOARDS, 'Ops "A": #1')
    assert list(files) == ["configmaps/cache-metrics.yaml", "configmaps/overview.yaml"]
    for path, text in files.items():
        resource = yaml.safe_load(text)
        jsonschema.validate(resource, CONFIG_MAP)
        name = path.removeprefix("configmaps/").replace(".yaml", ".json")
        assert resource["data"] == {name: BOARDS[name]}
        assert resource["metadata"]["name"] == json.loads(BOARDS[name])["uid"]
        assert resource["metadata"]["annotations"]["grafana_folder"] == 'Ops "A": #1'
        # A diff of a board is a diff of lines, not of one endless text.
        assert f"data:\n  {name}: |\n    {{\n" in text


def test_exports_are_the_same_whatever_the_order_of_the_boards() -> None:
    backwards = dict(reversed(BOARDS.items()))
    for render in (render_provisioning, render_config_maps, render_git_sync):
        assert list(render(BOARDS).items()) == list(render(backwards).items())


def _padded(length: int, compact: bool) -> dict[str, str]:
    value = board("phasegate-overview", "x" * length)
    text = json.dumps(
        value,
        ensure_ascii=False,
        indent=None if compact else 600,
        separators=(",", ":") if compact else None,
    )
    return {"overview.json": text + "\n"}


def _applied(text: str) -> int:
    """As kubectl would measure it: all annotations, its own copy of the object among them."""
    resource = yaml.safe_load(text)
    copy = json.dumps(resource, separators=(",", ":"), ensure_ascii=False) + "\n"
    for letter, escape in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        copy = copy.replace(letter, escape)
    annotations = resource["metadata"]["annotations"] | {
        "kubectl.kubernetes.io/last-applied-configuration": copy
    }
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


def test_the_largest_config_map_stays_below_the_limit_and_the_next_is_refused() -> None:
    (small,) = render_config_maps(_padded(0, compact=True)).values()
    room = CONFIG_MAP_BYTES - 1 - _applied(small)
    (text,) = render_config_maps(_padded(room, compact=True)).values()
    assert max(_applied(text), len(text.encode())) == CONFIG_MAP_BYTES - 1
    with pytest.raises(WorkFailed, match=r"^overview\.json: .* 262,144 bytes, and .* 262,144; "):
        render_config_maps(_padded(room + 1, compact=True))


def test_a_board_that_fits_only_without_its_spaces_is_written_without_them() -> None:
    boards = _padded(CONFIG_MAP_BYTES - 3_000, compact=False)
    (text,) = render_config_maps(boards).values()
    assert _applied(text) < CONFIG_MAP_BYTES
    found = yaml.safe_load(text)["data"]["overview.json"]
    assert json.loads(found) == json.loads(boards["overview.json"])
    assert found.count("\n") == 1


def test_our_own_boards_fit_into_each_form_as_they_are_written() -> None:
    boards = render_boards(Settings())
    for text in render_config_maps(boards).values():
        resource = yaml.safe_load(text)
        jsonschema.validate(resource, CONFIG_MAP)
        ((name, content),) = resource["data"].items()
        assert content == boards[name]
        assert f"{name}: |\n" in text
    for text in render_git_sync(boards).values():
        assert json.loads(text)["spec"]["schemaVersion"] == SCHEMA_VERSION


def test_git_sync_wraps_the_classic_board_into_a_v1_resource() -> None:
    files = render_git_sync(BOARDS, "Ops/Databases")
    assert list(files) == ["Ops-Databases/cache-metrics.json", "Ops-Databases/overview.json"]
    resource = json.loads(files["Ops-Databases/overview.json"])
    assert resource == {
        "apiVersion": "dashboard.grafana.app/v1beta1",
        "kind": "Dashboard",
        "metadata": {
            "name": "phasegate-overview",
            "annotations": {"grafana.app/folder": folder_uid("Ops/Databases")},
        },
        "spec": {
            key: value
            for key, value in board("phasegate-overview").items()
            if key not in ("id", "uid", "version")
        },
    }


@pytest.mark.parametrize(
    "name", ["Phasegate", "phasegate", "Ops & Co", "Ops Co", "数据库", "x" * 90]
)
def test_a_folder_has_one_uid_that_grafana_takes(name: str) -> None:
    uid = folder_uid(name)
    assert uid == folder_uid(name)
    assert 0 < len(uid) <= 40
    assert set(uid) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert (uid == "phasegate") == (name == "Phasegate")


def test_two_folders_never_share_a_uid() -> None:
    assert folder_uid("Ops & Co") != folder_uid("Ops Co")
    assert folder_uid("Phasegate") != folder_uid("phasegate")
