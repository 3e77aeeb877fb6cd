"""What a rehearsal's record says, to the plan, to the preflight and to people; without a server."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from phasegate.migrate import operations
from phasegate.migrate.checksum import checksum_step
from phasegate.migrate.model import Step
from phasegate.migrate.operations.drain import Drain
from phasegate.migrate.rehearsal import (
    ELSEWHERE,
    LoadFacts,
    Moment,
    Rehearsal,
    StepFacts,
    TableFacts,
    find_predicting,
    list_rehearsals,
    seconds_by_step,
    window_seconds,
    write_rehearsal,
)
from phasegate.migrate.rehearsal_page import DURATION, NO_DURATION, render_lines, render_page
from tests.fixtures.planned import uuid_steps

ON_TABLES = {
    *("audit_triggers", "backfill", "not_null", "padding", "partition_audit", "permission_tables"),
    *("reference_backfill", "reference_column", "reference_index", "reference_key"),
    *("premake", "proof", "reorder_columns", "retire_partitions"),
    *("reference_proof", "swap_primary", "unique_index", "uuid_column"),
}
"""Kinds of operations that a copy can show."""
STEPS = uuid_steps()


def make_rehearsal(**more: object) -> Rehearsal:
    """Of STEPS, with one, two and three seconds; `more` replaces fields."""
    load = LoadFacts(
        statements=100, failed=1, median_seconds=0.001, p95_seconds=0.04, longest_seconds=0.7,
        longest_statement="update in public.users", lock_wait_seconds=0.6,
        lock_wait="AccessShareLock on public.users",
    )  # fmt: skip
    steps = tuple(
        StepFacts(
            phase=step.phase, step=step.name, title=step.title, checksum=checksum_step(step),
            began=10.0 * number, seconds=float(number), actions=1, rows=1_000 * number,
            wal_bytes=1 << 20, load_wal_bytes=1 << 10, disk_bytes=-8_192, load=load,
        )
        for number, step in enumerate(STEPS, 1)
    )  # fmt: skip
    found = Rehearsal(
        at=1_800_000_000.0, identity="7/1/mono", database="mono", where="the server of …",
        server="PostgreSQL 18.1", predicts=True, rate=50.0, dump_seconds=1.0, restore_seconds=2.0,
        tables=(TableFacts("public.users", 1_000, 8_192),),
        before=LoadFacts(statements=50, p95_seconds=0.02, longest_seconds=0.1), after=LoadFacts(),
        steps=steps, moments=(Moment(0.1, 5, 0.001, 0.002), Moment(0.4, 5, 0.001, 3.0)),
    )  # fmt: skip
    return msgspec.structs.replace(found, **more)


def _is_operation(one: object) -> bool:
    return isinstance(one, type) and isinstance(vars(one).get("kind"), str)


def pictures(page: str) -> list[ElementTree.Element]:
    found = re.findall(r"<svg.*?</svg>", page, re.S)
    return [ElementTree.fromstring(one) for one in found]  # noqa: S314  # our own


def test_every_kind_of_operation_is_rehearsed_or_known_to_be_about_something_else() -> None:
    kinds = set()
    for module in pkgutil.iter_modules(operations.__path__):
        found = importlib.import_module(f"{operations.__name__}.{module.name}")
        kinds |= {vars(one)["kind"] for one in vars(found).values() if _is_operation(one)}
    assert kinds <= ELSEWHERE | ON_TABLES, "is it about the tables? then add it here, else there"
    assert not ELSEWHERE & ON_TABLES


def test_seconds_are_of_the_very_step() -> None:
    rehearsal = make_rehearsal()
    assert seconds_by_step(rehearsal, STEPS) == {
        "01-add-uuid-fields": 1.0,
        "02-add-indexes": 2.0,
        "06-add-constraints": 3.0,
    }
    column = dataclasses.replace(STEPS[0].operations[0], column="other")  # type: ignore[type-var]
    other = dataclasses.replace(STEPS[0], operations=(column,))
    assert seconds_by_step(rehearsal, [other, *STEPS[1:]]).keys() == {
        "02-add-indexes",
        "06-add-constraints",
    }
    assert seconds_by_step(None, STEPS) == {}


def test_a_window_is_known_only_where_each_of_its_steps_was_rehearsed() -> None:
    rehearsal = make_rehearsal()
    drain = Step("drain", "schema", "wait", (Drain(),))
    before = Step("x", "infrastructure", "before the window", STEPS[0].operations)
    after = Step("y", "validation", "after the window", STEPS[0].operations)
    assert window_seconds(rehearsal, [before, drain, *STEPS, after]) == 6.0
    more = dataclasses.replace(STEPS[0], name="another")
    assert window_seconds(rehearsal, [*STEPS, more]) is None
    assert window_seconds(None, STEPS) is None
    assert window_seconds(rehearsal, []) is None


def test_only_a_whole_rehearsal_of_this_database_on_a_like_server_predicts(tmp_path: Path) -> None:
    old = make_rehearsal(at=1_800_000_000.0)
    for other in (
        make_rehearsal(at=1_800_000_010.0, predicts=False),
        make_rehearsal(at=1_800_000_020.0, failed="populate-uuids: no"),
        make_rehearsal(at=1_800_000_030.0, identity="8/1/mono"),
        make_rehearsal(at=1_800_000_040.0, format=99),
        old,
    ):
        write_rehearsal(tmp_path, other, "page")
    (tmp_path / "rehearsal_20990101T000000Z.json").write_text("{")
    # A promotion changes the timeline only.
    assert find_predicting(tmp_path, "7/2/mono") == old
    assert [one.at for one in list_rehearsals(tmp_path, "7/1/mono")] == [
        1_800_000_020.0,
        1_800_000_010.0,
        1_800_000_000.0,
    ]


def test_two_in_one_second_are_two_files_that_nobody_else_reads(tmp_path: Path) -> None:
    first = write_rehearsal(tmp_path / "new", make_rehearsal(), "one")
    second = write_rehearsal(tmp_path / "new", make_rehearsal(), "two")
    assert first[0] != second[0]
    assert (first[1].read_text(), second[1].read_text()) == ("one", "two")
    assert {path.stat().st_mode & 0o777 for path in (*first, *second)} == {0o600}
    assert len(list((tmp_path / "new").iterdir())) == 4


def test_page_holds_three_pictures_and_nothing_from_elsewhere() -> None:
    page = render_page(make_rehearsal(notes=("<script>alert(1)</script>",), errors={"<b>": 3}))
    assert DURATION.replace("'", "&#x27;") in page
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<b>" not in page
    assert not re.search(r"(src|href|url\()", page)
    seconds, _, latency = pictures(page)
    widths = [float(one.get("width", "0")) for one in seconds.iter() if one.tag.endswith("rect")]
    assert [round(one / widths[0], 2) for one in widths] == [1, 2, 3]
    bands = [one for one in latency.iter() if one.tag.endswith("rect")]
    assert len(bands) == 3
    assert "2.0" in page  # P95 of a step against that of the load alone
    assert "600 ms: AccessShareLock on public.users" in page


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 3),
        ({"moments": ()}, 2),
        ({"moments": (Moment(0.0, 1, 0.0, 0.0),), "steps": ()}, 3),
        ({"failed": "x: y", "before": LoadFacts()}, 3),
    ],
)
def test_pictures_of_little_are_whole(fields: dict[str, object], count: int) -> None:
    found = pictures(render_page(make_rehearsal(**fields)))
    assert len(found) == count
    told = [value for one in found for child in one.iter() for value in child.attrib.values()]
    assert not [value for value in told if "nan" in value or "inf" in value]


def test_on_a_throw_away_server_no_seconds_of_a_step_are_told() -> None:
    rehearsal = make_rehearsal(predicts=False)
    page, lines = render_page(rehearsal), "\n".join(render_lines(rehearsal))
    for text in (page, lines):
        assert NO_DURATION in text
        assert "17%" in text
        assert "share" in text
        assert "took" not in text
        assert not re.search(r"\b3 s\b", text)
    assert "Seconds of each step" not in page
    assert "Share of each step" in page
