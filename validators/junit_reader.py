"""Counts the tests of a JUnit file while it is read, without ever holding it whole.

There is no one standard: the forms of pytest, Surefire, Jest, Vitest, Go and GoogleTest are what
this reads. Where they differ, the reading that withholds a pass is taken.
"""

from __future__ import annotations

import re
from xml.parsers import expat

from phasegate.contract.secrets import redactor
from phasegate.contract.times import parse_time
from phasegate.validators.printable import shorten

MOST_DEPTH = 100
NAMED = 5
_SUITES = ("testsuites", "testsuite")
_STATED = ("tests", "failures", "errors")
_BAD = ("failure", "error")
# GoogleTest and CTest say it by attributes of the test alone.
_SKIPPED_WORDS = {
    *("disabled", "ignored", "inconclusive", "notrun", "pending", "skipped", "suppressed"),
}
_BAD_WORDS = {
    *("aborted", "broken", "crashed", "error", "errored", "fail", "failed", "failure", "timeout"),
}
_LATEST_ZONE_SECONDS = 12 * 3_600.0


class JunitFault(Exception):
    """What was read is no JUnit file; the message is free of its content."""


class _Suite:
    """An open suite: what it states of itself, and the failures and tests found in it."""

    def __init__(self, attributes: dict[str, str]) -> None:
        given = {key: attributes[key] for key in _STATED if attributes.get(key)}
        self.unread = [f"{key}={shorten(text)}" for key, text in given.items() if not _is(text)]
        read = {key: int(text) for key, text in given.items() if _is(text)}
        self.tests = read.get("tests", 0)
        self.failures = read.get("failures", 0) + read.get("errors", 0)
        self.found = self.cases = 0

    def contradict(self) -> str:
        """What it states and does not hold; empty for nothing."""
        if self.unread:
            return f"it states {', '.join(self.unread)}, which is no number"
        # Jest states a suite that could not even start, and holds no element of it.
        if self.failures > self.found:
            return f"it states {self.failures} failures and errors, and holds {self.found}"
        if self.tests > self.cases:
            return f"it states {self.tests} tests, and holds {self.cases}"
        return ""


class _Case:
    """An open test."""

    def __init__(self, name: str, *, bad: bool, skipped: bool) -> None:
        self.name, self.bad, self.skipped = name, bad, skipped


class JunitReader:
    """Feed it chunks, close it, then read its counts.

    `times` are the begins of its suites in Unix seconds, each the latest that it can have been.
    """

    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.named: list[str] = []
        self.times: list[float] = []
        self.contradiction = ""
        self._open: list[str] = []
        self._suites: list[_Suite] = []
        self._case: _Case | None = None
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = _refuse_doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def feed(self, chunk: bytes) -> None:
        """Raises JunitFault."""
        self._parse(chunk, last=False)

    def close(self) -> None:
        """The end of the file. Raises JunitFault where it came too early."""
        self._parse(b"", last=True)

    def _parse(self, chunk: bytes, *, last: bool) -> None:
        try:
            self._parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise JunitFault(f"it is not well-formed XML: {error}") from None
        except (LookupError, ValueError):
            # A codec that the file names and Python lacks, or refuses for XML.
            raise JunitFault("it is in an encoding that cannot be read") from None

    def _start(self, written: str, attributes: dict[str, str]) -> None:
        name = _plain(written)
        if not self._open and name not in _SUITES:
            raise JunitFault(f"it is no JUnit file: it begins with <{shorten(name)}>")
        if len(self._open) >= MOST_DEPTH:
            raise JunitFault(f"it is nested deeper than {MOST_DEPTH} elements")
        parent = self._open[-1] if self._open else ""
        self._open.append(name)
        if name in _SUITES:
            if parent not in ("", *_SUITES):
                raise JunitFault(f"it is no JUnit file: <{name}> within <{shorten(parent)}>")
            self._suites.append(_Suite(attributes))
            self._take_time(attributes.get("timestamp", ""))
        elif name == "testcase" and parent in _SUITES:
            self._case = _open_case(attributes)
        elif name in _BAD:
            self._take_failure(name)
        elif name == "skipped" and parent == "testcase" and self._case is not None:
            self._case.skipped = True

    def _end(self, written: str) -> None:
        name = _plain(written)
        self._open.pop()
        if name in _SUITES:
            self._close_suite()
        elif name == "testcase" and self._case is not None and self._open[-1] in _SUITES:
            self._close_case(self._case)

    def _take_failure(self, name: str) -> None:
        self._suites[-1].found += 1
        if self._case is not None:
            self._case.bad = True
        else:
            self._count_failed(f"an <{name}> outside of any test")

    def _close_case(self, case: _Case) -> None:
        self._case = None
        self._suites[-1].cases += 1
        if case.bad:
            self._count_failed(case.name)
        elif case.skipped:
            self.skipped += 1
        else:
            self.passed += 1

    def _count_failed(self, name: str) -> None:
        self.failed += 1
        if len(self.named) < NAMED:
            self.named.append(shorten(redactor(name)))

    def _close_suite(self) -> None:
        suite = self._suites.pop()
        self.contradiction = suite.contradict() or self.contradiction
        if self._suites:
            self._suites[-1].found += suite.found
            self._suites[-1].cases += suite.cases

    def _take_time(self, text: str) -> None:
        begun = _latest_time(text)
        if begun is not None:
            self.times.append(begun)


def _refuse_doctype(*_: object) -> None:
    raise JunitFault("it has a document type, which results of tests do not need; it is not read")


def _open_case(attributes: dict[str, str]) -> _Case:
    words = {attributes.get(key, "").lower() for key in ("status", "result")}
    parts = [attributes.get(key, "") for key in ("classname", "name")]
    name = "::".join(part for part in parts if part) or "a test without a name"
    return _Case(name, bad=bool(words & _BAD_WORDS), skipped=bool(words & _SKIPPED_WORDS))


def _plain(name: str) -> str:
    """Whatever its namespace is called and however it is written: a failure is one."""
    return name.rpartition(":")[2].lower()


def _is(text: str) -> bool:
    return re.fullmatch("[0-9]{1,9}", text) is not None


def _latest_time(text: str) -> float | None:
    """Unix seconds; None for no time. One without an offset may be of any zone of the world."""
    for zone, added in (("", 0.0), ("Z", _LATEST_ZONE_SECONDS)):
        try:
            return parse_time(text + zone) + added
        except (ValueError, OverflowError):
            continue
    return None
