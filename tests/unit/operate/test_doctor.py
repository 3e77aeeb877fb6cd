"""`phasegate doctor` without a server: what findings come to, and that checks are kept apart."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner

from checks.tree import ROOT
from phasegate.contract.errors import SourceUnavailable
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import RUNBOOKS
from phasegate.operate.checks import find_checks, find_names
from phasegate.operate.doctor import (
    Cannot,
    Check,
    Finding,
    Fix,
    Severity,
    evaluate_exit,
    ok,
    problem,
    select_fixes,
    unknown,
    warning,
)
from phasegate.operate.doctor_command import doctor
from phasegate.operate.doctor_ground import Ground
from phasegate.operate.doctor_render import render_json, render_text, runbook_link
from phasegate.operate.doctor_run import apply_fixes, examine_all
from tests.fixtures.doctored import known_places

OK = ok("fine")
WARNING = warning("w", "c", "r")
PROBLEM = problem("p", "c", "r")
UNKNOWN = unknown("u", "r")
DOWN = unknown("d", "r", cannot=Cannot.REACH)
BUG = unknown("b", "r", cannot=Cannot.FAILED)
_PLACE = re.compile(r'"([a-z-]+\.md#[a-z_-]+)"')


def make_ground() -> Ground:
    return Ground(Settings(), Settings)


def make_check(examine: Callable[[Ground], Iterator[Finding]], name: str = "one") -> Check:
    return Check(name, "a check", examine)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([], 0),
        ([OK, WARNING], 0),
        ([OK, UNKNOWN], 3),
        ([UNKNOWN, DOWN], 4),
        ([UNKNOWN, DOWN, PROBLEM], 1),
        ([PROBLEM, BUG], 70),
    ],
)
def test_the_first_of_70_1_4_3_0_that_occurs(findings: list[Finding], code: int) -> None:
    assert evaluate_exit(findings) == code
    assert evaluate_exit(findings[::-1]) == code


class TestRun:
    def test_one_that_fails_stops_no_other(self) -> None:
        def fail(_: Ground) -> Iterator[Finding]:
            yield WARNING
            raise RuntimeError("of our own")

        def work(_: Ground) -> Iterator[Finding]:
            yield OK

        checks = [make_check(fail, "first"), make_check(work, "second")]
        found = examine_all(checks, make_ground())
        assert [(one.check, one.severity) for one in found] == [
            ("first", Severity.WARNING),
            ("first", Severity.UNKNOWN),
            ("second", Severity.OK),
        ]
        assert evaluate_exit(found) == 70
        assert "RuntimeError: of our own" in found[1].evidence

    def test_one_that_hangs_is_left_alone(self) -> None:
        over = threading.Event()

        def hang(_: Ground) -> Iterator[Finding]:
            over.wait(30)
            yield OK

        try:
            [found] = examine_all([make_check(hang)], make_ground(), limit_seconds=0.1)
        finally:
            over.set()
        assert (found.severity, found.exit_code) == (Severity.UNKNOWN, 3)
        assert "no answer within 0.1 s" in found.evidence

    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (SourceUnavailable("database", "refused"), 4),
            (psycopg.errors.InsufficientPrivilege("permission denied"), 3),
            (psycopg.errors.QueryCanceled("statement timeout"), 3),
        ],
    )
    def test_what_could_not_be_looked_at_is_unknown(self, error: Exception, code: int) -> None:
        def fail(_: Ground) -> Iterator[Finding]:
            raise error

        [found] = examine_all([make_check(fail)], make_ground())
        assert (found.severity, found.exit_code) == (Severity.UNKNOWN, code)
        assert found.remedy

    def test_nothing_found_is_said(self) -> None:
        def nothing(_: Ground) -> Iterator[Finding]:
            return iter(())

        [found] = examine_all([make_check(nothing)], make_ground())
        assert found.severity is Severity.OK

    def test_a_server_that_is_down_is_asked_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def refuse(ground: Ground) -> None:
            asked.append(ground)
            raise SourceUnavailable("database", "refused")

        monkeypatch.setattr(Ground, "_connect", refuse)

        def look(ground: Ground) -> Iterator[Finding]:
            with ground.look():
                yield OK

        found = examine_all([make_check(look, str(n)) for n in range(8)], make_ground())
        assert [one.exit_code for one in found] == [4] * 8
        assert len(asked) == 1


class TestFixes:
    def test_only_of_faults_and_the_rest_when_named(self) -> None:
        fix, asked = Fix("mend", lambda _: "done"), Fix("clear", lambda _: "done", asked_only=True)
        faulty = problem("p", "c", "r", fix=fix)
        fine = Finding(severity=Severity.OK, evidence="e", check="keys", fix=asked)
        good = Finding(severity=Severity.OK, evidence="e", check="good", fix=fix)
        assert list(select_fixes([faulty, fine, good, PROBLEM], [])) == [faulty]
        assert list(select_fixes([faulty, fine, good], ["keys"])) == [faulty, fine]

    def test_one_that_fails_says_so(self) -> None:
        def refuse(_: Ground) -> str:
            raise SourceUnavailable("cache", "refused")

        [(_, told, applied)] = apply_fixes(
            [problem("p", "c", "r", fix=Fix("mend", refuse))], make_ground()
        )
        assert (told, applied) == ("not done: cache: refused", False)


class TestRender:
    def test_faults_come_first_with_cause_remedy_and_runbook(self) -> None:
        fault = problem("broken", "because", "first\nsecond", "cache.md#cachecold")
        text = render_text([OK, fault], RUNBOOKS)
        assert text.splitlines()[:5] == [
            "problem  : broken",
            "         cause   because",
            "         remedy  first",
            "                 second",
            "         see     docs/runbooks/cache.md#cachecold",
        ]
        assert text.endswith("0 unknown, 1 problem, 0 warning, 1 ok\n")

    def test_the_link_follows_the_configuration(self) -> None:
        link = runbook_link("cache.md#cachecold", "https://wiki.example/{page}#{anchor}")
        assert link == "https://wiki.example/cache#cachecold"

    def test_json_has_every_field(self) -> None:
        fault = problem("broken", "because", "do", "cache.md#cachecold", Fix("mend", lambda _: ""))
        document = json.loads(render_json([fault], RUNBOOKS, [(fault, "done", True)], 1.5))
        assert (document["version"], document["exit_code"], document["at"]) == (1, 1, 1.5)
        assert document["fixes"][0] == {
            **{"check": "", "what": "mend", "told": "done", "applied": True},
        }
        assert document["findings"][0] == {
            **{"check": "", "severity": "problem", "evidence": "broken", "cause": "because"},
            **{"remedy": "do", "runbook": "docs/runbooks/cache.md#cachecold"},
            **{"fixable": True, "cannot": None},
        }

    def test_no_secret_passes(self) -> None:
        redactor.learn(["hunter2hunter2"])
        fault = problem("refused hunter2hunter2", "c", "psql hunter2hunter2")
        assert "hunter2" not in render_text([fault], RUNBOOKS)
        assert "hunter2" not in render_json([fault], RUNBOOKS, [], 0.0)


class TestChecks:
    def test_each_file_is_a_check(self) -> None:
        files = {path.stem for path in (ROOT / "operate" / "checks").glob("[a-z]*.py")}
        assert set(find_names()) == files
        assert {check.name for check in find_checks(tuple(files))} == files

    def test_what_is_made_on_demand_must_be_named(self) -> None:
        assert "cache_entries" not in {check.name for check in find_checks()}
        assert [check.name for check in find_checks(("cache_entries",))] == ["cache_entries"]

    def test_every_runbook_section_that_a_check_names_is_there(self) -> None:
        places = known_places()
        files = [*(ROOT / "operate" / "checks").glob("*.py"), ROOT / "operate" / "doctor_run.py"]
        named = {place for file in files for place in _PLACE.findall(file.read_text("utf-8"))}
        assert len(named) > 10
        assert named <= places


class TestCommand:
    def test_help_shows_an_example_and_the_exit_codes(self) -> None:
        text = CliRunner().invoke(doctor, ["--help"]).stdout
        assert "phasegate doctor --check lookup_plans" in text
        assert "a server that is needed cannot be reached" in text

    def test_list_names_every_check(self) -> None:
        text = CliRunner().invoke(doctor, ["--list"]).stdout
        assert [line.split()[0] for line in text.splitlines()] == find_names()

    @pytest.mark.parametrize(
        "arguments", [["--yes"], ["--fix"], ["--check", "none"], ["--format", "xml"]]
    )
    def test_a_faulty_call_is_refused(self, arguments: list[str]) -> None:
        assert CliRunner().invoke(doctor, arguments).exit_code == 2

    def test_a_server_that_is_down_is_4(self, tmp_path: Path) -> None:
        file = tmp_path / "phasegate.yaml"
        file.write_text('database: {url: "postgresql://u:secret77@127.0.0.1:9/d"}\n')
        result = CliRunner().invoke(doctor, ["--config", str(file)])
        assert result.exit_code == 4
        assert "secret77" not in result.output
        assert "pg_isready" in result.stdout
