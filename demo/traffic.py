"""Users of the application: a steady, bounded stream of requests from a process of its own.

    python -m phasegate.demo.traffic --url http://127.0.0.1:8123

The schedule is fixed and does not wait for answers, as real users don't: an application that
slows down meets the same rate. A few users ask most of the questions, which is what makes a
permission cache worth having. The sequence is a function of the seed. Once a second, and at the
end, a line of JSON says what came of it.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import aiohttp
import click

KNOWN_USERS = 2_000
BUSY_USERS = 40
BUSY_SHARE = 0.97
MOST_IN_FLIGHT = 32
ANSWER_SECONDS = 10.0
# How often each kind comes in fifty requests: dealt like cards, not thrown like dice, so that even
# two seconds hold some of each.
MIX = {"check": 46, "login": 1, "denied": 1, "rename": 1, "insert": 1}
# What the application may answer to each kind; anything else is an error.
EXPECTED = {"check": 200, "login": 200, "denied": 403, "rename": 200, "insert": 201}


@dataclass
class Tally:
    """Counts since the start. `held_back`: not sent, since too many were still unanswered.
    `slowest` is the longest answer in seconds."""

    requests: int = 0
    errors: int = 0
    held_back: int = 0
    last_error: str = ""
    slowest: float = 0.0


@dataclass(frozen=True)
class Request:
    """One request, before it is sent."""

    kind: str
    method: str
    path: str
    body: dict[str, str] | None = None


def plan_requests(seed: int, keys: list[str]) -> Iterator[Request]:
    """The endless stream of that seed over users with those keys."""
    # Reproducible on purpose; nothing secret hangs on it.
    chance = random.Random(seed)  # noqa: S311
    for number in count():
        deck = [kind for kind, times in MIX.items() for _ in range(times)]
        chance.shuffle(deck)
        for place, kind in enumerate(deck):
            busy = chance.random() < BUSY_SHARE
            key = chance.choice(keys[:BUSY_USERS] if busy else keys)
            yield _plan_request(kind, key, f"{seed}-{number * len(deck) + place}")


def _plan_request(kind: str, key: str, tag: str) -> Request:
    match kind:
        case "check":
            return Request(kind, "GET", f"/users/{key}/permissions")
        case "denied":
            return Request(kind, "GET", f"/users/{key}/permissions?require=everything.delete")
        case "login":
            return Request(kind, "POST", "/login", {"user": key})
        case "rename":
            return Request(kind, "PATCH", f"/users/{key}", {"name": f"Renamed {tag}"})
    return Request(kind, "POST", "/users", {"email": f"new-{tag}@example.com", "name": "New"})


class Traffic:
    """The stream against one application."""

    def __init__(self, session: aiohttp.ClientSession, url: str, rate: float, seed: int) -> None:
        self.tally = Tally()
        self._session = session
        self._url = url
        self._rate = rate
        self._seed = seed
        self._in_flight: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop`, then wait for the answers that are still out."""
        async with self._session.get(f"{self._url}/users?limit={KNOWN_USERS}") as answer:
            answer.raise_for_status()
            keys: list[str] = await answer.json()
        started = time.monotonic()
        for number, request in enumerate(plan_requests(self._seed, keys), start=1):
            if stop.is_set():
                break
            self._send(request)
            wait = started + number / self._rate - time.monotonic()
            await asyncio.sleep(max(wait, 0))
        await asyncio.gather(*self._in_flight)

    def _send(self, request: Request) -> None:
        if len(self._in_flight) >= MOST_IN_FLIGHT:
            self.tally.held_back += 1
            return
        task = asyncio.create_task(self._exchange(request))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _exchange(self, request: Request) -> None:
        self.tally.requests += 1
        began = time.monotonic()
        try:
            async with self._session.request(
                request.method, self._url + request.path, json=request.body
            ) as answer:
                await answer.read()
                if answer.status != EXPECTED[request.kind]:
                    self._fail(f"{request.kind}: {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            self._fail(f"{request.kind}: {type(error).__name__}")
        self.tally.slowest = max(self.tally.slowest, time.monotonic() - began)

    def _fail(self, why: str) -> None:
        self.tally.errors += 1
        self.tally.last_error = why


def _report(tally: Tally) -> None:
    line: dict[str, Any] = asdict(tally)
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def run(url: str, rate: float, seed: int) -> None:
    """Send until SIGTERM or SIGINT, reporting each second and at the end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        traffic = Traffic(session, url, rate, seed)
        sending = asyncio.create_task(traffic.run(stop))
        while not (await asyncio.wait({sending}, timeout=1))[0]:
            _report(traffic.tally)
        _report(traffic.tally)
        await sending


@click.command()
@click.option("--url", required=True)
@click.option("--rate", type=float, default=60.0, show_default=True, help="Requests a second.")
@click.option("--seed", type=int, default=1, show_default=True)
def main(url: str, rate: float, seed: int) -> None:
    """Send requests to the application at URL until SIGTERM."""
    asyncio.run(run(url, rate, seed))


if __name__ == "__main__":
    main()
