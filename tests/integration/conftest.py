"""Fixtures that the tests of several rooms share, each made once for a process."""

from __future__ import annotations

from tests.fixtures.exposition import exposed

__all__ = ["exposed"]
