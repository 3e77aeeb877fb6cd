"""The keys by which PostgreSQL and the cache are reached.

Only the settings; `contract/connection.py` turns them into what a driver takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from phasegate.contract.frozen import keyed
from phasegate.contract.secrets import Secret
from phasegate.contract.sections import MapOf, Section, setting
from phasegate.contract.settings_kinds import CACHE_URL, COMMAND, DATABASE_URL, NAME
from phasegate.contract.settings_rules import of_replica
from phasegate.contract.shapes import Duration, FilePath, Number, Text


@keyed
class Access:
    """Where the connection string and the password come from."""

    url: Secret | None = None
    url_file: Path | None = setting(
        FilePath(), "A file that holds the connection string; read again at each connect.", None,
        example="/run/secrets/database-url",
    )  # fmt: skip
    password_file: Path | None = setting(
        FilePath(),
        "A file that holds the password; read again at each connect. It wins over one in `url`.",
        None,
        example="/run/secrets/database-password",
    )
    password_command: tuple[str, ...] | None = setting(
        COMMAND,
        "A program that prints a short-lived password; run at each connect, for at most 10 s.",
        None,
        example='["aws", "rds", "generate-db-auth-token", "…"]',
    )

    @property
    def configured(self) -> bool:
        """Whether there is anything to connect to."""
        return self.url is not None or self.url_file is not None


@keyed
class Connection(Access):
    """A PostgreSQL server."""

    url: Secret | None = setting(
        DATABASE_URL,
        "Where the server is: a libpq URI or keyword form. `DATABASE_URL` where neither `url` nor "
        "`url_file` is given.",
        None,
        example='"${DATABASE_URL}"',
    )


@keyed
class Replica(Connection):
    """A standby."""

    url: Secret | None = setting(
        DATABASE_URL,
        "Where the standby is: a libpq URI or keyword form.",
        None,
        example='"${REPLICA_URL}"',
    )


@keyed
class Identity:
    """Which server and database the evidence must be of."""

    system_identifier: str | None = setting(
        Text("a number of up to 20 digits, in quotes", r"[0-9]{1,20}"),
        "`system_identifier` of `pg_control_system()`.",
        None,
        example='"7412345678901234567"',
    )
    database: str | None = setting(Text(), "Name of the database.", None, example="mono_prod")

    @property
    def pinned(self) -> bool:
        """Whether it tells which database the evidence must be of, with no one asked."""
        return bool(self.system_identifier and self.database)


@keyed
class Database(Connection):
    """The primary, its replicas and its identity."""

    replicas: Mapping[str, Replica] = setting(
        MapOf(Section(Replica, "url and more", of_replica), "replicas by name", NAME),
        "Standbys by name; the name is the value of the label `target`.",
        dict,
        example='{replica1: {url: "${REPLICA_URL}"}}',
    )
    identity: Identity = setting(
        Section(Identity, "system_identifier, database"),
        "Compared with the evidence, without connecting: so `validate` "
        "and `baseline` need no `url`.",
        Identity,
    )


@keyed
class Warm:
    """What the permission cache is filled with."""

    ids: str = setting(
        Text("one SELECT of one column"),
        "Every user whose permissions are put there; tables are named with their schema.",
        example='"SELECT uuid FROM public.users"',
    )
    sql: str = setting(
        Text("one SELECT of two columns, texts, with $1"),
        "Keys and values of the users in the array `$1`, as the application writes them.",
        example="\"SELECT 'perm:' || uuid, … WHERE uuid = ANY($1) …\"",
    )
    ttl: float = setting(Duration(1, 86_400), "How long a value lives.", 300.0)
    rate: int = setting(Number("keys per second", 1, 1_000_000, whole=True), "At most.", 5_000)


@keyed
class Cache(Access):
    """The Redis or Valkey that holds the permission cache."""

    url: Secret | None = setting(
        CACHE_URL,
        "Where it is: `redis://`, `rediss://`, `unix://`; `redis+sentinel://host:port,…/service` "
        "and `redis+cluster://host:port,…` too. `REDIS_URL` where neither `url` nor `url_file` "
        "is given.",
        None,
        example='"${REDIS_URL}"',
    )
    key_pattern: str = setting(
        Text("a pattern of keys"),
        "The keys of the permission cache, as SCAN matches them.",
        "perm:*",
    )
    warm: Warm | None = setting(
        Section(Warm, "ids, sql and more"),
        "Queries that fill the cache before the application asks; absent: it fills by itself.",
        None,
    )
