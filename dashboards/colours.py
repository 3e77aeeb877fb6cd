"""One colour for one meaning, on every board: Okabe and Ito's palette, told apart by colour-blind
people and, by its lightness, mostly in grey. No colour is the only sign: words say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

OK = "#009E73"
WARNING = "#E69F00"
CRITICAL = "#D55E00"
UNKNOWN = "#8C8C8C"
ACTIVE = "#0072B2"
WAITING = "#56B4E9"
NOTABLE = "#CC79A7"

UUID, INTEGER, PERMISSION = ACTIVE, WAITING, NOTABLE
"""Of lookups: by UUID, by the old key, of a permission."""

SERIES: Mapping[str, str] = {
    "uuid_lookup": UUID,
    "id_lookup": INTEGER,
    "permission_check": PERMISSION,
    "p50": WAITING,
    "p95": ACTIVE,
    "p99": NOTABLE,
    "now": ACTIVE,
    "before the migration": UNKNOWN,
    "hits": OK,
    "misses": WARNING,
    "requests": ACTIVE,
    "errors": CRITICAL,
    "waiting": WARNING,
    "blocking": CRITICAL,
    "active": ACTIVE,
    "idle": UNKNOWN,
    "idle in transaction": WARNING,
    "database": ACTIVE,
    "cache": OK,
    "limit": CRITICAL,
    "used": ACTIVE,
    "evicted": CRITICAL,
}
"""By the name under which a legend shows it."""

CYCLE: Sequence[str] = (ACTIVE, WAITING, NOTABLE, UNKNOWN)
"""For what only the configuration names, as tables, in its order; none that says good or bad."""
