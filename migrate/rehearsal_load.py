"""The load beside a rehearsal: rows looked up, updated and inserted, each statement timed.

It is what an application would feel of the migration. Updates change no value and inserts are
rolled back, so that what is migrated stays what was copied.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg

from phasegate.migrate.catalog import PARTITIONED, TABLE, Catalog, Column, Relation, load_sql
from phasegate.migrate.context import Connection
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.rehearsal import LoadFacts, Moment
from phasegate.migrate.sessions import APPLICATION_NAME, open_session

NAME, WATCH = "phasegate rehearsal load", "phasegate rehearsal watch"
THREADS = 4
KEYS = 500
"""Of each table, spread over it."""
MOST_TABLES = 20
SHARES = {"lookup": 6, "update": 3, "insert": 1}
WATCH_SECONDS = 0.02
END_SECONDS = 30.0
MOMENTS = 300
"""So many points a picture has."""
_INTEGERS = ("smallint", "integer", "bigint")
_TEXTS = ("text", "character varying")
_SQL = load_sql("rehearsal")


@dataclass(frozen=True)
class Statement:
    """`sql` takes one key as $1; `kind` is one of SHARES, `keys` asks for keys of the table."""

    kind: str
    table: str
    sql: str
    keys: str

    @property
    def what(self) -> str:
        """For people."""
        return f"{self.kind} in {self.table}"


class Wait(NamedTuple):
    """A session seen waiting: when, for how long by then, for what, and whether it is the mover."""

    at: float
    seconds: float
    lock: str
    mover: bool


def plan_statements(catalog: Catalog) -> tuple[Statement, ...]:
    """Pure: what can be sent, for each table with a key of one column."""
    chosen = [
        relation
        for _, relation in sorted(catalog.relations.items())
        if relation.kind in (TABLE, PARTITIONED)
        and not relation.parents
        and len(relation.primary_key) == 1
    ]
    return tuple(one for relation in chosen[:MOST_TABLES] for one in _of_table(relation))


def _of_table(relation: Relation) -> Iterator[Statement]:
    name, [key] = qualify(relation.name), relation.primary_key
    column = relation.column(key)
    assert column is not None
    keys = _key_query(name, column)
    by_key = f"WHERE {quote(key)} = $1"
    shown = ", ".join(quote(one.name) for one in relation.columns)
    yield Statement("lookup", name, f"SELECT {shown} FROM {name} {by_key}", keys)  # noqa: S608
    plain = [one for one in relation.columns if one.name != key and not one.generated]
    if free := next((one for one in plain if not one.identity), None):
        same = f"{quote(free.name)} = {quote(free.name)}"
        yield Statement("update", name, f"UPDATE {name} SET {same} {by_key}", keys)  # noqa: S608
    values = {quote(one.name): _fresh(one, relation) for one in plain if not one.identity}
    if not column.identity and not column.default:
        more = f"(SELECT max({quote(key)}) + 1 + (1000 * random())::int FROM {name})"  # noqa: S608
        values[quote(key)] = more if column.type in _INTEGERS else _fresh(column, relation)
    columns, taken = ", ".join(values), ", ".join(values.values())
    insert = f"INSERT INTO {name} ({columns}) SELECT {taken} FROM {name} {by_key}"  # noqa: S608
    if not values:
        insert = f"INSERT INTO {name} DEFAULT VALUES"
    yield Statement("insert", name, insert, keys)


def _fresh(column: Column, relation: Relation) -> str:
    """The row's own value, or another one where two rows may not have the same."""
    name = quote(column.name)
    if not any(one.unique and column.name in one.columns for one in relation.indexes):
        return name
    if column.type == "uuid":
        return "gen_random_uuid()"
    if column.type.startswith(_TEXTS):
        return f"{name} || (1e9 * random())::bigint"
    return name


def _key_query(name: str, column: Column) -> str:
    key = quote(column.name)
    if column.type not in _INTEGERS:
        return f"SELECT {key} FROM {name} LIMIT {KEYS}"  # noqa: S608
    return (
        f"SELECT DISTINCT found.key FROM "  # noqa: S608
        f"(SELECT min({key})::numeric AS low, max({key})::numeric AS high FROM {name}) AS ends, "
        f"generate_series(0, {KEYS - 1}) AS n, "
        f"LATERAL (SELECT {key} AS key FROM {name} "
        f"WHERE {key} >= trunc(low + (high - low) * n / {KEYS - 1})::bigint "
        f"ORDER BY {key} LIMIT 1) AS found"
    )


class Load:
    """Sessions that send the statements, `rate` of them a second, and one that watches locks.

    `notes` says what is left out, and why. Times are of time.monotonic().
    """

    def __init__(
        self, conninfo: Mapping[str, str], statements: Sequence[Statement], rate: float
    ) -> None:
        self.notes: list[str] = []
        self.errors: Counter[str] = Counter()
        self.began = time.monotonic()
        self._conninfo = conninfo
        self._rate = rate
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._waits: list[Wait] = []
        # Hours of a load are millions of statements.
        self._starts, self._seconds = array("d"), array("d")
        self._which, self._failures = array("B"), array("B")
        self._statements, self._keys = self._try(statements) if rate else ([], {})

    @contextmanager
    def running(self) -> Iterator[None]:
        """As long as this is open."""
        self.began = time.monotonic()
        jobs = [self._watch, *[self._send_on] * (THREADS if self._statements else 0)]
        threads = [
            threading.Thread(target=job, args=(number,), daemon=True, name=NAME)
            for number, job in enumerate(jobs)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            until = time.monotonic() + END_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def facts(self, begin: float, end: float) -> LoadFacts:
        """Of every statement that was under way in that time."""
        with self._guard:
            span = [
                (seconds, which, failed)
                for start, seconds, which, failed in zip(
                    self._starts, self._seconds, self._which, self._failures, strict=True
                )
                if start < end and start + seconds > begin
            ]
            waits = [one for one in self._waits if begin <= one.at <= end and not one.mover]
        wait = max(waits, key=lambda one: one.seconds, default=None)
        found = LoadFacts(
            lock_wait_seconds=wait.seconds if wait else 0.0, lock_wait=wait.lock if wait else ""
        )
        if not span:
            return found
        longest, which, _ = max(span)
        took = sorted(seconds for seconds, _, _ in span)
        return LoadFacts(
            statements=len(span),
            failed=sum(failed for _, _, failed in span),
            median_seconds=statistics.median(took),
            p95_seconds=took[min(len(took) - 1, int(0.95 * len(took)))],
            longest_seconds=longest,
            longest_statement=self._statements[which].what,
            lock_wait_seconds=found.lock_wait_seconds,
            lock_wait=found.lock_wait,
        )

    def mover_wait(self, begin: float, end: float) -> float:
        """The longest that a session of the mover was seen to wait for a lock in that time."""
        with self._guard:
            waits = [one.seconds for one in self._waits if begin <= one.at <= end and one.mover]
        return max(waits, default=0.0)

    def moments(self) -> tuple[Moment, ...]:
        """All of it in at most MOMENTS pieces; none for a piece without statements."""
        with self._guard:
            pairs = list(zip(self._starts, self._seconds, strict=True))
        if not pairs:
            return ()
        width = max(0.1, (max(start for start, _ in pairs) - self.began) / MOMENTS)
        pieces: dict[int, list[float]] = {}
        for start, seconds in pairs:
            pieces.setdefault(int((start - self.began) / width), []).append(seconds)
        return tuple(
            Moment(number * width, len(took), statistics.median(took), max(took))
            for number, took in sorted(pieces.items())
        )

    def _try(self, statements: Sequence[Statement]) -> tuple[list[Statement], dict[str, list[Any]]]:
        """Those that the copy takes, each sent once and rolled back."""
        keys: dict[str, list[Any]] = {}
        kept = []
        with self._open() as connection:
            for one in statements:
                if one.keys not in keys:
                    keys[one.keys] = [key for (key,) in connection.execute(one.keys.encode())]
                if not keys[one.keys]:
                    continue
                try:
                    _send(connection, one, keys[one.keys][0], keep=False)
                except psycopg.Error as error:
                    self.notes.append(f"the load has no {one.what}: {_describe(error)}")
                else:
                    kept.append(one)
        empty = sorted({one.table for one in statements if not keys[one.keys]})
        self.notes += [f"the load leaves out {name}: it is empty" for name in empty]
        if not kept:
            self.notes.append("there was no load: no table has a key of one column, and rows")
        return kept, keys

    def _open(self) -> psycopg.Connection[Any]:
        """As an application: nothing is set that the role or the database does not set."""
        given: dict[str, Any] = {**self._conninfo, "application_name": NAME, "autocommit": True}
        connection: psycopg.Connection[Any] = psycopg.connect(**given)
        connection.cursor_factory = psycopg.RawCursor
        return connection

    def _send_on(self, number: int) -> None:
        chance = random.Random(number)  # noqa: S311  # the same load each time
        weights = [SHARES[one.kind] for one in self._statements]
        order = range(len(self._statements))
        interval = THREADS / self._rate
        due = time.monotonic() + interval * number / THREADS
        with self._open() as connection:
            while not self._over.wait(max(0.0, due - time.monotonic())):
                [which] = chance.choices(order, weights)
                one = self._statements[which]
                began = time.monotonic()
                failed = 0
                try:
                    _send(connection, one, chance.choice(self._keys[one.keys]))
                except psycopg.Error as error:
                    failed = 1
                    self._count(f"{one.what}: {_describe(error)}")
                self._note(began, which, failed)
                if connection.closed:
                    return
                # What was missed while it waited is not made up for: users do not queue either.
                due = max(due + interval, time.monotonic())

    def _note(self, began: float, which: int, failed: int) -> None:
        seconds = time.monotonic() - began
        with self._guard:
            self._starts.append(began)
            self._seconds.append(seconds)
            self._which.append(which)
            self._failures.append(failed)

    def _count(self, error: str) -> None:
        with self._guard:
            self.errors[error] += 1

    def _watch(self, _number: int) -> None:
        # Who waits is good to know; a copy that is gone is told by whoever works on it.
        with suppress(psycopg.Error), open_session(self._conninfo, name=WATCH) as connection:
            while not self._over.wait(WATCH_SECONDS):
                seen = fetch_waits(connection)
                with self._guard:
                    self._waits += seen


def fetch_waits(connection: Connection) -> list[Wait]:
    """Who of the load and of the mover waits for a lock now."""
    rows = connection.execute(_SQL["waits"].encode(), ([NAME, APPLICATION_NAME],)).fetchall()
    now = time.monotonic()
    return [Wait(now, seconds, lock, mover=name != NAME) for name, seconds, lock in rows]


def _send(
    connection: psycopg.Connection[Any], one: Statement, key: Any, *, keep: bool = True
) -> None:
    parameters = (key,) if "$1" in one.sql else ()
    if keep and one.kind != "insert":
        connection.execute(one.sql.encode(), parameters)
        return
    with connection.transaction(force_rollback=True):
        connection.execute(one.sql.encode(), parameters)


def _describe(error: psycopg.Error) -> str:
    """Without the detail, which quotes rows."""
    return error.diag.message_primary or type(error).__name__
