"""A loop over the rows of a table, by ranges of pages: restartable, throttled, on two sessions.

Each range is one transaction together with its checkpoint, so what is committed is never done
twice and what is not is not taken for done. Ranges of pages need no index and cost the same on
every page; the length follows the time that one took. Vacuum between them lets later ranges write
where earlier ones left space, so that the table does not double.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import errors

from phasegate.contract.errors import LockNotAcquired, StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import PARTITIONED, Catalog, load_sql
from phasegate.migrate.context import Connection, Context
from phasegate.migrate.identifiers import qualify
from phasegate.migrate.model import Patience
from phasegate.migrate.sessions import set_patience

WORKERS = 2
TARGET_SECONDS = 0.1
"""Of one range: as long as a row may stay locked."""
FIRST_PAGES, MOST_PAGES = 100, 2_000
VACUUM_SHARE = 0.1
"""Of a table's pages, after which it is vacuumed."""
VACUUM_PAGES = 1_000
"""Of smaller tables no vacuum between is worth its scan."""
PASSES = 10
RETRY_SECONDS = 600.0
_SQL = load_sql("ranges")
_GIVES_WAY = (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure)

Range = tuple[int, int]
_Update = Callable[[str, str], str]


@dataclass(frozen=True)
class RangeUpdate:
    """`update` gives the statement for a table and a condition on its pages, the table as `t`;
    `left` the query that counts the rows of a table that it still has to change. `tables` are all
    that hold rows; tables are as SQL writes them. `vacuums` where old versions of rows are left."""

    step_object: str
    tables: tuple[TableName, ...]
    update: _Update
    left: Callable[[str], str]
    vacuums: bool = True


@dataclass(frozen=True)
class Populate:
    """The work of an action: `make_work` says what is sent, given the catalog of its begin."""

    make_work: Callable[[Catalog], RangeUpdate]

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`."""
        return run_ranges(self.make_work(context.catalog), context)


@dataclass
class _Queue:
    """What is left of one table's pages; shared by the workers."""

    ranges: list[Range]
    pages: int
    vacuums: bool = True
    done: int = 0
    rows: int = 0
    length: float = field(default_factory=lambda: float(FIRST_PAGES))
    vacuumed: int = 0
    postponed_since: float = 0.0
    guard: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> Range | None:
        """The next range, as long as one should be now."""
        with self.guard:
            if not self.ranges:
                return None
            lower, upper = self.ranges[0]
            cut = min(upper, lower + max(1, int(self.length)))
            if cut < upper:
                self.ranges[0] = (cut, upper)
            else:
                del self.ranges[0]
            return lower, cut

    def drop(self) -> None:
        """Nothing is left to take."""
        with self.guard:
            self.ranges.clear()

    def finish(self, taken: Range, rows: int, seconds: float) -> None:
        """It is committed."""
        with self.guard:
            pages = taken[1] - taken[0]
            self.done += pages
            self.rows += rows
            self.postponed_since = 0.0
            fitting = pages * TARGET_SECONDS / max(seconds, 1e-3)
            # Half-way, so that one slow commit does not shrink all that follow.
            self.length = min(MOST_PAGES, max(1.0, (self.length + fitting) / 2))

    def postpone(self, taken: Range) -> float:
        """Somebody holds a row of it: the others first. Seconds for which nothing went on."""
        with self.guard:
            self.ranges.append(taken)
            self.length = max(1.0, self.length / 2)
            self.postponed_since = self.postponed_since or time.monotonic()
            return time.monotonic() - self.postponed_since


def leaves(catalog: Catalog, table: TableName) -> tuple[TableName, ...]:
    """Every table below `table` that holds rows, itself included."""
    relation = catalog.get(table)
    if relation is None:
        return ()
    own = () if relation.kind == PARTITIONED else (table,)
    return own + tuple(one for child in relation.children for one in leaves(catalog, child))


def run_ranges(work: RangeUpdate, context: Context) -> Mapping[str, Any]:
    """Change every row that is left; what was done is in the result. Raises as `Work.run`.

    Done is what the data say: after the ranges the rows that are left are counted, and as long as
    there are some it begins again.
    """
    began = time.monotonic()
    facts: dict[str, Any] = {"rows": 0, "passes": 0, "workers": WORKERS}
    with context.connect(Patience.BATCH) as connection:
        for table in work.tables:
            for number in range(1, PASSES + 1):
                facts["passes"] = max(facts["passes"], number)
                facts["rows"] += _run_table(work, table, context, connection, number)
                left = count_left(connection, work.left(qualify(table)))
                if left == 0:
                    break
                context.say(f"{qualify(table)}: {left:,} rows are left, again")
            else:
                reason = f"{qualify(table)}: rows are left after {PASSES} passes"
                raise StepFailed(context.step, reason)
            if work.vacuums:
                _vacuum(connection, table, analyze=True)
    seconds = time.monotonic() - began
    return facts | {"seconds": seconds, "rows_per_second": facts["rows"] / max(seconds, 1e-9)}


def count_left(connection: Connection, query: str) -> int:
    """What the query counts, as long as it takes; under row_security = off, so an error and never
    a 0 where rows are hidden from us."""
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = 0")
        [[count]] = connection.execute(query.encode()).fetchall()
    return int(count)


def _run_table(
    work: RangeUpdate, table: TableName, context: Context, connection: Connection, number: int
) -> int:
    name = f"{work.step_object} {qualify(table)} {_filenode(connection, table)} pass {number}"
    [[analyzed, pages]] = connection.execute(
        _SQL["size"].encode(), (qualify(table), qualify(table))
    ).fetchall()
    if not analyzed:
        connection.execute(f"ANALYZE {qualify(table)}".encode())
    finished = connection.execute(_SQL["finished"].encode(), (context.step, name)).fetchall()
    if finished:
        # As it was when this pass began: what has come behind that since was written by us, or
        # past a trigger that knows of this work, and none of it is to be read again.
        pages = finished[0][2]
    left = gaps([(lower, upper) for lower, upper, _ in finished], pages)
    queue = _Queue(left, pages, work.vacuums)
    queue.done = pages - sum(upper - lower for lower, upper in queue.ranges)
    if queue.done:
        context.say(f"{qualify(table)}: goes on at {queue.done:,} of {pages:,} pages")
    if not queue.ranges:
        return 0
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="ranges") as pool:
        futures = [
            pool.submit(_run_until_one_fails, work.update, table, name, context, queue)
            for _ in range(WORKERS)
        ]
    for future in futures:
        future.result()
    return queue.rows


def _run_until_one_fails(
    update: _Update, table: TableName, name: str, context: Context, queue: _Queue
) -> None:
    try:
        _run_worker(update, table, name, context, queue)
    except BaseException:
        # The error is told once all are done: the others must not go on for hours.
        queue.drop()
        raise


def _run_worker(
    update: _Update, table: TableName, name: str, context: Context, queue: _Queue
) -> None:
    with context.connect(Patience.BATCH) as connection, context.control.watching(connection):
        while (taken := queue.take()) is not None:
            context.control.check()
            share = context.throttle.pace()
            began = time.monotonic()
            try:
                rows = _change(connection, update, table, taken, (context.step, name, queue.pages))
            except _GIVES_WAY as error:
                if queue.postpone(taken) > RETRY_SECONDS:
                    reason = f"{qualify(table)}: rows stay locked by others: {error}"
                    raise LockNotAcquired(reason) from None
                context.control.sleep(TARGET_SECONDS)
                continue
            except psycopg.errors.QueryCanceled as error:
                context.control.check()
                raise StepFailed(context.step, f"{qualify(table)}: {error}") from error
            seconds = time.monotonic() - began
            queue.finish(taken, rows, seconds)
            context.report(qualify(table), queue.done, queue.pages, "pages")
            if _wants_vacuum(queue):
                _vacuum(connection, table, analyze=False)
            if share < 1:
                context.control.sleep(seconds * (1 / share - 1))


def _change(
    connection: Connection,
    update: _Update,
    table: TableName,
    taken: Range,
    checkpoint: tuple[str, str, int],
) -> int:
    lower, upper = taken
    place = f"t.ctid >= '({lower},0)'::tid AND t.ctid < '({upper},0)'::tid"
    step, name, pages = checkpoint
    with connection.transaction(), connection.cursor() as cursor:
        # Our own audit triggers keep silent, and whoever decodes the log knows that they may.
        cursor.execute(_SQL["announce"].encode())
        cursor.execute(update(qualify(table), place).encode())
        rows = cursor.rowcount
        cursor.execute(_SQL["checkpoint"].encode(), (step, name, lower, pages, lower, upper, rows))
    return rows


def gaps(finished: Sequence[Range], pages: int) -> list[Range]:
    """What of the pages 0 to `pages` the finished ranges leave, in order."""
    found: list[Range] = []
    at = 0
    for lower, upper in sorted(finished):
        if lower > at:
            found.append((at, lower))
        at = max(at, upper)
    if at < pages:
        found.append((at, pages))
    return found


def _wants_vacuum(queue: _Queue) -> bool:
    with queue.guard:
        since, share = queue.done - queue.vacuumed, VACUUM_SHARE * queue.pages
        due = queue.vacuums and since >= max(VACUUM_PAGES, share)
        if due:
            queue.vacuumed = queue.done
        return due


def _vacuum(connection: Connection, table: TableName, *, analyze: bool) -> None:
    set_patience(connection, Patience.SCAN)
    try:
        # TRUNCATE would take ACCESS EXCLUSIVE for the empty end of the table.
        options = "TRUNCATE false, SKIP_LOCKED" + (", ANALYZE" if analyze else "")
        connection.execute(f"VACUUM ({options}) {qualify(table)}".encode())
    finally:
        set_patience(connection, Patience.BATCH)


def _filenode(connection: Connection, table: TableName) -> str:
    """Of the file that the ranges are of: another one has other pages."""
    [[found]] = connection.execute(_SQL["filenode"].encode(), (qualify(table),)).fetchall()
    return str(found)
