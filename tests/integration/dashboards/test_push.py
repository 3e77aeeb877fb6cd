"""Boards pushed into a Grafana: what it ends with, and what is said of every way to fail."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from phasegate.cli import main
from phasegate.contract.boards import BOARDS as BOARDS_OF_THE_CONTRACT
from phasegate.contract.errors import PhasegateError, SourceTimeout, SourceUnavailable
from phasegate.contract.secrets import Secret
from phasegate.dashboards import push_command
from phasegate.dashboards.grafana_http import Grafana
from phasegate.dashboards.push import Push, push_boards
from phasegate.servers.home import ServerTls
from tests.fixtures.grafana import TOKEN, FakeGrafana, Fault, grafana_running

Run = Callable[..., tuple[int, str, str]]


def _board(name: str, title: str = "") -> str:
    panels = [{"id": 1, "type": "stat", "fieldConfig": {"defaults": {"min": 0.5}}}]
    return json.dumps({"id": None, "uid": f"phasegate-{name}", "title": title or name,
                       "version": 1, "panels": panels})  # fmt: skip


READ_BOARDS = push_command._boards
BOARDS = {f"{name}.json": _board(name) for name in ("overview", "cache", "audit")}
CREATED = "".join(f"{name}: created (version 1)\n" for name in sorted(BOARDS))
UNCHANGED = "".join(f"{name}: unchanged (version 1)\n" for name in sorted(BOARDS))


@pytest.fixture
def grafana() -> Iterator[FakeGrafana]:
    with grafana_running() as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The boards of the command; a test may change them."""
    found = dict(BOARDS)

    monkeypatch.setattr(push_command, "_boards", lambda _: found)
    monkeypatch.setattr("phasegate.dashboards.grafana_http.PAUSES_SECONDS", (0.01, 0.01))
    return found


@pytest.fixture
def run(
    grafana: FakeGrafana,
    token_file: Path,
    boards: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """The command as a person calls it: exit code, stdout, stderr. None shows the token."""
    del boards

    def call(*more: str, url: str = grafana.url) -> tuple[int, str, str]:
        code: Any = 0
        try:
            arguments = ["--url", url, "--token-file", str(token_file), *more]
            main(arguments, push_command.push, "push")
        except SystemExit as end:
            code = end.code
        out, err = capsys.readouterr()
        assert TOKEN not in out + err
        return code, out, err

    return call


def test_a_second_push_changes_nothing(grafana: FakeGrafana, run: Run) -> None:
    assert run() == (0, f"folder Phasegate: created\n{CREATED}", "")
    assert grafana.folders == {"phasegate": "Phasegate"}
    first = grafana.boards["phasegate-cache"]
    assert first.folder == "phasegate"
    assert first.content == {
        key: value
        for key, value in json.loads(BOARDS["cache.json"]).items()
        if key not in ("id", "version")
    }
    before = len(grafana.asked)
    assert run() == (0, f"folder Phasegate: there\n{UNCHANGED}", "")
    assert {method for method, _, _ in grafana.asked[before:]} == {"GET"}


def test_a_dry_run_changes_nothing_and_says_what_would_be(
    grafana: FakeGrafana, run: Run, boards: dict[str, str]
) -> None:
    code, out, _ = run("--dry-run")
    would = "".join(f"{name}: would be created\n" for name in sorted(BOARDS))
    assert (code, out) == (0, f"folder Phasegate: would be created\n{would}")
    assert not grafana.writes
    run()
    boards["cache.json"] = _board("cache", "new")
    writes = list(grafana.writes)
    code, out, _ = run("--dry-run")
    assert code == 0
    assert "cache.json: would be updated (version 1)\n" in out
    assert "audit.json: unchanged (version 1)\n" in out
    assert grafana.writes == writes


@pytest.mark.parametrize("old", [False, True], ids=["grafana13", "grafana11"])
def test_a_new_release_updates_what_the_last_push_saved(
    grafana: FakeGrafana, run: Run, boards: dict[str, str], old: bool
) -> None:
    run()
    grafana.old = old
    boards["cache.json"] = _board("cache", "of the new release")
    code, out, _ = run()
    assert code == 0
    assert "cache.json: updated (version 1 → 2)\n" in out
    assert out.count("unchanged") == 2
    assert grafana.boards["phasegate-cache"].content["title"] == "of the new release"
    assert len(grafana.boards["phasegate-audit"].versions) == 1
    sent = [body for method, path, body in grafana.asked if path == "/api/dashboards/db"][-1]
    assert (sent["overwrite"], sent["dashboard"]["version"]) == (False, 1)
    assert sent["message"].startswith("phasegate dashboards push, board ")


def test_a_board_that_grafana_rewrites_is_pushed_once(grafana: FakeGrafana, run: Run) -> None:
    grafana.rewrite = lambda content: content | {"schemaVersion": 42, "annotations": {"list": []}}
    run()
    assert run() == (0, f"folder Phasegate: there\n{UNCHANGED}", "")


def test_a_board_that_was_imported_by_hand_and_is_equal_is_left(
    grafana: FakeGrafana, run: Run
) -> None:
    run()
    for saved in grafana.boards.values():
        saved.versions[-1]["message"] = ""
    assert run() == (0, f"folder Phasegate: there\n{UNCHANGED}", "")


def test_what_somebody_else_saved_is_refused_by_name_and_the_rest_is_done(
    grafana: FakeGrafana, run: Run, boards: dict[str, str]
) -> None:
    run()
    grafana.save_by_hand("phasegate-cache", "my own")
    boards["overview.json"] = _board("overview", "new")
    code, out, err = run()
    assert code == 1
    assert (
        "cache.json: refused: version 2: alice saved it at 2026-11-25T10:02:00Z, not by a push; "
        "--overwrite replaces it\n"
    ) in out
    assert "overview.json: updated (version 1 → 2)\n" in out
    assert err == "phasegate: 1 of 3 boards refused: cache.json\n"
    assert grafana.boards["phasegate-cache"].content["title"] == "my own"

    code, out, _ = run("--overwrite")
    assert code == 0
    assert "cache.json: updated (version 2 → 3)\n" in out
    assert grafana.boards["phasegate-cache"].content["title"] == "cache"


def test_what_somebody_saves_at_the_same_moment_is_not_lost(
    grafana: FakeGrafana, run: Run, boards: dict[str, str]
) -> None:
    run()
    boards["cache.json"] = _board("cache", "new")
    meanwhile = lambda: grafana.save_by_hand("phasegate-cache", "theirs", "bob")  # noqa: E731
    grafana.faults.append(Fault("POST", "/api/dashboards/db", before=meanwhile))
    code, out, _ = run()
    assert code == 1
    assert (
        "cache.json: refused: Grafana answered 412: The dashboard has been changed by someone "
        "else; version 2: bob saved it at 2026-11-25T10:02:00Z; --overwrite replaces it\n"
    ) in out
    assert grafana.boards["phasegate-cache"].content["title"] == "theirs"


def test_a_save_whose_answer_was_lost_is_not_taken_for_somebody_elses(
    grafana: FakeGrafana, run: Run, boards: dict[str, str]
) -> None:
    run()
    boards["cache.json"] = _board("cache", "new")
    grafana.faults.append(Fault("POST", "/api/dashboards/db", 502, after=True))
    code, out, _ = run()
    assert code == 0
    assert "cache.json: updated (version 1 → 2)\n" in out


def test_a_folder_whose_making_was_answered_too_late_is_used(
    grafana: FakeGrafana, run: Run
) -> None:
    grafana.faults.append(Fault("POST", "/api/folders", 503, after=True))
    assert run() == (0, f"folder Phasegate: created\n{CREATED}", "")
    assert grafana.folders == {"phasegate": "Phasegate"}


def test_a_moved_board_is_moved_back_only_when_told(grafana: FakeGrafana, run: Run) -> None:
    run()
    grafana.folders["theirs"] = "Theirs"
    grafana.boards["phasegate-audit"].folder = "theirs"
    code, out, _ = run()
    assert code == 1
    assert "audit.json: refused: it was moved into another folder (theirs); --overwrite" in out
    code, out, _ = run("--overwrite")
    assert code == 0
    assert grafana.boards["phasegate-audit"].folder == "phasegate"


def test_a_folder_of_that_name_with_another_uid_is_used(grafana: FakeGrafana, run: Run) -> None:
    grafana.folders |= {f"other-{number}": f"Other {number}" for number in range(1000)}
    grafana.folders["made-by-hand"] = "Ops"
    code, out, _ = run("--folder", "Ops")
    assert code == 0
    assert out.startswith("folder Ops: there, with the uid made-by-hand that somebody else gave")
    assert {saved.folder for saved in grafana.boards.values()} == {"made-by-hand"}
    assert "phasegate" not in grafana.folders


def test_two_folders_of_that_name_are_refused(grafana: FakeGrafana, run: Run) -> None:
    grafana.folders |= {"one": "Ops", "two": "Ops"}
    code, out, err = run("--folder", "Ops")
    assert code == 1
    assert out == "".join(f"{name}: not pushed\n" for name in sorted(BOARDS))
    assert "2 folders have this name (one, two); rename all but one" in err
    assert not grafana.writes


def test_a_folder_that_was_renamed_stays_ours(grafana: FakeGrafana, run: Run) -> None:
    grafana.folders["phasegate"] = "Renamed"
    code, out, _ = run()
    assert code == 0
    assert out.startswith("folder Renamed: there\n")
    assert grafana.folders == {"phasegate": "Renamed"}


def test_a_board_from_a_file_is_refused_even_with_overwrite(
    grafana: FakeGrafana, run: Run, boards: dict[str, str]
) -> None:
    run()
    grafana.boards["phasegate-cache"].provisioned = True
    boards["cache.json"] = _board("cache", "new")
    for more in ((), ("--overwrite",), ("--dry-run",)):
        code, out, _ = run(*more)
        assert code == 1
        assert "cache.json: refused: Grafana loads this board from a file" in out


def test_a_board_that_grafana_refuses_is_said_in_its_words(grafana: FakeGrafana, run: Run) -> None:
    said = json.dumps({"message": f"bad\n\x1b[31m {TOKEN}"})
    grafana.faults.append(Fault("POST", "/api/dashboards/db", 422, said))
    code, out, _ = run()
    assert code == 1
    assert "audit.json: refused: Grafana answered 422: bad ?[31m ***\n" in out
    assert out.count("created (version 1)") == 2


def test_a_folder_that_is_gone_is_said_of_each_board(grafana: FakeGrafana, run: Run) -> None:
    vanish = grafana.folders.clear
    grafana.faults.append(Fault("POST", "/api/dashboards/db", before=vanish))
    code, out, _ = run()
    assert code == 1
    assert "audit.json: refused: Grafana answered 404: Folder not found\n" in out


UNREADABLE = {
    "401": (
        Fault("GET", "", 401, '{"message": "Invalid API key"}'),
        "answered 401 to /api/folders/phasegate (Invalid API key): the token is not enough; it is "
        "unknown, expired or of another Grafana",
    ),
    "403": (
        Fault("POST", "/api/folders", 403, '{"message": "Permissions needed: folders:create"}'),
        "(Permissions needed: folders:create): the token is not enough; its service account needs "
        "the role Editor, or the permissions folders:read, folders:create",
    ),
    "login page": (
        Fault("GET", "", 200, "<!doctype html><title>Log in</title>", "text/html"),
        "answered 200 to /api/folders/phasegate by text/html that is no JSON: a log-in page",
    ),
    "redirect": (
        Fault("GET", "", 302, "", headers={"Location": "https://u:p@sso.example/login?code=1"}),
        "answered 302 to /api/folders/phasegate, a redirect to https://sso.example/login: a log-in",
    ),
    "torn JSON": (Fault("GET", "", 200, '{"title": '), "that is no JSON"),
    "another API": (Fault("GET", "", 404, '{"detail": "Not Found"}', times=2), "is --url right?"),
    "strange JSON": (Fault("GET", "", 200, "[1]"), "not as Grafana does; is --url right?"),
    "strange board": (
        Fault("GET", "/api/dashboards", 200, '{"dashboard": {}, "meta": []}'),
        "answered 200 to /api/dashboards/uid/phasegate-audit, not as Grafana does",
    ),
    "strange save": (Fault("POST", "/api/dashboards/db", 200, '"ok"'), "is --url right?"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_grafana_or_takes_no_token_ends_with_4(
    grafana: FakeGrafana, run: Run, name: str
) -> None:
    fault, told = UNREADABLE[name]
    grafana.faults.append(Fault(**vars(fault)))
    code, out, err = run()
    assert code == 4
    assert told in err
    assert (
        err.startswith(f"phasegate: grafana: {grafana.url} answered") or "grafana: answered" in err
    )
    assert out.count(": not pushed\n") == 3
    assert "u:p" not in err
    assert "code=1" not in err
    # It is not tried again: another try would say the same.
    assert len(grafana.asked) == len({(method, path) for method, path, _ in grafana.asked})


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_fault_passes(grafana: FakeGrafana, run: Run, status: int) -> None:
    grafana.faults.append(Fault("GET", "/api/folders", status, "busy", "text/plain", times=2))
    grafana.faults.append(Fault("POST", "/api/dashboards/db", status, times=2))
    assert run() == (0, f"folder Phasegate: created\n{CREATED}", "")


def test_a_fault_that_stays_ends_with_4_and_tells_which_boards_are_left(
    grafana: FakeGrafana, run: Run
) -> None:
    grafana.faults.append(Fault("GET", "/uid/phasegate-cache", 502, times=99))
    code, out, err = run()
    assert code == 4
    assert out == (
        "folder Phasegate: created\naudit.json: created (version 1)\ncache.json: not pushed\n"
        "overview.json: not pushed\n"
    )
    assert err == (
        f"phasegate: grafana: {grafana.url} answered 502 to /api/dashboards/uid/phasegate-cache, "
        "at each of 3 tries\n"
    )


def test_nobody_there_ends_with_4(run: Run) -> None:
    code, out, err = run(url="http://127.0.0.1:9/grafana/")
    assert code == 4
    assert out.count(": not pushed\n") == 3
    assert "cannot be reached: " in err
    assert "at each of 3 tries" in err


async def _push_slowly(grafana: FakeGrafana, said: list[str]) -> None:
    async with Grafana(
        grafana.url, Secret(TOKEN), within_seconds=0.3, pauses=(0.01, 0.02)
    ) as client:
        await push_boards(BOARDS, Push(client, "Phasegate", False, False, said.append))


def test_a_grafana_that_hangs_once_is_asked_again_and_one_that_stays_so_is_given_up(
    grafana: FakeGrafana,
) -> None:
    said: list[str] = []
    grafana.faults.append(Fault("POST", "/api/dashboards/db", hang=True, after=True))
    asyncio.run(_push_slowly(grafana, said))
    assert said[1:] == CREATED.splitlines()

    grafana.faults.append(Fault("GET", "/api/folders", hang=True, times=3))
    with pytest.raises(SourceTimeout, match=r"no whole answer within 0\.3 s .* each of 3 tries"):
        asyncio.run(_push_slowly(grafana, said))


def test_tls_is_checked_against_the_given_authority(
    server_tls: ServerTls, run: Run, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_tls.cert, server_tls.key)
    with grafana_running(context) as secure:
        code, out, err = run("--ca", str(server_tls.ca), url=secure.url)
        assert (code, out) == (0, f"folder Phasegate: created\n{CREATED}")
        code, _, err = run(url=secure.url)
        assert code == 4
        assert "was refused: " in err
        assert "see --ca" in err
        assert "tries" not in err
        (tmp_path / "no.pem").write_text("nothing")
        for wrong in ("no.pem", "absent.pem"):
            code, _, err = run("--ca", str(tmp_path / wrong), url=secure.url)
            assert code == 4
            assert f"{wrong} cannot be used: " in err


@pytest.mark.parametrize("content", [b"", b"\n", b"one\ntwo\n", b"\xff\xfe", b"a\x00b", None])
def test_a_token_file_that_holds_no_token_ends_with_4(
    grafana: FakeGrafana, run: Run, token_file: Path, content: bytes | None
) -> None:
    if content is None:
        token_file.unlink()
    else:
        token_file.write_bytes(content)
    code, _, err = run()
    assert code == 4
    assert str(token_file) in err
    assert not grafana.asked


@pytest.mark.parametrize(
    "url",
    ["grafana", "ftp://g.example", "http://", "https://me:secret-word@g.example",
     "https://g.example?orgId=1", "https://g.example/#x", "https://g.example:port",
     "https://[::1", "https://g .example"],
)  # fmt: skip
def test_a_url_that_cannot_be_used_ends_with_2_and_shows_no_password(run: Run, url: str) -> None:
    code, out, err = run(url=url)
    assert (code, out) == (2, "")
    assert "--url" in err
    assert "secret-word" not in err


@pytest.mark.parametrize("more", [("--folder", " "), ("--config", "absent.yaml"), ("--nothing",)])
def test_flags_that_cannot_be_used_end_with_2(
    grafana: FakeGrafana, run: Run, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.setattr(push_command, "_boards", READ_BOARDS)
    assert run(*more)[0] == 2
    assert not grafana.asked


def test_the_token_is_in_no_text_of_an_error(grafana: FakeGrafana) -> None:
    async def fail(token: str) -> None:
        async with Grafana(grafana.url, Secret(token), pauses=()) as client:
            await client.ask("GET", "/api/folders/x")

    with pytest.raises(PhasegateError) as caught:
        asyncio.run(fail("wrong-token-of-a-test"))
    assert isinstance(caught.value, SourceUnavailable)
    assert "wrong-token" not in str(caught.value)


def test_the_boards_are_those_of_the_configuration(
    grafana: FakeGrafana,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(push_command, "_boards", READ_BOARDS)
    config = tmp_path / "phasegate.yaml"
    config.write_text(
        "database: {url: postgresql://reader@db.example/mono}\nmonitoring: {scrape_interval: 45s}\n"
    )
    code, out, _ = run("--config", str(config))
    assert code == 0
    assert set(grafana.boards) <= {entry.uid for entry in BOARDS_OF_THE_CONTRACT.values()}
    panels = grafana.boards["phasegate-database"].content["panels"]
    assert {panel["interval"] for panel in panels if "targets" in panel} == {"45s"}
    code, again, _ = run("--config", str(config))
    assert code == 0
    assert again.count(": unchanged (version 1)\n") == out.count(": created (version 1)\n")


def test_help_shows_an_example_and_the_exit_codes() -> None:
    shown = CliRunner().invoke(push_command.push, ["--help"]).output
    assert "phasegate dashboards push --url https://grafana.example" in shown
    assert "Exit codes:\n    0  " in shown
