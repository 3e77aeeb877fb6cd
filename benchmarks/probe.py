"""The probe's own code back to back against `pgbench -M prepared` of the same statement.

Client and server share one processor: waking another one costs more than the query, and would
hide what the client adds. They take turns, each with a new connection for each block.

What the probe adds is taken apart: `quiet` is the probe without the line that it writes after
each lookup, `libpq` psycopg's raw call and nothing of ours.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from psycopg import conninfo as dsn

from benchmarks.figures import MICROSECOND, Claim, Result, pairwise, spread
from benchmarks.processes import pinned
from benchmarks.scene import OURS, ROWS, conninfo, database
from phasegate.contract.settings_load import load_settings
from phasegate.exporter.lookups import Column, plan_lookups
from phasegate.servers.postgres import PostgresServer

LIMIT = 1.15
OURS_APART = ("probe", "quiet", "libpq")
BLOCKS = 10
SHORT_BLOCKS = 2
BLOCK_SECONDS = 3
SHORT_BLOCK_SECONDS = 2
WARM_UPS = 1_000
SESSION = {"enable_indexonlyscan": "off", "default_transaction_read_only": "on"}
CONFIG = "tables: [{name: public.users}]\n"
COLUMNS = {
    "id": Column("id", "integer", indexed=True, key=True, rows=ROWS, readable=True),
    "uuid": Column("uuid", "uuid", indexed=True, key=False, rows=ROWS, readable=True),
}


def measure(*, short: bool) -> Result:
    """Microseconds of one lookup by the integer key: pgbench cannot draw UUIDs."""
    blocks = SHORT_BLOCKS if short else BLOCKS
    seconds = SHORT_BLOCK_SECONDS if short else BLOCK_SECONDS
    p50s: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(pinned({min(os.sched_getaffinity(0))}))
        server = stack.enter_context(database(1))
        statement = _statement(server, folder)
        for _ in range(blocks):
            for way in OURS_APART:
                taken = _probe(server, way, statement, seconds)
                p50s.setdefault(way, []).append(statistics.median(taken))
            taken = _pgbench(server, folder, statement, seconds)
            p50s.setdefault("pgbench", []).append(statistics.median(taken))
    ratios = {way: pairwise(p50s[way], p50s["pgbench"]) for way in OURS_APART}
    figures = {
        "statement": statement,
        "p50_us": {way: spread(found, digits=2) for way, found in p50s.items()},
        "ratio_by_block": {way: spread(found, digits=3) for way, found in ratios.items()},
    }
    ratio = round(statistics.median(ratios["probe"]), 3)
    return Result([Claim("P50, of pgbench's", ratio, LIMIT)], figures)


def _statement(server: PostgresServer, folder: Path) -> str:
    """What the product itself would look up by the integer key of that table."""
    config = folder / "phasegate.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    settings = load_settings(config, {"DATABASE_URL": conninfo(server, OURS)})
    [group] = plan_lookups(settings, {("public", "users"): COLUMNS}).groups
    return next(timed.sql for timed in group.timed if timed.query_type == "id_lookup")


def _probe(server: PostgresServer, way: str, statement: str, seconds: float) -> list[float]:
    order = {
        "conninfo": dsn.conninfo_to_dict(conninfo(server, OURS)),
        "settings": SESSION,
        "interval": 1.0,
        "timeout": 5.0,
        "lookups": [[statement, 0]],
        "groups": [[[0], "SELECT $1", "SELECT 1", "integer"]],
    }
    # In memory: the lines are written beside what is measured, and a disk would be measured too.
    with open(os.memfd_create("lines"), "w+b") as lines:  # noqa: PTH123  (it has no path)
        subprocess.run(
            [sys.executable, "-m", "benchmarks.probe_back_to_back", way, str(ROWS), str(seconds)],
            input=json.dumps(order).encode() + b"\n",
            stdout=lines,
            check=True,
        )
        lines.seek(0)
        return [MICROSECOND * json.loads(line)["s"] for line in lines][WARM_UPS:]


def _pgbench(server: PostgresServer, folder: Path, statement: str, seconds: int) -> list[float]:
    script = folder / "lookup.sql"
    script.write_text(
        f"\\set key random(1, {ROWS})\n{statement.replace('$1', ':key')};\n", encoding="utf-8"
    )
    for log in folder.glob("pgbench.*"):
        log.unlink()
    options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    command: Sequence[str] = [
        *(str(server.binaries / "pgbench"), "-M", "prepared", "-n", "-c", "1"),
        *("-T", str(seconds), "-f", str(script), "-l", f"--log-prefix={folder / 'pgbench'}"),
        conninfo(server, OURS),
    ]
    subprocess.run(
        command, env=os.environ | {"PGOPTIONS": options}, check=True, capture_output=True
    )
    [log] = folder.glob("pgbench.*")
    return [float(line.split()[2]) for line in log.read_text("ascii").splitlines()][WARM_UPS:]
