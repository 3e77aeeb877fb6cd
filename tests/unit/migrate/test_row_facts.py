"""What a restore would lose, from the counters of then and now; and which programs fit a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate.contract.errors import StepFailed
from phasegate.migrate.backup import failing
from phasegate.migrate.context import NothingStops
from phasegate.migrate.database_facts import DatabaseFacts, plan_copy, plan_create
from phasegate.migrate.programs import Programs, choose_programs, run_program
from phasegate.migrate.row_facts import RowFacts, digest_rows, sum_lost


def facts(
    oid: int, changes: int = 0, updates: int = 0, rows: int = 0, schema: str = "public"
) -> RowFacts:
    return RowFacts(
        schema=schema,
        table=f"t{oid}",
        oid=oid,
        rows=rows,
        digest="",
        changes=changes,
        updates=updates,
    )


@pytest.mark.parametrize(
    ("now", "ours", "lost"),
    [
        ([facts(1, 10, 5, 100)], 0, 0),
        ([facts(1, 12, 5, 100)], 0, 2),
        ([facts(1, 10, 25, 100)], 0, 20),
        # Updates of our own loops are nobody's loss, and never hide another's insert.
        ([facts(1, 11, 25, 101)], 20, 1),
        ([facts(1, 11, 15, 101)], 20, 1),
        # A TRUNCATE is in no counter.
        ([facts(1, 10, 5, 0)], 0, 100),
        ([facts(1, 10, 5, 100), facts(2, 3, 0, 3)], 0, 3),
        ([facts(1, 10, 5, 100), facts(3, 3, 0, 3, schema="phasegate")], 0, 0),
        # Counters that went back began anew; a table that is gone took its counters along.
        ([facts(1, 9, 5, 100)], 0, None),
        ([], 0, None),
    ],
)
def test_lost(now: list[RowFacts], ours: int, lost: int | None) -> None:
    assert sum_lost([facts(1, 10, 5, 100)], now, ours) == lost


def test_a_digest_is_of_all_counts() -> None:
    one = digest_rows([facts(1, rows=1), facts(2, rows=2)])
    assert one == digest_rows([facts(1, rows=1, changes=7), facts(2, rows=2)])
    assert one != digest_rows([facts(1, rows=2), facts(2, rows=1)])


@pytest.mark.parametrize(
    ("server", "at_hand", "chosen"),
    [(15, (18, 15), 15), (15, (18, 16), 16), (15, (14,), None), (15, (), None), (18, (18,), 18)],
)
def test_the_servers_own_programs_are_chosen(
    server: int, at_hand: tuple[int, ...], chosen: int | None
) -> None:
    found = choose_programs(server, [Programs(Path(str(one)), one) for one in at_hand])
    assert (found and found.major) == chosen


def database(**more: object) -> DatabaseFacts:
    fields: dict[str, object] = {
        "owner": "Own er",
        "encoding": "UTF8",
        "tablespace": "pg_default",
        "connection_limit": -1,
        "template": False,
        "collate": "C",
        "ctype": "C",
        "provider": "c",
        "locale": None,
        "icu_rules": None,
        "comment": None,
        "grants": None,
        "settings": (),
    }
    return DatabaseFacts(**{**fields, **more})  # type: ignore[arg-type]


def test_a_database_is_made_as_the_other_one() -> None:
    begins = (
        "CREATE DATABASE n TEMPLATE template0 OWNER \"Own er\" ENCODING 'UTF8' "
        "TABLESPACE pg_default LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    assert plan_create("n", database(), 140_000) == begins
    assert plan_create("n", database(), 150_000) == f"{begins} LOCALE_PROVIDER libc"
    icu = database(provider="i", locale="de-AT", icu_rules="&a < b")
    assert plan_create("n", icu, 170_000) == (
        f"{begins} LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' ICU_RULES '&a < b'"
    )
    builtin = plan_create("n", database(provider="b", locale="C.UTF-8"), 170_000)
    assert builtin == f"{begins} LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"


def test_rights_and_settings_are_written_as_they_were() -> None:
    made = list(
        plan_copy(
            "n",
            database(
                grants=((None, "CONNECT", False), ("r", "CREATE", True)),
                settings=(
                    (None, "search_path", '"$user", public, "S ""1"'),
                    ("R x", "search_path", '""'),
                    (None, "app.name", "it's"),
                ),
            ),
        )
    )
    assert made[1:] == [
        'REVOKE ALL ON DATABASE n FROM PUBLIC, "Own er"',
        "GRANT CONNECT ON DATABASE n TO PUBLIC",
        "GRANT CREATE ON DATABASE n TO r WITH GRANT OPTION",
        "ALTER DATABASE n SET search_path TO '$user', 'public', 'S \"1'",
        "ALTER ROLE \"R x\" IN DATABASE n SET search_path TO ''",
        "ALTER DATABASE n SET app.name TO 'it''s'",
    ]


@pytest.mark.parametrize("script", ['echo "$@" > seen', "exit 3"])
def test_no_secret_is_an_argument(tmp_path: Path, script: str) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\ncd {tmp_path}\nprintenv PGPASSWORD > variable\n{script}\n")
    program.chmod(0o755)
    conninfo = {"host": "h", "password": "canary-1", "sslpassword": "canary-2"}

    def run() -> None:
        run_program(program, ["-x"], conninfo, control=NothingStops(), fail=failing("step"))

    if script == "exit 3":
        with pytest.raises(StepFailed, match="pg_dump ended with 3"):
            run()
        return
    run()
    assert (tmp_path / "seen").read_text() == "-x --dbname=host=h\n"
    assert (tmp_path / "variable").read_text() == "canary-1\n"
