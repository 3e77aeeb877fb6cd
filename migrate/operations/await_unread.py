"""Whether nobody reads by the integer any more, watched before the UUID takes its place.

A scan of the integer's index in the window, other than the exporter's own, is a reader that would
be slower or wrong afterwards. Without a figure there is no evidence, and the step does not go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from prometheus_client.parser import text_string_to_metric_families

from phasegate.contract import metrics
from phasegate.contract.errors import SourceError, StepFailed
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.context import Context
from phasegate.migrate.identifiers import qualify, quote
from phasegate.migrate.model import Action, ChangesNoSchema
from phasegate.migrate.operations.swap_primary import integer_unread
from phasegate.validators.http_get import fetch

WINDOW_SECONDS = 300.0
ANSWER_SECONDS, LARGEST_ANSWER = 10.0, 64 * 2**20


@dataclass(frozen=True)
class AwaitUnread(ChangesNoSchema):
    """`key` is the integer's column; `window` in seconds."""

    kind: ClassVar[str] = "await_unread"
    table: TableName
    key: str
    uuid: str
    window: float = WINDOW_SECONDS

    @property
    def object(self) -> str:
        """The integer key, as SQL writes it."""
        return f"{qualify(self.table)}.{quote(self.key)}"

    def plan_remaining(self, catalog: Catalog) -> tuple[Action, ...]:
        """Nothing where the UUID is the primary key already."""
        relation = catalog.get(self.table)
        if relation is None or relation.primary_key == (self.uuid,):
            return ()
        what = f"watch for {self.window:.0f} s that nobody reads by {self.object}"
        return (Action(what, work=self, changes=False),)

    def run(self, context: Context) -> Mapping[str, Any]:
        """As `model.Work.run`; StepFailed where it is read, or nobody can tell."""
        before = self._count(context)
        context.control.sleep(self.window)
        after = self._count(context)
        raw, own = (
            None if old is None or new is None else new - old
            for old, new in zip(before, after, strict=True)
        )
        if not integer_unread(raw, own):
            found = "the exporter tells no scans of it" if raw is None else f"{raw:.0f} scans"
            raise StepFailed(
                context.step,
                f"{self.object} is still read, or nobody can tell: {found} in {self.window:.0f} s, "
                f"{own or 0:.0f} of them the exporter's own; deploy what reads by the UUID first, "
                "and drop the integer's foreign keys",
            )
        return {"scans": raw, "own": own, "window": self.window}

    def _count(self, context: Context) -> tuple[float | None, float | None]:
        """All scans, and the exporter's own; over every server that it watches."""
        exporter = context.settings.exporter
        if exporter.url is None:
            raise StepFailed(context.step, "no exporter is configured: exporter.url")
        url = exporter.url.rstrip("/") + exporter.metrics_path
        try:
            answer = fetch(
                url, exporter, "exporter", within_seconds=ANSWER_SECONDS, limit=LARGEST_ANSWER
            )
        except SourceError as error:
            raise StepFailed(context.step, str(error)) from error
        text = answer.body.decode()
        return self._sum(text, metrics.KEY_INDEX_SCANS.name), self._sum(
            text, metrics.KEY_OWN_SCANS.name
        )

    def _sum(self, text: str, name: str) -> float | None:
        wanted = {"schema": self.table.schema, "table": self.table.table, "key": self.key}
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and wanted.items() <= sample.labels.items()
        ]
        return sum(found) if found else None
