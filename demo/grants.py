"""The demo's roles: what `phasegate init --grants` prints for its configuration, run as it stands.

Run again after the schema was expanded: new columns and tables have grants of their own.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier, Literal

from phasegate.contract.settings_load import load_settings
from phasegate.demo.config import FILE_NAME, Places, render_config
from phasegate.operate.grants import Roles, render_grants

NOWHERE = "http://127.0.0.1"


async def apply_grants(connection: AsyncConnection[Any], roles: Roles) -> None:
    """Create the roles that are not there, and grant what this moment's schema needs.

    `connection` is in autocommit; psycopg.errors.InsufficientPrivilege where its role may not.
    """
    try:
        await connection.execute(_render(roles).encode())
    except BaseException:
        await connection.rollback()
        raise


async def set_password(connection: AsyncConnection[Any], role: str, password: str) -> None:
    """Let the role log in with it."""
    statement = SQL("ALTER ROLE {} PASSWORD {}").format(Identifier(role), Literal(password))
    await connection.execute(statement)


def _render(roles: Roles) -> str:
    # What is granted does not depend on where anything listens.
    environ = {"DATABASE_URL": "dbname=demo", "REDIS_URL": "redis://127.0.0.1"}
    with TemporaryDirectory() as directory:
        file = Path(directory) / FILE_NAME
        file.write_text(render_config(Places(NOWHERE, NOWHERE, "")), encoding="utf-8")
        return render_grants(load_settings(file, environ), roles)
