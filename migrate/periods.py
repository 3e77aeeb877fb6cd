"""Days, weeks and months in UTC, and the names and bounds of partitions that hold them. Pure."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from phasegate.contract.errors import ContractError
from phasegate.contract.units import Retention
from phasegate.migrate.identifiers import derive

_BOUND = re.compile(r"FOR VALUES FROM \((.+?)\) TO \((.+?)\)")
_ENDS = {"MINVALUE": datetime.min.replace(tzinfo=UTC), "MAXVALUE": datetime.max.replace(tzinfo=UTC)}


class Period(NamedTuple):
    """From `start` on, up to and without `end`; both in UTC."""

    start: datetime
    end: datetime

    @property
    def text(self) -> str:
        """For people."""
        lower = "the beginning" if self.start == _ENDS["MINVALUE"] else write(self.start)
        return f"from {lower} to {write(self.end)}"

    @property
    def values(self) -> str:
        """As a partition's bound; with the offset, so that no time zone makes another of it."""
        lower = "MINVALUE" if self.start == _ENDS["MINVALUE"] else f"'{write(self.start)}'"
        return f"FOR VALUES FROM ({lower}) TO ('{write(self.end)}')"


def write(moment: datetime) -> str:
    """As SQL takes it, with its offset."""
    return moment.strftime("%Y-%m-%d %H:%M:%S+00")


def period_of(moment: datetime, length: str) -> Period:
    """The day, the week (from Monday) or the month that holds the moment."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match length:
        case "day":
            return Period(day, day + timedelta(days=1))
        case "week":
            monday = day - timedelta(days=day.weekday())
            return Period(monday, monday + timedelta(days=7))
        case "month":
            first = day.replace(day=1)
            return Period(first, (first + timedelta(days=32)).replace(day=1))
    raise ContractError("audit.partition", f"no length of a partition: {length}")


def following(period: Period, length: str) -> Period:
    """The next one."""
    return period_of(period.end, length)


def ahead(now: datetime, length: str, count: int) -> Iterator[Period]:
    """The period of now, and `count` after it."""
    period = period_of(now, length)
    for _ in range(count + 1):
        yield period
        period = following(period, length)


def before(moment: datetime, kept: Retention) -> datetime:
    """So much earlier by the calendar; the last day of a month that is too short for the day. The
    earliest moment there is for more than that."""
    try:
        match kept.unit:
            case "day" | "week":
                return moment - timedelta(days=kept.count * (7 if kept.unit == "week" else 1))
            case "month" | "year":
                months = moment.year * 12 + moment.month - 1
                months -= kept.count * (12 if kept.unit == "year" else 1)
                year, month = divmod(months, 12)
                day = min(moment.day, calendar.monthrange(year, month + 1)[1])
                return moment.replace(year=year, month=month + 1, day=day)
    except (OverflowError, ValueError):
        return _ENDS["MINVALUE"]


def name_partition(table: str, period: Period, length: str) -> str:
    """`audit_logs_2026_01`, `audit_logs_2026_01_31`, `audit_logs_2026_w05` (the ISO week)."""
    form = {"day": "%Y_%m_%d", "week": "%G_w%V", "month": "%Y_%m"}[length]
    return derive(table, period.start.strftime(form))


def parse_bound(bound: str) -> Period | None:
    """Of a range partition by one time; None for another kind. Written by a session in UTC."""
    match = _BOUND.fullmatch(bound)
    if match is None:
        return None
    try:
        lower, upper = (_ENDS.get(text) or _read(text.strip("'")) for text in match.groups())
    except ValueError:
        return None
    return Period(lower, upper)


def _read(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def uncovered(period: Period, taken: Iterable[Period]) -> list[Period]:
    """What of the period no other one holds, in order."""
    found, at = [], period.start
    for one in sorted(taken):
        if one.end <= at or one.start >= period.end:
            continue
        if one.start > at:
            found.append(Period(at, one.start))
        at = max(at, one.end)
    if at < period.end:
        found.append(Period(at, period.end))
    return found
