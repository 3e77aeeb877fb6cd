"""Counts what logical decoding says of each transaction: changes against audit rows. Pure.

A transaction is folded into a few numbers as its lines come by, so that a large one takes no more
memory than a small one. Lines are those of the plugin test_decoding.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from phasegate.contract.audit_proofs import Decoding, Gap, Watched
from phasegate.contract.names import TableName

MOST_GAPS = 100
"""Kept; all are counted."""
LOG = ""
"""The root by which `roots` names the tables of the log itself."""
_PART = r'(?:"((?:[^"]|"")*)"|([^".,:\s]+))'
_NAME = re.compile(rf"{_PART}\.{_PART}")
_KIND = re.compile(r": (INSERT|UPDATE|DELETE|TRUNCATE):")
_MARK = re.compile(r"message: transactional: 1 prefix: phasegate\.backfill, sz: 2 content:on$")


class UnreadLine(ValueError):
    """A line that is none of test_decoding as it is known."""


class Change(NamedTuple):
    """One line about tables: several only for TRUNCATE."""

    kind: str
    tables: tuple[TableName, ...]


def parse_change(line: str) -> Change:
    """`table public.users: INSERT: …`, of which all that follows is ignored. Raises UnreadLine."""
    position = len("table ")
    tables = []
    while line.startswith("table ") and (name := _NAME.match(line, position)):
        parts = [
            (a or "").replace('""', '"') or b for a, b in (name.groups()[:2], name.groups()[2:])
        ]
        tables.append(TableName(*parts))
        if kind := _KIND.match(line, name.end()):
            if len(tables) == 1 or kind[1] == "TRUNCATE":
                return Change(kind[1], tuple(tables))
            break
        if not line.startswith(", ", name.end()):
            break
        position = name.end() + 2
    # What it holds may be a user's data, so it is not shown.
    raise UnreadLine("test_decoding gave a line that is not understood")


def _bare(quoted: str | None, plain: str) -> str:
    return plain if quoted is None else quoted.replace('""', '"')


class _Transaction:
    """What is known of the one that is being read."""

    def __init__(self, xid: int) -> None:
        self.xid = xid
        self.changes: dict[str, Counter[str]] = {}
        # A TRUNCATE of a partitioned table fires a trigger of each partition that has one.
        self.more = 0
        self.log_rows = 0
        self.log_removed = False
        self.marked = False

    def count(self, root: str, kind: str, fired: int) -> None:
        self.changes.setdefault(root, Counter())[kind] += 1
        self.more += fired - 1

    def of(self, tables: set[str]) -> int:
        return sum(sum(self.changes[name].values()) for name in tables & self.changes.keys())


class Tally:
    """Folds lines into counts; `roots` may grow while it is being fed.

    `roots` leads from each table and partition to the watched table, or to `LOG`. Changes of those
    in `by_trigger` need their rows in the same transaction; of others with it or later.
    """

    def __init__(
        self, roots: Mapping[TableName, str], by_trigger: set[str], by_application: set[str]
    ) -> None:
        self._roots, self._trigger, self._application = roots, by_trigger, by_application
        self._current: _Transaction | None = None
        self._tables = {name: _Counts() for name in by_trigger | by_application}
        self._transactions = self._log_rows = self._other_rows = 0
        self._missing = 0
        self._gaps: list[Gap] = []
        # Changes that still wait for rows of later transactions, and how many of the window's.
        self._waiting: dict[str, Counter[str]] = {}
        self._pending = self._window_pending = 0
        self._loose_rows = 0
        self._closed = False

    @property
    def waits(self) -> bool:
        """Whether the application still owes rows."""
        return self._pending > 0

    def close_window(self) -> None:
        """From here on only rows are waited for: what changes now is of no window."""
        self._closed = True
        self._window_pending = self._pending

    def feed(self, xid: int, line: str) -> None:
        """One line. Raises UnreadLine."""
        if line.startswith("BEGIN"):
            self._current = _Transaction(xid)
        elif self._current is None:
            if not line.startswith("message: transactional: 0"):
                raise UnreadLine("test_decoding gave a change outside of a transaction")
        elif line.startswith("COMMIT"):
            self._commit(self._current)
            self._current = None
        elif line.startswith("message:"):
            self._current.marked = self._current.marked or bool(_MARK.match(line))
        else:
            self._change(self._current, parse_change(line))

    def _change(self, current: _Transaction, change: Change) -> None:
        roots = Counter(self._roots[table] for table in change.tables if table in self._roots)
        for root, fired in roots.items():
            if root != LOG:
                current.count(root, change.kind, fired)
            elif change.kind == "INSERT":
                current.log_rows += 1
            elif change.kind != "UPDATE":
                current.log_removed = True

    def _commit(self, one: _Transaction) -> None:
        if not one.changes and not one.log_rows:
            return
        if not self._closed:
            self._transactions += 1
            self._log_rows += one.log_rows
        if one.marked:
            self._book(one, "marked", set(one.changes))
            return
        owed, others = one.of(self._trigger), one.of(self._application)
        missing = owed - one.log_rows
        exact = owed + others <= one.log_rows <= owed + others + one.more
        clear = exact and not one.log_removed
        names = set(one.changes)
        if missing > 0 and not one.log_removed:
            self._miss(one, names & self._trigger, missing)
        else:
            self._book(one, "matched" if clear else "blurred", names & self._trigger)
        if clear and others:
            self._book(one, "matched", names & self._application)
            return
        self._owe(one, names & self._application, others)
        rows = max(0, one.log_rows - owed - (one.more if exact else 0))
        self._settle(rows)

    def _book(self, one: _Transaction, where: str, names: set[str]) -> None:
        if self._closed:
            return
        for name in names:
            self._tables[name].add(where, one.changes[name])

    def _miss(self, one: _Transaction, names: set[str], missing: int) -> None:
        if self._closed:
            return
        for name in names:
            self._tables[name].add("", one.changes[name])
        kinds = sorted({kind for name in names for kind in one.changes[name]})
        changes = one.of(names)
        self._add_gap(
            Gap(tuple(sorted(names)), tuple(kinds), one.xid, changes, one.log_rows, missing)
        )

    def _add_gap(self, gap: Gap) -> None:
        self._missing += gap.missing
        # The first of each group of tables is kept, so that no table's own is crowded out.
        if len(self._gaps) < MOST_GAPS or all(gap.tables != one.tables for one in self._gaps):
            self._gaps.append(gap)

    def _owe(self, one: _Transaction, names: set[str], changes: int) -> None:
        self._pending += changes
        if self._closed:
            return
        for name in names:
            self._tables[name].add("", one.changes[name])
            self._waiting.setdefault(name, Counter()).update(one.changes[name])

    def _settle(self, rows: int) -> None:
        used = min(rows, self._pending)
        self._pending -= used
        self._window_pending = max(0, self._window_pending - used)
        if not self._closed:
            self._loose_rows += used
            self._other_rows += rows - used

    def result(self, began: float, ended: float, doubt: str = "", remedy: str = "") -> Decoding:
        """What was counted; what the application still owes is missing, if the window is closed."""
        owing = sum(sum(counts.values()) for counts in self._waiting.values())
        if self._closed and self._window_pending:
            names = tuple(sorted(self._waiting))
            kinds = sorted({kind for counts in self._waiting.values() for kind in counts})
            rows = owing - self._window_pending
            self._add_gap(Gap(names, tuple(kinds), 0, owing, rows, self._window_pending))
        elif self._pending and not doubt:
            doubt = f"the log did not catch up: {self._pending:,} changes still wait for their rows"
            remedy = "decode for longer, or at a quieter time"
        # Without any other row in the log, those that came by order are the changes' own.
        where = "blurred" if self._other_rows else "matched"
        for name, counts in self._waiting.items():
            self._tables[name].move(where, counts)
        self._waiting = {}
        return Decoding(
            *(began, ended, self._transactions, self._log_rows, self._other_rows),
            tuple(self._tables[name].watched(name) for name in sorted(self._tables)),
            *(self._missing, tuple(self._gaps), doubt, remedy),
        )


class _Counts:
    """Of one table."""

    def __init__(self) -> None:
        self.transactions = 0
        self.by: dict[str, Counter[str]] = {
            name: Counter() for name in ("changes", "matched", "blurred", "marked")
        }

    def add(self, where: str, counts: Counter[str]) -> None:
        self.transactions += 1
        if where != "marked":
            self.by["changes"].update(counts)
        if where:
            self.by[where].update(counts)

    def move(self, where: str, counts: Counter[str]) -> None:
        self.by[where].update(counts)

    def watched(self, name: str) -> Watched:
        return Watched(name, self.transactions, **{k: dict(v) for k, v in self.by.items()})
