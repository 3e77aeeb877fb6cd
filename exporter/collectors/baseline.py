"""The errors that the application made before the change, as the captured baseline tells them.

The file lies beside the configuration, where the judge finds it too, and is believed as the judge
believes it. Without one there is nothing to tell, and that is no failure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from phasegate.contract import metrics
from phasegate.contract.baseline import (
    OTHER_SETTINGS,
    Baseline,
    find_baseline,
    find_baseline_doubt,
    read_baseline,
)
from phasegate.contract.errors import CollectError, SourceError
from phasegate.contract.model import Sample
from phasegate.contract.secrets import redactor
from phasegate.contract.settings import Application
from phasegate.contract.settings_describe import criterion_hash
from phasegate.exporter.collectors.application import CRITERION, TARGET
from phasegate.exporter.evidence import source_of
from phasegate.exporter.runner import Collector
from phasegate.exporter.wiring import Wiring

UNUSABLE = "baseline_unusable"


class ErrorBaseline(Collector):
    """The baseline's share of errors; its file is read again where it has changed."""

    name = "baseline"

    def __init__(self, application: Application, wiring: Wiring) -> None:
        self._file = find_baseline(wiring.settings)
        self._environment = wiring.settings.environment
        self._address = redactor(application.metrics_url)
        self._counted = criterion_hash(wiring.settings, CRITERION)
        self._database = wiring.database
        self._read: tuple[tuple[int, ...], Baseline] | None = None

    async def collect(self, timeout: float) -> Sequence[Sample]:
        async with asyncio.timeout(timeout):
            baseline = await asyncio.to_thread(self._load)
        if baseline is None:
            return []
        counted = baseline.counted(CRITERION, TARGET)
        doubt = find_baseline_doubt(
            *(baseline, counted),
            environment=self._environment,
            database=source_of(self._database).identity,
            address=self._address,
            now=time.time(),
        )
        if counted is None or doubt:
            raise CollectError(self.name, UNUSABLE, f"{self._file} is not believed: {doubt}")
        if counted.settings_hash != self._counted:
            raise CollectError(self.name, UNUSABLE, f"{self._file} {OTHER_SETTINGS}")
        return [metrics.ERROR_BASELINE((counted.total - counted.good) / counted.total)]

    def _load(self) -> Baseline | None:
        """None where there is no file."""
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._read is None or self._read[0] != seen:
            try:
                self._read = seen, read_baseline(self._file)
            except SourceError as error:
                raise CollectError(self.name, UNUSABLE, str(error)) from error
        return self._read[1]


def build(wiring: Wiring) -> list[Collector]:
    """Where the application's requests and errors are counted."""
    application = wiring.settings.application
    if application is None or application.requests is None or application.errors is None:
        return []
    return [ErrorBaseline(application, wiring)]
