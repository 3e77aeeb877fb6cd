"""The compose file, read as its schema and as what it promises; nothing of it is run here."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files

from docs import site
from phasegate import __version__
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from tests.fixtures.manifests import DEPLOY, read
from tests.fixtures.programs import run_program

COMPOSE = DEPLOY / "compose"
BIN = Path(sys.executable).parent
VARIABLE = re.compile(r"\$\{\w+:-([^}]*)\}")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found = read("compose/compose.yaml")
    assert isinstance(found, dict)
    return found


def mounts(service: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """What a service sees of this folder, by default: file or folder -> where."""
    for volume in service.get("volumes", ()):
        source, target, *_ = VARIABLE.sub(r"\1", volume).split(":")
        if source.startswith("."):
            yield (COMPOSE / source).resolve(), target


def test_the_schema_of_compose_accepts_it() -> None:
    checker = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*checker, str(COMPOSE / "compose.yaml")], check=False)
    assert done.returncode == 0


def test_it_has_all_that_measures_shows_and_wakes(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {
        *("postgres", "valkey", "exporter", "prometheus", "alertmanager", "grafana")
    }
    assert compose["services"]["exporter"]["image"] == f"phasegate:{__version__}"


def test_every_image_is_pinned_and_every_port_on_the_loopback(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert re.fullmatch(r"[a-z0-9./-]+:v?\d+(\.\d+)*", service["image"]), name
        for port in service["ports"]:
            assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z]+_PORT:-\d+\}:\d+", port), name


def test_each_gains_no_privileges_and_is_watched(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert "no-new-privileges:true" in service["security_opt"], name
        # The exporter's is in its image.
        assert "healthcheck" in service or name == "exporter", name
        if name != "postgres":  # starts as root to own its folder, then becomes its user
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name


def test_passwords_are_files_and_nothing_else(compose: dict[str, Any]) -> None:
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    used = {one for service in compose["services"].values() for one in service.get("secrets", ())}
    assert used == set(compose["secrets"])
    for service in compose["services"].values():
        for variable, value in service.get("environment", {}).items():
            if "PASSWORD" in variable:
                assert variable.endswith("_FILE")
                assert value.startswith("/run/secrets/")


def test_what_is_mounted_is_there_and_read_only(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for path, _ in mounts(service):
            assert path.exists() or path == COMPOSE / "secrets/alertmanager", (name, path)
        for volume in service.get("volumes", ()):
            assert volume.endswith(":ro") or volume.split(":")[0] in compose["volumes"], volume


def test_rules_routes_and_boards_are_the_project_s_or_built_ones(compose: dict[str, Any]) -> None:
    text = (COMPOSE / "compose.yaml").read_text()
    places = re.findall(r"\$\{PHASEGATE_MONITORING:-\.\./\.\.\}/(\S+?):", text)
    assert places == ["alerts/database.yml", "alerts/alertmanager.yml", "dashboards"]
    provider = read("compose/grafana/dashboards/phasegate.yaml")["providers"][0]
    targets = [target for _, target in mounts(compose["services"]["grafana"])]
    assert provider["options"]["path"] in targets


def lay_out(service: dict[str, Any], root: Path) -> None:
    """The files of a service at the places where it sees them."""
    for path, target in mounts(service):
        place = root / target.lstrip("/")
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_prometheus_takes_its_configuration_with_our_rules(
    compose: dict[str, Any], tmp_path: Path
) -> None:
    lay_out(compose["services"]["prometheus"], tmp_path)
    done = run_program("promtool", "check", "config", tmp_path / "etc/prometheus/prometheus.yml")
    assert done.returncode == 0, done.stderr
    assert re.search(r"SUCCESS: \d+ rules found", done.stdout)


def test_alertmanager_takes_our_routes(compose: dict[str, Any], tmp_path: Path) -> None:
    lay_out(compose["services"]["alertmanager"], tmp_path)
    config = tmp_path / "etc/alertmanager/alertmanager.yml"
    assert run_program("amtool", "check-config", config).returncode == 0
    # Where the routes read keys and URLs, the folder of them is mounted.
    files = set(re.findall(r"_file: (\S+)/[a-z-]+$", config.read_text(), re.MULTILINE))
    targets = {target for _, target in mounts(compose["services"]["alertmanager"])}
    assert files <= targets


def test_what_scrapes_and_what_is_shown_agree_with_the_rules() -> None:
    defaults = Settings().monitoring
    prometheus = read("compose/prometheus/prometheus.yml")
    (scrape,) = prometheus["scrape_configs"]
    assert scrape["job_name"] == defaults.job
    assert prometheus["global"]["scrape_interval"] == f"{defaults.scrape_interval:.0f}s"
    (source,) = read("compose/grafana/datasources/prometheus.yaml")["datasources"]
    assert source["uid"] == defaults.datasource
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_the_exporter_s_configuration_names_the_secrets_that_it_is_given(
    compose: dict[str, Any],
) -> None:
    settings = load_settings(COMPOSE / "phasegate.yaml", {})
    given = {f"/run/secrets/{name}" for name in compose["services"]["exporter"]["secrets"]}
    assert settings.cache is not None
    read_files = {settings.database.password_file, settings.cache.password_file}
    assert {str(path) for path in read_files} == given


def test_secrets_are_made_once_and_never_again(tmp_path: Path) -> None:
    script = tmp_path / "secrets.sh"
    script.write_bytes((COMPOSE / "secrets.sh").read_bytes())
    subprocess.run(["sh", str(script)], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    before = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    assert set(before) == set(read("compose/compose.yaml")["secrets"])
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in before.values())
    assert len(set(before.values())) == len(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "alertmanager").is_dir()
    again = subprocess.run(["sh", str(script)], check=True, capture_output=True, text=True)
    assert again.stdout == ""
    assert before == {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_secrets_enter_neither_the_repository_nor_the_image_nor_the_site() -> None:
    ignored = (COMPOSE / ".gitignore").read_text().splitlines()
    assert "/secrets/" in ignored
    assert "deploy" in (DEPLOY.parent / ".dockerignore").read_text().splitlines()


def test_the_site_leaves_secrets_out(tmp_path: Path) -> None:
    for name in ("compose/secrets/exporter-password", "compose/compose.yaml"):
        path = tmp_path / "deploy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("canary-4711")
    config = MkDocsConfig()
    config.load_dict({"site_name": "x", "docs_dir": str(tmp_path / "docs"), "plugins": []})
    (tmp_path / "docs").mkdir()
    assert config.validate()[0] == []
    # Whose file it is, MkDocs asks of the plugin at work.
    config.plugins._current_plugin = "site"
    found = site.on_files(Files([]), config)
    assert [file.src_uri for file in found] == ["deploy/compose/compose.yaml"]
