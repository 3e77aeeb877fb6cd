"""Durations, sizes, retentions and names: read, printed and read again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasegate.contract.names import (
    ColumnName,
    TableName,
    parse_column,
    parse_identifier,
    parse_table,
)
from phasegate.contract.units import (
    Retention,
    format_duration,
    format_size,
    parse_duration,
    parse_retention,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("200ms", 0.2),
        ("100us", 0.0001),
        ("10s", 10),
        ("15m", 900),
        ("24h", 86_400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("1.5s", 1.5),
        ("0s", 0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize("text", ["", "10", "s", "1 s", "-1s", "1S", "1m ", "1y", "１s", "1e3s"])  # noqa: RUF001
def test_odd_durations(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_durations_read_back(microseconds: int) -> None:
    seconds = microseconds / 1e6
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "200ms"), (0.0005, "500us"), (90, "90s"), (900, "15m"), (86_400, "1d"), (0, "0s")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MB", 64_000_000), ("10GiB", 10_737_418_240), ("4096", 4096), ("1.5 kB", 1500), ("1B", 1)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "10gb", "10 G", "-1MB", "1_0MB", "1e3", "10GiBs"])
def test_odd_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.integers(0, 2**50))
def test_sizes_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "retention", "shown"),
    [
        ("24 months", Retention(24, "month"), "24 months"),
        ("1 year", Retention(1, "year"), "1 year"),
        ("90days", Retention(90, "day"), "90 days"),
        ("1 weeks", Retention(1, "week"), "1 week"),
    ],
)
def test_retentions(text: str, retention: Retention, shown: str) -> None:
    assert parse_retention(text) == retention
    assert str(retention) == shown


@pytest.mark.parametrize("text", ["", "24", "0 months", "months", "1 hour", "1.5 years"])
def test_odd_retentions(text: str) -> None:
    with pytest.raises(ValueError, match="not a retention"):
        parse_retention(text)


def test_names() -> None:
    assert parse_table("public.users") == TableName("public", "users")
    assert parse_table('"odd.schema"."my ""table"""') == TableName("odd.schema", 'my "table"')
    assert parse_table("Public.Üsers") == TableName("Public", "Üsers")
    assert parse_column("users.uuid") == ColumnName("", "users", "uuid")
    assert parse_column("public.users.uuid") == ColumnName("public", "users", "uuid")
    assert parse_identifier('"a b"') == "a b"


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15),
        min_size=2,
        max_size=2,
    )
)
def test_names_read_back(parts: list[str]) -> None:
    name = TableName(*parts)
    assert parse_table(str(name)) == name


@pytest.mark.parametrize(
    "text", ["", ".", "a", "a.", ".a", "a.b.c", 'a."b', 'a."b"c', 'a.b"c', "a b.c"]
)
def test_odd_names(text: str) -> None:
    with pytest.raises(ValueError, match=r"name|schema"):
        parse_table(text)
