"""The demo's gates: `validate` as a pipeline calls it, refused twice before one opens.

A gate that only ever opened would show nothing. So it is asked at once, with too few samples; then
while the index that the lookups need is gone; and again when the index is back.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from phasegate.demo.config import FILE_NAME
from phasegate.demo.processes import Child
from phasegate.demo.stage import Stage

FAILED, INCONCLUSIVE, PASSED = 1, 3, 0
SCHEMA = ("--phase", "schema")
PATIENCE = ("--wait", "90s", "--min-span", "5s")
POLL_SECONDS = 0.1
SLOW_ROWS = 150_000
"""From so many rows on a scan of all of them takes longer than the demo's limit."""
_VERDICT = "verdict.txt"
_INDEX = "users_uuid_key"
_OPEN = {PASSED: "opens", FAILED: "REFUSED, failed", INCONCLUSIVE: "REFUSED, inconclusive"}


@dataclass
class Gates:
    """`since` is when the present schema began to be measured, in Unix seconds; `surprises` are the
    answers that should have been others, each as a sentence."""

    stage: Stage
    since: float
    surprises: list[str] = field(default_factory=list)

    async def show_refusals(self, rows: int) -> None:
        """The gate of the phase `schema`, closed for want of samples and for want of an index."""
        await self._ask("at once, before there is much to judge", INCONCLUSIVE, *SCHEMA)
        if rows < SLOW_ROWS:
            self.stage.screen.say("\nToo few rows for the loss of an index to be felt.")
            self.since = time.time()
            return
        await self._change(f"DROP INDEX CONCURRENTLY {_INDEX}")
        await self._ask("while the index is gone", FAILED, *SCHEMA, *PATIENCE)
        await self._change(f"CREATE UNIQUE INDEX CONCURRENTLY {_INDEX} ON users (uuid)")

    async def show_pass(self) -> None:
        """The same gate on what was measured since the last change; then all that is required."""
        await self._ask("on what was measured since", PASSED, *SCHEMA, *PATIENCE)
        await self._ask("and all that the configuration requires", PASSED, *PATIENCE)

    async def _change(self, statement: str) -> None:
        """What was measured before it says nothing of what comes after."""
        self.stage.screen.say(f"\n  {statement}")
        await self.stage.connection.execute(statement.encode())
        self.since = time.time()

    async def _ask(self, when: str, expected: int, *flags: str) -> None:
        screen = self.stage.screen
        screen.say(f"\nThe gate, {when}:")
        code, text = await self._validate("--since", f"{self.since:.3f}", *flags)
        for line in text.splitlines():
            screen.say(f"  {line}".rstrip())
        screen.say(f"  → exit code {code}: the gate {_OPEN.get(code, 'could not be asked')}")
        if code != expected:
            self.surprises.append(f"{when}: the gate ended with {code}, not with {expected}")

    async def _validate(self, *flags: str) -> tuple[int, str]:
        """Exit code, and the verdict or what was said in its place."""
        stage = self.stage
        judge = Child(
            "validate",
            *("phasegate", "validate", "--config", f"{{folder}}/{FILE_NAME}", *flags),
            *("--format", "text", "--output", f"{{folder}}/{_VERDICT}"),
            variables={"DATABASE_URL": stage.database.validator_url, "REDIS_URL": stage.cache.url},
            files={FILE_NAME: stage.children["exporter"].read_file(FILE_NAME)},
        )
        with judge:
            while (code := judge.exit_code) is None:
                stage.check_children()
                await asyncio.sleep(POLL_SECONDS)
            return code, judge.read_file(_VERDICT) or judge.log_tail()
