"""Whether Prometheus has loaded the rules that this configuration makes, with its limits.

A server writes an expression in its own way, so ours and the loaded one are compared as the server
itself writes both; where it offers that to nobody, but for white space.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from phasegate.alerts.rules import make_group, make_labels
from phasegate.contract.settings import Settings
from phasegate.operate.doctor import Finding, ok, problem, unknown, warning
from phasegate.operate.doctor_ground import Ground
from phasegate.operate.doctor_prometheus import Rule, fetch_formatted, fetch_rules

SUMMARY = "Prometheus has loaded the rules of this configuration, with its limits"
SHOWN = 6
_PLACE = "exporter.md#thresholddrift"
_REMEDY = """\
phasegate alerts build --config phasegate.yaml --output ./alerts
promtool check rules ./alerts/database.yml
curl -sS -X POST {base}/-/reload
(with --web.enable-lifecycle; else send Prometheus SIGHUP)"""


class Wanted(NamedTuple):
    """A rule that this configuration makes. `severity` is empty for a recording rule."""

    name: str
    severity: str
    expression: str
    hold: float

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.name} ({self.severity})" if self.severity else self.name


def examine(ground: Ground) -> Iterator[Finding]:
    """Raises SourceError where it does not answer."""
    prometheus = ground.settings.prometheus
    if prometheus is None:
        yield ok("prometheus.url is not configured")
        return
    wanted, loaded = make_wanted(ground.settings), fetch_rules(ground)
    differing = {
        one: rule
        for one in wanted
        for rule in loaded
        if _key(rule) == one[:2] and not _same_text(one.expression, rule.query)
    }
    differ, unsure = set(), []
    for one, rule in differing.items():
        ours, theirs = (fetch_formatted(ground, text) for text in (one.expression, rule.query))
        if ours is None:
            unsure.append(one)
        elif ours != theirs:
            differ.add(one)
    if unsure:
        yield unknown(
            f"written in another way, and the server does not tell how: {_listed(unsure)}",
            "phasegate alerts check --config phasegate.yaml --output ./alerts",
            _PLACE,
        )
    yield from evaluate_rules(wanted, loaded, differ, prometheus.url.rstrip("/"))


def make_wanted(settings: Settings) -> list[Wanted]:
    """Every rule, records first."""
    group = make_group(settings)
    records = [Wanted(one.name, "", one.expression, 0.0) for one in group.records]
    return [
        *records,
        *(
            Wanted(one.name, make_labels(one, settings)["severity"], one.expression, one.hold)
            for one in group.alerts
        ),
    ]


def evaluate_rules(
    wanted: Sequence[Wanted], loaded: Sequence[Rule], differing: set[Wanted], base: str
) -> Iterator[Finding]:
    """`differing` are those whose expression is another than the loaded one's; `base` is that of
    the API."""
    remedy = _REMEDY.format(base=base)
    there = {_key(rule): rule for rule in loaded}
    missing = [one for one in wanted if one[:2] not in there]
    other_hold = {one for one in wanted if one[:2] in there and there[one[:2]].duration != one.hold}
    drifted = [one for one in wanted if one in differing or one in other_hold]
    failing = [there[one[:2]] for one in wanted if one[:2] in there]
    failing = [rule for rule in failing if rule.health == "err"]
    if len(missing) == len(wanted):
        yield problem(
            "Prometheus has loaded none of our rules",
            "the file is not among its rule_files, or it refused it at the last reload: nobody is "
            "woken",
            remedy,
            "exporter.md#watchdog",
        )
        return
    if missing:
        yield problem(f"not loaded: {_listed(missing)}", "the rules are older", remedy, _PLACE)
    if drifted:
        yield problem(
            f"loaded with other limits or expressions: {_listed(drifted)}",
            "phasegate.yaml was changed and the rules were not built again, or somebody changed "
            "them by hand: a gate and an alert disagree about the same figure",
            remedy,
            _PLACE,
        )
    for rule in failing[:SHOWN]:
        yield warning(
            f"{rule.name} cannot be evaluated: {rule.lastError}",
            "Prometheus finds two series where one is expected, or is too old",
            remedy,
            "exporter.md#watchdog",
        )
    if not (missing or drifted or failing):
        yield ok(f"all {len(wanted)} rules are loaded, with the limits in force")


def _key(rule: Rule) -> tuple[str, str]:
    return rule.name, rule.labels.get("severity", "")


def _same_text(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


def _listed(rules: Sequence[Wanted]) -> str:
    more = f" and {len(rules) - SHOWN} more" if len(rules) > SHOWN else ""
    return ", ".join(one.text for one in rules[:SHOWN]) + more
