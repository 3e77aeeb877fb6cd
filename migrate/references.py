"""Which foreign keys point to an integer key that gains a UUID, and what their UUIDs are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from phasegate.contract.names import ColumnName, TableName
from phasegate.migrate.catalog import PARTITIONED, TABLE, Catalog, Constraint, Relation
from phasegate.migrate.identifiers import derive, qualify, quote
from phasegate.migrate.model import Refusal

INTEGERS = frozenset({"smallint", "integer", "bigint"})
_ACTION = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


@dataclass(frozen=True)
class Reference:
    """`child.column` refers to `parent.key`, both integers; `child.uuid` is to refer to
    `parent.parent_uuid` as well."""

    child: TableName
    column: str
    uuid: str
    parent: TableName
    key: str
    parent_uuid: str

    @property
    def object(self) -> str:
        """The child's new column, as SQL writes it."""
        return f"{qualify(self.child)}.{quote(self.uuid)}"

    @property
    def to_itself(self) -> bool:
        """Whether rows of a table refer to rows of the same."""
        return self.child == self.parent

    def find_key(self, catalog: Catalog) -> Constraint | None:
        """The integer foreign key, as long as there is one."""
        return self._find(catalog, (self.column,), (self.key,))

    def find_uuid_key(self, catalog: Catalog) -> Constraint | None:
        """The foreign key of the UUIDs, once there is one."""
        return self._find(catalog, (self.uuid,), (self.parent_uuid,))

    def _find(
        self, catalog: Catalog, columns: tuple[str, ...], referenced: tuple[str, ...]
    ) -> Constraint | None:
        relation = catalog.get(self.child)
        found = () if relation is None else relation.constraints
        return next(
            (
                one
                for one in found
                if one.type == "f"
                and one.references == self.parent
                and (one.columns, one.referenced) == (columns, referenced)
            ),
            None,
        )

    def tables(self, catalog: Catalog) -> tuple[TableName, ...]:
        """Those that hold the rows of the child: a foreign key holds for partitions, and not for
        tables that merely inherit."""
        relation = catalog.get(self.child)
        if relation is None or relation.kind != PARTITIONED:
            return (self.child,)
        return tuple(_leaves(relation, catalog))

    def is_needed(self, catalog: Catalog) -> bool:
        """Whether the UUID can be NOT NULL as the integer is. A foreign key that is deferred, or
        within one table, lets a row in before the one it refers to; its UUID comes at commit, and
        NOT NULL cannot wait."""
        key, relation = self.find_key(catalog), catalog.get(self.child)
        column = None if relation is None else relation.column(self.column)
        if key is None or column is None:
            return False
        return column.not_null and not key.deferrable and not self.to_itself


def name_uuid(column: str) -> str:
    """The UUID's column beside an integer's: user_id becomes user_uuid."""
    return derive(column.removesuffix("_id") if len(column) > 3 else column, "uuid")


def only(name: TableName, catalog: Catalog) -> str:
    """The table as a FROM names the rows that a foreign key of it concerns."""
    relation = catalog.get(name)
    whole = relation is not None and relation.kind == PARTITIONED
    return qualify(name) if whole else f"ONLY {qualify(name)}"


def mirror_actions(key: Constraint) -> str:
    """What the UUID's foreign key does where the integer's does it.

    A UUID that changes is carried on. SET DEFAULT is left to the integer, whose default the
    triggers look up: so this one waits until that was done.
    """
    delete, rest = _ACTION[key.actions[1]], ""
    if key.deferrable:
        rest = " DEFERRABLE INITIALLY " + ("DEFERRED" if key.deferred else "IMMEDIATE")
    if delete == "SET DEFAULT":
        delete, rest = "NO ACTION", " DEFERRABLE INITIALLY DEFERRED"
    return f"ON UPDATE CASCADE ON DELETE {delete}{rest}"


def find_references(
    catalog: Catalog,
    parent: TableName,
    parent_uuid: str,
    names: Mapping[ColumnName, str] | None = None,
) -> tuple[Reference, ...]:
    """Each integer column that refers to an integer key of `parent`, in the order of the tables.

    `names` gives the UUID's column where it is not to be derived from the integer's.
    """
    found = []
    for relation, key in catalog.references_to(parent):
        target = catalog.relations[parent]
        if len(key.columns) != 1 or not _is_integer(target, key.referenced[0]):
            continue
        given = (names or {}).get(ColumnName(*relation.name, key.columns[0]))
        uuid = given or name_uuid(key.columns[0])
        found.append(
            Reference(relation.name, key.columns[0], uuid, parent, key.referenced[0], parent_uuid)
        )
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.child, one.column)))


def refuse_references(
    catalog: Catalog, parent: TableName, parent_uuid: str, names: Mapping[ColumnName, str]
) -> Iterator[Refusal]:
    """What of the foreign keys that point to `parent` has no single column of UUIDs."""
    for relation, key in catalog.references_to(parent):
        target = catalog.relations[parent]
        if len(key.columns) > 1 and any(_is_integer(target, one) for one in key.referenced):
            yield Refusal(
                f"{qualify(relation.name)}, {quote(key.name)}",
                f"the foreign key is of several columns: {key.definition}",
                f"let {qualify(parent)} stay at keys: alternate",
            )
    places: dict[tuple[TableName, str], list[str]] = {}
    for one in find_references(catalog, parent, parent_uuid, names):
        places.setdefault((one.child, one.uuid), []).append(one.column)
    for (child, uuid), columns in places.items():
        if len(columns) > 1:
            yield Refusal(
                f"{qualify(child)}.{quote(uuid)}",
                f"it would stand for several columns: {', '.join(columns)}",
                "give one of them another name in tables: references",
            )


def _leaves(relation: Relation, catalog: Catalog) -> Iterator[TableName]:
    if relation.kind != PARTITIONED:
        yield relation.name
    for name in relation.children if relation.kind == PARTITIONED else ():
        child = catalog.get(name)
        if child is not None:
            yield from _leaves(child, catalog)


def _is_integer(relation: Relation, column: str) -> bool:
    found = relation.column(column)
    return found is not None and found.type in INTEGERS


def is_table(relation: Relation) -> bool:
    """Whether rows can be kept in it, by itself or by its partitions."""
    return relation.kind in (TABLE, PARTITIONED)
