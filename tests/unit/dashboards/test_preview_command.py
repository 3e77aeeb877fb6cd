"""`phasegate dashboards preview`: what it refuses before it serves, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import click
import pytest

from phasegate import cli
from phasegate.contract.boards import BOARDS
from phasegate.dashboards.preview import chromium
from phasegate.dashboards.preview.command import preview, read_boards
from phasegate.dashboards.preview.pictures import Picture
from phasegate.servers.ports import free_port
from tests.fixtures.answers import Answering, answering

GOOD = b'{"status": "success", "data": {"resultType": "scalar", "result": [1, "1"]}}'
BOARD = {"uid": "a-board", "title": "A board", "panels": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "boards"
    place.mkdir()
    write(place, "a.json", BOARD)
    return place


def write(place: Path, name: str, content: Any) -> None:
    (place / name).write_text(json.dumps(content), encoding="utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit code, and what was said on standard error."""
    with pytest.raises(SystemExit) as ended:
        cli.main(list(arguments), preview, "preview")
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--prometheus", "localhost:9090"], "expected the http:// or https:// URL"),
        (["--prometheus", "http://h:1/?x=1"], "expected the http:// or https:// URL"),
        (["--prometheus", "http://u:hunter2@h:1"], "a user or password in it"),
        (["--prometheus", "http://u:hunter2@h:x"], "expected the http:// or https:// URL"),
        (["--listen", "127.0.0.1"], "expected host:port"),
        (["--listen", ":9898"], "expected an address of this machine alone"),
        (["--listen", "192.0.2.1:9898"], "expected an address of this machine alone"),
        (["--boards", "/nowhere"], "does not exist"),
        (["--screenshot", "none", "a.png"], "there is no board 'none'; there are: "),
        (["--width", "10"], "is not in the range"),
    ],
)
def test_what_cannot_be_used_is_said(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, *arguments)
    assert code == 2
    assert told in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "not JSON: "),
        (b"\xff", "not JSON: "),
        (b"[]", "expected a board in Grafana's classic format"),
        (b'{"spec": {"elements": {}}}', "expected a board in Grafana's classic format"),
        (json.dumps(BOARD).encode(), "a second board has the uid 'a-board'"),
    ],
)
def test_what_is_no_board_is_said(
    content: bytes, told: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "b.json").write_bytes(content)
    code, said = run(capsys, "--boards", str(folder))
    assert code == 2
    assert told in said
    assert "b.json" in said


def test_a_folder_without_boards_is_said(tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=r"found no \*\.json, expected boards"):
        read_boards(tmp_path)


def test_ours_come_first_and_others_by_title(folder: Path) -> None:
    write(folder, "b.json", {"uid": "b", "title": "Zebra", "panels": []})
    write(folder, "named-by-its-file.json", {"title": "Middle", "panels": []})
    write(folder, "z.json", {"uid": BOARDS["cache"].uid, "title": "Zzz", "panels": []})
    write(folder, "y.json", {"uid": BOARDS["overview"].uid, "title": "Zzzz", "panels": []})
    (folder / "notes.txt").write_text("no board", encoding="utf-8")
    assert list(read_boards(folder)) == [
        BOARDS["overview"].uid, BOARDS["cache"].uid, "a-board", "named-by-its-file", "b",
    ]  # fmt: skip


def test_a_prometheus_that_does_not_answer_is_4(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    code, said = run(capsys, "--boards", str(folder), "--prometheus", url)
    assert code == 4
    assert said.startswith(f"phasegate: prometheus: {url} could not be reached: ")
    assert "--prometheus" in said


def test_a_login_page_is_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(Answering(body=b"<html>", status=401)) as fake:
        code, said = run(capsys, "--boards", str(folder), "--prometheus", fake.url)
    assert code == 4
    assert "configure prometheus.basic_auth or prometheus.bearer_file" in said


def test_an_address_that_is_taken_is_4(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with answering(Answering(body=GOOD)) as fake:
        where = fake.url.removeprefix("http://")
        code, said = run(
            capsys, "--boards", str(folder), "--prometheus", fake.url, "--listen", where
        )
    assert code == 4
    assert where in said


def test_a_picture_without_a_chromium_is_4(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "PROGRAMS", ("no-such-program",))
    with answering(Answering(body=GOOD)) as fake:
        chosen = ["--boards", str(folder), "--prometheus", fake.url]
        code, said = run(capsys, *chosen, "--screenshot", "a-board", "a.png")
    assert code == 4
    assert "not installed; looked for no-such-program in PATH" in said


def test_credentials_go_only_to_the_server_of_the_configuration(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = tmp_path / "token"
    token.write_text("hunter2-hunter2", encoding="utf-8")
    config = tmp_path / "phasegate.yaml"
    refused = Answering(body=b"{}", status=401)
    with answering(refused) as ours, answering(Answering(body=b"{}", status=401)) as other:
        config.write_text(
            "environment: test\ndatabase: {url: postgresql://h/d}\n"
            f"prometheus: {{url: '{ours.url}', bearer_file: {token}}}\n",
            encoding="utf-8",
        )
        chosen = ["--boards", str(folder), "--config", str(config)]
        assert run(capsys, *chosen)[0] == 4
        assert run(capsys, *chosen, "--prometheus", other.url)[0] == 4
    [(_, sent)] = ours.asked
    assert sent["Authorization"] == "Bearer hunter2-hunter2"
    [(_, sent)] = other.asked
    assert "Authorization" not in sent


def test_it_serves_what_it_prints_until_a_signal(folder: Path) -> None:
    with answering(Answering(body=GOOD)) as fake:
        command = [
            *(sys.executable, "-m", "phasegate", "dashboards", "preview"),
            *("--boards", str(folder), "--prometheus", fake.url, "--listen", "127.0.0.1:0"),
        ]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            address, title = process.stdout.readline().decode().split("  ")
            try:
                with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310
                    assert b'<main id="board">' in answer.read()
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
    assert address.endswith("/d/a-board")
    assert title == "A board\n"


def test_where_a_picture_is_taken() -> None:
    plain = Picture("a board", Path("a.png"))
    assert (plain.uid, plain.path) == ("a board", "/d/a%20board?theme=dark")
    asked = Picture("b?from=now-6h&var-job=x%26y&var-job=z", Path("a.png"), theme="light")
    assert asked.uid == "b"
    assert asked.path == "/d/b?from=now-6h&var-job=x%26y&var-job=z&theme=light"
