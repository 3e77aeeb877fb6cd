"""The latency probe: a process of its own that asks, measures, and does nothing else.

Beside a thread that renders thousands of series, a probe in the same interpreter waits up to
30 ms for the lock and would page people over our own work. So this module imports psycopg and the
standard library's smallest parts only, uses libpq directly, and writes one line a probe.

    stdin    one JSON line: the `Order`; one more after each {"c": 1}, of which the conninfo counts;
             its end means that the exporter is gone
    stdout   JSON lines: {"l": index, "t": Unix time, "s": seconds}          a lookup answered
             {"l": index, "t": Unix time, "f": SQLSTATE class, "e": error}   it failed
             {"l": index, "t": Unix time, "k": reason, "n": slots}           slots were skipped
             {"c": 1, "t": Unix time}                 no connection: is there a new password?
             {"o": [[key, scans], …], "t": Unix time}                        our own index scans

Time counts from the intended start wherever the server made us late, so that a stall is seen by
every slot that it delayed; our own late waking is not the server's time. Each key was drawn at
least a round earlier: a row read just before its lookup would always be in memory.

Every statement shares its transaction with a look at the scans that this backend has made and not
yet reported: the server reports when a transaction ends, at moments of its own choice, and only
before that can it be asked who scanned. The look and the end of the transaction are not timed.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import sys
import threading
import time
from collections import deque
from typing import Any, NamedTuple

import psycopg
from psycopg import pq

WARM_UPS = 6  # psycopg and the server settle on a generic plan after five executions
KEYS = 256
BOUNDS_SECONDS = 30.0
RECONNECT_SECONDS = 0.5
ASK_SECONDS = 5.0
MEND_SECONDS = 30.0
NO_ANSWER_SECONDS = 1.0
END_SECONDS = 0.4
UNREACHABLE = "08"
SCANS = "scans"
TRANSACTION_TIMEOUT_SINCE = 170000
MARKER = -1  # as the statement of the scans numbers how often it ran since the last report


class Lookup(NamedTuple):
    """One timed statement with the parameter `$1`, and which column of the key row it takes."""

    sql: str
    column: int


class Group(NamedTuple):
    """Lookups on the same row, one slot together. `draw` takes a random key between `bounds`."""

    lookups: list[int]
    draw: str
    bounds: str
    kind: str


class Key(NamedTuple):
    """The values of one row by which it is looked up, as text."""

    values: tuple[bytes | None, ...]


class Probe:
    """One connection, and the schedule of its lookups."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.conninfo: dict[str, str] = order["conninfo"]
        self.settings: dict[str, str] = order["settings"]
        self.interval: float = order["interval"]
        self.timeout: float = order["timeout"]
        self.lookups = [Lookup(*entry) for entry in order["lookups"]]
        self.groups = [Group(*entry) for entry in order["groups"]]
        self.keys: list[deque[Key]] = [deque(maxlen=KEYS) for _ in self.groups]
        self.bounds: list[tuple[float, int, int] | None] = [None for _ in self.groups]
        self.warm_ups = [WARM_UPS for _ in self.lookups]
        self.connection: psycopg.Connection[Any] | None = None
        self.scans: str = order.get("scans", "")
        self.pending: dict[int, int] = {}
        self.own: dict[int, int] = {}
        self.at_work = threading.Lock()
        self.refusal = ""
        self.broken: dict[str, tuple[str, str]] = {}
        self.mend_at = float("inf")
        self.busy_until = 0.0
        self.give_up_at = float("inf")
        self.next_connect = 0.0
        self.next_ask = 0.0
        self.chance = random.Random()  # noqa: S311  (which row to look up is no secret)

    def run(self) -> None:
        """Serve the slots for ever, evenly spread over the interval."""
        start = time.perf_counter()
        step = self.interval / max(1, len(self.groups))
        slots = [start + step * number for number in range(len(self.groups))]
        while True:
            number = min(range(len(slots)), key=slots.__getitem__)
            intended = slots[number]
            wait = intended - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            missed = int((time.perf_counter() - intended) / self.interval)
            if missed:
                reason = "server_busy" if self.busy_until > intended else "process_late"
                self.skip(self.groups[number], reason, missed)
                intended += missed * self.interval
            with self.at_work:
                self.slot(number, intended)
            slots[number] = intended + self.interval

    def slot(self, number: int, intended: float) -> None:
        """One lookup of each kind on one row, then the draw of a key for later."""
        group = self.groups[number]
        try:
            if not self.connected():
                self.fail(group.lookups, UNREACHABLE, self.refusal)
                return
            refused = self.broken.get(f"d{number}") or self.broken.get(f"b{number}")
            if refused:
                self.fail(group.lookups, *refused)
                return
            key = self.keys[number].popleft() if self.keys[number] else None
            if key is None:
                self.skip(group, "no_key", 1)
            else:
                self.measure(group, key, intended)
            if self.connection is not None:
                for _ in range(2 if len(self.keys[number]) < KEYS else 1):
                    self.draw(number)
                self.settle()
        except psycopg.Error as error:
            self.fail(group.lookups, (error.sqlstate or UNREACHABLE)[:2], type(error).__name__)
            self.drop()
        finally:
            self.tell_own()
            self.give_up_at = float("inf")
            self.busy_until = time.perf_counter()

    def measure(self, group: Group, key: Key, intended: float) -> None:
        """Time each lookup of the group on the row of `key`, in a random order."""
        order = list(group.lookups)
        self.chance.shuffle(order)
        late = self.busy_until > intended
        for index in order:
            if f"l{index}" in self.broken:
                self.fail([index], *self.broken[f"l{index}"])
                continue
            value = key.values[self.lookups[index].column]
            if value is None:
                say(l=index, k="no_key", n=1)
                continue
            began = intended if late else time.perf_counter()
            late = False
            result = self.ask(f"l{index}", [value])
            seconds = time.perf_counter() - began
            if result.status != pq.ExecStatus.TUPLES_OK:
                error = psycopg.errors.error_from_result(result)
                self.fail([index], (error.sqlstate or UNREACHABLE)[:2], type(error).__name__)
                if self.connection is None or self.connection.pgconn.status != pq.ConnStatus.OK:
                    self.drop()
                    return
            elif result.ntuples == 0:
                say(l=index, k="row_gone", n=1)
            elif self.warm_ups[index]:
                self.warm_ups[index] -= 1
            else:
                say_answer(index, seconds)
            self.settle()

    def draw(self, number: int) -> None:
        """Take the key of one more row, by an index jump to a random place."""
        low_high = self.place(number)
        if low_high is None or self.connection is None:
            return
        spot = self.chance.randint(*low_high)
        kind = self.groups[number].kind
        value = str(spot) if kind == "integer" else f"{spot:032x}"
        parameters: list[bytes] = [] if kind == "sample" else [value.encode()]
        result = self.ask(f"d{number}", parameters)
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise_result(result)
        if result.ntuples:
            key = Key(tuple(result.get_value(0, i) for i in range(result.nfields)))
            queue = self.keys[number]
            if not queue or queue[-1] != key:
                queue.append(key)

    def place(self, number: int) -> tuple[int, int] | None:
        """Lowest and highest key, read anew every half minute; None for an empty table."""
        known = self.bounds[number]
        if known is not None and time.perf_counter() < known[0]:
            return known[1:]
        if self.groups[number].kind == "sample":
            return (0, 0)
        result = self.ask(f"b{number}", [])
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise_result(result)
        low, high = result.get_value(0, 0), result.get_value(0, 1)
        if low is None or high is None:
            return None
        base = 10 if self.groups[number].kind == "integer" else 16
        found = [int(text.replace(b"-", b"") if base == 16 else text, base) for text in (low, high)]
        self.bounds[number] = (time.perf_counter() + BOUNDS_SECONDS, found[0], found[1])
        return found[0], found[1]

    def ask(self, name: str, parameters: list[bytes]) -> pq.abc.PGresult:
        """Execute a prepared statement; the watchdog cuts the connection if nothing comes.

        The transaction stays open until `settle`: the answer is asked for at once, by a flush.
        """
        assert self.connection is not None
        pgconn = self.connection.pgconn
        self.give_up_at = time.perf_counter() + self.timeout + NO_ANSWER_SECONDS
        pgconn.send_query_prepared(name.encode(), parameters)
        pgconn.send_flush_request()
        result = pgconn.get_result()
        if result is None or pgconn.get_result() is not None:
            raise psycopg.OperationalError("the connection was lost")
        return result

    def settle(self) -> None:
        """End the transaction, and count the scans of keys that it made."""
        assert self.connection is not None
        pgconn = self.connection.pgconn
        self.give_up_at = time.perf_counter() + self.timeout + NO_ANSWER_SECONDS
        if self.scans:
            pgconn.send_query_prepared(SCANS.encode(), [])
        pgconn.pipeline_sync()
        while True:
            result = pgconn.get_result()
            if result is None:
                if pgconn.status != pq.ConnStatus.OK:
                    raise psycopg.OperationalError("the connection was lost")
            elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                return
            elif result.status == pq.ExecStatus.TUPLES_OK:
                self.count(result)
            elif result.status != pq.ExecStatus.PIPELINE_ABORTED:
                raise_result(result)

    def count(self, result: pq.abc.PGresult) -> None:
        """Add what is pending beyond the last look; all of it where a report came between."""
        rows = ((result.get_value(n, 0), result.get_value(n, 1)) for n in range(result.ntuples))
        pending = {int(number or 0): int(scans or 0) for number, scans in rows}
        base = {} if pending.pop(MARKER) <= 1 else self.pending
        for number, scans in pending.items():
            # With an index that was dropped goes what was pending of it.
            gained = max(0, scans - base.get(number, 0))
            self.own[number] = self.own.get(number, 0) + gained
        self.pending = pending

    def tell_own(self) -> None:
        """Tell of our own scans since the last time."""
        scans = [[number, count] for number, count in self.own.items() if count]
        self.own = {}
        if scans:
            say(o=scans)

    def connected(self) -> bool:
        """Whether there is a connection; tries to open one, not more often than twice a second."""
        if self.connection is not None:
            poll = select.poll()
            poll.register(self.connection.pgconn.socket, select.POLLIN)
            if not poll.poll(0) and time.perf_counter() < self.mend_at:
                return True
            self.drop()
        if time.perf_counter() < self.next_connect:
            return False
        self.next_connect = time.perf_counter() + RECONNECT_SECONDS
        keywords: dict[str, Any] = dict(self.conninfo)
        try:
            self.connection = psycopg.connect(**keywords, autocommit=True)
            self.prepare()
        except psycopg.Error as error:
            self.refusal = type(error).__name__
            self.drop()
            if time.perf_counter() >= self.next_ask:
                self.next_ask = time.perf_counter() + ASK_SECONDS
                say(c=1)
            return False
        return True

    def prepare(self) -> None:
        """Session settings, every statement, and a first store of keys."""
        assert self.connection is not None
        # Of the role's own settings, what would let no statement through: in recovery none runs as
        # serializable, and a probe's transaction lasts for several round trips.
        self.connection.execute("SET default_transaction_isolation TO 'read committed'")
        if self.connection.info.server_version >= TRANSACTION_TIMEOUT_SINCE:
            self.connection.execute("SET transaction_timeout TO 0")
        for name, value in self.settings.items():
            self.connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
        statements = {f"l{i}": lookup.sql for i, lookup in enumerate(self.lookups)}
        for i, group in enumerate(self.groups):
            statements |= {f"d{i}": group.draw, f"b{i}": group.bounds}
        if self.scans:
            statements[SCANS] = self.scans
        self.broken = {}
        for name, text in statements.items():
            result = self.connection.pgconn.prepare(name.encode(), text.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                # Its own lookups fail by it, and no others: a table may not be there yet.
                error = psycopg.errors.error_from_result(result)
                if name == SCANS or self.connection.pgconn.status != pq.ConnStatus.OK:
                    raise error
                self.broken[name] = (error.sqlstate or UNREACHABLE)[:2], type(error).__name__
        self.mend_at = time.perf_counter() + MEND_SECONDS if self.broken else float("inf")
        self.connection.pgconn.enter_pipeline_mode()
        self.warm_ups = [WARM_UPS for _ in self.lookups]
        self.pending = {}

    def drop(self) -> None:
        """Close the connection."""
        if self.connection is not None:
            with contextlib.suppress(psycopg.Error):
                self.connection.close()
        self.connection = None

    def skip(self, group: Group, reason: str, slots: int) -> None:
        """Tell of slots in which nothing was measured."""
        for index in group.lookups:
            say(l=index, k=reason, n=slots)

    def fail(self, lookups: list[int], category: str, error: str) -> None:
        """Tell of probes that did not get an answer. The error's name, never its text: that can
        hold the value of a key."""
        for index in lookups:
            say(l=index, f=category, e=error)

    def watch(self) -> None:
        """Cut the socket of a statement that outlives even its server-side time-out."""
        while True:
            time.sleep(0.25)
            connection = self.connection
            if connection is None or time.perf_counter() < self.give_up_at:
                continue
            with contextlib.suppress(OSError, psycopg.Error):
                cut = socket.socket(fileno=os.dup(connection.pgconn.socket))
                cut.shutdown(socket.SHUT_RDWR)
                cut.close()


def raise_result(result: pq.abc.PGresult) -> None:
    """A failed result as psycopg's own error."""
    raise psycopg.errors.error_from_result(result)


def say(**event: object) -> None:
    """One line to the exporter."""
    event["t"] = time.time()
    with contextlib.suppress(BrokenPipeError):  # the exporter is gone, and so are we soon
        os.write(1, json.dumps(event).encode() + b"\n")


def say_answer(index: int, seconds: float) -> None:
    """The line of a lookup that was answered, as `say` writes it: this one is written all day,
    and what it costs the processor is seen in the next lookup."""
    line = b'{"l":%d,"s":%.9f,"t":%.6f}\n' % (index, seconds, time.time())
    with contextlib.suppress(BrokenPipeError):
        os.write(1, line)


def leave_with_owner(probe: Probe) -> None:
    """End when the exporter does, however it ended; a slot that has begun tells its scans first.

    Until then take each new conninfo that it gives.
    """
    for line in sys.stdin.buffer:
        probe.conninfo = json.loads(line)["conninfo"]
    probe.at_work.acquire(timeout=END_SECONDS)
    os._exit(0)


def main() -> None:
    """Read the order, then probe until the end of stdin."""
    probe = Probe(json.loads(sys.stdin.buffer.readline()))
    for work in (probe.watch, lambda: leave_with_owner(probe)):
        threading.Thread(target=work, daemon=True).start()
    probe.run()


if __name__ == "__main__":
    main()
