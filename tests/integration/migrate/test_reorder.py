"""What the order of columns costs, against what the server writes in either order."""

from __future__ import annotations

from pathlib import Path

import pytest

from phasegate.contract.names import TableName
from phasegate.migrate.operations.reorder import describe_decision, measure_padding
from tests.fixtures.database import Database
from tests.fixtures.migrating import open_migrating

COLUMNS = {
    "wasteful": ("a boolean, b bigint, c smallint, d uuid, e smallint, f timestamptz", True),
    "tight": ("b bigint, f timestamptz, d uuid, c smallint, e smallint, a boolean", False),
}
VALUES = {
    "a": "true", "b": "1", "c": "1", "d": "gen_random_uuid()", "e": "1", "f": "now()",
}  # fmt: skip


@pytest.mark.parametrize("case", COLUMNS)
def test_what_is_measured_is_what_the_server_writes(
    database: Database, tmp_path: Path, case: str
) -> None:
    columns, worth = COLUMNS[case]
    fill = ", ".join(f"{value} AS {name}" for name, value in VALUES.items())
    database.execute(
        f"CREATE TABLE t ({columns}); INSERT INTO t (a, b, c, d, e, f)"
        f" SELECT {fill} FROM generate_series(1, 1000); ANALYZE t; CREATE EXTENSION pageinspect"
    )
    with open_migrating(database, tmp_path, ("public.t",)) as migrating:
        facts = measure_padding(migrating.catalog().relations[TableName("public", "t")])
        best = ", ".join(facts.order)
        database.execute(f"CREATE TABLE b AS SELECT {best} FROM t; ANALYZE b")
    rows = [
        database.execute(
            "SELECT avg(lp_len + (8 - lp_len % 8) % 8)::float"
            f" FROM heap_page_items(get_raw_page('{name}', 0))"
        )[0][0]
        for name in ("t", "b")
    ]
    assert facts.row == rows[0] + 4
    assert facts.padding - facts.best_padding == rows[0] - rows[1]
    said = describe_decision(TableName("public", "t"), facts)
    assert said.startswith("skipped, since nobody asked" if worth else "skipped: another order")
    asked = describe_decision(TableName("public", "t"), facts, asked=True)
    assert asked.startswith("worth it" if worth else "skipped")
