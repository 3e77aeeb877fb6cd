"""How many rows reached the audit log: the accounting, without any I/O.

Two sources, neither enough alone. Statistics are cheap, but they count what was rolled back, are
estimated anew by VACUUM and ANALYZE, and vanish with a crash or a reset. A count of rows is the
truth, but dear, and says nothing of what is gone. So each table that stores rows (by oid, a
*member*) is counted on a slow schedule, and between two counts only those statistics are believed
that can be nothing but committed inserts: the growth of `n_live_tup` while nothing else moved.
What they leave open is a debt that the next count settles, or that is believed when the member
vanishes before it. A total that turns out too high is never taken back: the counter waits.

Statistics reach the server up to 15 s after the commit, a count sees the rows at once: growth that
arrives so soon after a count may be in it already, and is a debt too.

The one stated error is rows deleted between two counts. Where the log is one single table, rows
are told from those of the last count by their transaction, so that only such are missed as came
and went in between; among several partitions a deleted row cannot be told from a moved one, and
deletions cost at most as many rows as were deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

SETTLE_SECONDS = 15.0


class Figures(NamedTuple):
    """The statistics of a member. `upkeep` counts vacuums and analyzes, `file` is its storage."""

    inserted: int
    updated: int
    deleted: int
    live: int
    dead: int
    upkeep: int
    file: int


class Join(NamedTuple):
    """When a member entered the log: the transaction, and the command within it."""

    xid: str
    command: int


class Mark(NamedTuple):
    """The snapshot of a count: the first transaction after it, and those that were running."""

    following: str
    running: Sequence[str]


class Reading(NamedTuple):
    """What one look at the server says of one member.

    `inside` is false for a member that was detached; `born` tells a partition that was created as
    one from a table that was attached, perhaps full.
    """

    oid: int
    inside: bool
    join: Join | None
    born: bool
    figures: Figures


class Source(NamedTuple):
    """Whose statistics: another `identity` is another database, another `epoch` another life."""

    identity: str
    epoch: str
    track_counts: bool = True


class Count(NamedTuple):
    """Rows of one member in one snapshot; `fresh` are those since it was counted or joined."""

    oid: int
    rows: int
    fresh: int | None
    mark: Mark


@dataclass
class Member:
    """One table of the log. Whatever has no other comment counts since the last count of rows."""

    oid: int
    join: Join | None  # None: stood there at the very first look, a baseline
    figures: Figures  # at the last look
    moved: float  # when they last changed; Unix seconds
    rows: int | None = None  # at the last count
    mark: Mark | None = None
    counted: float = 0.0  # when; Unix seconds
    settled_figures: Figures | None = None  # just before the last count
    blind_until: float = 0.0  # growth seen before may be in the count already
    shown: int = 0  # proved by statistics
    debt: int = 0  # likely, not proved
    deleted: int = 0
    updated: int = 0
    lossy: bool = False  # statistics were lost
    inside: bool = True

    @property
    def rewritten(self) -> bool:
        """Truncated, or written anew by something that kept the rows."""
        last = self.settled_figures
        return last is not None and last.file != self.figures.file

    @property
    def pending(self) -> bool:
        """Whether only a count can tell what came in."""
        last, now = self.settled_figures, self.figures
        return (
            last is None
            or self.lossy
            or self.debt > 0
            or not self.inside
            or (last.inserted, last.deleted, last.file) != (now.inserted, now.deleted, now.file)
        )


@dataclass
class Cycle:
    """Sums over what was counted since the last reconciliation that reached every member."""

    gained: int = 0
    shown: int = 0
    deleted: int = 0


class Ledger:
    """The account of one audit log. Times are Unix seconds."""

    def __init__(self) -> None:
        self.members: dict[int, Member] = {}
        self.reconciled = 0.0
        self._source: Source | None = None
        self._settled = 0
        self._highest = 0
        self._cycle = Cycle()
        # A state that was saved before a crash may know less than was shown since: nothing is
        # shown of it before a reconciliation was tried.
        self._ready = True
        self._observed = False

    @property
    def total(self) -> int | None:
        """The counter; None while it could still be lower than what was shown before."""
        if self._source is None or not self._ready:
            return None
        self._highest = max(self._highest, self._proved())
        return self._highest

    @property
    def debt(self) -> int:
        """Rows that statistics report and that no count has proved yet."""
        return sum(member.debt for member in self.members.values())

    def observe(
        self,
        source: Source,
        readings: Sequence[Reading],
        now: float,
        *,
        unchanged: Collection[int] = (),
    ) -> None:
        """Take in one look at the statistics; `now` is when it began, later than the last one.

        `unchanged` are the oids that read as they did at the last look.
        """
        last, self._source, self._observed = self._source, source, True
        if last is not None and last.identity != source.identity:
            self._retire(set(self.members))
            last = None
        lost = last is not None and (last.epoch != source.epoch or not source.track_counts)
        # Rows that move from one partition to another are deleted there and inserted here.
        deletes = any(
            reading.oid in self.members
            and self.members[reading.oid].figures.deleted != reading.figures.deleted
            for reading in readings
        )
        if lost:
            for oid in unchanged:
                self._lose(self.members[oid], now)
        for reading in readings:
            member = self.members.get(reading.oid)
            if member is None:
                self._admit(reading, baseline=last is None, now=now)
            else:
                self._follow(member, reading, lost=lost, deletes=deletes, now=now)
        self._retire(set(self.members).difference(unchanged, (r.oid for r in readings)))

    def pending(self) -> list[Member]:
        """What is to be counted: deletions and departures first, then the longest uncounted."""
        found = [member for member in self.members.values() if member.pending]
        return sorted(found, key=lambda m: (m.deleted == 0 and m.inside, m.counted))

    def needs_fresh(self, member: Member) -> bool:
        """Whether its count has to tell new rows from old ones."""
        if member.rows is None:
            return member.join is not None
        return member.mark is not None and (
            member.rewritten or member.lossy or (self._single() and member.deleted > 0)
        )

    def settle(self, count: Count, before: Figures, now: float) -> None:
        """Take in a count that ended at `now`; `before` are the figures seen ahead of it."""
        member = self.members.get(count.oid)
        if member is None or member.figures.file != before.file:
            return  # dropped or truncated, and booked as that, while its count was on its way
        likely = member.shown + member.debt
        if member.rows is None:
            agrees = count.rows == before.live
            self._settled += likely if count.fresh is None else count.fresh
        else:
            gained = self._gained(member, member.rows, count)
            agrees = gained == likely and not member.lossy
            vanished = max(0, member.rows - count.rows) if member.lossy else 0
            self._settled += gained
            self._cycle.gained += gained
            self._cycle.shown += member.shown
            self._cycle.deleted += max(member.deleted, vanished)
        if not member.inside:
            del self.members[count.oid]
            return
        resting = now - member.moved >= SETTLE_SECONDS
        member.blind_until = now if agrees or resting else now + SETTLE_SECONDS
        member.rows, member.mark, member.counted = count.rows, count.mark, now
        member.settled_figures = before
        member.shown = member.debt = member.deleted = member.updated = 0
        member.lossy = False

    def finish(self, now: float) -> None:
        """Every pending member was counted.

        What the counts lack of what was proved before is forgiven as far as deletions explain it;
        else the counter would stand still for as many rows as were deleted.
        """
        cycle, self._cycle = self._cycle, Cycle()
        self._settled += max(0, min(cycle.shown - cycle.gained, cycle.deleted))
        self.reconciled = now

    def admit_restored(self) -> None:
        """A reconciliation was tried: a restored total may be shown."""
        self._ready = self._ready or self._observed

    def dump(self) -> dict[str, Any]:
        """The whole as plain data."""
        return {
            "members": [asdict(member) for member in self.members.values()],
            "reconciled": self.reconciled,
            "source": self._source,
            "settled": self._settled,
            "highest": max(self._highest, self._proved()),
            "cycle": asdict(self._cycle),
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Take back what `dump` gave."""
        members = [_restored(fields) for fields in data["members"]]
        self.members = {member.oid: member for member in members}
        self.reconciled = data["reconciled"]
        self._source = Source(*data["source"]) if data["source"] else None
        self._settled, self._highest = data["settled"], data["highest"]
        self._cycle = Cycle(**data["cycle"])
        self._ready = self._observed = False

    def _proved(self) -> int:
        return self._settled + sum(member.shown for member in self.members.values())

    def _single(self) -> bool:
        return len(self.members) == 1

    def _admit(self, reading: Reading, *, baseline: bool, now: float) -> None:
        if not reading.inside:
            return
        join = None if baseline else reading.join
        member = Member(reading.oid, join, reading.figures, now)
        if join is not None and reading.born:
            member.debt = reading.figures.inserted
        self.members[reading.oid] = member

    def _follow(
        self, member: Member, reading: Reading, *, lost: bool, deletes: bool, now: float
    ) -> None:
        last, figures = member.figures, reading.figures
        member.figures, member.inside = figures, reading.inside
        if figures != last:
            member.moved = now
        if lost or figures.inserted < last.inserted or figures.upkeep < last.upkeep:
            restarted = figures.inserted < last.inserted
            self._lose(member, now)
            member.debt += figures.inserted - (0 if restarted else last.inserted)
            return
        inserted, grown = figures.inserted - last.inserted, figures.live - last.live
        member.deleted += max(0, figures.deleted - last.deleted)
        member.updated += max(0, figures.updated - last.updated)
        if _truncated(last, figures):
            # What is dead now was rolled back since, for a truncation takes the dead with it.
            vanished = max(0, inserted - figures.live - figures.dead)
            self._settled += member.shown + member.debt + vanished
            member.rows, member.shown, member.debt = 0, 0, figures.live
            # The loss is booked; what is there now is compared with an empty table.
            member.settled_figures, member.mark = figures, None
            return
        clean = not deletes and (last.upkeep, last.file) == (figures.upkeep, figures.file)
        if clean and 0 <= grown <= inserted:
            if now > member.blind_until and member.inside:
                member.shown += grown
            else:
                member.debt += grown
        else:
            member.debt += inserted

    def _lose(self, member: Member, now: float) -> None:
        member.lossy, member.moved = True, now

    def _gained(self, member: Member, rows: int, count: Count) -> int:
        net = count.rows - rows
        if count.fresh is None:
            return net
        if member.rewritten:
            # Fewer rows though none was deleted: emptied. ALTER TABLE makes all rows look fresh,
            # but takes none away.
            emptied = net < 0 and (member.lossy or member.deleted == 0)
            return count.fresh if emptied else net
        deletions = member.deleted > 0 or (member.lossy and net < 0)
        # An update makes a row look fresh, and so does a move from another partition.
        alone = self._single() and member.updated == 0
        return count.fresh if alone and deletions else net

    def _retire(self, gone: set[int]) -> None:
        """Dropped: nothing can be counted any more, so what is likely is believed."""
        for oid in gone:
            member = self.members.pop(oid)
            self._settled += member.shown + member.debt


def _truncated(last: Figures, now: Figures) -> bool:
    """Whether a new file means an emptied table: all that lives was inserted since the last look.

    Whatever rewrites a table and keeps its rows leaves the numbers of live and dead rows alone.
    """
    inserted = now.inserted - last.inserted
    if now.file == last.file or now.deleted != last.deleted or now.live > inserted:
        return False
    if now.upkeep != last.upkeep or now.updated != last.updated:
        return now.live < last.live
    return now.live + now.dead < last.live + last.dead + inserted


def _restored(fields: dict[str, Any]) -> Member:
    join, mark, settled = fields["join"], fields["mark"], fields["settled_figures"]
    return Member(
        **{
            **fields,
            "join": Join(*join) if join else None,
            "figures": Figures(*fields["figures"]),
            "mark": Mark(*mark) if mark else None,
            "settled_figures": Figures(*settled) if settled else None,
        }
    )
