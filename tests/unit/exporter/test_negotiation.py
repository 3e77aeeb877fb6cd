"""What a client's headers ask for, and what they refuse."""

from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from phasegate.exporter.negotiation import accepts_gzip, prefers_openmetrics

OPENMETRICS = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("header", "zipped"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("*", True),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, *", False),
        ("gzip;q=nan", False),
        ("notgzip", False),
    ],
)
def test_gzip_only_where_it_is_wanted(header: str, *, zipped: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept-Encoding": header})
    assert accepts_gzip(request) is zipped


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (f"{OPENMETRICS};version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1", True),
        (OPENMETRICS, True),
        (f"{OPENMETRICS};q=0", False),
        (f"text/plain, {OPENMETRICS};q=0.5", False),
        (f"{OPENMETRICS}-2", False),
        ("*/*", False),
    ],
)
def test_openmetrics_only_where_it_is_preferred(header: str, *, expected: bool) -> None:
    request = make_mocked_request("GET", "/", headers={"Accept": header})
    assert prefers_openmetrics(request) is expected
