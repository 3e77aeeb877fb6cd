"""Fixtures that the tests of several rooms share, each made once for a process."""

from __future__ import annotations

from tests.fixtures.exposition import exposed
from tests.fixtures.history import history_prometheus

__all__ = ["exposed", "history_prometheus"]
