"""Programs under measurement: started, awaited, pinned, and asked what they cost, by Linux."""

from __future__ import annotations

import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

READY_SECONDS = 20.0
STOP_SECONDS = 5.0
CPUCLOCK_SCHED = 2  # linux/posix-timers.h: the clock of all threads of a process, ended ones too
PAGE_NAMES = ("Pss", "Rss", "Private_Clean", "Private_Dirty")


class Program(NamedTuple):
    """A running server: its process and the page to scrape."""

    pid: int
    url: str


@contextmanager
def running(command: Sequence[str], environ: Mapping[str, str], port: int) -> Iterator[Program]:
    """The program once it answers on /metrics; RuntimeError where it does not within 20 s."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(
        command, env=os.environ | environ, stdin=quiet, stdout=quiet, stderr=quiet
    ) as process:
        program = Program(process.pid, f"http://127.0.0.1:{port}/metrics")
        try:
            _await_ready(process, program)
            yield program
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_ready(process: subprocess.Popen[bytes], program: Program) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            scrape(program.url)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{process.args!r} does not answer; it ended with {process.poll()}")


def scrape(url: str) -> tuple[float, bytes]:
    """Seconds of one whole request, and the body."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
        body: bytes = answer.read()
    return time.perf_counter() - began, body


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    tasks = Path(f"/proc/{pid}/task")
    return [int(c) for task in tasks.iterdir() for c in (task / "children").read_text().split()]


def cpu_seconds(pid: int) -> float:
    """Processor time of a process since its start, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


def main_thread_seconds(pid: int) -> float:
    """Processor time of a process's first thread alone: of an exporter, its event loop."""
    nanoseconds = Path(f"/proc/{pid}/task/{pid}/schedstat").read_text("ascii").split()[0]
    return int(nanoseconds) / 1e9


def memory_bytes(pid: int) -> dict[str, int]:
    """Proportional, resident and private memory of a process, under the names of Linux."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    sizes = {
        name: 1024 * int(size.split()[0]) for name, _, size in (x.partition(":") for x in lines)
    }
    return {name: sizes[name] for name in PAGE_NAMES}


def memory_alone_bytes(pids: Iterable[int]) -> int:
    """What these processes would hold if no other ran: pages of files that they share count once.

    A file's pages are taken to be the most that one of them has resident.
    """
    anonymous, files = 0, dict[str, int]()
    for pid in pids:
        for name, resident in _resident_by_file(pid).items():
            if name:
                files[name] = max(files.get(name, 0), resident)
            else:
                anonymous += resident
    return anonymous + sum(files.values())


def _resident_by_file(pid: int) -> dict[str, int]:
    """Bytes by the file that is mapped; under the empty name what belongs to no file."""
    found, name = dict[str, int](), ""
    for line in Path(f"/proc/{pid}/smaps").read_text("utf-8").splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            name = words[5] if len(words) > 5 and words[5].startswith("/") else ""
        elif words[0] == "Anonymous:" and name:
            # Pages of a file that were written to are the process's own.
            found[""] = found.get("", 0) + 1024 * int(words[1])
            found[name] = found.get(name, 0) - 1024 * int(words[1])
        elif words[0] == "Rss:":
            found[name] = found.get(name, 0) + 1024 * int(words[1])
    return found


@contextmanager
def pinned(processors: set[int]) -> Iterator[None]:
    """What is started inside inherits these processors; this process takes its own back."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
