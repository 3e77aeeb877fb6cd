"""Every series that Phasegate exposes, once: name, kind, labels, unit, collector, help.

The exposition, the reference, boards and rules read these entries. To add a series: one entry in
the file of its topic and the code that emits it, in one commit; the parity test is red while only
one is there. The guide's names (`db_query_duration_seconds`, …) are pinned; everything of ours is
`phasegate_…`. Other rooms say `metrics.UP`, whichever file holds the entry.
"""

# ruff: noqa: F403  (one name space of entries, cut into files by topic)
from __future__ import annotations

from phasegate.contract.metrics.application import *
from phasegate.contract.metrics.audit import *
from phasegate.contract.metrics.cache import *
from phasegate.contract.metrics.database import *
from phasegate.contract.metrics.exporter import *
from phasegate.contract.metrics.health import *
from phasegate.contract.metrics.identity import *
from phasegate.contract.metrics.keys import *
from phasegate.contract.metrics.latency import *
from phasegate.contract.metrics.migration import *
from phasegate.contract.metrics.partitions import *
from phasegate.contract.metrics.schema import *
from phasegate.contract.model import Metric

METRICS: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
