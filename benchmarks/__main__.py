"""`make bench`: run every benchmark, print it, keep it in `results/` with machine and versions."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.scrape import PEER, measure_scrapes

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Print and keep the figures; 4 where a peer is missing."""
    scrapes = measure_scrapes()
    if not scrapes:
        print(f"bench: {PEER} is not installed; it is a package of Debian", file=sys.stderr)
        return 4
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "scrape": scrapes,
    }
    text = json.dumps(result, indent=2)
    print(text)
    (RESULTS / "scrape.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
