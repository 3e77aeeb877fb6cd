"""What the judge itself knows of the targets: addresses of its configuration, and the database's
own answer where nothing pins which one it must be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from phasegate.contract.connection import cache_address, database_conninfo
from phasegate.contract.dossier import Dossier
from phasegate.contract.errors import SourceError, SourceUnavailable
from phasegate.contract.evidence import CACHE, DATABASE
from phasegate.contract.judge import APPLICATION, needs_connection
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.validators.sources import Request, with_problem
from phasegate.validators.time_limit import time_limit

if TYPE_CHECKING:
    import psycopg

CONNECT_SECONDS = 5
ANSWER_SECONDS = 5.0
# After a promotion the control file names the old timeline until the first checkpoint.
_IDENTITY = """
SELECT s.system_identifier::text
    || '/' || CASE
        WHEN pg_is_in_recovery()
            THEN COALESCE((SELECT r.received_tli FROM pg_stat_wal_receiver AS r), c.timeline_id)
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    END
    || '/' || current_database()
FROM pg_control_system() AS s CROSS JOIN pg_control_checkpoint() AS c
"""


def fill(dossier: Dossier, request: Request) -> Dossier:
    """With the identities; what cannot be read leaves the others."""
    settings = request.settings
    known = {}
    if settings.application is not None:
        known[APPLICATION] = redactor(settings.application.metrics_url)
    if settings.cache is not None:
        try:
            # The address alone is asked for: no password is read for it.
            address = cache_address(
                dataclasses.replace(settings.cache, password_file=None, password_command=None)
            )
            known[CACHE] = f"{address.identity}/0/{address.database}"
        except SourceError as error:
            dossier = with_problem(dossier, error)
    # After the measurer: without its evidence nobody needs to be asked.
    if dossier.evidence is not None and needs_connection(request.criteria, settings):
        try:
            known[DATABASE] = ask_database(settings)
        except SourceError as error:
            dossier = with_problem(dossier, error)
    return replace(dossier, identities=known)


def ask_database(settings: Settings) -> str:
    """The identity of the configured database as evidence spells it. Raises SourceError."""
    with connected(settings, DATABASE, ANSWER_SECONDS) as (_, identity):
        return identity


@contextmanager
def connected(
    settings: Settings, source: str, seconds: float
) -> Iterator[tuple[psycopg.Connection[Any], str]]:
    """A connection to the configured database, cut after `seconds`, and of which server it is.

    Raises SourceUnavailable, in the name of `source`, for all that goes wrong on it.
    """
    # Heavy, and only used where the configuration pins no identity, or a proof is asked for.
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    conninfo = database_conninfo(settings.database, DATABASE)
    conninfo |= {"application_name": "phasegate validate", "client_encoding": "UTF8"}
    conninfo.setdefault("connect_timeout", str(CONNECT_SECONDS))
    try:
        with (
            psycopg.connect(make_conninfo(**conninfo), autocommit=True) as connection,
            time_limit(connection.fileno(), seconds),
        ):
            row = connection.execute(_IDENTITY).fetchone()
            assert row is not None
            yield connection, str(row[0])
    except psycopg.errors.InsufficientPrivilege:
        hint = "grant pg_monitor to its role, or configure database.identity"
        raise SourceUnavailable(source, f"its identity may not be read; {hint}") from None
    except psycopg.Error as error:
        raise SourceUnavailable(source, redactor(str(error).strip())) from None
