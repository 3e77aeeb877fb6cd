"""Whether the clocks of this machine, the database, the cache, the exporter and Prometheus agree.

Evidence from the future decides nothing, so a clock that is wrong closes gates; and partitions are
made by the database's clock. A time is compared with the middle of its question's way there and
back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime

import psycopg

from phasegate.contract.errors import SourceError
from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.operate.doctor import Cannot, Finding, ok, problem, unknown
from phasegate.operate.doctor_ground import Ground, fetch_rows
from phasegate.validators.http_get import Answer

SUMMARY = "the clocks of this machine, database, cache, exporter and Prometheus agree"
_WHOLE_SECOND = 0.5
"""The header Date has no fractions, and is cut."""


def examine(ground: Ground) -> Iterator[Finding]:
    """What does not answer is left to its own check."""
    settings, apart, silent = ground.settings, {}, []
    asked: dict[str, Callable[[], float]] = {"database": lambda: _of_database(ground)}
    if settings.cache is not None:
        asked["cache"] = lambda: _of_cache(ground)
    exporter = settings.exporter
    if (base := exporter.url) is not None:
        url = f"{base.rstrip('/')}/-/healthy"
        asked["exporter"] = lambda: _of_answer(lambda: ground.fetch("exporter", url, exporter))
    prometheus = settings.prometheus
    if prometheus is not None:
        where = f"{prometheus.url.rstrip('/')}/api/v1/query?query=1"
        asked["prometheus"] = lambda: _of_answer(
            lambda: ground.fetch("prometheus", where, prometheus, prometheus.headers)
        )
    for name, ask in asked.items():
        try:
            apart[name] = ask()
        except (SourceError, psycopg.Error, ValueError):
            silent.append(name)
    yield from evaluate_clocks(apart, silent)


def evaluate_clocks(apart: dict[str, float], silent: list[str]) -> Iterator[Finding]:
    """Seconds that each clock is ahead of this machine's; `silent` are those that told none."""
    wrong = {name: ahead for name, ahead in apart.items() if abs(ahead) > CLOCK_SKEW_SECONDS}
    for name, ahead in wrong.items():
        way = "ahead of" if ahead > 0 else "behind"
        yield problem(
            f"the clock of the {name} is {abs(ahead):.1f} s {way} this machine's",
            f"more than {CLOCK_SKEW_SECONDS:g} s: evidence from there is of the future or too old, "
            "and decides nothing",
            "timedatectl status; chronyc tracking\n(on both machines; start chronyd or "
            "systemd-timesyncd where it does not run)",
        )
    good = {name: ahead for name, ahead in apart.items() if name not in wrong}
    if good:
        told = ", ".join(f"{name} {ahead:+.1f} s" for name, ahead in good.items())
        yield ok(f"against this machine: {told}")
    if silent and not apart:
        told = f"no time from {', '.join(silent)}"
        yield unknown(told, "phasegate doctor --check database", cannot=Cannot.REACH)


def _of_database(ground: Ground) -> float:
    with ground.look() as connection:
        query = "SELECT extract(epoch FROM clock_timestamp())::double precision"
        return _compare(lambda: float(fetch_rows(connection, query)[0][0]))


def _of_cache(ground: Ground) -> float:
    with ground.cache() as client:

        def ask() -> float:
            seconds, micros = client.time()
            return float(seconds) + float(micros) / 1e6

        return _compare(ask)


def _of_answer(ask: Callable[[], Answer]) -> float:
    def read() -> float:
        return parsedate_to_datetime(ask().headers.get("date", "")).timestamp() + _WHOLE_SECOND

    return _compare(read)


def _compare(ask: Callable[[], float]) -> float:
    before = time.time()
    theirs = ask()
    return theirs - (before + time.time()) / 2
