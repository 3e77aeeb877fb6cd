"""The demo's hook: asks for a version of the application, and waits until it serves.

    python -m phasegate.demo.deploy FOLDER VERSION

In a real house this is `kubectl set image` and `kubectl wait`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

WANTED, DEPLOYED = "wanted", "deployed"
WAIT_SECONDS = 30.0
POLL_SECONDS = 0.1


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("version")
def main(folder: Path, version: str) -> None:
    """Ask in FOLDER for VERSION, and exit once it is deployed; 1 where it is not in time."""
    (folder / WANTED).write_text(version, "utf-8")
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        done = folder / DEPLOYED
        if done.exists() and done.read_text("utf-8") == version:
            click.echo(f"version {version} serves")
            return
        time.sleep(POLL_SECONDS)
    click.echo(f"version {version} does not serve", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
