"""Whether Prometheus scrapes the exporter's job, and got an answer a moment ago."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.settings_monitoring import Monitoring
from phasegate.operate.doctor import Finding, ok, problem
from phasegate.operate.doctor_ground import Ground
from phasegate.operate.doctor_prometheus import fetch_vector, quote_label

SUMMARY = "Prometheus scrapes the exporter's job, recently and with success"
LATE_SCRAPES = 3.0
_DOWN, _ABSENT = "exporter.md#exporterdown", "exporter.md#exporterabsent"


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not answer."""
    prometheus, monitoring = ground.settings.prometheus, ground.settings.monitoring
    if prometheus is None:
        yield ok("prometheus.url is not configured")
        return
    selector = f"up{{job={quote_label(monitoring.job)}}}"
    up = fetch_vector(ground, selector)
    ages = {_instance(labels): age for labels, age in fetch_vector(ground, _age(selector))}
    yield from evaluate_scrapes(
        [(_instance(labels), value, ages.get(_instance(labels), 0.0)) for labels, value in up],
        monitoring,
        prometheus.url.rstrip("/"),
    )


def _age(selector: str) -> str:
    return f"time() - timestamp({selector})"


def _instance(labels: dict[str, str]) -> str:
    return labels.get("instance", "?")


def evaluate_scrapes(
    scrapes: list[tuple[str, float, float]], monitoring: Monitoring, base: str
) -> Iterator[Finding]:
    """`scrapes` are instances, `up`, and the age of the last scrape in seconds; `base` is that of
    the API."""
    job, limit = monitoring.job, LATE_SCRAPES * monitoring.scrape_interval
    if not scrapes:
        yield problem(
            f"Prometheus has no target of job {job}",
            "the scrape job was renamed or removed, finds nothing, or monitoring.job is another: "
            "every other alert is silent for want of series",
            f"curl -s {base}/api/v1/status/config | grep -o 'job_name: [a-z_-]*'",
            _ABSENT,
        )
    for instance, up, age in scrapes:
        told = f"job {job}, instance {instance}"
        if up != 1:
            yield problem(
                f"{told}: the scrape fails",
                "the exporter is down, or TLS, a password or the path is another on the two sides",
                f"curl -s '{base}/api/v1/targets?state=active' | "
                'grep -o \'"lastError":"[^"]*"\' | sort | uniq -c',
                _DOWN,
            )
        elif age > limit:
            yield problem(
                f"{told}: last scraped {age:.0f} s ago",
                f"expected every {monitoring.scrape_interval:g} s (monitoring.scrape_interval)",
                "see that Prometheus still has the target, or state the interval that it uses",
                _ABSENT,
            )
        else:
            yield ok(f"{told}: scraped {age:.0f} s ago")
