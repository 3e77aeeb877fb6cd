"""How rules and boards are made: which series are ours, and where the links in them lead."""

from __future__ import annotations

from collections.abc import Mapping

from phasegate.contract.frozen import keyed
from phasegate.contract.sections import MapOf, setting
from phasegate.contract.shapes import Duration, HttpUrl, Text

RUNBOOKS = "https://phasegate.example/runbooks/{page}/#{anchor}"
GRAFANA = "https://grafana.example"
"""Names that nobody can own (RFC 2606): a link that leads nowhere tells that it was not set."""


@keyed
class Monitoring:
    """What the generated alerts and boards say of the place where they are used."""

    job: str = setting(
        Text("the name of a scrape job"), "The job under which Prometheus scrapes the exporter.",
        "phasegate",
    )  # fmt: skip
    scrape_interval: float = setting(
        Duration(1, 300), "How often Prometheus scrapes the exporter.", 15.0
    )
    team: str = setting(
        Text("a word", r"[A-Za-z0-9_-]+"), "Value of the label `team` of every alert.", "database"
    )
    labels: Mapping[str, str] = setting(
        MapOf(Text(), "labels", Text("a label's name", r"[A-Za-z_][A-Za-z0-9_]*")),
        "More labels of every alert.",
        dict,
        example="{service: mono}",
    )
    runbooks: str = setting(
        Text(
            "a URL with {page} and {anchor}", r"https?://[^\s{}]*\{page\}[^\s{}]*\{anchor\}[^\s{}]*"
        ),
        "Where the runbooks are read.",
        RUNBOOKS,
        example='"https://wiki.example/runbooks/{page}#{anchor}"',
    )
    grafana: str = setting(
        HttpUrl(), "The base of the Grafana that shows the boards.", GRAFANA,
        example='"https://grafana.example"',
    )  # fmt: skip
    datasource: str = setting(
        Text("a uid", r"[A-Za-z0-9_-]{1,40}"),
        "The uid of Grafana's data source of that Prometheus, for alert rules of Grafana's own.",
        "prometheus",
    )


def runbook_url(runbooks: str, page: str, anchor: str) -> str:
    """Where one section is read; `runbooks` is the setting of that name."""
    return runbooks.replace("{page}", page).replace("{anchor}", anchor)
