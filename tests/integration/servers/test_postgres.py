"""The throw-away PostgreSQL: it starts, keeps its data, and fails in the ways that tests need."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme

from phasegate.contract.errors import ServerStartFailed
from phasegate.servers import ports
from phasegate.servers.home import ServerTls
from phasegate.servers.postgres import PostgresServer, Setting, find_postgres
from tests.fixtures.database import Database
from tests.fixtures.presence import require_present

QUICK = {"fsync": False}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this file: its tests stop, freeze and kill it, and leave it running."""
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    with PostgresServer(settings=QUICK) as server:
        yield server


@pytest.fixture
def debian() -> int:
    """The major version that Debian packages, with TLS."""
    require_present("PostgreSQL 15", find_postgres(15) is not None)
    return 15


def test_it_is_of_the_major_version_asked_for(any_postgres: PostgresServer) -> None:
    [[number]] = any_postgres.execute("select current_setting('server_version_num')::int / 10000")

    assert any_postgres.name == f"PostgreSQL {number}"


def test_settings_hold_beside_safe_defaults() -> None:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    settings: dict[str, Setting] = {
        "work_mem": "7MB",
        "max_connections": 17,
        "cluster_name": "it's",
        "jit": False,
    }
    with PostgresServer(settings=settings) as server:
        [told] = server.execute(
            "select current_setting('work_mem'), current_setting('max_connections'),"
            " current_setting('cluster_name'), current_setting('jit')"
        )
        [untold] = server.execute(
            "select current_setting('fsync'), current_setting('listen_addresses'),"
            " current_setting('timezone'), current_setting('data_checksums')"
        )

    assert told == ("7MB", "17", "it's", "off")
    assert untold == ("on", "127.0.0.1", "UTC", "on")


def test_a_setting_changed_by_sql_wins_over_the_file(server: PostgresServer) -> None:
    server.execute("alter system set work_mem = '9MB'")
    server.execute("select pg_reload_conf()")

    _await_answer(server, "show work_mem", "9MB")


def test_a_hostile_name_of_a_database_goes_through_the_uri(postgres18: PostgresServer) -> None:
    name = 'a b"/?%41&x=ü'
    postgres18.create_database(name)
    try:
        assert postgres18.execute("select current_database()", name) == [(name,)]
    finally:
        postgres18.drop_database(name)
    postgres18.drop_database(name)


def test_a_password_is_asked_for_on_tcp_and_on_the_socket(postgres18: PostgresServer) -> None:
    folder = str(postgres18.socket_directory)
    with psycopg.connect(postgres18.conninfo(host=folder, application_name="a b")) as connection:
        assert connection.info.host == folder
        assert connection.info.get_parameters()["application_name"] == "a b"
    for place in ({}, {"host": folder}):
        uri = postgres18.conninfo("postgres", "postgres", "wrong", **place)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(uri)


def test_another_role_logs_in_with_its_own_password(database: Database) -> None:
    database.execute("create role reader login password 'p@ss:/?#%'")
    try:
        with psycopg.connect(database.conninfo("reader", "p@ss:/?#%")) as connection:
            assert connection.execute("select current_user").fetchone() == ("reader",)
    finally:
        database.execute("drop role reader")


def test_a_restart_keeps_data_and_port(server: PostgresServer) -> None:
    port, pid = server.port, server.pid
    server.execute("drop table if exists kept; create table kept as select 1 as a")
    server.restart()

    assert server.execute("select a from kept") == [(1,)]
    assert server.port == port
    assert server.pid != pid


def test_a_stopped_server_refuses(server: PostgresServer) -> None:
    server.stop("immediate")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(server.conninfo())
    with pytest.raises(RuntimeError, match="not running"):
        server.stop()
    server.start()

    assert server.execute("select 1") == [(1,)]


def test_a_kill_ends_busy_backends_and_the_next_start_recovers(server: PostgresServer) -> None:
    server.execute("drop table if exists kept; create table kept as select 1 as a")
    with psycopg.connect(server.conninfo()) as connection:
        connection.execute("select 1")
        server.kill_postmaster()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    server.start()

    assert server.execute("select a from kept") == [(1,)]
    assert "automatic recovery" in server.log_tail(40)


def test_a_frozen_server_accepts_and_says_nothing_until_it_thaws(
    server: PostgresServer,
) -> None:
    server.freeze()
    with socket.create_connection(("127.0.0.1", server.port), 2) as connection:
        connection.sendall(b"\x00\x00\x00\x08\x04\xd2\x16\x2f")  # asks for TLS
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.thaw()
        connection.settimeout(5)
        assert connection.recv(1) == b"N"


def test_a_frozen_server_can_be_stopped(server: PostgresServer) -> None:
    server.freeze()
    started = time.monotonic()
    server.stop()

    assert time.monotonic() - started < 5
    server.start()


@pytest.mark.parametrize("major", [18, 15])
def test_a_standby_streams_and_is_promoted(major: int) -> None:
    require_present(f"PostgreSQL {major}", find_postgres(major) is not None)
    settings = {**QUICK, "max_connections": 150}
    with PostgresServer(major, settings=settings) as primary:
        primary.execute("create table copied as select 1 as a")
        with PostgresServer(standby_of=primary) as standby:
            assert standby.execute("select pg_is_in_recovery(), a from copied") == [(True, 1)]
            primary.execute("insert into copied values (2)")
            _await_answer(standby, "select count(*) from copied", 2)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                standby.execute("insert into copied values (3)")
            standby.promote()
            standby.execute("insert into copied values (4)")

            assert standby.name == primary.name
            assert primary.execute("select count(*) from copied") == [(2,)]


def test_tls_is_spoken_where_it_is_set(
    debian: int, server_tls: ServerTls, authority: trustme.CA, tmp_path: Path
) -> None:
    assert server_tls.ca is not None
    foreign = tmp_path / "foreign.crt"
    trustme.CA().cert_pem.write_to_path(str(foreign))
    with PostgresServer(debian, settings=QUICK, tls=server_tls) as server:
        verify = {"sslmode": "verify-full", "sslrootcert": str(server_tls.ca)}
        with psycopg.connect(server.conninfo(**verify)) as connection:
            assert connection.pgconn.ssl_in_use
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(server.conninfo(**{**verify, "sslrootcert": str(foreign)}))


def test_a_failed_start_says_why_and_leaves_nothing() -> None:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    server = PostgresServer(settings={"shared_buffers": "many"})
    with pytest.raises(ServerStartFailed, match='"shared_buffers"') as failed, server:
        pass

    assert str(failed.value).startswith("PostgreSQL 18 did not start: ")
    assert not server.data_directory.parent.exists()


def test_a_folder_without_a_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerStartFailed, match=f"of {tmp_path} did not start.* no initdb"):
        PostgresServer(binaries=tmp_path)


def test_a_version_that_is_nowhere_is_named() -> None:
    with pytest.raises(ServerStartFailed, match="postgresql-9"):
        PostgresServer(9)


def test_a_port_taken_meanwhile_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    require_present("PostgreSQL 18", find_postgres(18) is not None)
    free = ports.free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        offered = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(ports, "free_port", lambda: next(offered))
        with PostgresServer(settings=QUICK) as server:
            assert server.port == free
            assert server.execute("select 1") == [(1,)]


def _await_answer(server: PostgresServer, question: str, answer: object) -> None:
    deadline = time.monotonic() + 10
    while server.execute(question) != [(answer,)]:
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.02)
