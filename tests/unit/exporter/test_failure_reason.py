"""Each error of a server has one word, by which its remedy is found."""

from __future__ import annotations

import psycopg
import pytest

from phasegate.contract.errors import CollectError, SourceUnavailable
from phasegate.exporter.backends import failure_reason
from phasegate.exporter.remedies import remedy_for


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (psycopg.errors.UndefinedTable('relation "users" does not exist'), "undefined_object"),
        (psycopg.errors.InvalidSchemaName("no schema"), "undefined_object"),
        (psycopg.errors.InsufficientPrivilege("permission denied"), "privilege"),
        (psycopg.errors.TooManyConnections("too many"), "too_many_connections"),
        (psycopg.errors.LockNotAvailable("lock timeout"), "lock_timeout"),
        (psycopg.errors.QueryCanceled("due to statement timeout"), "statement_timeout"),
        (psycopg.errors.QueryCanceled("due to user request"), "cancelled"),
        (psycopg.errors.AdminShutdown("terminating connection"), "unreachable"),
        (psycopg.errors.SerializationFailure("conflict with recovery"), "database_error"),
        (psycopg.errors.DiskFull("no space left"), "database_error"),
        (
            psycopg.OperationalError('FATAL: too many connections for role "x"'),
            "too_many_connections",
        ),
        (
            psycopg.OperationalError("FATAL: sorry, too many clients already"),
            "too_many_connections",
        ),
        (psycopg.OperationalError('role "x" is not permitted to log in'), "authentication"),
        (psycopg.OperationalError("Connection refused"), "unreachable"),
        (psycopg.DataError("no sqlstate"), "database_error"),
        (CollectError("audit", "standby", "in recovery"), "standby"),
        (SourceUnavailable("database", "password_file is empty"), "secret"),
        (TimeoutError(), "timeout"),
        (OSError("no route"), "unreachable"),
        (KeyError("ours"), "internal"),
    ],
)
def test_failure_reason(error: Exception, reason: str) -> None:
    assert failure_reason(error) == reason


def test_a_cancelled_statement_has_a_remedy() -> None:
    assert "pg_cancel_backend" in remedy_for("cancelled")
