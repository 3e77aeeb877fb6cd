"""Looks up random rows without a pause; the child of the benchmark of that name.

Arguments: what looks up, the highest integer key, and seconds. `probe` is the probe's own code as
in service, with the line that it writes after each lookup; `quiet` the same with the lines kept
in memory; `libpq` psycopg's raw call and nothing of ours. It is told the probe's order on stdin
and writes the probe's lines to stdout.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg

from phasegate.exporter import probe as product


def main() -> None:
    """Look up until the time is over."""
    what, highest, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    order = json.loads(sys.stdin.buffer.readline())
    kept: list[float] = []
    if what == "quiet":
        product.say = lambda **event: kept.append(event["s"])
    look_up = _raw(order, kept) if what == "libpq" else _own(order)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        look_up(str(random.randint(1, highest)).encode())  # noqa: S311  (no secret)
    sys.stdout.write("".join(f'{{"s": {taken}}}\n' for taken in kept))


def _own(order: dict[str, Any]) -> Callable[[bytes], None]:
    probe = product.Probe(order)
    if not probe.connected():
        sys.exit("the probe cannot connect")
    threading.Thread(target=probe.watch, daemon=True).start()
    group = probe.groups[0]
    return lambda key: probe.measure(group, product.Key((key,)), time.perf_counter())


def _raw(order: dict[str, Any], kept: list[float]) -> Callable[[bytes], None]:
    connection = psycopg.connect(**order["conninfo"], autocommit=True)
    for name, value in order["settings"].items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    connection.pgconn.prepare(b"l0", order["lookups"][0][0].encode())
    execute, clock = connection.pgconn.exec_prepared, time.perf_counter

    def look_up(key: bytes) -> None:
        began = clock()
        execute(b"l0", [key])
        kept.append(clock() - began)

    return look_up


if __name__ == "__main__":
    main()
