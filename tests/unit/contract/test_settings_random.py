"""Whatever a file holds, the answer is settings or ConfigError, in bounded time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phasegate.contract.errors import ConfigError, ConfigFault
from phasegate.contract.sections import ListOf, MapOf, Section, keys_of
from phasegate.contract.settings import SETTINGS, Settings
from phasegate.contract.settings_load import load_settings
from phasegate.contract.shapes import Shape

ENVIRON = {"DATABASE_URL": "host=h", "NAME": "hushhush\n'\"*"}
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["10s", "${NAME}", "${NO}", "${NAME:-x}", "a.b", "http://h", "http://[", "redis://h:1"]
    ),
    st.sampled_from(["host=h", "10GiB", "24 months", "health", "4", "é" * 70, "http://h:\uff19"]),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


def documents(shape: Shape) -> st.SearchStrategy[Any]:
    """Documents with the right keys and mostly wrong values."""
    match shape:
        case Section(of=of):
            below = {name: documents(known.shape) for name, known in keys_of(of).items()}
            return st.fixed_dictionaries({}, optional=below) | ANYTHING
        case ListOf(item=item):
            return st.lists(documents(item), max_size=3) | ANYTHING
        case MapOf(item=item):
            return st.dictionaries(st.text(max_size=5), documents(item), max_size=2) | ANYTHING
    return SCALARS


def faults_of(path: Path) -> tuple[ConfigFault, ...]:
    try:
        assert isinstance(load_settings(path, ENVIRON), Settings)
    except ConfigError as error:
        return error.faults or (ConfigFault("", 0, 0, "", "", ""),)
    return ()


def check(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    for fault in faults_of(path):
        assert fault.found
        assert fault.expected
        assert "hushhush" not in str(fault)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random") / "phasegate.yaml"


RELAXED = settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@RELAXED
@given(st.binary(max_size=300))
def test_random_bytes(path: Path, data: bytes) -> None:
    check(path, data)


@RELAXED
@given(st.text(alphabet="ab:- \n\t{}[]&*!|>'\"%@`#?,~<$.1", max_size=120))
def test_random_yaml_text(path: Path, text: str) -> None:
    check(path, text.encode())


@RELAXED
@given(documents(SETTINGS))
def test_random_documents_with_the_right_keys(path: Path, document: Any) -> None:
    check(path, yaml.safe_dump(document, allow_unicode=True).encode("utf-8", "replace"))


def test_nesting_is_bounded(path: Path) -> None:
    check(path, b"a: " + b"[" * 100_000)
    check(path, b"{a: " * 100_000)


def test_a_wide_file_is_read_in_time(path: Path) -> None:
    check(path, b"tables:\n" + b"".join(b"- {name: a.t%d}\n" % n for n in range(5_000)))
