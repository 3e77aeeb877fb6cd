"""The choice of a port, and what happens where it was taken meanwhile."""

from __future__ import annotations

import itertools
import socket

import pytest

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers import ports


def test_a_free_port_is_free_and_out_of_the_way() -> None:
    port = ports.free_port()

    assert ports.FIRST_PORT <= port <= ports.LAST_PORT
    with socket.create_server(("127.0.0.1", port)) as listener:
        assert listener.getsockname()[1] == port


def test_a_port_in_use_is_never_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "FIRST_PORT", port)
        monkeypatch.setattr(ports, "LAST_PORT", port)
        with pytest.raises(ServerStartFailed, match="no free port"):
            ports.free_port()


def test_another_port_is_tried_where_one_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = itertools.count(1)
    monkeypatch.setattr(ports, "free_port", lambda: next(offered))

    def launch(port: int) -> None:
        if port < 3:
            raise ServerStartFailed("x", "bind: Address already in use")

    assert ports.start_on_free_port(launch) == 3


def test_another_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(ports, "free_port", lambda: 1)

    def launch(port: int) -> None:
        tried.append(port)
        raise ServerStartFailed("x", "disk full")

    with pytest.raises(ServerStartFailed, match="disk full"):
        ports.start_on_free_port(launch)
    assert tried == [1]


def test_ports_that_are_always_taken_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "free_port", lambda: 1)

    def launch(_port: int) -> None:
        raise ServerStartFailed("x", "Address already in use")

    with pytest.raises(ServerStartFailed, match="in a row"):
        ports.start_on_free_port(launch)
