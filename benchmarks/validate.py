"""How long a pipeline waits for `validate`, cold start to exit, beside one query of promtool.

Each round runs all four, one after the other, so that what else the machine does hits them alike;
what is held against the limits are the ratios within a round. The bytecode is compiled first, as an
installed package has it.
"""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

import psycopg

from benchmarks.figures import MILLISECOND, Claim, Result, pairwise, spread
from benchmarks.peers import ROOT, PeerMissing
from benchmarks.processes import running
from benchmarks.scene import OURS, conninfo, database, exporter
from phasegate.servers.ports import free_port
from phasegate.servers.postgres import PostgresServer

ROUNDS = 25
SHORT_ROUNDS = 5
EVIDENCE_SECONDS = 75.0  # a minute must be spanned for a verdict
SHORT_EVIDENCE_SECONDS = 15.0
LIMITS = {"identity pinned": 6.0, "identity read": 12.0, "evidence of a file": 6.0}
PEER = "promtool"
ROOMS = ("contract", "validators", "src")
CONFIG = """
environment: benchmark
exporter: {{url: "{url}"}}
tables: [{{name: public.users}}]
criteria: {{required: [uuid_lookup_latency, uuid_missing]}}
database: {{url: "{database}", identity: {identity}}}
"""
IDENTITY = "SELECT system_identifier::text, current_database() FROM pg_control_system()"
PROMETHEUS = "scrape_configs: [{{job_name: self, static_configs: [{{targets: ['{target}']}}]}}]\n"
VERDICTS = frozenset({0, 1, 3})


def measure(*, short: bool) -> Result:
    """Milliseconds of each, and the medians of the ratios to promtool's."""
    for name in ("prometheus", PEER):
        if shutil.which(name) is None:
            raise PeerMissing(f"{name} is not installed; it is in the package prometheus of Debian")
    for place in (*(str(ROOT / room) for room in ROOMS), sysconfig.get_path("purelib")):
        compileall.compile_dir(place, quiet=2, workers=0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(database(1))
        program = stack.enter_context(exporter(server, folder))
        peer = stack.enter_context(_prometheus(folder))
        time.sleep(SHORT_EVIDENCE_SECONDS if short else EVIDENCE_SECONDS)
        commands = _commands(server, folder, program.url.removesuffix("/metrics"))
        commands[PEER] = [PEER, "query", "instant", peer, "up"]
        rounds = SHORT_ROUNDS if short else ROUNDS
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(_seconds(command, ours=name != PEER))
    ratios = {name: pairwise(times[name], times[PEER]) for name in LIMITS}
    claims = [
        Claim(f"{name}, times promtool", round(median(ratios[name]), 2), limit)
        for name, limit in LIMITS.items()
    ]
    figures = {
        "rounds": rounds,
        "milliseconds": {name: spread(found, MILLISECOND) for name, found in times.items()},
        "times_promtool": {name: spread(found, digits=2) for name, found in ratios.items()},
    }
    return Result(claims, figures)


def _commands(server: PostgresServer, folder: Path, url: str) -> dict[str, list[str]]:
    """The three ways, each by its own configuration; the file is written on the way."""
    with psycopg.connect(server.conninfo()) as connection:
        found = connection.execute(IDENTITY).fetchone()
    assert found is not None
    pinned = f'{{system_identifier: "{found[0]}", database: "{found[1]}"}}'
    commands = {}
    for name, identity in (("identity pinned", pinned), ("identity read", "{}")):
        config = folder / f"{name.replace(' ', '-')}.yaml"
        text = CONFIG.format(url=url, database=conninfo(server, OURS), identity=identity)
        config.write_text(text, encoding="utf-8")
        commands[name] = [str(Path(sys.executable).parent / "validate"), "--config", str(config)]
    kept = folder / "kept.json"
    _seconds([*commands["identity pinned"], "--save-evidence", str(kept)], ours=True)
    commands["evidence of a file"] = [*commands["identity pinned"], "--evidence", str(kept)]
    return commands


def _seconds(command: Sequence[str], *, ours: bool) -> float:
    """From the start to the exit; RuntimeError where it did not do what is measured."""
    environ = {name: value for name, value in os.environ.items() if name != "PHASEGATE_CONFIG"}
    began = time.perf_counter()
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode not in (VERDICTS if ours else {0}):
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return seconds


@contextmanager
def _prometheus(folder: Path) -> Iterator[str]:
    """The address of one that scrapes itself."""
    port = free_port()
    config, target = folder / "prometheus.yml", f"127.0.0.1:{port}"
    config.write_text(PROMETHEUS.format(target=target), encoding="utf-8")
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with running([*command, f"--web.listen-address={target}"], {}, port):
        yield f"http://{target}"
