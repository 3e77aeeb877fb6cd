"""The commands that the runbooks give as a remedy mend what the alert is about, on a real database.

They are taken from the page as they stand there; gates are open, for no exporter runs here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest

from phasegate.servers.postgres import PostgresServer
from tests.fixtures.planned import write_legacy
from tests.fixtures.runbooks import read_sections
from tests.fixtures.underway import Mover

# One server and one migration for all of them.
pytestmark = pytest.mark.xdist_group("runbook_remedies")
SECTIONS = {section.title: section for section in read_sections()}
NAME = "runbooks_migrated"
OF_USERS = "tgrelid = 'public.users'::regclass"
AUDITING = f"SELECT count(*) FROM pg_trigger WHERE {OF_USERS} AND tgname LIKE 'phasegate_audit%'"
AHEAD = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'public.audit_logs'::regclass"
MISSING = "SELECT count(*) FROM public.users WHERE uuid IS NULL"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'public.users_uuid_key'::regclass"


@pytest.fixture(scope="module")
def migrated(
    postgres18: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mover]:
    """The demo's database after every phase that changes it."""
    postgres18.create_database(NAME)
    postgres18.execute(write_legacy(200), NAME)
    mover = Mover(postgres18, NAME, tmp_path_factory.mktemp("remedies"))
    file = mover.folder / "phasegate.yaml"
    file.write_text(file.read_text("utf-8").replace(", keys: references", ""), encoding="utf-8")
    code, _, told = mover.call("run", "--yes")
    assert code == 0, told
    yield mover
    postgres18.drop_database(NAME)


def find_remedies(title: str) -> list[list[str]]:
    """The commands of the section's remedy, each without `phasegate migrate`."""
    text = SECTIONS[title].parts["Remedy"]
    lines = re.findall(r"^phasegate migrate (.+)$", text, re.MULTILINE)
    assert lines
    return [shlex.split(line) for line in lines]


def remedy(mover: Mover, title: str) -> list[int]:
    """Each of them done, in its order; the exit codes."""
    changing = ("run", "resume")
    return [
        mover.call(*line, *(["--yes"] if line[0] in changing else []))[0]
        for line in find_remedies(title)
    ]


def test_a_lost_audit_trigger_comes_back(migrated: Mover) -> None:
    migrated.execute("DROP TRIGGER phasegate_audit ON public.users")
    assert remedy(migrated, "AuditCoverageLost") == [0]
    always = migrated.execute(f"{AUDITING} AND tgenabled = 'A'")
    assert (migrated.execute(AUDITING), always) == ([(2,)], [(2,)])


def test_an_index_that_a_broken_build_left_is_built_again(migrated: Mover) -> None:
    migrated.execute(
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'public.users_uuid_key'::regclass"
    )
    assert remedy(migrated, "InvalidIndex") == [0]
    assert migrated.execute(VALID) == [(True,)]


def test_rows_without_a_uuid_get_one_and_no_more_come(migrated: Mover) -> None:
    migrated.execute(
        "ALTER TABLE public.users DROP CONSTRAINT users_uuid_not_null;"
        "DROP TRIGGER phasegate_fill_uuid ON public.users;"
        "UPDATE public.users SET uuid = NULL WHERE id < 20"
    )
    resume = find_remedies("MissingUUIDs")[-1]
    # The trigger is gone, and rows are left: as the page says, it ends at the constraint.
    assert migrated.call(*resume, "--yes")[0] == 1
    assert remedy(migrated, "MissingUUIDs") == [0, 0]
    assert migrated.execute(MISSING) == [(0,)]
    added = migrated.execute(
        "INSERT INTO public.users (email, name, uuid) VALUES ('old@example.com', 'old', NULL) "
        "RETURNING uuid IS NOT NULL"
    )
    assert added == [(True,)]


@pytest.mark.parametrize("title", ["AuditPartitionRunwayShort", "AuditPartitionMissing"])
def test_partitions_that_are_missing_are_made(migrated: Mover, title: str) -> None:
    before = migrated.execute(AHEAD)
    [last] = migrated.execute(
        "SELECT max(inhrelid::regclass::text) FROM pg_inherits "
        "WHERE inhparent = 'public.audit_logs'::regclass AND inhrelid::regclass::text ~ '_20'"
    )
    migrated.execute(f"DROP TABLE {last[0]}")
    assert remedy(migrated, title) == [0]
    assert migrated.execute(AHEAD) == before


def test_a_default_partition_is_refused_as_the_page_says(migrated: Mover) -> None:
    migrated.execute("CREATE TABLE public.audit_logs_default PARTITION OF audit_logs DEFAULT")
    try:
        assert remedy(migrated, "AuditDefaultPartitionUsed") == [2]
    finally:
        migrated.execute("DROP TABLE public.audit_logs_default")
    assert remedy(migrated, "AuditDefaultPartitionUsed") == [0]
