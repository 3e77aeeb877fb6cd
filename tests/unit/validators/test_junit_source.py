"""Results of tests: each kind of good and bad file has its one verdict, by the real command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phasegate import cli
from phasegate.validators.call import spread_values
from phasegate.validators.command import validate
from phasegate.validators.sources import exporter, junit
from tests.fixtures.dossiers import CONFIG

Call = Callable[..., tuple[int, dict[str, Any]]]
CASE = '<testcase classname="a" name="b"/>'
FAILED = '<testcase classname="a" name="c"><failure message="m">text</failure></testcase>'
SKIPPED = '<testcase name="s"><skipped/></testcase>'


def suite(*cases: str, **attributes: str) -> str:
    stated = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return f"<testsuite{stated}>{''.join(cases)}</testsuite>"


def suites(*parts: str) -> str:
    return f"<testsuites>{''.join(parts)}</testsuites>"


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Judges `integration_tests` alone; gives the exit code, and its judgement."""
    config = tmp_path / "phasegate.yaml"
    config.write_text(CONFIG)

    def run(
        *arguments: str, by: tuple[str, ...] = ("--criterion", "integration_tests")
    ) -> tuple[int, dict[str, Any]]:
        words = ["--config", str(config), "--format", "json", *by, *arguments]
        with pytest.raises(SystemExit) as ended:
            cli.main(words, validate, "validate")
        said = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        if not said.out:
            return code, {"reason": said.err}
        found = [
            one
            for one in json.loads(said.out)["judgements"]
            if one["criterion"] == "integration_tests"
        ]
        return code, found[0]

    return run


GOOD = [
    pytest.param(suite(CASE), id="one suite"),
    pytest.param(suites(suite(suite(CASE), CASE), suite(CASE)), id="nested suites"),
    pytest.param(suite(CASE, SKIPPED), id="one ran, one skipped"),
    pytest.param(suites(suite(), suite(CASE)), id="an empty suite beside one that ran"),
    pytest.param(suite(CASE, tests="0", failures="0"), id="attributes say that none ran"),
    pytest.param(
        suite(
            "<properties><property name='p' value='v'/></properties>",
            "<testcase name='b' status='run' result='completed'><system-out>"
            "&lt;failure/&gt;<![CDATA[<error/>]]></system-out></testcase>",
        ),
        id="output that looks like a failure",
    ),
    pytest.param(
        suite("<testcase name='f'><flakyFailure message='once'/></testcase>"), id="flaky, passed"
    ),
]
BAD = [
    pytest.param(suite(CASE, FAILED), 1, "1 of 2 tests failed: a::c", id="a failure"),
    pytest.param(suite(FAILED, failures="0"), 1, "a::c", id="a failure that no attribute states"),
    pytest.param(
        suite(CASE, "<testcase name='e'><error/></testcase>"),
        1,
        "1 of 2 tests failed: e",
        id="error",
    ),
    pytest.param(
        suite(CASE, "<testcase name='x'><skipped/><failure/></testcase>"),
        *(1, "1 of 2 tests failed: x"),
        id="skipped and failed",
    ),
    pytest.param(suite(CASE, "<error/>"), 1, "outside of any test", id="an error of the suite"),
    pytest.param(
        suite(CASE, "<testcase name='g' status='fail'/>"), 1, "failed: g", id="failed by attribute"
    ),
    pytest.param(
        suite(*[FAILED] * 9),
        1,
        "9 of 9 tests failed: a::c; a::c; a::c; a::c; a::c; and 4 more",
        id="many failures",
    ),
    pytest.param(suite(), 3, "the files hold no test", id="no tests"),
    pytest.param(suites(), 3, "the files hold no test", id="no suites"),
    pytest.param(suite(tests="9"), 3, "states 9 tests, and holds 0", id="tests by attribute only"),
    pytest.param(suite(CASE, tests="2"), 3, "states 2 tests, and holds 1", id="a test is missing"),
    pytest.param(suite(CASE, tests="NaN"), 3, "tests=NaN, which is no number", id="NaN tests"),
    pytest.param(
        suite(CASE, failures="1.0"), 3, "failures=1.0, which", id="a fraction of failures"
    ),
    pytest.param(
        suite("<testcase name='d' xmlns:x='u'><x:failure/></testcase>"),
        *(1, "1 of 1 tests failed: d"),
        id="a failure in a namespace",
    ),
    pytest.param(
        suite("<testcase name='d'><Failure/></testcase>"), 1, "1 of 1 tests", id="a Failure"
    ),
    pytest.param(suite(SKIPPED, SKIPPED), 3, "no test ran, 2 were skipped", id="all skipped"),
    pytest.param(
        suite("<testcase name='d' status='notrun' result='suppressed'/>"),
        3,
        "1 were skipped",
        id="all disabled, by attribute",
    ),
    pytest.param(
        suites(suite(CASE), suite(errors="1")),
        3,
        "states 1 failures and errors, and holds 0",
        id="a suite that did not start",
    ),
    pytest.param(
        suite("<properties><testcase/></properties>"), 3, "no test", id="a test elsewhere"
    ),
    pytest.param("", 4, "not well-formed", id="empty"),
    pytest.param("   \n", 4, "not well-formed", id="blank"),
    pytest.param("{}", 4, "not well-formed", id="json"),
    pytest.param(suite(CASE)[:-5], 4, "not well-formed", id="truncated"),
    pytest.param(suite(CASE) + suite(CASE), 4, "not well-formed", id="two roots"),
    pytest.param("<testsuite><testcase></testsuite>", 4, "not well-formed", id="malformed"),
    pytest.param(suite("&undefined;"), 4, "not well-formed", id="an undefined entity"),
    pytest.param("<html><body>log in</body></html>", 4, "begins with <html>", id="html"),
    pytest.param(
        "<testcase><testsuite/></testcase>", 4, "begins with <testcase>", id="a test alone"
    ),
    pytest.param(
        suite(f"<testcase><failure/>{suite(CASE)}</testcase>"),
        4,
        "within <testcase>",
        id="a suite within a test",
    ),
    pytest.param(
        f'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>{suite("&b;", CASE)}',
        *(4, "document type"),
        id="entity expansion",
    ),
    pytest.param(
        f'<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>{suite("&a;", CASE)}',
        *(4, "document type"),
        id="external entity",
    ),
    pytest.param(
        f'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">{suite(CASE)}', 4, "document type", id="dtd"
    ),
    pytest.param(
        f"<testsuite>{'<a>' * 200}{'</a>' * 200}{CASE}</testsuite>", 4, "deeper than", id="deep"
    ),
    pytest.param(
        f'<?xml version="1.0" encoding="utf-8"?>{suite(CASE)}'.encode("utf-16"),
        4,
        "not well-formed",
        id="another encoding than it says",
    ),
    pytest.param(
        f'<?xml version="1.0" encoding="x-none"?>{suite(CASE)}',
        4,
        "encoding",
        id="unknown encoding",
    ),
    pytest.param(f'<?xml version="1.0" encoding="utf-7"?>{suite(CASE)}', 4, "encoding", id="utf-7"),
    pytest.param(b"<testsuite>\xff\xfe" + CASE.encode(), 4, "not well-formed", id="broken utf-8"),
]


@pytest.mark.parametrize("text", GOOD)
def test_results_that_pass(text: str, tmp_path: Path, call: Call) -> None:
    (tmp_path / "ok.xml").write_text(text)
    code, found = call("--junit", str(tmp_path / "ok.xml"))
    assert (code, found["verdict"], found["measured"]) == (0, "passed", 0), found


@pytest.mark.parametrize(("text", "expected", "said"), BAD)
def test_results_that_do_not(
    text: str | bytes, expected: int, said: str, tmp_path: Path, call: Call
) -> None:
    (tmp_path / "r.xml").write_bytes(text.encode() if isinstance(text, str) else text)
    code, found = call("--junit", str(tmp_path / "r.xml"))
    assert code == expected, found
    assert said in found["reason"]
    assert found["remedy"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "iso-8859-1"])
def test_every_encoding_of_xml_is_read(encoding: str, tmp_path: Path, call: Call) -> None:
    head = "" if encoding.startswith("utf") else f'<?xml version="1.0" encoding="{encoding}"?>'
    text = head + suite(CASE, FAILED.replace('"c"', '"é"'))
    (tmp_path / "r.xml").write_bytes(text.encode(encoding))
    code, found = call("--junit", str(tmp_path / "r.xml"))
    assert (code, "a::é" in found["reason"]) == (1, True)


def test_a_file_that_is_absent_is_4_and_no_flag_is_3(tmp_path: Path, call: Call) -> None:
    (tmp_path / "ok.xml").write_text(suite(CASE))
    (tmp_path / "folder.xml").mkdir()
    for pattern in ("none.xml", "*.none", "folder.xml", "x" * 300):
        code, found = call("--junit", str(tmp_path / "ok.xml"), str(tmp_path / pattern))
        assert (code, "no such file" in found["reason"] or "too long" in found["reason"]) == (
            4,
            True,
        )
    code, found = call()
    assert (code, "--junit" in found["remedy"]) == (3, True)


def test_passed_empty_failed_and_absent_are_0_3_1_and_4(tmp_path: Path, call: Call) -> None:
    required = "criteria: {required: [integration_tests]}"
    (tmp_path / "phasegate.yaml").write_text(f"{CONFIG}\n{required}\n")
    for text, expected in ((suite(CASE), 0), (suite(), 3), (suite(CASE, FAILED), 1), (None, 4)):
        (tmp_path / "ok.xml").unlink(missing_ok=True)
        if text is not None:
            (tmp_path / "ok.xml").write_text(text)
        assert call("--junit", str(tmp_path / "ok.xml"), by=())[0] == expected


def test_a_failure_outranks_a_file_that_cannot_be_read(tmp_path: Path, call: Call) -> None:
    (tmp_path / "a.xml").write_text("<html/>")
    (tmp_path / "b.xml").write_text(suite(FAILED))
    (tmp_path / "c.xml").write_text(suite(CASE))
    assert call("--junit", str(tmp_path / "*.xml"))[0] == 1
    (tmp_path / "b.xml").unlink()
    assert call("--junit", str(tmp_path / "*.xml"))[0] == 4


def test_several_globs_as_a_shell_gives_them_and_no_file_twice(tmp_path: Path, call: Call) -> None:
    below = tmp_path / "one" / "two"
    below.mkdir(parents=True)
    for path in (below / "x.xml", tmp_path / "y.xml", tmp_path / "z[1].xml"):
        path.write_text(suite(CASE))
    (tmp_path / "again.xml").symlink_to(tmp_path / "y.xml")
    code, found = call(
        *("--junit", f"{tmp_path}/**/*.xml", f"{tmp_path}/y.xml", f"--junit={tmp_path}/z[1].xml")
    )
    assert (code, found["facts"]["subjects"]) == (0, 3)
    assert spread_values(["--junit", "a", "b", "--format", "x", "c"], "--junit") == [
        *("--junit", "a", "--junit", "b", "--format", "x", "c")
    ]
    assert spread_values(["--junit=a", "b", "--", "c"], "--junit") == [
        *("--junit=a", "--junit", "b", "--", "c")
    ]


def test_a_huge_file_is_refused(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.xml").write_text(suite(*[CASE] * 10_000))
    assert call("--junit", str(tmp_path / "r.xml"))[0] == 0
    monkeypatch.setattr(junit, "MOST_BYTES", 100_000)
    code, found = call("--junit", str(tmp_path / "r.xml"))
    assert (code, "larger than 100,000 bytes" in found["reason"]) == (4, True)
    monkeypatch.setattr(junit, "MOST_FILES", 1)
    (tmp_path / "s.xml").write_text(suite(CASE))
    code, found = call("--junit", str(tmp_path / "*.xml"))
    assert (code, "2 files, at most 1" in found["reason"]) == (4, True)


def test_results_of_another_time_decide_nothing(tmp_path: Path, call: Call) -> None:
    file = tmp_path / "r.xml"
    now = time.time()

    def judged(written: float, *arguments: str, text: str = suite(CASE)) -> tuple[int, str]:
        file.write_text(text)
        os.utime(file, (written, written))
        code, found = call("--junit", str(file), *arguments)
        return code, found["reason"]

    hour_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3_600))
    nowhere = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now - 2 * 86_400))
    assert judged(now - 900_000)[0] == 0
    assert judged(now - 100, "--since", f"{now - 200:.0f}")[0] == 0
    assert judged(now - 300, "--since", f"{now - 200:.0f}")[0] == 3
    assert judged(now - 100, "--max-age", "2m")[0] == 0
    assert judged(now - 130, "--max-age", "2m")[0] == 3
    code, reason = judged(now + 100)
    assert (code, "compare the clocks" in reason) == (3, True)
    stamped = suites(suite(CASE, timestamp=hour_ago), suite(CASE, timestamp="soon"))
    assert judged(now, "--max-age", "2h", text=stamped)[0] == 0
    assert judged(now, "--max-age", "30m", text=stamped)[0] == 3
    # Of no zone: it began 12 hours later at the latest.
    unzoned = suite(CASE, timestamp=nowhere)
    assert judged(now, "--max-age", "37h", text=unzoned)[0] == 0
    assert judged(now, "--max-age", "35h", text=unzoned)[0] == 3
    # What failed long ago says nothing of now, nor does it pass.
    assert judged(now - 300, "--since", f"{now - 200:.0f}", text=suite(FAILED))[0] == 3


def test_the_age_is_a_setting(tmp_path: Path, call: Call) -> None:
    file = tmp_path / "r.xml"
    file.write_text(suite(CASE))
    os.utime(file, (time.time() - 100,) * 2)
    config = tmp_path / "phasegate.yaml"
    for age, code in (("1m", 3), ("2m", 0)):
        config.write_text(f"{CONFIG}\ncriteria: {{integration_tests: {{max_age: {age}}}}}\n")
        assert call("--junit", str(file))[0] == code


def test_what_is_given_is_judged_or_refused(tmp_path: Path, call: Call) -> None:
    (tmp_path / "r.xml").write_text(suite(FAILED))
    given = ("--junit", str(tmp_path / "r.xml"))
    assert call(*given, by=("--phase", "prepare"))[0] == 1
    code, found = call(*given, by=("--criterion", "health"))
    assert (code, "--criterion does not name" in found["reason"]) == (2, True)


def test_saved_results_are_judged_again_without_the_files(tmp_path: Path, call: Call) -> None:
    (tmp_path / "r.xml").write_text(suite(CASE, SKIPPED))
    kept = str(tmp_path / "kept.json")
    first = call("--junit", str(tmp_path / "r.xml"), "--save-evidence", kept)
    (tmp_path / "r.xml").unlink()
    assert call("--evidence", kept) == first
    assert first[0] == 0
    assert call("--evidence", kept, "--junit", "x")[0] == 2


def test_hostile_names_are_shown_as_one_plain_line(tmp_path: Path, call: Call) -> None:
    name = "\u009b31m\u202e&#10;::error::x password=canary-4711" + "y" * 1_000
    (tmp_path / "r.xml").write_text(suite(f'<testcase name="{name}"><failure/></testcase>'))
    _, found = call("--junit", str(tmp_path / "r.xml"))
    assert found["reason"].isprintable()
    assert len(found["reason"]) < 400
    assert "canary" not in found["reason"]


def test_the_exporter_is_not_asked_for_results_of_tests(
    tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.xml").write_text(suite(CASE))
    monkeypatch.setattr(exporter, "fetch", None)
    assert call("--junit", str(tmp_path / "r.xml"))[0] == 0
