"""The demo's SQL files, cut into the steps that are sent one at a time.

A file and not Python strings, since users read and run such files with psql; cut into steps,
since CREATE INDEX CONCURRENTLY and a backfill that commits refuse to share a message with others.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from psycopg import AsyncConnection

MARK = "\n-- step:"


@dataclass(frozen=True)
class SqlStep:
    """One message to the server: what it does, in words, and its statements."""

    title: str
    sql: str


def read_steps(name: str) -> tuple[SqlStep, ...]:
    """The steps of `demo/sql/<name>.sql`, in order; what stands before the first one is prose."""
    text = files("phasegate.demo").joinpath("sql", f"{name}.sql").read_text("utf-8")
    steps = []
    for part in text.split(MARK)[1:]:
        title, _, sql = part.partition("\n")
        steps.append(SqlStep(title.strip(), sql.strip()))
    return tuple(steps)


async def apply_step(connection: AsyncConnection[Any], step: SqlStep) -> None:
    """Send one step; raises psycopg.Error. `connection` must be in autocommit."""
    # Files of this package, never anybody's input.
    await connection.execute(step.sql.encode())
