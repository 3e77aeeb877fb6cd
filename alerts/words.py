"""What an alert says: the value as a template of Prometheus, its limit as a person reads it."""

from __future__ import annotations

from phasegate.contract.quantities import Unit, format_value

SAYS = ", says {{ $labels.instance }}"
COUNT = '{{ printf "%.0f" $value }}'
_TEMPLATES: dict[str, str] = {
    Unit.SECONDS: "{{ $value | humanizeDuration }}",
    Unit.BYTES: "{{ $value | humanize1024 }}B",
    Unit.RATIO: "{{ $value | humanizePercentage }}",
}


def say_value(what: str, limit: float, unit: str) -> str:
    """`what`, the value, its limit, and which exporter says so."""
    if unit == Unit.UP:
        return f"{what} does not answer{SAYS}"
    if unit == Unit.TIMES:
        value = _TEMPLATES[Unit.RATIO]
        return f"{what}: {value} (limit {format_value(limit, unit)}){SAYS}"
    value = _TEMPLATES.get(unit, f"{COUNT} {unit}".rstrip())
    allowed = "must be 0" if limit == 0 else f"limit {format_value(limit, unit)}"
    return f"{what}: {value} ({allowed}){SAYS}"
