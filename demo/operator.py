"""Who migrates: calls `phasegate` as a person at a terminal does, and shows what it says.

All calls share one folder, which holds the configuration, the baseline, the sign-off, the results
of tests, and the backups with the journal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import aiohttp

from phasegate.contract.errors import WorkFailed
from phasegate.contract.times import format_time
from phasegate.demo.config import FILE_NAME
from phasegate.demo.processes import Child
from phasegate.demo.screen import Screen

FAILED, INCONCLUSIVE, PASSED = 1, 3, 0
POLL_SECONDS = 0.1
SIGNED = "support inbox read"
MEANING = {
    0: "done",
    1: "REFUSED, failed",
    3: "REFUSED, inconclusive",
    4: "a source could not be read",
    5: "stopped part-way",
}


@dataclass
class Operator:
    """`folder` is the operator's, `variables` hold the connection strings. `surprises` are the
    calls that ended with another exit code than they should have, each as a sentence."""

    folder: Path
    screen: Screen
    variables: dict[str, str]
    surprises: list[str] = field(default_factory=list)

    async def call(
        self, *arguments: str, expected: int = PASSED, shown: Sequence[str] | None = None
    ) -> str:
        """`phasegate ARGUMENTS…`, each line as it comes; what it said. `shown` are the beginnings
        of the lines that are shown, all of them where none are named."""
        self.screen.say(f"\n$ phasegate {' '.join(arguments)}")
        child = Child(
            "operator",
            *("phasegate", *arguments),
            variables={**self.variables, "PHASEGATE_CONFIG": str(self.folder / FILE_NAME)},
        )
        with child:
            read = 0
            while (code := child.exit_code) is None:
                read = self._show(child, read, shown)
                await asyncio.sleep(POLL_SECONDS)
            self._show(child, read, shown)
            said = child.log.read_text("utf-8")
        self.screen.say(f"→ exit code {code}: {MEANING.get(code, 'an error')}")
        if code != expected:
            told = f"`phasegate {' '.join(arguments)}` ended with {code}, not with {expected}"
            self.surprises.append(told)
            if code not in MEANING or expected == PASSED:
                raise WorkFailed(f"{told}\n{child_tail(said)}")
        return said

    def _show(self, child: Child, read: int, shown: Sequence[str] | None) -> int:
        text = child.log.read_text("utf-8")
        whole = text[read : text.rfind("\n") + 1]
        for line in whole.splitlines():
            if shown is None or line.strip().startswith(tuple(shown)):
                self.screen.say(f"  {line}"[:200])
        return read + len(whole)

    def write(self, name: str, content: str) -> None:
        """(Over)write a file in the folder."""
        (self.folder / name).write_text(content, "utf-8")

    def sign(self) -> None:
        """Sign that no customer reports anything, for ten minutes."""
        now = time.time()
        self.write(
            "signoff.yaml",
            f'- {{item: {SIGNED}, checked: true, by: anna, at: "{format_time(now)}", '
            f'expires: "{format_time(now + 600)}"}}\n',
        )


def child_tail(said: str) -> str:
    """The last lines of what a call said."""
    return "\n".join(said.splitlines()[-15:])


async def run_tests(session: aiohttp.ClientSession, url: str) -> str:
    """The application's integration tests, small and real: their results as JUnit."""
    cases: dict[str, str] = {}
    async with session.get(f"{url}/users?limit=5") as answer:
        keys = await answer.json()
    cases["lists users"] = "" if len(keys) == 5 else f"{len(keys)} of 5"
    for key in keys:
        async with session.get(f"{url}/users/{key}/permissions") as answer:
            cases[f"permissions of {key}"] = "" if answer.status == 200 else str(answer.status)
    body = {"email": f"test-{time.time_ns()}@example.com", "name": "Test"}
    async with session.post(f"{url}/users", json=body) as answer:
        cases["makes a user"] = "" if answer.status == 201 else str(answer.status)
    return render_junit(cases)


def render_junit(cases: dict[str, str]) -> str:
    """One test case each; what failed says why."""
    lines = []
    for name, why in cases.items():
        failure = f"<failure message={quoteattr(why)}/>" if why else ""
        lines.append(f"<testcase classname='demo' name={quoteattr(name)}>{failure}</testcase>")
    failures = sum(bool(why) for why in cases.values())
    stamp = format_time(time.time()).removesuffix("Z")
    head = f"<testsuite name='demo' tests='{len(cases)}' failures='{failures}' timestamp='{stamp}'>"
    return f"{head}{''.join(lines)}</testsuite>\n"
