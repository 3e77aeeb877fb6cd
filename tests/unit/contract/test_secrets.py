"""A canary password is hidden in every form that it can take on its way out."""

from __future__ import annotations

import html
import io
import json
import logging
import pickle
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from phasegate.contract.secrets import HIDDEN, Dsn, Redactor, Secret, passwords_in, redact
from phasegate.contract.settings_connection import Cache, Database
from phasegate.contract.settings_describe import describe_settings
from phasegate.contract.settings_load import load_settings, secrets_of
from phasegate.contract.settings_migrate import Backup

CANARY = "ca n/ar:y@1'2\"3\\4%5&<6>+ä"
FORMS = {
    "as it is": CANARY,
    "percent-encoded": quote(CANARY, safe=""),
    "percent-encoded but for slashes": quote(CANARY),
    "percent-encoded in small letters": quote(CANARY, safe="").replace("%2F", "%2f"),
    "as a form": quote_plus(CANARY),
    "keyword form": CANARY.replace("\\", "\\\\").replace("'", "\\'"),
    "SQL literal": CANARY.replace("'", "''"),
    "repr": repr(CANARY)[1:-1],
    "JSON": json.dumps(CANARY)[1:-1],
    "HTML": html.escape(CANARY),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_known_secret_is_hidden_in_every_spelling(form: str) -> None:
    assert redact(f"before {FORMS[form]} after", [CANARY]) == f"before {HIDDEN} after"


UNKNOWN = {
    "URI": "postgresql://user:canary@host:5432/db",
    "URI without a user": "redis://:canary@host",
    "URI with odd characters": "postgresql://user:can@ary/canary@host/db",
    "several hosts": "redis+sentinel://u:canary@a:1,b:2/service",
    "parameter": "postgresql://host/db?user=u&password=canary&sslmode=require",
    "key's password": "postgresql://host/db?sslpassword=canary",
    "keyword": "host=h password=canary dbname=d",
    "keyword with blanks": "host=h password = canary dbname=d",
    "quoted keyword": "host=h password='canary canary' dbname=d",
    "quotes in quotes": r"host=h password='a\'canary \\ canary' dbname=d",
    "an open quote": "host=h password='canary canary",
    "capitals": "PGPASSWORD=canary psql",
    "token": "http://h/health?token=canary",
    "header": "Authorization: Bearer canarycanary",
    "basic header": "authorization: Basic Y2FuYXJ5Y2FuYXJ5",
    "double quotes": 'password="canary canary"',
}


@pytest.mark.parametrize("form", UNKNOWN)
def test_an_unknown_password_is_hidden_by_its_place(form: str) -> None:
    shown = redact(f"connecting to {UNKNOWN[form]}")
    assert "canary" not in shown
    assert "Y2Fu" not in shown
    assert HIDDEN in shown


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:9899/metrics answered 200",
        "postgresql://host:5432/db is down; user@example.org was told",
        "the password is wrong for user app",
        "password authentication failed for user app",
        "collected 3 of 4 tables in 200ms",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert redact(text, ["canary"]) == text


def test_what_stands_around_a_password_stays() -> None:
    assert redact("postgresql://u:p@h:5/db?a=b") == "postgresql://u:***@h:5/db?a=b"
    assert redact("host=h password=p dbname=d") == "host=h password=*** dbname=d"
    assert redact("x?password=p&a=b") == "x?password=***&a=b"


@given(st.text(min_size=4), st.text(), st.text())
def test_no_known_secret_survives(secret: str, before: str, after: str) -> None:
    for form in (secret, quote(secret, safe=""), repr(secret)[1:-1]):
        shown = redact(f"{before}{form}{after}", [secret])
        assert secret not in shown.replace(HIDDEN, "") or secret in before + after


def test_a_secret_never_prints() -> None:
    secret = Secret(CANARY)
    shown = f"{secret} {secret!r} {secret!s} {secret:>5} {[secret]} {{'a': secret}} %s" % secret
    assert CANARY not in shown
    assert secret.reveal() == CANARY
    assert secret == Secret(CANARY)
    assert secret != Secret("other")
    assert secret != Dsn(CANARY)
    assert len({secret, Secret(CANARY)}) == 1
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://u@h/db", set()),
        ("postgresql://h:5432/db", set()),
        ("postgresql://u:pass@h/db", {"pass"}),
        ("postgresql://u:p%40ss@h/db", {"p%40ss", "p@ss"}),
        ("postgresql://h/db?password=a%20b", {"a%20b", "a b"}),
        ("host=h password='a\\'b c' user=u", {"a'b c", "a\\'b c"}),
        ("host=h password=plain user=u", {"plain"}),
    ],
)
def test_passwords_in(dsn: str, expected: set[str]) -> None:
    assert passwords_in(dsn) == expected


def test_an_unescaped_at_sign_hides_each_reading() -> None:
    assert {"a", "a@b"} <= passwords_in("postgresql://u:a@b@h/db")
    assert "pass" in passwords_in("postgresql://u:pass@h/db?application_name=x@y")


def test_a_redactor_learns_and_forgets_nothing_at_reload() -> None:
    redactor = Redactor()
    assert redactor("old-canary new-canary") == "old-canary new-canary"
    redactor.learn(["old-canary"])
    redactor.learn(["new-canary"])
    assert redactor("old-canary new-canary") == "*** ***"


def test_log_records_are_redacted_with_arguments_and_traceback() -> None:
    redactor = Redactor()
    redactor.learn([CANARY])
    shown = io.StringIO()
    handler = logging.StreamHandler(shown)
    handler.addFilter(redactor)
    log = logging.Logger("test")
    log.addHandler(handler)
    try:
        int(f"no such number {CANARY}")
    except ValueError:
        log.exception("failed with %s and %r", CANARY, CANARY)
    assert shown.getvalue().startswith("failed with *** and ")
    assert "'no such number ***" in shown.getvalue()
    assert "ca n" not in shown.getvalue()


def test_a_traceback_that_was_formatted_before_is_redacted_too() -> None:
    redactor = Redactor()
    redactor.learn(["canary"])
    record = logging.LogRecord("test", logging.ERROR, "", 0, "failed", None, None)
    record.exc_text = "ValueError: canary"
    assert redactor.filter(record)
    assert record.exc_text == "ValueError: ***"


def test_structlog_events_are_redacted_in_depth() -> None:
    redactor = Redactor()
    redactor.learn(["canary"])
    event = {
        "event": "canary",
        "number": 3,
        "nested": {"canary": ["canary", ("canary", None)]},
        "error": ValueError("canary"),
    }
    shown = redactor.processor(None, "info", event)
    assert "canary" not in str(shown)
    assert shown["number"] == 3


def test_structlog_uses_it_as_a_processor() -> None:
    redactor = Redactor()
    redactor.learn(["canary"])
    rendered: list[str] = []
    render = structlog.processors.JSONRenderer()

    def keep(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        rendered.append(str(render(logger, method, event)))
        raise structlog.DropEvent

    log = structlog.wrap_logger(
        None, processors=[structlog.processors.format_exc_info, redactor.processor, keep]
    )
    try:
        int("canary")
    except ValueError:
        log.error("canary", exc_info=True)
    assert "canary" not in rendered[0]
    assert "ValueError" in rendered[0]


@pytest.fixture
def secretive(tmp_path: Path) -> Path:
    path = tmp_path / "phasegate.yaml"
    path.write_text(
        """
database:
  url: "postgresql://u:canary%2D1@h/db"
  replicas: {a: {url: "host=h password='canary 2'"}}
cache: {url: "redis://:${CACHE_PASSWORD}@h"}
health:
  - {name: a, url: "http://h/?token=canary-8",
     basic_auth: {username: u, password: "canary=4=="}}
prometheus: {url: "http://h", headers: {X-Key: canary-5}}
migrate:
  hooks: {drain: {command: [x, "--password=canary-9"], environment: {TOKEN: canary-6}}}
  backup: {scratch_url: "postgresql://u@h/db?password=canary-7"}
""",
        encoding="utf-8",
    )
    return path


def test_no_secret_of_the_settings_is_ever_seen(secretive: Path) -> None:
    settings = load_settings(secretive, {"CACHE_PASSWORD": "canary-3"})
    assert secrets_of(settings) == {
        "canary%2D1", "canary-1", "canary 2", "canary-3", "canary=4==", "canary-5", "canary-6",
        "canary-7",
    }  # fmt: skip
    described = describe_settings(settings)
    assert "canary" not in described
    assert "token=***" in described
    shown = repr(settings).replace("token=canary-8", "").replace("--password=canary-9", "")
    assert "canary" not in shown


def test_a_traceback_that_shows_values_shows_no_secret(secretive: Path) -> None:
    settings = load_settings(secretive, {"CACHE_PASSWORD": "canary-3"})
    shown = "".join(_failure(settings.database, settings.cache, settings.migrate.backup))
    assert "database = Database(url=***" in shown
    assert "canary" not in shown


def _failure(database: Database, cache: Cache | None, backup: Backup) -> list[str]:
    try:
        _ = database.replicas["absent"], cache, backup
    except KeyError as error:
        trace = traceback.TracebackException.from_exception(error, capture_locals=True)
        return list(trace.format())
    return []
