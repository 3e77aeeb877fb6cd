"""What the catalog and the statistics say of the audit log's triggers, as the exporter read it.

Facts only: what of them is a gap is decided by `contract/coverage_gaps.py`, at the exporter and at
every judge by the same rule. Names are spelled as SQL would quote them, except where a field says
bare.
"""

from __future__ import annotations

import msgspec

INSERT, UPDATE, DELETE, TRUNCATE = "INSERT", "UPDATE", "DELETE", "TRUNCATE"
EVENTS = (INSERT, UPDATE, DELETE, TRUNCATE)


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """One trigger of one relation. `enabled` is pg_trigger's tgenabled: O, A, R or D.

    `condition`: it has a WHEN. `columns`: it fires for an update of some columns only. `old` and
    `new`: it has that transition table. `cloned`: it follows the one of the parent.
    """

    name: str
    function: str
    events: tuple[str, ...]
    enabled: str
    row: bool = False
    after: bool = False
    condition: bool = False
    columns: bool = False
    old: bool = False
    new: bool = False
    cloned: bool = False


class Relation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A watched table itself, or one of its partitions and other children, with every trigger.

    `kind` is pg_class's relkind: r, p (partitioned) or f (foreign). `subscribed`: a subscription
    writes into it.
    """

    name: str
    kind: str
    parents: tuple[str, ...] = ()
    triggers: tuple[Trigger, ...] = ()
    subscribed: bool = False


class WatchedTable(msgspec.Struct, frozen=True):
    """One entry of `audit.watch`, bare names. `count` is the number of relations: a list that was
    cut short is not whole. Of a table that is not there it is 0."""

    schema: str
    table: str
    count: int
    relations: tuple[Relation, ...]


class TriggerFunction(msgspec.Struct, frozen=True):
    """A function that a trigger calls; `schema` and `function` bare.

    `inserts`: its source inserts into the audit log by name. `sha256` is of its definition
    (pg_get_functiondef), `first_sha256` of what the exporter saw first, at `first_seen`; `changed`
    is when it first saw another one, 0 for never. Unix seconds.
    """

    name: str
    schema: str
    function: str
    inserts: bool
    sha256: str
    first_sha256: str
    first_seen: float
    changed: float = 0.0


class CountsReading(msgspec.Struct, frozen=True):
    """Counters that only rise, read together at `time`; only their differences mean something.

    `changes` are rows inserted, updated and deleted in the watched tables, `logged` the rows that
    came into the audit log and stayed, `rollbacks` the transactions rolled back in the database.
    """

    time: float
    changes: int
    logged: int
    rollbacks: int


class AuditFacts(msgspec.Struct, frozen=True):
    """Everything, of one server at one `time` (Unix seconds).

    `diversions` are the rules because of which an insert into the log is none. `readings`, the
    oldest first, are of one life of the server's counters.
    """

    time: float
    identity: str
    schema: str
    table: str
    exists: bool
    diversions: tuple[str, ...]
    watched: tuple[WatchedTable, ...]
    functions: tuple[TriggerFunction, ...]
    readings: tuple[CountsReading, ...]
