"""A session's first statements run under its role's limits, which a busy server may not keep."""

from __future__ import annotations

from typing import Any, cast

import psycopg
import pytest

from phasegate.exporter.backends import SETTLE_TRIES, settle_within_limits


class Limited:
    """A connection whose first statements are cancelled so often."""

    def __init__(self, cancelled: int) -> None:
        self.cancelled, self.rolled_back = cancelled, 0

    async def execute(self, statement: str) -> Limited:
        if self.cancelled:
            self.cancelled -= 1
            raise psycopg.errors.QueryCanceled
        return self

    async def rollback(self) -> None:
        self.rolled_back += 1

    def nextset(self) -> bool:
        return True

    async def fetchone(self) -> tuple[int]:
        return (7,)

    class pgconn:  # noqa: N801
        backend_pid = 8  # a pooler's: nothing is set


def settle(connection: Limited) -> Any:
    return settle_within_limits(cast(Any, connection))


@pytest.mark.parametrize("cancelled", [0, 1, SETTLE_TRIES - 1])
async def test_what_the_role_s_limit_cut_is_tried_again(cancelled: int) -> None:
    connection = Limited(cancelled)
    await settle(connection)
    assert connection.rolled_back == cancelled


async def test_it_is_given_up_after_some_tries() -> None:
    with pytest.raises(psycopg.errors.QueryCanceled):
        await settle(Limited(SETTLE_TRIES))
