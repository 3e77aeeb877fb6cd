"""Pictures of a rehearsal as SVG, drawn from its record alone: no script, font or network. Pure.

Colours are those of Okabe and Ito, which also the colour-blind tell apart; never the only sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise

from phasegate.contract.quantities import Unit, format_value
from phasegate.migrate.rehearsal import Moment, Rehearsal

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
WIDTH = 960.0
LABELS, RIGHT = 230.0, 110.0
BAR, GAP = 20.0, 8.0
HEIGHT, TOP, BOTTOM, LEFT, EDGE = 300.0, 28.0, 42.0, 70.0, 16.0
LEAST_LABEL = 14.0
"""Between two numbers of steps, in pixels."""
LEAST_SECONDS = 1e-4
_TICKS = 8


def render_bars(names: Sequence[str], parts: Sequence[tuple[float, float]], unit: str) -> str:
    """One bar for each name, of two parts that follow each other; the figure is of both."""
    most = max((sum(one) for one in parts), default=0.0) or 1.0
    scale = (WIDTH - LABELS - RIGHT) / most
    height = len(names) * (BAR + GAP)
    drawn = []
    for number, (name, (first, second)) in enumerate(zip(names, parts, strict=True)):
        top = number * (BAR + GAP)
        middle = top + BAR * 0.72
        drawn.append(_text(LABELS - 8, middle, name, "end"))
        drawn.append(_bar(LABELS, top, first * scale, BLUE))
        if second:
            drawn.append(_bar(LABELS + first * scale, top, second * scale, ORANGE))
        figure = format_value(first + second, unit)
        drawn.append(_text(LABELS + (first + second) * scale + 6, middle, figure))
    return _svg(height, drawn)


def render_latency(rehearsal: Rehearsal) -> str:
    """The load over time, the steps as numbered bands; seconds of a statement on a log scale."""
    moments = rehearsal.moments
    if not moments:
        return ""
    ends = [one.began + one.seconds for one in rehearsal.steps]
    last = max([moments[-1].at, *ends]) or 1.0
    low, high = _decades(moments)

    def across(at: float) -> float:
        return LEFT + at / last * (WIDTH - LEFT - EDGE)

    def down(seconds: float) -> float:
        share = (math.log10(max(seconds, LEAST_SECONDS)) - low) / (high - low)
        return TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)

    spans = [(across(one.began), across(one.began + one.seconds)) for one in rehearsal.steps]
    longest = [(across(one.at), down(one.longest_seconds)) for one in moments]
    median = [(across(one.at), down(one.median_seconds)) for one in moments]
    drawn = [
        *_bands(spans),
        *(_rule(down(10.0**power), 10.0**power) for power in range(low, high + 1)),
        *(_mark(across(at), at) for at in _ticks(last)),
        _text((LEFT + WIDTH) / 2, HEIGHT - 6, "seconds of the rehearsal", "middle"),
        _line(longest, ORANGE, 'stroke-dasharray="5 2"'),
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{ORANGE}"/>' for x, y in longest),
        _line(median, BLUE, ""),
    ]
    return _svg(HEIGHT, drawn)


def _decades(moments: Iterable[Moment]) -> tuple[int, int]:
    """Powers of ten that hold all of it."""
    found = [
        max(s, LEAST_SECONDS) for one in moments for s in (one.median_seconds, one.longest_seconds)
    ]
    low = math.floor(math.log10(min(found)))
    return low, max(low + 1, math.ceil(math.log10(max(found))))


def _ticks(last: float) -> Iterator[float]:
    """Round numbers from 0 to `last`, some eight of them."""
    rough = last / _TICKS
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1, 2, 5, 10) if base * factor >= rough)
    number = 0
    while number * step <= last * 1.0001:
        yield number * step
        number += 1


def _bands(spans: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Of each step one; a number where there is place for it."""
    free = -math.inf
    for number, (left, right) in enumerate(spans, 1):
        width = max(1.0, right - left)
        opacity = 0.22 if number % 2 else 0.10
        yield (
            f'<rect x="{left:.1f}" y="{TOP}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM}" fill="{GREEN}" opacity="{opacity}"/>'
        )
        if left + width / 2 >= free:
            yield _text(left + width / 2, TOP - 8, str(number), "middle")
            free = left + width / 2 + LEAST_LABEL


def _rule(y: float, seconds: float) -> str:
    right = WIDTH - EDGE
    line = f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="rule"/>'
    return line + _text(LEFT - 8, y + 4, format_value(seconds, Unit.SECONDS), "end")


def _mark(x: float, at: float) -> str:
    return _text(x, HEIGHT - BOTTOM + 16, f"{at:g}", "middle")


def _line(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
    if len(list(pairwise(points))) == 0:
        return ""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5" {more}/>'


def _bar(left: float, top: float, width: float, colour: str) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(1.0, width):.1f}" height="{BAR}" '
        f'fill="{colour}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(height: float, drawn: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" xmlns="http://www.w3.org/2000/svg" role="img">'
        f"{''.join(drawn)}</svg>"
    )
