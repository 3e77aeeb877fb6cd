"""The preview's modules one by one, in a browser: numbers, times, PromQL, tables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web

from phasegate.dashboards.preview.chromium import Tab
from phasegate.dashboards.preview.server import make_app
from tests.fixtures.browser import browser, looking_at

pytestmark = pytest.mark.xdist_group("preview")

BOARD: dict[str, Any] = {"uid": "one", "title": "One", "panels": []}
HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def devtools() -> Iterator[str]:
    with browser() as address:
        yield address


@pytest.fixture
async def tab(devtools: str) -> AsyncIterator[Tab]:
    """A page without panels, from which modules are imported."""
    app = make_app({"one": BOARD}, "http://127.0.0.1:1")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with looking_at(devtools, f"{base}/d/one?timezone=utc") as found:
            yield found
            assert found.errors == []
    finally:
        await runner.cleanup()


async def each(tab: Tab, module: str, code: str, cases: list[Any]) -> list[Any]:
    """What `code`, a function of `m`, the module, gives for each case."""
    given = json.dumps(cases)
    found: list[Any] = await tab.evaluate(
        f"import('/page/{module}.js').then((m) => {given}.map((one) => ({code})(m, one)))"
    )
    return found


async def test_units(tab: Tab) -> None:
    cases: dict[tuple[float | str | None, str, int | None], str] = {
        (0.0123, "s", None): "12.3 ms",
        (0, "s", None): "0 s",
        (0.00001, "s", None): "10 µs",
        (90, "s", None): "1.5 mins",
        (60, "s", None): "1 min",
        (7200, "s", 1): "2.0 hours",
        (1500, "ms", None): "1.5 s",
        (1024, "bytes", None): "1 KiB",
        (1.5 * 2**30, "bytes", 1): "1.5 GiB",
        (2_000_000, "decbytes", None): "2 MB",
        (0.987, "percentunit", 1): "98.7%",
        (98.7, "percent", None): "98.7%",
        (1234, "short", None): "1.23 K",
        (1_234_567, "short", 1): "1.2 Mil",
        (1234.5, "none", None): "1235",
        (1234, "locale", None): "1,234",
        (12.5, "reqps", None): "12.5 req/s",
        (12500, "rowsps", None): "12.5 K rows/s",
        (3, "cps", None): "3 c/s",
        (90061, "dtdurations", None): "1 day, 1 hour",
        (90061, "dtdurations", 3): "1 day, 1 hour, 1 minute, 1 second",
        (1, "bool", None): "True",
        (0, "bool_on_off", None): "Off",
        (1_700_000_000_000, "dateTimeAsIso", None): "2023-11-14 22:13:20",
        (5, "suffix:rows", None): "5 rows",
        (5, "prefix:~", None): "~5",
        (5, "furlongs", None): "5 furlongs",
        (5, "toString", None): "5 toString",
        ("text", "s", None): "text",
        (-0.0, "none", 2): "0.00",
        (-1536, "bytes", None): "-1.5 KiB",
    }
    code = "(m, [value, unit, decimals]) => m.formatValue(value, unit, decimals ?? undefined)"
    found = await each(tab, "units", code, [list(one) for one in cases])
    assert dict(zip(cases, found, strict=True)) == cases
    special = "(m, one) => m.formatValue(Number(one), 's')"
    assert await each(tab, "units", special, ["Infinity", "-Infinity", "NaN"]) == [
        "+Inf", "-Inf", "NaN",
    ]  # fmt: skip
    assert await each(tab, "units", "(m, one) => m.formatValue(one, 's')", [None]) == [""]
    from_now = "(m, one) => m.formatValue(Date.now() - one, 'dateTimeFromNow')"
    assert await each(tab, "units", from_now, [0, 61_000, -2 * HOUR - 5_000, 3 * DAY]) == [
        "just now", "1 minute ago", "in 2 hours", "3 days ago",
    ]  # fmt: skip


async def test_what_a_variable_becomes_in_promql(tab: Tab) -> None:
    single = {"name": "v", "multi": False, "includeAll": False}
    multi = {"name": "v", "multi": True, "includeAll": True}
    cases: list[tuple[dict[str, Any], Any, str]] = [
        # With `=`: the inside of a string.
        (single, "a.b", "a.b"),
        (single, 'a"b', 'a\\"b'),
        (single, "a\\b", "a\\\\b"),
        (single, "a|b+c", "a|b+c"),
        # With `=~`: a regular expression inside a string.
        (multi, ["a.b"], "a\\\\.b"),
        (multi, "a.b", "a\\\\.b"),
        (multi, ["a", "b"], "(a|b)"),
        (multi, ["a|b", "c+"], "(a\\\\|b|c\\\\+)"),
        (multi, ['a"b'], 'a\\\\\\"b'),
        (multi, ["a\\b"], "a\\\\\\\\b"),
        (multi, ["$(x)"], "\\\\$\\\\(x\\\\)"),
        (multi, [], "()"),
    ]
    code = "(m, [variable, value]) => m.forPromql(value, variable)"
    found = await each(tab, "interpolate", code, [[one[0], one[1]] for one in cases])
    assert found == [one[2] for one in cases]


async def test_names_formats_and_what_grafana_provides(tab: Tab) -> None:
    cases = {
        '{job=~"$job"}': '{job=~"(a\\\\.b|c)"}',
        '{job=~"${job}"}[$__rate_interval]': '{job=~"(a\\\\.b|c)"}[60s]',
        "[[job:pipe]] ${job:csv} ${job:regex}": "a.b|c a.b,c (a\\.b|c)",
        "${job:json} ${job:raw} ${job:singlequote}": "[\"a.b\",\"c\"] a.b,c 'a.b','c'",
        "${all:regex} $all": ".+ .+",
        "$jobs $unknown ${unknown:regex} $": "$jobs $unknown ${unknown:regex} $",
        "$__interval $__interval_ms $__range $__range_s": "15s 15000 3600s 3600",
        "$__from ${__to} ${__from:date:seconds}": "0 3600000 0",
        "${__from:date:iso} ${job:queryparam}": "1970-01-01T00:00:00.000Z var-job=a.b&var-job=c",
    }
    code = """(m, text) => {
      const all = {
        job: { name: "job", multi: true, includeAll: true, value: ["a.b", "c"] },
        all: { name: "all", multi: true, includeAll: true, value: ".+", asIs: true },
      };
      const own = m.builtins({ from: 0, to: 3600000 }, 15000, 15000);
      return m.interpolate(text, m.firstOf(own, (name) => all[name]), m.forPromql);
    }"""
    found = await each(tab, "interpolate", code, list(cases))
    assert dict(zip(cases, found, strict=True)) == cases


async def test_steps(tab: Tab) -> None:
    cases: list[tuple[int, int, str, int, int]] = [
        # range, points, the panel's interval: step and assumed scrapes in milliseconds
        (HOUR, 600, "", 15_000, 15_000),
        (HOUR, 600, "15s", 15_000, 15_000),
        (HOUR, 600, "1m", 60_000, 60_000),
        (6 * HOUR, 600, "15s", 30_000, 15_000),
        (30 * DAY, 1000, "15s", HOUR // 2, 15_000),
        (30 * DAY, 100, "15s", 6 * HOUR, 15_000),
        (365 * DAY, 600, "15s", 12 * HOUR, 15_000),
        (60_000, 600, "1s", 1_000, 1_000),
    ]
    code = "(m, [range, most, interval]) => m.planStep({ from: 0, to: range }, most, interval)"
    found = await each(tab, "prometheus", code, [list(one[:3]) for one in cases])
    assert [(one["step"], one["scrape"]) for one in found] == [one[3:] for one in cases]
    spans = [60_000, HOUR, 47 * HOUR, 30 * DAY, 3_650 * DAY]
    wide = [[span, most, "1s"] for span in spans for most in (100, 5_000, 1_000_000)]
    for (span, _, _), plan in zip(wide, await each(tab, "prometheus", code, wide), strict=True):
        assert span / plan["step"] + 1 <= 11_000


async def test_times(tab: Tab) -> None:
    now = 1_700_000_000_000  # 2023-11-14T22:13:20Z
    cases: dict[tuple[str, bool], float | None] = {
        ("now", False): now,
        ("now-3h", False): now - 3 * HOUR,
        ("now+1m", True): now + 60_000,
        ("now-1d/h", False): now - DAY - 800_000,
        ("now-1d/h", True): now - DAY - 800_000 + HOUR - 1,
        ("1700000000001", False): now + 1,
        ("2023-11-14T22:13:20Z", False): now,
        ("yesterday", False): None,
    }
    code = f"(m, [text, isEnd]) => m.parseTime(text, {now}, isEnd)"
    found = await each(tab, "time", code, [list(one) for one in cases])
    assert dict(zip(cases, found, strict=True)) == cases
    spans = {
        "15s": 15_000,
        "1m30s": 90_000,
        ">10s": 10_000,
        "1.5h": 1.5 * HOUR,
        "": None,
        "x": None,
    }
    found = await each(tab, "time", "(m, text) => m.parseDuration(text)", list(spans))
    assert dict(zip(spans, found, strict=True)) == spans
    labels = "(m, [to, most]) => m.timeTicks(0, to, most).map((one) => one.label)"
    assert await each(tab, "time", labels, [[2 * HOUR, 4], [60_000, 4], [2 * DAY, 4]]) == [
        ["01/01", "00:30", "01:00", "01:30", "02:00"],
        ["00:00:00", "00:00:15", "00:00:30", "00:00:45", "00:01:00"],
        ["01/01", "12:00", "01/02", "12:00", "01/03"],
    ]


async def test_ticks_are_numbers_that_people_use(tab: Tab) -> None:
    cases: list[tuple[float, float, str, list[str]]] = [
        (0, 100, "none", ["0", "25", "50", "75", "100"]),
        (0, 1.0, "percentunit", ["0%", "25%", "50%", "75%", "100%"]),
        (0, 0.018, "s", ["0 s", "5 ms", "10 ms", "15 ms"]),
        (0, 200, "s", ["0 s", "1 min", "2 mins", "3 mins"]),
        (0, 100 * 86_400, "s", ["0 s", "4 weeks", "8 weeks", "12 weeks"]),
        (0, 1.3 * 2**20, "bytes", ["0 B", "512 KiB", "1 MiB"]),
        (-3, 3, "short", ["-2", "0", "2"]),
        (1000.1, 1000.3, "none", ["1000.10", "1000.15", "1000.20", "1000.25", "1000.30"]),
    ]
    code = """(m, [low, high, unit]) => m.makeScale({ low, high }, [0, 130], { unit })
      .ticks.map((one) => one.label)"""
    found = await each(tab, "scale", code, [list(one[:3]) for one in cases])
    assert found == [one[3] for one in cases]
    ranges = [[[0, 0], {}], [[5, 5], {}], [[None], {}], [[1, 2], {"min": 0, "max": 9}],
              [[-1, -2], {}], [[1e-9, 1e9], {}]]  # fmt: skip
    code = "(m, [values, config]) => m.valueRange([{ values, config }])"
    found = await each(tab, "scale", code, ranges)
    assert all(one["low"] < one["high"] for one in found)
    assert found[0] == {"low": 0, "high": 1}
    assert found[3] == {"low": 0, "high": 9}
    readable = "(m, one) => m.textOn(one)"
    assert await each(
        tab, "colors", readable, ["#000000", "#FFFFFF", "var(--text)", "transparent"]
    ) == ["#FFFFFF", "#111217", "var(--panel)", "var(--text)"]


async def test_calculations(tab: Tab) -> None:
    values = [None, 2, 4, None, 3, None]
    cases: dict[str, float | None] = {
        "lastNotNull": 3, "last": None, "first": None, "firstNotNull": 2, "min": 2, "max": 4,
        "mean": 3, "sum": 9, "count": 6, "range": 2, "diff": 1, "delta": 5, "median": 3, "p95": 4,
        "toString": 3,
    }  # fmt: skip
    code = "(m, [values, calc]) => m.reduceValues(values, calc)"
    found = await each(tab, "reduce", code, [[values, calc] for calc in cases])
    assert dict(zip(cases, found, strict=True)) == cases
    assert await each(tab, "reduce", code, [[[], "mean"], [[None], "max"]]) == [None, None]


async def test_colours_and_words_of_a_value(tab: Tab) -> None:
    config = {
        "unit": "s",
        "noValue": "never measured",
        "color": {"mode": "thresholds"},
        "thresholds": {"mode": "absolute", "steps": [
            {"color": "#009E73", "value": None}, {"color": "#D55E00", "value": 0.01},
        ]},
        "mappings": [
            {"type": "value", "options": {"7": {"text": "seven", "color": "#0072B2"}}},
            {"type": "range", "options": {"from": 100, "to": None, "result": {"text": "endless"}}},
            {"type": "special", "options": {"match": "nan", "result": {"text": "not a number"}}},
            {"type": "regex", "options": {"pattern": "^a(.)", "result": {"text": "starts $1"}}},
        ],
    }  # fmt: skip
    cases: list[tuple[str, str, str]] = [
        ("0.009", "9 ms", "#009E73"),
        ("0.01", "10 ms", "#D55E00"),
        ("7", "seven", "#0072B2"),
        ("100", "endless", "#D55E00"),
        ("NaN", "not a number", "#009E73"),
        ("null", "never measured", "#009E73"),
        ("'abc'", "starts b", "#009E73"),
    ]
    code = f"""(m, written) => {{
      const shown = m.display(VALUES[written], {json.dumps(config)});
      return [shown.all, shown.color];
    }}"""
    values = ", ".join(f"{json.dumps(one[0])}: {one[0]}" for one in cases)
    code = f"((VALUES) => {code})({{{values}}})"
    found = await each(tab, "fields", code, [one[0] for one in cases])
    assert [tuple(one) for one in found] == [one[1:] for one in cases]


def table(**columns: list[Any]) -> dict[str, Any]:
    """A frame, as answers are made into."""
    kinds = {"Time": "time", "Value": "number", "Other": "number"}
    return {"refId": "A", "fields": [
        {"name": name, "type": kinds.get(name, "string"), "values": values, "labels": {}}
        for name, values in columns.items()
    ]}  # fmt: skip


TRANSFORMED: list[tuple[list[tuple[str, dict[str, Any]]], dict[str, list[Any]]]] = [
    ([("merge", {})], {"table": ["a", "b", "c"], "Value": [1, 2, None], "Other": [3, None, 4]}),
    (
        [("merge", {}), ("organize", {"excludeByName": {"Other": True},
          "indexByName": {"Value": 0, "table": 1}, "renameByName": {"Value": "Rows"}})],
        {"Rows": [1, 2, None], "table": ["a", "b", "c"]},
    ),
    (
        [("merge", {}), ("sortBy", {"sort": [{"field": "Value", "desc": True}]}),
         ("limit", {"limitField": 2})],
        {"table": ["b", "a"], "Value": [2, 1], "Other": [None, 3]},
    ),
    (
        [("joinByField", {"byField": "table"})],
        {"table": ["a", "b", "c"], "Value": [1, 2, None], "Other": [3, None, 4]},
    ),
    (
        [("merge", {}), ("filterFieldsByName", {"include": {"pattern": "/^V|table/"}})],
        {"table": ["a", "b", "c"], "Value": [1, 2, None]},
    ),
    (
        [("merge", {}), ("renameByRegex", {"regex": "(.*)e$", "renamePattern": "$1es"})],
        {"tables": ["a", "b", "c"], "Values": [1, 2, None], "Other": [3, None, 4]},
    ),
]  # fmt: skip


async def test_transformations(tab: Tab) -> None:
    frames = [table(table=["a", "b"], Value=[1, 2]), table(table=["a", "c"], Other=[3, 4])]
    code = "(m, [frames, steps]) => m.applyTransformations(frames, steps)"
    for steps, expected in TRANSFORMED:
        written = [{"id": name, "options": options} for name, options in steps]
        [found] = await each(tab, "transform", code, [[frames, written]])
        assert found["notes"] == []
        [frame] = found["frames"]
        assert {one["name"]: one["values"] for one in frame["fields"]} == expected
        assert [one["name"] for one in frame["fields"]] == list(expected)


async def test_what_is_not_known_is_told(tab: Tab) -> None:
    code = "(m, [frames, steps]) => m.applyTransformations(frames, steps)"
    [found] = await each(tab, "transform", code, [[[], [{"id": "spatial"}]]])
    assert found["notes"] == ["this preview does not know the transformation spatial"]


async def test_markdown_is_text_and_never_html(tab: Tab) -> None:
    cases = {
        "# A\n\n- **b**\n- `c`": "<h3>A</h3><ul><li><strong>b</strong></li>"
        "<li><code>c</code></li></ul>",
        "<script>x</script> &": "<p>&lt;script&gt;x&lt;/script&gt; &amp;</p>",
        "[x](javascript:alert)": '<p><a href="#">x</a></p>',
        "|a|b|\n|-|-|\n|1|2|": "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>"
        "<tr><td>1</td><td>2</td></tr></tbody></table>",
        "```\n<b>\n": "<pre>&lt;b&gt;\n</pre>",
        "snake_case_word": "<p>snake_case_word</p>",
    }
    code = "(m, text) => m.renderMarkdown(text, (href) => preview.links.toLocal(href)).innerHTML"
    found = await each(tab, "markdown", code, list(cases))
    assert dict(zip(cases, found, strict=True)) == cases
