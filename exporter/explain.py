"""What the exporter asks of a server, for whoever has to allow it; read from its own files."""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.metrics import METRICS
from phasegate.exporter.queries import has_queries, load_queries


def render_explanation() -> str:
    """Per topic: the series, then each query with its rights, locks and cost."""
    return "".join(_topics())


def _topics() -> Iterator[str]:
    for topic in dict.fromkeys(metric.collector for metric in METRICS):
        yield f"{topic}\n{'=' * len(topic)}\n"
        for metric in METRICS:
            if metric.collector == topic:
                labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
                yield f"  {metric.name}{labels}  {metric.kind}\n"
        yield "\n"
        if not has_queries(topic):
            continue
        for query in load_queries(topic).values():
            yield f"  -- {query.name}\n"
            for fact in ("rights", "locks", "cost"):
                yield f"  -- {fact}: {getattr(query, fact)}\n"
            yield "".join(f"  {line}\n" for line in query.sql.splitlines())
            yield "\n"
