"""The text of the grants: what is probed, and names that try to leave their quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from phasegate.cli import COMMANDS, group
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.operate.grants import ROLES, Roles, probed_columns, render_grants

CONFIG = """
tables: [{name: public.users, uuid_column: key}]
lookups: [{query_type: permission_check, sql: "select 1\\nwhere $1 > 0", parameter: users.email}]
audit: {table: log.audit, category_column: kind, watch: [{table: public.roles}]}
"""


def settings(tmp_path: Path, config: str) -> Settings:
    file = tmp_path / "phasegate.yaml"
    file.write_text(config, encoding="utf-8")
    return load_settings(file, {"DATABASE_URL": "postgresql://127.0.0.1/db"})


def test_only_what_is_probed_is_granted(tmp_path: Path) -> None:
    assert probed_columns(settings(tmp_path, CONFIG)) == [
        ("public", "users", ""),
        ("public", "users", "key"),
        ("public", "users", "email"),
        ("log", "audit", ""),
        ("log", "audit", "created_at"),
        ("log", "audit", "kind"),
        ("log", "audit", "xmin"),
        ("log", "audit", "cmin"),
        ("public", "roles", ""),
    ]


def test_a_lookup_that_could_hold_a_second_statement_is_never_sent(tmp_path: Path) -> None:
    config = CONFIG.replace("$1 > 0", "true) AS q; DROP TABLE users -- $1")
    script = render_grants(settings(tmp_path, config))
    assert [line for line in script.splitlines() if "DROP TABLE" in line] == [
        "--   where true) AS q; DROP TABLE users -- $1"
    ]
    assert "CREATE TEMPORARY VIEW" not in script
    assert "CREATE TEMPORARY VIEW" in render_grants(settings(tmp_path, CONFIG))


def test_roles_can_have_names_of_their_own(tmp_path: Path) -> None:
    script = render_grants(settings(tmp_path, CONFIG), Roles("measures", "judges", "moves"))
    assert not any(role in script for role in ROLES)
    assert "'measures', 'judges', 'moves'" in script


def test_a_name_cannot_end_the_body_that_holds_it(tmp_path: Path) -> None:
    config = """tables: [{name: public.x, uuid_column: '"$grants$; DROP TABLE x; --"'}]\n"""
    script = render_grants(settings(tmp_path, config))
    assert script.count("DO $grants_$\n") == 1
    assert script.count("$grants_$;\n") == 1


def test_the_command_prints_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings(tmp_path, CONFIG)
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:secret@127.0.0.1/db")
    arguments = ["init", "--grants", "--config", str(tmp_path / "phasegate.yaml")]
    done = CliRunner().invoke(group, arguments)
    assert done.exit_code == 0
    assert done.output.startswith("-- The roles of Phasegate.")
    assert done.output.endswith("COMMIT;\n")
    assert "secret" not in done.output
    assert "init" in COMMANDS
