"""Named SQL: each topic's queries stand in `sql/<topic>.sql`, with what they need written on top.

A query starts with `-- name:`; the lines `-- rights:`, `-- locks:` and `-- cost:` that follow are
what `explain` and the metric reference print. Parameters are psycopg's (`%(root)s`); names of
users' tables go through `psycopg.sql` at the place of `{table}` and the like.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from phasegate.contract.errors import ContractError

FACTS = ("rights", "locks", "cost")


@dataclass(frozen=True)
class Query:
    """One named query: its text and what it asks of the server and of the role."""

    name: str
    sql: str
    rights: str
    locks: str
    cost: str


def has_queries(topic: str) -> bool:
    """Whether the topic asks anything by SQL."""
    return files("phasegate.exporter").joinpath("sql", f"{topic}.sql").is_file()


@cache
def load_queries(topic: str) -> dict[str, Query]:
    """The queries of `sql/<topic>.sql` by name; ContractError where one lacks a fact."""
    text = files("phasegate.exporter").joinpath("sql", f"{topic}.sql").read_text("utf-8")
    queries = {}
    for part in text.split("-- name:")[1:]:
        name, _, body = part.partition("\n")
        facts: dict[str, str] = {}
        lines = body.splitlines()
        while lines and lines[0].startswith("-- "):
            key, _, value = lines.pop(0).removeprefix("-- ").partition(": ")
            facts[key] = value
        if tuple(facts) != FACTS:
            raise ContractError(f"sql/{topic}.sql {name.strip()}", f"needs the lines {FACTS}")
        query = Query(name=name.strip(), sql="\n".join(lines).strip().rstrip(";"), **facts)
        queries[query.name] = query
    return queries
