"""Customers' issues by a real Prometheus and a real Alertmanager, and a real call of `validate`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from phasegate.servers.ports import free_port
from tests.fixtures.presence import require_present

CONFIG = """
environment: production
database: {{url: "postgresql://judge@db.example/mono_prod"}}
issues:
{issues}
"""
PROM = '{{name: prom, url: "{url}", match: {{team: shop}}}}'
DUTY = '{{name: duty, api: alertmanager, url: "{url}", match: {{team: shop}}}}'
PROMETHEUS = """
global: {{evaluation_interval: 1s}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["{target}"]}}]}}]}}
"""
ROUTES = "route: {receiver: nobody, group_wait: 1s}\nreceivers: [{name: nobody}]\n"
WATCHDOG = {"alert": "Watchdog", "expr": "vector(1)"}
ASKED = ("--criterion", "customer_issues")
PATIENCE_SECONDS = 30.0


def validate(config: Path, *arguments: str) -> tuple[int, str]:
    """The exit code, and what the report says without its line ends."""
    command = [sys.executable, "-m", "phasegate", "validate", "--config", str(config)]
    done = subprocess.run(
        [*command, *(arguments or ASKED)],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    return done.returncode, " ".join(done.stdout.split())


@contextmanager
def program(name: str, ready: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Runs it until the end of the block, from when it answers at `ready`."""
    found = shutil.which(name)
    require_present(name, found is not None)
    with subprocess.Popen(
        [str(found), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            wait_until(lambda: answers(ready))
            yield process
        finally:
            process.terminate()
            process.wait(10)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


class Alerting:
    """One Prometheus that evaluates each second, and its Alertmanager."""

    def __init__(self, folder: Path, prometheus: str, alertmanager: str) -> None:
        self.folder, self.prometheus, self.alertmanager = folder, prometheus, alertmanager
        self.process: subprocess.Popen[bytes] | None = None
        self.config = folder / "phasegate.yaml"
        self.duty = folder / "duty.yaml"
        both = [PROM.format(url=prometheus), DUTY.format(url=alertmanager)]
        for config, sources in ((self.config, both), (self.duty, both[1:])):
            config.write_text(CONFIG.format(issues="\n    - ".join(["  alerts:", *sources])))

    def set_rules(self, *rules: dict[str, Any]) -> None:
        """Puts these in force."""
        groups = {"groups": [{"name": "g", "rules": list(rules)}]}
        (self.folder / "rules.json").write_text(json.dumps(groups))
        if self.process is not None:
            self.process.send_signal(signal.SIGHUP)

    def silence(self) -> None:
        now = time.time()
        moments = [
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + offset)) for offset in (0, 600)
        ]
        matcher = {"name": "team", "value": "shop", "isRegex": False, "isEqual": True}
        body = {"matchers": [matcher], "createdBy": "bob", "comment": "known noise"}
        body |= dict(zip(("startsAt", "endsAt"), moments, strict=True))
        request = urllib.request.Request(  # noqa: S310
            f"{self.alertmanager}/api/v2/silences",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            assert answer.status == 200

    def settle(self, expected: int, *said: str, config: Path | None = None) -> str:
        """What is said once the verdict is the expected one, as alerts take some seconds."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            code, out = validate(config or self.config)
            if code == expected and all(part in out for part in said):
                return out
            assert time.monotonic() < end, (code, out)


def customers(value: int) -> dict[str, Any]:
    """A rule that fires for 1."""
    expression = f"vector({value}) == 1"
    return {"alert": "CustomerErrors", "expr": expression, "labels": {"team": "shop"}}


@pytest.fixture
def alerting(tmp_path: Path) -> Iterator[Alerting]:
    """Both, with a watchdog and a rule that does not fire."""
    ports = free_port(), free_port()
    addresses = [f"127.0.0.1:{port}" for port in ports]
    urls = [f"http://{address}" for address in addresses]
    made = Alerting(tmp_path, *urls)
    made.set_rules(WATCHDOG, customers(0))
    rules = tmp_path / "rules.json"
    (tmp_path / "prometheus.yml").write_text(PROMETHEUS.format(rules=rules, target=addresses[1]))
    (tmp_path / "alertmanager.yml").write_text(ROUTES)
    manager = (
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address={addresses[1]}",
        "--cluster.listen-address=",
    )
    prometheus = (
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address={addresses[0]}",
        "--rules.alert.resend-delay=1s",
    )
    with (
        program("prometheus-alertmanager", f"{urls[1]}/-/ready", *manager),
        program("prometheus", f"{urls[0]}/-/ready", *prometheus) as process,
    ):
        made.process = process
        yield made


def test_quiet_firing_silenced_resolved_and_without_a_watchdog(alerting: Alerting) -> None:
    alerting.settle(0)
    alerting.set_rules(WATCHDOG, customers(1))
    alerting.settle(1, "alerts prom: CustomerErrors{team=shop} fires since", "alerts duty: Custom")
    alerting.silence()
    alerting.settle(3, "is silenced by", "of bob until", "(known noise)", config=alerting.duty)
    out = alerting.settle(1, "alerts prom: CustomerErrors{team=shop} fires since")
    assert "alerts duty: CustomerErrors{team=shop} fires" not in out
    alerting.set_rules(WATCHDOG, customers(0))
    alerting.settle(0)
    alerting.set_rules(customers(0))
    alerting.settle(3, "the alert Watchdog, which always fires, is missing")
    alerting.set_rules(WATCHDOG)
    alerting.settle(3, "no alerting rule can match")
    alerting.set_rules(WATCHDOG, customers(0))
    alerting.settle(0)
    assert alerting.process is not None
    alerting.process.terminate()
    alerting.process.wait(10)
    alerting.settle(4, "cannot be reached")


def test_an_expired_sign_off_is_3(tmp_path: Path) -> None:
    config, kept = tmp_path / "phasegate.yaml", tmp_path / "kept.json"
    config.write_text(CONFIG.format(issues="  signoff: {file: signoff.yaml}"))
    now = time.time()
    for expires, checked, expected in ((3_600, True, 0), (-60, True, 3), (3_600, False, 1)):
        at, until = (
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + offset))
            for offset in (-7_200, expires)
        )
        item = {"item": "inbox", "checked": checked, "by": "ann", "at": at, "expires": until}
        (tmp_path / "signoff.yaml").write_text(json.dumps([item]))
        found = validate(config, *ASKED, "--save-evidence", str(kept))
        assert found[0] == expected, found
        (tmp_path / "signoff.yaml").unlink()
        assert validate(config, "--evidence", str(kept)) == found
    assert validate(config)[0] == 4
