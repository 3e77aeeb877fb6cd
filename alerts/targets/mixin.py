"""A jsonnet mixin: the same rules with what a place changes left open in `_config`.

The group is built once more with marks in the place of job, team, links and limits; where a mark
comes out, the mixin reads `_config`. So nothing of a rule is written twice. Limits are texts: a
number of jsonnet grows a tail (0.05 becomes 0.050000000000000003).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from phasegate.alerts.model import Group
from phasegate.alerts.rules import make_group
from phasegate.alerts.spelling import HEAD, spell_group
from phasegate.contract.boards import BOARDS
from phasegate.contract.criteria import CRITERIA, passing_floor, passing_limit, thresholds
from phasegate.contract.quantities import Unit, format_value
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import runbook_url
from phasegate.contract.units import format_duration

HELP = (
    "a jsonnet mixin; it imports the boards from ../../dashboards, so build it beside them; "
    "Prometheus 2.42 or later"
)
_JOB, _TEAM, _GRAFANA, _RUNBOOK = "QzJobzQ", "QzTeamzQ", "QzGrafanazQ", "QzRunbookzQ"
_FIRST_MARK = 7_310_001.5
"""No limit of anybody's, and written the same wherever it comes out."""
_SUFFIXES: Mapping[str, str] = {Unit.SECONDS: " s", Unit.BYTES: " B", Unit.RATIO: ""}
_KEYWORDS = {"assert", "else", "error", "for", "function", "if", "import", "in", "local", "then"}
Limits = dict[tuple[str, str], float]


def render_files(group: Group, settings: Settings) -> dict[str, str]:
    """`mixin/mixin.libsonnet`."""
    limits = _list_limits(settings)
    marks = {key: _FIRST_MARK + number for number, key in enumerate(limits)}
    marked = _mark(settings, marks)
    rules = _write_rules(make_group(marked), marked, marks)
    records, alerts = rules[: len(group.records)], rules[len(group.records) :]
    parts = (
        HEAD.replace("#", "//", 1),
        _USAGE,
        "{\n",
        _write_config(settings, limits),
        _write_locals(limits),
        _write_group("prometheusRules", f"{group.name}.rules", group, records),
        _write_group("prometheusAlerts", group.name, group, alerts),
        _write_boards(),
        "}\n",
    )
    return {"mixin/mixin.libsonnet": "".join(parts)}


_USAGE = """\
// (import 'mixin.libsonnet') + {
//   _config+:: { job: 'phasegate-eu', thresholds+: { cache_hit_rate+: { warning: '0.85' } } },
// }
"""


def _list_limits(settings: Settings) -> Limits:
    """(criterion, key) -> the limit in force, of criteria that alert by a limit one can set."""
    found: Limits = {}
    for name, criterion in CRITERIA.items():
        if criterion.alert is None:
            continue
        for severity, value in thresholds(settings, name).items():
            found[name, severity] = value
        if hasattr(getattr(settings.criteria, name), "margin"):
            found[name, "margin"] = passing_limit(settings, name).value
            found[name, "floor"] = passing_floor(settings, name)
    return found


def _mark(settings: Settings, marks: Limits) -> Settings:
    criteria = settings.criteria
    for (name, key), mark in marks.items():
        changed: Any = dataclasses.replace(getattr(criteria, name), **{key: mark})
        criteria = dataclasses.replace(criteria, **{name: changed})
    monitoring = dataclasses.replace(
        settings.monitoring,
        job=_JOB,
        team=_TEAM,
        grafana=_GRAFANA,
        runbooks=f"{_RUNBOOK}/{{page}}/{{anchor}}",
    )
    return dataclasses.replace(settings, criteria=criteria, monitoring=monitoring)


def _write_rules(group: Group, settings: Settings, marks: Limits) -> list[str]:
    spelled = spell_group(group, settings)["rules"]
    tokens = {
        f'"{_JOB}"': "job",
        f"var-job={_JOB}": "jobVariable",
        _TEAM: "c.team",
        _GRAFANA: "grafana",
        **{str(mark): f"c.thresholds.{name}.{key}" for (name, key), mark in marks.items()},
    }
    written = [_write(rule, tokens, 4) for rule in spelled[: len(group.records)]]
    for alert, rule in zip(group.alerts, spelled[len(group.records) :], strict=True):
        page, anchor = _quote(alert.page), _quote(alert.name.lower())
        link = f"c.runbooks % {{ page: {page}, anchor: {anchor} }}"
        own = {f"{_RUNBOOK}/{alert.page}/{alert.name.lower()}": f"({link})"}
        for key in (alert.severity, "margin"):
            mark = marks.get((alert.criterion, key))
            if mark is not None:
                shown = format_value(mark, CRITERIA[alert.criterion].unit)
                own[f"limit {shown}"] = f"say({_quote(alert.criterion)}, {_quote(key)})"
        written.append(_write(rule, {**own, **tokens}, 4))
    return written


def _write_config(settings: Settings, limits: Limits) -> str:
    monitoring = settings.monitoring
    pattern = runbook_url(monitoring.runbooks.replace("%", "%%"), "%(page)s", "%(anchor)s")
    config: dict[str, Any] = {
        "job": monitoring.job,
        "team": monitoring.team,
        "runbooks": pattern,
        "grafana": monitoring.grafana,
        "scrapeInterval": format_duration(monitoring.scrape_interval),
        "thresholds": {},
    }
    for (name, key), value in limits.items():
        config["thresholds"].setdefault(name, {})[key] = _figure(value)
    return f"  _config+:: {_write(config, {}, 1)},\n\n"


def _write_locals(limits: Limits) -> str:
    known: dict[str, Any] = {}
    for (name, key), value in limits.items():
        if key == "floor":  # It stands in the expression alone.
            continue
        unit = CRITERIA[name].unit
        said = {
            "value": _figure(value),
            "text": format_value(value, unit),
            "unit": _SUFFIXES.get(unit, f" {unit}"),
        }
        known.setdefault(name, {})[key] = said
    return f"""\
  local c = $._config,
  local job = std.escapeStringJson(c.job),
  local plain = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-~/',
  local jobVariable = 'var-job=' + std.join('', [
    if byte < 128 && std.member(plain, std.char(byte)) then std.char(byte) else '%%%02X' % byte
    for byte in std.encodeUTF8(c.job)
  ]),
  local grafana = std.rstripChars(c.grafana, '/'),
  // How a person reads the limits that are built in; another one is read as it is written.
  local limits = {_write(known, {}, 1)},
  local say(criterion, key) =
    local known = limits[criterion][key];
    local given = c.thresholds[criterion][key];
    'limit ' + (if given == known.value then known.text else given + known.unit),
  local pace(board) = board {{
    panels: [
      panel + (if 'interval' in panel then {{ interval: c.scrapeInterval }} else {{}})
      for panel in super.panels
    ],
  }},

"""


def _write_group(field: str, name: str, group: Group, rules: list[str]) -> str:
    inside = "".join(f"        {rule},\n" for rule in rules)
    return f"""\
  {field}+:: {{
    groups+: [{{
      name: {_quote(name)},
      interval: {_quote(format_duration(group.interval))},
      rules: [
{inside}      ],
    }}],
  }},

"""


def _write_boards() -> str:
    files = sorted(f"{board.file}.json" for board in BOARDS.values())
    lines = "".join(f"    {_quote(one)}: pace(import '../../dashboards/{one}'),\n" for one in files)
    return f"  grafanaDashboards+:: {{\n{lines}  }},\n"


def _write(value: Any, tokens: Mapping[str, str], depth: int) -> str:
    """A text or an object as jsonnet; what a token stands for in the place of the token."""
    if isinstance(value, str):
        return " + ".join(_cut(value, tokens)) or "''"
    inner, outer = "  " * (depth + 1), "  " * depth
    lines = [
        f"{inner}{_key(key)}: {_write(one, tokens, depth + 1)},\n" for key, one in value.items()
    ]
    return f"{{\n{''.join(lines)}{outer}}}"


def _cut(text: str, tokens: Mapping[str, str]) -> Iterator[str]:
    # Longer ones first: one token may begin another.
    ordered = sorted(tokens, key=len, reverse=True)
    pattern = "|".join(re.escape(token) for token in ordered)
    for part in re.split(f"({pattern})", text) if pattern else [text]:
        if part in tokens:
            yield tokens[part]
        elif part:
            yield _quote(part)


def _key(name: str) -> str:
    plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) and name not in _KEYWORDS
    return name if plain else _quote(name)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


def _figure(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
