"""The migration as the demo's operator runs it: phase by phase, a gate refusing before it opens."""

from __future__ import annotations

import asyncio
import time

from phasegate.demo.operator import FAILED, INCONCLUSIVE, Operator, run_tests
from phasegate.demo.processes import Child
from phasegate.demo.stage import Stage

LOOSE = ("--min-span", "5s", "--gate-wait", "2m", "--yes", "--by", "anna")
IMPATIENT = ("--min-span", "5s", "--gate-wait", "1s", "--yes", "--by", "anna")
KILL_SECONDS = 60.0


async def prepare(operator: Operator, seconds: float, *, given: bool) -> None:
    """What is known before the change, then the phases that change no table of users.

    On servers that were `given` nobody can say what they must be like, so it is accepted.
    """
    await operator.call("baseline", "capture", "--window", f"{seconds:.0f}s")
    accepted = ("--accept", "preflight", "--reason", "a demo on servers of others") * given
    await operator.call("migrate", "run", "--until", "infrastructure", *LOOSE, *accepted)


async def migrate(operator: Operator, stage: Stage, *, kill: bool) -> None:
    """The schema's phase, whose gate first refuses for want of evidence, and the application's."""
    if kill:
        await kill_in_the_middle(operator, stage)
        await operator.call("migrate", "status")
    await operator.call("migrate", "run", "--until", "schema", *IMPATIENT, expected=INCONCLUSIVE)
    # The script of the roles again: the lookups of the configuration can be asked only now.
    await stage.grant()
    await operator.call("migrate", "resume", "--until", "schema", *LOOSE)
    await operator.call("migrate", "run", "--until", "application", *LOOSE)


async def validate(operator: Operator, stage: Stage) -> None:
    """The last gate: all seven criteria, three of which only people and tests can give."""
    assert stage.service is not None
    operator.write("tests.xml", await run_tests(stage.session, stage.service.url))
    operator.sign()
    results = ("--junit", str(operator.folder / "tests.xml"))
    await operator.call("migrate", "run", *LOOSE, *results)
    await operator.call("migrate", "status")


async def fail_and_go_back(operator: Operator) -> None:
    """A limit that no lookup can hold: the gate fails, and the schema goes back as it was."""
    await operator.call("migrate", "run", "--until", "schema", *LOOSE, expected=FAILED)
    await operator.call("migrate", "rollback", "--strategy", "gradual", "--yes")
    await operator.call(
        *("migrate", "rollback", "--to", "prepare", "--accept-loss", "unknown", "--yes")
    )
    await operator.call("migrate", "status")


async def kill_in_the_middle(operator: Operator, stage: Stage) -> None:
    """SIGKILL as soon as the backfill has begun."""
    arguments = ("phasegate", "migrate", "run", "--until", "schema", *LOOSE)
    operator.screen.say(f"\n$ {' '.join(arguments)}")
    config = str(operator.folder / "phasegate.yaml")
    variables = {**operator.variables, "PHASEGATE_CONFIG": config}
    with Child("killed", *arguments, variables=variables) as child:
        deadline = time.monotonic() + KILL_SECONDS
        while child.running and time.monotonic() < deadline:
            rows = await (
                await stage.connection.execute("SELECT count(*) FROM phasegate.pieces")
            ).fetchone()
            if rows is not None and rows[0] >= 3:
                break
            await asyncio.sleep(0.01)
        child.kill()
        for line in child.log.read_text("utf-8").splitlines():
            operator.screen.say(f"  {line}")
    operator.screen.say("→ killed by SIGKILL in the middle of the backfill")
