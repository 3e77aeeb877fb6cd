"""From a live database and a cache to a file: the one part of `init` that touches the world."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import click
import psycopg

from phasegate.contract.connection import check_connections, database_conninfo
from phasegate.contract.errors import ConfigError, ConfigFault, ContractError, SourceTimeout
from phasegate.contract.settings import Settings
from phasegate.contract.settings_load import load_settings
from phasegate.migrate.catalog import Catalog, fetch_catalog
from phasegate.migrate.frameworks import find_refusals
from phasegate.migrate.sessions import Connection, open_session, unreachable
from phasegate.operate.init_cache import CacheFacts, fetch_cache_facts
from phasegate.operate.init_draft import Draft, make_plans
from phasegate.operate.init_facts import STATEMENT_SECONDS, Facts, fetch_facts
from phasegate.operate.init_render import count_questions, render_draft
from phasegate.operate.init_trial import MOST_TRIED, audit_names, tried_names, try_choice
from phasegate.operate.init_yaml import shown

APPLICATION_NAME = "phasegate init"
STDOUT = Path("-")


def write_config(
    database_url: str | None, redis_url: str | None, output: Path, environment: str, *, force: bool
) -> None:
    """Read both servers and write the file; on stderr, what was found.

    Raises ConfigError for a URL that is none or one of a standby, SourceError where the database
    cannot be read, LockNotAcquired while somebody locks a table that it must look at.
    """
    refuse_existing(output, force=force)
    environ = _environ(database_url, redis_url)
    settings = load_settings(None, environ)
    check_connections(settings)
    draft = fetch_draft(settings, environment)
    text = render_draft(draft)
    _prove(text, environ)
    if output == STDOUT:
        click.echo(text, nl=False)
    else:
        _write(output, text, force=force)
    for line in _summary(draft, text, output):
        click.echo(shown(line), err=True)


def refuse_existing(output: Path, *, force: bool) -> None:
    """A UsageError before anything is asked of a server."""
    if output != STDOUT and not force and os.path.lexists(output):
        raise click.UsageError(f"{output} is there already; --force writes over it")
    if output != STDOUT and not output.parent.is_dir():
        raise click.UsageError(f"{output.parent} is no folder; make it, or give another --output")


def _environ(database_url: str | None, redis_url: str | None) -> dict[str, str]:
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    return {name: url for name, url in given.items() if url}


def fetch_draft(settings: Settings, environment: str) -> Draft:
    """All that is found and chosen. Raises as `write_config`."""
    conninfo = database_conninfo(settings.database)
    with unreachable(), open_session(conninfo, name=APPLICATION_NAME) as connection:
        try:
            facts = fetch_facts(connection)
            if facts.standby:
                raise ConfigError((_STANDBY,))
            draft = _choose(facts, connection, environment)
        except psycopg.errors.QueryCanceled as error:
            told = f"its catalog could not be read in {STATEMENT_SECONDS} s; try at a quieter hour"
            raise SourceTimeout("database", told) from error
    cache: CacheFacts | None = None
    if settings.cache is not None:
        cache = fetch_cache_facts(settings.cache)
    return Draft(draft.facts, draft.plans, draft.trial, cache, draft.environment)


_STANDBY = ConfigFault(
    "the environment",
    0,
    0,
    "database.url",
    "a standby, which only replays its primary",
    "the primary",
    "give that one; a standby goes into database.replicas",
)


def _choose(facts: Facts, connection: Connection, environment: str) -> Draft:
    plans = make_plans(facts)
    candidates = plans.tables.candidates[:MOST_TRIED]
    catalog = fetch_catalog(connection, tried_names(candidates))
    log: Catalog | None = None
    if plans.audit is not None:
        # By itself: a log of very many partitions takes longer to read than anybody waits.
        with suppress(psycopg.errors.QueryCanceled):
            log = fetch_catalog(connection, audit_names(plans.audit))
    trial = try_choice(candidates, catalog, plans.audit, log, find_refusals(connection))
    return Draft(facts, plans, trial, None, environment)


def _prove(text: str, environ: Mapping[str, str]) -> None:
    """Read it as everybody else will. A fault in it is a bug of ours: ContractError."""
    with tempfile.TemporaryDirectory(prefix="phasegate-init-") as folder:
        file = Path(folder, "phasegate.yaml")
        file.write_text(text, encoding="utf-8")
        try:
            load_settings(file, environ)
        except ConfigError as error:
            raise ContractError("phasegate init", str(error)) from error


def _write(output: Path, text: str, *, force: bool) -> None:
    """Never over a file that came meanwhile, unless that is wanted."""
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse_existing(output, force=force)
        raise
    except OSError as error:
        raise click.UsageError(f"{output} cannot be written: {error.strerror}") from error


def _summary(draft: Draft, text: str, output: Path) -> list[str]:
    names = ", ".join(str(one.candidate.table.name) for one in draft.proposed) or "none for certain"
    left_out = len(draft.facts.tables) - len(draft.proposed)
    lines = [f"tables: {names}; {left_out} are not proposed, each with its reason"]
    if draft.cache is not None and draft.cache.down:
        lines.append(f"the cache is left unread: {draft.cache.down}")
    lines += [f"before a plan: {one}" for one in draft.trial.server]
    questions = count_questions(text)
    if output == STDOUT:
        return [*lines, f"questions: {questions}"]
    return [
        *lines,
        f"wrote {output}; it asks {questions} questions: grep Question {output}",
        f"next, with DATABASE_URL set: phasegate exporter --config.file {output} "
        "--check-config --connect",
        f"then: phasegate migrate plan --config {output}",
    ]
