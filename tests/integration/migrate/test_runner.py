"""The run as a whole: gates, resuming, one runner, pauses, and a journal that must fit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psycopg
import pytest

from phasegate.contract.dossier import Options
from phasegate.contract.errors import (
    GateClosed,
    Interrupted,
    JournalMismatch,
    LockNotAcquired,
    StepFailed,
)
from phasegate.contract.migration import Event, PhaseState, fold_phases
from phasegate.contract.model import Judgement, Verdict
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.migrate import runner
from phasegate.migrate.catalog import Catalog, fetch_catalog
from phasegate.migrate.control import RunControl, set_wanted, take_runner_lock
from phasegate.migrate.gate import Accepted, Decision, Terms
from phasegate.migrate.journal import Journal
from phasegate.migrate.model import Action, Patience, Refusal, Step
from phasegate.migrate.opening import reconcile
from phasegate.migrate.operations.await_criteria import AwaitCriteria
from phasegate.migrate.runner import Run
from phasegate.migrate.sessions import open_session
from phasegate.migrate.status import fetch_status, render_status
from phasegate.validators.verdict import Digests, Report, combine, exit_code
from tests.fixtures.database import Database
from tests.fixtures.migrating import connect_parameters

T = TableName("public", "t")


@dataclass(frozen=True)
class AddColumn:
    """Adds one column; the plainest of operations."""

    kind: ClassVar[str] = "add_column"
    loss: ClassVar[str] = "the column"
    column: str
    type: str = "integer"

    @property
    def object(self) -> str:
        return self.column

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        return ()

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        if catalog.relations[T].column(self.column):
            return ()
        sql = f"ALTER TABLE public.t ADD COLUMN {self.column} {self.type}"
        return (Action(f"add {self.column}", (sql,)),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        if not catalog.relations[T].column(self.column):
            return ()
        return (Action(f"drop {self.column}", (f"ALTER TABLE public.t DROP {self.column}",)),)


@dataclass(frozen=True)
class Sleep:
    """A statement that takes a minute, outside of a transaction."""

    kind: ClassVar[str] = "sleep"
    loss: ClassVar[str] = ""
    object: ClassVar[str] = "a minute"

    def find_refusals(self, catalog: Catalog) -> tuple[Refusal, ...]:
        return ()

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        sql = "SELECT pg_sleep(60)"
        return (Action("sleep", (sql,), Patience.CONCURRENT, transactional=False),)

    def plan_undo(self, catalog: Catalog) -> tuple[Action, ...]:
        return ()


STEPS = (
    Step("first", "prepare", "the first column", (AddColumn("a"),)),
    Step("second", "infrastructure", "two more", (AddColumn("b"), AddColumn("c"))),
)
SLEEPING = (Step("sleeps", "prepare", "a long statement", (Sleep(),)),)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Verdict]:
    """What each criterion of a gate is judged; passed where it is not named."""
    found: dict[str, Verdict] = {}

    def ask(settings: Settings, phase: str, since: float, terms: Terms, **_: Any) -> Decision:
        assert since > 0
        judgements = tuple(
            Judgement(name, found.get(name, Verdict.PASSED), "as told", "")
            for name in ("health", "uuid_missing")
        )
        left = tuple(one for one in judgements if one.criterion not in terms.accepted.criteria)
        verdict = combine(left)
        report = Report(
            *(1, verdict, exit_code(verdict), "", time.time(), "", "exporter"),
            *(Options(since=since), judgements, None, (), Digests("e" * 64, "c" * 64)),
        )
        accepted = tuple(one.criterion for one in judgements if one not in left)
        return Decision(report, exit_code(verdict), accepted)

    monkeypatch.setattr(runner, "ask_gate", ask)
    return found


Go = Callable[..., list[str]]


@pytest.fixture
def go(any_database: Database, tmp_path: Path, answers: dict[str, Verdict]) -> Go:
    """One whole run, up to `infrastructure`; what it said."""
    any_database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    return partial(run_once, any_database, tmp_path)


def run_once(
    database: Database,
    folder: Path,
    *,
    steps: tuple[Step, ...] = STEPS,
    terms: Terms | None = None,
    window: float | None = None,
    during: Callable[[Run], None] = lambda _: None,
) -> list[str]:
    said: list[str] = []
    connect = partial(open_session, connect_parameters(database))
    with connect() as connection, connect() as lock, connect() as writer:
        take_runner_lock(lock)
        journal = Journal(writer, folder, "1/1/db", "anna")
        journal.open()
        reconcile(journal)
        set_wanted(lock, "run", "")
        control = RunControl(lock, window)
        run = Run(
            *(Settings(), connection, connect, journal, control, lambda *_: steps, (T,)),
            *(said.append, terms or Terms()),
        )
        with control.running():
            thread = threading.Thread(target=during, args=(run,), daemon=True)
            thread.start()
            try:
                run.go(until="infrastructure")
            finally:
                thread.join()
    return said


def columns(database: Database) -> set[str]:
    return {
        name
        for (name,) in database.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0"
            " AND NOT attisdropped"
        )
    }


def events(database: Database, event: Event) -> list[str]:
    return [
        what
        for (what,) in database.execute(
            "SELECT what FROM phasegate.journal WHERE event = %s ORDER BY number", (event,)
        )
    ]


def status(database: Database) -> Any:
    with open_session(connect_parameters(database)) as connection:
        return fetch_status(connection)


def test_all_is_done_once_and_a_second_run_sends_nothing(
    go: Go, any_database: Database, tmp_path: Path
) -> None:
    go()
    assert columns(any_database) == {"id", "a", "b", "c"}
    assert events(any_database, Event.ACTION) == ["add a", "add b", "add c"]
    before = any_database.execute("SELECT count(*) FROM phasegate.journal WHERE event = 'action'")
    assert "phase prepare: passed" in go()
    assert before == any_database.execute(
        "SELECT count(*) FROM phasegate.journal WHERE event = 'action'"
    )
    written = (tmp_path / "journal.jsonl").read_bytes().splitlines()
    assert [(len(written),)] == any_database.execute("SELECT count(*) FROM phasegate.journal")
    found = status(any_database)
    assert [one.state for one in found.phases[:3]] == ["passed", "passed", "pending"]
    assert msgspec.json.decode(msgspec.json.encode(found))["phases"][0]["verdicts"]
    assert "nobody is at work" in render_status(found)


@pytest.mark.parametrize(
    ("verdict", "code"), [(Verdict.FAILED, 1), (Verdict.ERROR, 4), (Verdict.INCONCLUSIVE, 3)]
)
def test_a_closed_gate_lets_no_phase_begin(
    go: Go, any_database: Database, answers: dict[str, Verdict], verdict: Verdict, code: int
) -> None:
    answers["health"] = verdict
    with pytest.raises(GateClosed, match="gate of phase prepare is closed") as closed:
        go()
    assert closed.value.exit_code == code
    assert columns(any_database) == {"id", "a"}
    answers.clear()
    go()
    assert columns(any_database) == {"id", "a", "b", "c"}


def test_what_is_accepted_opens_the_gate_and_is_shown(
    go: Go, any_database: Database, answers: dict[str, Verdict]
) -> None:
    answers["health"] = Verdict.FAILED
    said = go(terms=Terms(accepted=Accepted(("health",), "known", "anna")))
    assert "accepted by anna: health (known)" in said
    assert "OVERRIDDEN: health" in render_status(status(any_database))
    # Whatever source is judged, as here one that knows of no journal: with every later verdict.
    answers.clear()
    more = Step("third", "infrastructure", "one more", (AddColumn("d"),))
    told = [line for line in go(steps=(*STEPS, more)) if "overridden: health" in line]
    assert [line.split(", by anna on ")[0].strip() for line in told] == [
        "overridden: health at the gate of prepare",
        "overridden: health at the gate of infrastructure",
    ]
    assert all(line.endswith(": known") for line in told)


def test_what_is_accepted_in_the_middle_of_a_phase_is_journalled_too(
    go: Go, any_database: Database, answers: dict[str, Verdict]
) -> None:
    answers["health"] = Verdict.FAILED
    waits = (Step("waits", "prepare", "wait", (AwaitCriteria(("health",)),)), *STEPS[1:])
    accepted = Accepted(("health",), "known", "anna")
    said = go(steps=waits, terms=Terms(accepted=accepted))
    assert said.count("accepted by anna: health (known)") == 3
    assert len(events(any_database, Event.OVERRIDE)) == 3


def test_what_was_undone_behind_its_back_is_done_again(go: Go, any_database: Database) -> None:
    go()
    any_database.execute("ALTER TABLE t DROP COLUMN a")
    assert any("something is left of first" in line for line in go())
    assert columns(any_database) == {"id", "a", "b", "c"}


def test_a_gate_after_a_phase_that_was_taken_up_again_is_asked_again(
    go: Go, any_database: Database
) -> None:
    go()
    any_database.execute("ALTER TABLE t DROP COLUMN a")
    assert any(line.startswith("gate of infrastructure: open") for line in go())
    assert not any(line.startswith("gate of") for line in go())


def test_a_step_that_fails_stops_all_that_follows_and_is_taken_up_again(
    go: Go, any_database: Database
) -> None:
    broken = (
        STEPS[0],
        Step("second", "infrastructure", "two more", (AddColumn("b", "nonsense"),)),
        Step("third", "infrastructure", "one more", (AddColumn("c"),)),
    )
    with pytest.raises(StepFailed, match='step second: add b: type "nonsense" does not exist'):
        go(steps=broken)
    assert columns(any_database) == {"id", "a"}
    found = status(any_database)
    assert (found.phases[1].state, found.phases[1].failed) == (PhaseState.FAILED, "second")
    assert "nonsense" in render_status(found)


def test_another_plan_than_the_one_that_was_begun_is_refused_with_a_diff(go: Go) -> None:
    go()
    with pytest.raises(JournalMismatch) as refused:
        go(steps=(Step("first", "prepare", "the first column", (AddColumn("a", "bigint"),)),))
    assert '  - add_column {"column": "a", "type": "integer"}' in str(refused.value)
    assert '  + add_column {"column": "a", "type": "bigint"}' in str(refused.value)


def test_there_is_one_runner(go: Go, any_database: Database) -> None:
    with open_session(connect_parameters(any_database)) as other:
        take_runner_lock(other)
        with pytest.raises(Interrupted, match=r"another runner is at work .* phasegate"):
            go()


@pytest.mark.parametrize("wanted", ["abort", "terminate", "window"])
def test_a_long_statement_ends_when_it_should(go: Go, any_database: Database, wanted: str) -> None:
    def stop(run: Run) -> None:
        for _ in range(100):
            if any_database.execute(
                "SELECT 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
            ):
                break
            time.sleep(0.05)
        if wanted == "abort":
            any_database.execute("UPDATE phasegate.control SET wanted = 'abort', by = 'bert'")
        elif wanted == "terminate":
            any_database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query = 'SELECT pg_sleep(60)'"
            )
        else:
            run.control.stop("the window of 1 s is over", cancel=True)

    reasons = {
        "abort": "abort was asked for by bert",
        "terminate": "the server ended our session",
        "window": "the window of 1 s is over",
    }
    began = time.monotonic()
    with pytest.raises(Interrupted, match=reasons[wanted]):
        go(steps=SLEEPING, during=stop)
    assert time.monotonic() - began < 20


def test_a_lock_that_does_not_come_is_named_and_waited_for_outside_the_queue(
    go: Go, any_database: Database
) -> None:
    holder = psycopg.connect(any_database.conninfo(), application_name="report")
    holder.execute("SELECT * FROM t")

    def let_go(_: Run) -> None:
        # Once it has waited, and given way.
        for _attempt in range(2_000):
            if any_database.execute("SELECT 1 FROM pg_locks WHERE NOT granted"):
                break
            time.sleep(0.01)
        time.sleep(1)
        holder.rollback()

    said = go(during=let_go)
    assert any("waits for a lock held by report (pid" in line for line in said)
    assert columns(any_database) == {"id", "a", "b", "c"}
    holder.close()


def test_a_database_that_was_restored_is_seen_by_the_journal_beside_it(
    go: Go, any_database: Database
) -> None:
    go()
    any_database.execute("DELETE FROM phasegate.journal WHERE number > 3")
    with pytest.raises(JournalMismatch, match="entries that the database does not have"):
        go()


def test_a_copy_of_a_database_is_not_taken_for_it(go: Go, any_database: Database) -> None:
    go()
    any_database.execute("UPDATE phasegate.journal SET identity = '2/1/db'")
    with pytest.raises(JournalMismatch, match="this is a copy of it"):
        go()


def test_a_journal_of_a_newer_release_is_refused(go: Go, any_database: Database) -> None:
    go()
    any_database.execute("UPDATE phasegate.journal SET format = 99 WHERE number = 1")
    with pytest.raises(JournalMismatch, match="format 99, written by a newer release"):
        go()


@pytest.fixture
def entries(any_database: Database, go: Go) -> Iterator[list[Any]]:
    """Those of a whole run."""
    go()
    with open_session(connect_parameters(any_database)) as connection:
        yield Journal(connection, Path(), "").entries()


def test_phases_are_folded_from_the_entries(entries: list[Any]) -> None:
    facts = fold_phases(entries)
    assert facts["infrastructure"].steps == ("second",)
    assert facts["infrastructure"].finished > facts["infrastructure"].started > 0
    assert facts["schema"].state is PhaseState.PENDING


def test_the_catalog_of_a_table_locked_by_others_is_a_lock_not_acquired(database: Database) -> None:
    database.execute("CREATE TABLE t (id integer PRIMARY KEY)")
    with (
        psycopg.connect(database.conninfo()) as holder,
        open_session(connect_parameters(database), Patience.METADATA) as connection,
    ):
        holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(LockNotAcquired, match="ACCESS EXCLUSIVE"):
            fetch_catalog(connection, [T])
        holder.rollback()
        assert fetch_catalog(connection, [T]).get(T) is not None
