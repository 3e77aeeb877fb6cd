"""Proofs of the audit log by a whole `validate`: of which server, how often, kept and replayed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from phasegate.contract.audit_proofs import AuditProofs, Outcome, evaluate_proofs
from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.operate.grants import ROLES, render_grants
from phasegate.validators.sources import Request, audit_proofs
from phasegate.validators.sources.targets import ask_database
from tests.fixtures.audited import make_users
from tests.fixtures.database import Database

CONFIG = """
environment: test
audit: {table: public.audit_logs, watch: [{table: public.users, canary: {id: 1}}]}
criteria: {audit_coverage: {decoding: 1s}}
"""


def read(folder: Path, conninfo: str, config: str = CONFIG) -> Settings:
    file = folder / "phasegate.yaml"
    file.write_text(config, encoding="utf-8")
    return load_settings(file, {"DATABASE_URL": conninfo})


def ask(settings: Settings, *criteria: str, **more: Any) -> Request:
    return Request(settings, criteria or ("audit_coverage",), 0.0, "exporter", **more)


def test_a_call_keeps_its_proofs_and_a_replay_needs_no_server(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    read(tmp_path, "host=h")
    kept, config = tmp_path / "kept.json", str(tmp_path / "phasegate.yaml")

    def validate(conninfo: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "phasegate", "validate", "--config", config, *arguments],
            env=os.environ | {"DATABASE_URL": conninfo},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    asked = ("--criterion", "audit_coverage", "--save-evidence", str(kept))
    code, _ = validate(any_database.conninfo(), *asked)
    assert code == 3  # nothing else was measured
    found = json.loads(kept.read_text())["dossier"]["proofs"]
    assert found["identity"].endswith(f"/{any_database.name}")
    assert [one["log_rows"] for one in found["canaries"]] == [1]
    assert found["decoding"]["doubt"] == "wal_level is replica"
    before = any_database.execute("SELECT xact_rollback FROM pg_stat_database")
    assert validate("host=127.0.0.1 port=9", "--evidence", str(kept))[0] == 3
    assert any_database.execute("SELECT xact_rollback FROM pg_stat_database") == before


def test_the_proof_is_of_the_server_that_made_it(any_database: Database, tmp_path: Path) -> None:
    make_users(any_database)
    settings = read(tmp_path, any_database.conninfo())
    proofs = audit_proofs.fill(Dossier(0.0), ask(settings)).proofs
    assert proofs is not None
    assert settings.audit is not None
    watch, judged = settings.audit.watch, proofs.canaries[0].ended
    for identity, outcome in (
        (ask_database(settings), Outcome.PROVED),
        (proofs.identity + "_copy", Outcome.NOTHING),
    ):
        found = evaluate_proofs(proofs, watch, identity=identity, judged=judged + 2)
        assert [one.outcome for one in found] == [outcome, Outcome.NOTHING], found


def test_it_is_tried_once_a_call_and_only_where_asked(
    any_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[AuditProofs] = []

    def make(settings: Settings) -> AuditProofs:
        del settings
        made.append(AuditProofs(""))
        return made[-1]

    monkeypatch.setattr(audit_proofs, "make_proofs", make)
    settings = read(tmp_path, any_database.conninfo())
    first = audit_proofs.fill(Dossier(0.0), ask(settings))
    assert first.proofs is made[0]
    again = audit_proofs.fill(Dossier(1.0), ask(settings, earlier=first))
    assert again.proofs is made[0]
    assert audit_proofs.fill(Dossier(1.0), ask(settings, earlier=Dossier(0.0))).proofs is made[1]
    assert audit_proofs.fill(Dossier(1.0), ask(settings, "health")).proofs is None
    for config in (
        "environment: test",
        "audit: {table: a.b, watch: [{table: a.c}]}",
        "criteria: {audit_coverage: {decoding: 1s}}",
    ):
        plain = read(tmp_path, any_database.conninfo(), config)
        assert audit_proofs.fill(Dossier(1.0), ask(plain)).proofs is None
    assert len(made) == 2


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    settings = read(tmp_path, "postgresql://judge:hushhush@127.0.0.1:9/db")
    with pytest.raises(SourceUnavailable) as caught:
        audit_proofs.fill(Dossier(0.0), ask(settings))
    assert "hushhush" not in str(caught.value)
    assert msgspec.json.encode(AuditProofs("")) == b'{"identity":"","canaries":[],"decoding":null}'


def test_the_grants_that_init_prints_are_enough_and_no_more(
    any_database: Database, tmp_path: Path
) -> None:
    make_users(any_database)
    any_database.execute("CREATE ROLE app_owner; ALTER TABLE users OWNER TO app_owner")
    settings = read(tmp_path, any_database.conninfo())
    script = render_grants(settings)
    assert f"--   ALTER ROLE {ROLES.validator} REPLICATION;" in script
    try:
        any_database.execute(script)
        any_database.execute(f"ALTER ROLE {ROLES.validator} PASSWORD 'judges'")
        conninfo = any_database.conninfo(ROLES.validator, "judges")
        proofs = audit_proofs.make_proofs(read(tmp_path, conninfo))
        [canary] = proofs.canaries
        assert (canary.doubt, canary.log_rows) == ("", 1)
        [[replicates]] = any_database.execute(
            "SELECT rolreplication FROM pg_roles WHERE rolname = %s", [ROLES.validator]
        )
        assert replicates is False
        with psycopg.connect(conninfo, autocommit=True) as connection:
            for refused in ("UPDATE users SET email = email", "SELECT line FROM audit_logs"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(refused.encode())
        plain = read(tmp_path, "host=h", "audit: {table: a.b, watch: [{table: a.c}]}")
        assert "canary" not in render_grants(plain)
        assert "REPLICATION" not in render_grants(plain)
    finally:
        for role in (*ROLES, "app_owner"):
            any_database.execute(
                f"DO $$ BEGIN IF to_regrole('{role}') IS NOT NULL THEN"
                f" DROP OWNED BY {role} CASCADE; DROP ROLE {role}; END IF; END $$"
            )
