"""A migration that is killed at any moment, again and again, ends as one that never was."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from phasegate.servers.postgres import PostgresServer, find_postgres
from tests.fixtures.kept import (
    UNTOUCHED,
    Kept,
    dump_schema,
    fetch_kept,
    fetch_uuids,
    find_left,
)
from tests.fixtures.presence import require_present
from tests.fixtures.underway import USERS, Mover, Underway, copy_template, make_template

MOST_LINES, MOST_SECONDS = 9, 0.15
RESUMABLE = {4, 5}
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'phasegate%' ORDER BY pid"
_names = itertools.count(1)


@pytest.fixture(scope="module", params=[18, pytest.param(15, marks=pytest.mark.long)])
def doomed(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server with the legacy database, to be stopped in the middle of its work."""
    major = request.param
    require_present(f"PostgreSQL {major}", find_postgres(major) is not None)
    with PostgresServer(major, settings={"fsync": False, "autovacuum": False}) as server:
        make_template(server)
        yield server


@pytest.fixture(scope="module")
def undisturbed(doomed: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """What a migration leaves that nobody disturbs."""
    copy_template(doomed, "undisturbed")
    mover = Mover(doomed, "undisturbed", tmp_path_factory.mktemp("undisturbed"))
    code, _, told = mover.call("run")
    assert code == 0, told
    assert find_left(mover) == []
    kept = fetch_kept(mover)
    assert kept.rows == USERS
    return kept


@contextmanager
def load(mover: Mover, pick: random.Random) -> Iterator[None]:
    """A client that writes, and connects anew where the server was stopped."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            try:
                with psycopg.connect(mover.server.conninfo(mover.name), autocommit=True) as client:
                    while not over.wait(0.005):
                        key = pick.randint(UNTOUCHED + 1, USERS)
                        client.execute("UPDATE users SET name = 'renamed' WHERE id = %s", (key,))
                        client.execute(
                            "INSERT INTO users (email, name) VALUES (gen_random_uuid(), 'new')"
                        )
            except psycopg.OperationalError:
                continue

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def hurt(mover: Mover, run: Underway, pick: random.Random) -> str:
    """One of three kinds of death; which one."""
    kind = pick.choice(("kill", "kill", "terminate", "terminate", "stop"))
    if kind == "kill":
        run.signal(signal.SIGKILL)
    elif kind == "stop":
        mover.server.stop("immediate")
        mover.server.start()
    else:
        pids = [row[0] for row in mover.server.execute(OURS)]
        if pids:
            mover.server.execute(f"SELECT pg_terminate_backend({pick.choice(pids)})")
    return kind


class Campaign:
    """Kills migrations until there were so many; `told` says of each what came of it."""

    def __init__(self, server: PostgresServer, folder: Path, seed: int) -> None:
        self.server, self.folder = server, folder
        self.pick = random.Random(seed)  # noqa: S311
        self.count: Counter[str] = Counter()
        self.told: list[str] = []

    @property
    def kills(self) -> int:
        """How many met a migration that was at work."""
        return sum(self.count.values())

    def migrate_once(self, expected: Kept, most: int) -> None:
        """One database from its beginning to the end, whatever happens on the way."""
        name = f"doomed_{next(_names)}"
        copy_template(self.server, name)
        mover = Mover(self.server, name, self.folder / name)
        loaded = self.pick.random() < 0.5
        uuids: dict[int, object] = {}
        writes = load(mover, self.pick) if loaded else contextmanager(lambda: iter([None]))()
        with writes:
            while self.kills < most and not self._run_and_hurt(mover):
                now = fetch_uuids(mover)
                assert uuids.items() <= now.items(), self.told
                uuids = now
        code, _, told = mover.call("resume")
        assert code == 0, (self.told, told)
        assert uuids.items() <= fetch_uuids(mover).items(), self.told
        rows = compare(mover, expected, self.told)
        assert loaded or rows == USERS, self.told
        self.server.drop_database(name)

    def _run_and_hurt(self, mover: Mover) -> bool:
        """Whether the migration came to its end before it could be hurt."""
        lines, seconds = self.pick.randint(1, MOST_LINES), self.pick.uniform(0, MOST_SECONDS)
        with mover.running("run") as run:
            if not run.await_lines(lines):
                assert run.wait() == 0, (self.told, run.told)
                return True
            time.sleep(seconds)
            kind = hurt(mover, run, self.pick)
            code = run.wait()
        came = f"{kind} after {lines} lines and {seconds:.3f} s: exit code {code}"
        self.told.append(f"{mover.name}: {came}")
        if code == 0:
            return True
        self.count[kind] += 1
        allowed = {-signal.SIGKILL} if kind == "kill" else RESUMABLE
        assert code in allowed, (self.told, run.told)
        return False


def compare(mover: Mover, expected: Kept, told: list[str]) -> int:
    """Nothing tells it from one that was never killed; the rows that the backfill changed."""
    await_nobody(mover)
    assert find_left(mover) == [], told
    kept = fetch_kept(mover)
    assert kept.schema == expected.schema, told
    assert kept.data == expected.data, told
    return kept.rows


def await_nobody(mover: Mover) -> None:
    """The server needs a moment to see that a client is gone."""
    for _ in range(200):
        if not mover.server.execute(OURS):
            return
        time.sleep(0.02)


def fight(server: PostgresServer, folder: Path, expected: Kept, kills: int, seed: int) -> None:
    campaign = Campaign(server, folder, seed)
    while campaign.kills < kills:
        campaign.migrate_once(expected, kills)
    told = [f"{campaign.kills} kills: {dict(campaign.count)}", *campaign.told]
    (folder / "told.txt").write_text("\n".join(told), "utf-8")


def test_a_migration_that_is_killed_ends_as_one_that_never_was(
    doomed: PostgresServer, undisturbed: Kept, tmp_path: Path
) -> None:
    fight(doomed, tmp_path, undisturbed, 6, 1)


@pytest.mark.long
def test_a_hundred_kills(doomed: PostgresServer, undisturbed: Kept, tmp_path: Path) -> None:
    fight(doomed, tmp_path, undisturbed, 100, 2)


@pytest.mark.long
def test_each_run_dies_one_statement_later_than_the_one_before(
    doomed: PostgresServer, undisturbed: Kept, tmp_path: Path
) -> None:
    copy_template(doomed, "later")
    mover = Mover(doomed, "later", tmp_path)
    told: list[str] = []
    for number in itertools.count(1):
        uuids = fetch_uuids(mover)
        code, _, said = mover.call("run", DIE_AT=str(number))
        assert uuids.items() <= fetch_uuids(mover).items(), (number, said)
        told.append(f"{number}: {code} {said.splitlines()[-1:]}")
        if code == 0:
            break
        assert code == -signal.SIGKILL, (number, said)
    (tmp_path / "told.txt").write_text("\n".join(told), "utf-8")
    assert len(told) > 30
    assert compare(mover, undisturbed, told) == USERS
    doomed.drop_database("later")


@pytest.mark.long
def test_what_the_server_still_does_for_a_dead_run_does_not_meet_the_next(
    doomed: PostgresServer, undisturbed: Kept, tmp_path: Path
) -> None:
    copy_template(doomed, "waiting")
    mover = Mover(doomed, "waiting", tmp_path)
    old = psycopg.connect(doomed.conninfo("waiting"))
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT 1")
    waits = "SELECT 1 FROM pg_stat_progress_create_index WHERE phase LIKE 'waiting%'"
    for _ in range(3):
        with mover.running("run") as run:
            run.await_line("index the new key")
            for _ in range(500):
                if mover.execute(waits):
                    break
                time.sleep(0.01)
            run.signal(signal.SIGKILL)
    with mover.running("run") as run:
        run.await_line("drop the invalid index")
        time.sleep(0.5)
        old.rollback()
        assert run.wait() == 0, run.told
    old.close()
    assert compare(mover, undisturbed, []) == USERS
    doomed.drop_database("waiting")


@pytest.mark.long
def test_a_way_back_that_dies_again_and_again_ends_where_the_migration_once_was(
    doomed: PostgresServer, tmp_path: Path
) -> None:
    for name in ("once", "back"):
        copy_template(doomed, name)
    once, mover = (Mover(doomed, name, tmp_path / name) for name in ("once", "back"))
    code, _, told = once.call("run", "--until", "infrastructure")
    assert code == 0, told
    assert mover.call("run")[0] == 0
    deaths = 0
    for number in itertools.count(20, 3):
        code, _, said = mover.call(
            "rollback", "--to", "infrastructure", "--yes", "--accept-loss", "unknown",
            DIE_AT=str(number),
        )  # fmt: skip
        if code == 0:
            assert "longest hold of ACCESS EXCLUSIVE: " in said
            break
        assert code == -signal.SIGKILL, (number, code, said)
        deaths += 1
    assert deaths > 10
    await_nobody(mover)
    assert dump_schema(doomed, "back") == dump_schema(doomed, "once")
    code, _, told = mover.call("run")
    assert code == 0, told
    for name in ("once", "back"):
        doomed.drop_database(name)
