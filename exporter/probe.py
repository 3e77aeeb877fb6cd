"""The latency probe: a process of its own that asks, measures, and does nothing else.

Beside a thread that renders thousands of series, a probe in the same interpreter waits up to
30 ms for the lock and would page people over our own work. So this module imports psycopg and the
standard library's smallest parts only, uses libpq directly, and writes one line a probe.

    stdin    one JSON line: the `Order`; its end means that the exporter is gone
    stdout   JSON lines: {"l": index, "t": Unix time, "s": seconds}          a lookup answered
             {"l": index, "t": Unix time, "f": SQLSTATE class}               it failed
             {"l": index, "t": Unix time, "k": reason, "n": slots}           slots were skipped

Time counts from the intended start wherever the server made us late, so that a stall is seen by
every slot that it delayed; our own late waking is not the server's time. Each key was drawn at
least a round earlier: a row read just before its lookup would always be in memory.
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
NO_ANSWER_SECONDS = 1.0
UNREACHABLE = "08"


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
        self.busy_until = 0.0
        self.give_up_at = float("inf")
        self.next_connect = 0.0
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
            self.slot(number, intended)
            slots[number] = intended + self.interval

    def slot(self, number: int, intended: float) -> None:
        """One lookup of each kind on one row, then the draw of a key for later."""
        group = self.groups[number]
        try:
            if not self.connected():
                self.fail(group.lookups, UNREACHABLE)
                return
            key = self.keys[number].popleft() if self.keys[number] else None
            if key is None:
                self.skip(group, "no_key", 1)
            else:
                self.measure(group, key, intended)
            for _ in range(2 if len(self.keys[number]) < KEYS else 1):
                self.draw(number)
        except psycopg.Error as error:
            self.fail(group.lookups, (error.sqlstate or UNREACHABLE)[:2])
            self.drop()
        finally:
            self.give_up_at = float("inf")
            self.busy_until = time.perf_counter()

    def measure(self, group: Group, key: Key, intended: float) -> None:
        """Time each lookup of the group on the row of `key`, in a random order."""
        order = list(group.lookups)
        self.chance.shuffle(order)
        late = self.busy_until > intended
        for index in order:
            value = key.values[self.lookups[index].column]
            if value is None:
                say(l=index, k="no_key", n=1)
                continue
            began = intended if late else time.perf_counter()
            late = False
            result = self.ask(f"l{index}", [value])
            seconds = time.perf_counter() - began
            if result.status != pq.ExecStatus.TUPLES_OK:
                say(
                    l=index,
                    f=(result.error_field(pq.DiagnosticField.SQLSTATE) or b"08")[:2].decode(),
                )
                if self.connection is None or self.connection.pgconn.status != pq.ConnStatus.OK:
                    self.drop()
                    return
            elif result.ntuples == 0:
                say(l=index, k="row_gone", n=1)
            elif self.warm_ups[index]:
                self.warm_ups[index] -= 1
            else:
                say(l=index, s=seconds)

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
        """Execute a prepared statement; the watchdog cuts the connection if nothing comes."""
        assert self.connection is not None
        self.give_up_at = time.perf_counter() + self.timeout + NO_ANSWER_SECONDS
        return self.connection.pgconn.exec_prepared(name.encode(), parameters)

    def connected(self) -> bool:
        """Whether there is a connection; tries to open one, not more often than twice a second."""
        if self.connection is not None:
            poll = select.poll()
            poll.register(self.connection.pgconn.socket, select.POLLIN)
            if not poll.poll(0):
                return True
            self.drop()
        if time.perf_counter() < self.next_connect:
            return False
        self.next_connect = time.perf_counter() + RECONNECT_SECONDS
        keywords: dict[str, Any] = dict(self.conninfo)
        try:
            self.connection = psycopg.connect(**keywords, autocommit=True)
            self.prepare()
        except psycopg.Error:
            self.drop()
            return False
        return True

    def prepare(self) -> None:
        """Session settings, every statement, and a first store of keys."""
        assert self.connection is not None
        for name, value in self.settings.items():
            self.connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])
        statements = {f"l{i}": lookup.sql for i, lookup in enumerate(self.lookups)}
        for i, group in enumerate(self.groups):
            statements |= {f"d{i}": group.draw, f"b{i}": group.bounds}
        for name, text in statements.items():
            result = self.connection.pgconn.prepare(name.encode(), text.encode())
            if result.status != pq.ExecStatus.COMMAND_OK:
                raise_result(result)
        self.warm_ups = [WARM_UPS for _ in self.lookups]

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

    def fail(self, lookups: list[int], category: str) -> None:
        """Tell of probes that did not get an answer."""
        for index in lookups:
            say(l=index, f=category)

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
    os.write(1, json.dumps(event).encode() + b"\n")


def leave_with_owner() -> None:
    """End when the exporter does, however it ended."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Read the order, then probe until the end of stdin."""
    probe = Probe(json.loads(sys.stdin.buffer.readline()))
    for work in (probe.watch, leave_with_owner):
        threading.Thread(target=work, daemon=True).start()
    probe.run()


if __name__ == "__main__":
    main()
