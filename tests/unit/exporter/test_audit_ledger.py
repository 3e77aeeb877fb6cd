"""The account of the audit log: what is believed at once, what waits for a count, what is kept."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from phasegate.exporter.audit_ledger import Count, Figures, Join, Ledger, Mark, Reading, Source

SOURCE = Source("1/5", "first")
MARK = Mark("900", [])
QUIET = 100.0


class Server:
    """Members whose figures a test moves, and a clock that it turns."""

    def __init__(self, **rows: int) -> None:
        self.ledger = Ledger()
        self.now = 0.0
        self.source = SOURCE
        self.figures = {name: Figures(n, 0, 0, n, 0, 0, 7) for name, n in rows.items()}
        self.names = {name: oid for oid, name in enumerate(rows, 10)}
        self.outside: set[str] = set()
        self.look()

    def look(self, after: float = 1.0) -> int | None:
        self.now += after
        readings = [
            Reading(self.names[name], name not in self.outside, Join("800", 3), False, figures)
            for name, figures in self.figures.items()
        ]
        self.ledger.observe(self.source, readings, self.now)
        return self.ledger.total

    def move(self, name: str, **moved: int) -> None:
        figures = self.figures[name]
        sums = {key: getattr(figures, key) + by for key, by in moved.items()}
        self.figures[name] = figures._replace(**sums)

    def count(self, fresh: int | None = None, **rows: int) -> int | None:
        for name, found in rows.items():
            oid = self.names[name]
            self.ledger.settle(Count(oid, found, fresh, MARK), self.figures[name], self.now)
        self.ledger.finish(self.now)
        return self.ledger.total


@pytest.fixture
def server() -> Server:
    """One member of 1,000 rows, counted and at rest."""
    server = Server(a=1000)
    server.count(a=1000)
    server.look(QUIET)
    return server


@pytest.fixture
def two() -> Server:
    server = Server(a=1000, b=0)
    server.count(a=1000, b=0)
    server.look(QUIET)
    return server


def test_what_stood_there_at_the_first_look_is_a_baseline(server: Server) -> None:
    assert server.ledger.total == 0
    assert not server.ledger.pending()


def test_growth_of_live_rows_is_believed_and_what_was_rolled_back_is_not(server: Server) -> None:
    server.move("a", inserted=107, live=7, dead=100)
    assert server.look() == 7
    assert server.count(a=1007) == 7


@pytest.mark.parametrize("beside", ["upkeep", "deleted", "file"])
def test_growth_beside_anything_else_waits_for_a_count(server: Server, beside: str) -> None:
    server.move("a", inserted=7, live=7, **{beside: 1})
    assert (server.look(), server.ledger.debt) == (0, 7)
    assert server.count(a=1007) == 7


def test_a_deletion_anywhere_makes_growth_elsewhere_wait(two: Server) -> None:
    two.move("a", deleted=5, live=-5)
    two.move("b", inserted=5, live=5)
    assert two.look() == 0
    assert two.count(a=995, b=5) == 0


def test_lost_statistics_are_made_good_by_a_count(server: Server) -> None:
    server.source = SOURCE._replace(epoch="second")
    server.figures["a"] = Figures(0, 0, 0, 0, 0, 0, 7)
    assert server.look() == 0
    assert server.count(fresh=30, a=1030) == 30


def test_statistics_without_track_counts_prove_nothing(server: Server) -> None:
    server.source = SOURCE._replace(track_counts=False)
    server.look()
    assert [member.oid for member in server.ledger.pending()] == [10]


def test_statistics_that_come_soon_after_a_count_wait(server: Server) -> None:
    server.move("a", inserted=2, live=2)
    server.look()
    assert server.count(a=1009) == 9
    server.move("a", inserted=7, live=7)
    assert server.look(after=14) == 9
    assert server.count(a=1009) == 9


def test_statistics_that_come_later_are_of_new_rows(server: Server) -> None:
    server.move("a", inserted=2, live=2)
    server.look()
    server.count(a=1009)
    server.look()
    server.move("a", inserted=7, live=7)
    assert server.look(after=16) == 16


def test_a_total_that_was_too_high_waits_for_the_truth(server: Server) -> None:
    server.move("a", inserted=10, live=10)
    assert server.look() == 10
    assert server.count(a=1004) == 10
    server.look(QUIET)
    server.move("a", inserted=8, live=8)
    assert server.look() == 12


def test_a_dropped_member_leaves_its_rows_and_what_was_likely(two: Server) -> None:
    two.move("a", inserted=7, live=7)
    two.look()
    two.move("a", inserted=3, live=3, upkeep=1)
    two.look()
    del two.figures["a"]
    assert two.look() == 10


def test_a_detached_member_is_counted_once_more(two: Server) -> None:
    two.move("a", inserted=7, live=7)
    two.outside.add("a")
    assert two.look() == 0
    assert two.count(a=1007) == 7
    assert list(two.ledger.members) == [11]


def test_an_attached_member_counts_from_its_attachment(two: Server) -> None:
    two.names["c"] = 12
    two.figures["c"] = Figures(500, 0, 0, 500, 0, 0, 7)
    assert two.look() == 0
    assert two.ledger.needs_fresh(two.ledger.members[12])
    assert two.count(fresh=6, c=506) == 6


@pytest.mark.parametrize("after", [0, 5, 1200])
def test_a_truncation_keeps_what_was_counted(server: Server, after: int) -> None:
    server.move("a", inserted=7, live=7)
    server.look()
    server.move("a", inserted=20 + after, live=after - 1007, file=1)
    assert server.look() == 27
    assert server.count(a=after) == 27 + after


def test_a_rewrite_is_no_truncation(server: Server) -> None:
    server.move("a", inserted=20, live=5, dead=15, file=1)
    assert server.look() == 0
    assert server.count(fresh=1005, a=1005) == 5


def test_a_deletion_from_a_single_table_costs_nothing(server: Server) -> None:
    server.move("a", inserted=7, deleted=900, live=-893)
    server.look()
    assert server.ledger.needs_fresh(server.ledger.members[10])
    assert server.count(fresh=7, a=107) == 7


def test_a_deletion_among_partitions_takes_nothing_that_was_proved(two: Server) -> None:
    two.move("b", inserted=7, live=7)
    two.look()
    two.move("a", deleted=900, live=-900)
    two.look()
    assert two.count(a=100, b=7) == 7
    two.look(QUIET)
    two.move("b", inserted=2, live=2)
    assert two.look() == 9


def test_another_database_is_a_new_baseline(server: Server) -> None:
    server.move("a", inserted=7, live=7)
    server.look()
    server.source = Source("2/5", "first")
    server.figures["a"] = Figures(5000, 0, 0, 5000, 0, 0, 7)
    assert server.look() == 7
    assert server.count(a=5000) == 7


def test_a_restored_account_goes_on_and_shows_nothing_older(server: Server) -> None:
    server.move("a", inserted=7, live=7)
    server.look()
    kept: dict[str, Any] = msgspec.msgpack.decode(msgspec.msgpack.encode(server.ledger.dump()))
    server.ledger = Ledger()
    server.ledger.restore(kept)
    server.ledger.admit_restored()
    assert server.ledger.total is None
    server.move("a", inserted=5, live=5)
    assert server.look() is None
    server.ledger.admit_restored()
    assert server.ledger.total == 12


def test_a_count_that_a_truncation_overtook_is_left_out(server: Server) -> None:
    before = server.figures["a"]
    server.move("a", live=-1000, file=1)
    server.look()
    server.ledger.settle(Count(10, 1000, None, MARK), before, server.now)
    assert server.ledger.total == 0


def test_deletions_and_departures_are_counted_first(two: Server) -> None:
    two.move("a", inserted=7, live=7)
    two.move("b", inserted=7, deleted=1, live=6)
    two.look()
    assert [member.oid for member in two.ledger.pending()] == [11, 10]


def test_a_loss_concerns_members_that_read_the_same(two: Server) -> None:
    epoch = SOURCE._replace(epoch="second")
    two.ledger.observe(epoch, [], two.now + 1, unchanged=[10, 11])
    assert [member.oid for member in two.ledger.pending()] == [10, 11]
