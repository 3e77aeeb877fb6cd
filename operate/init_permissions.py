"""The query of a permission check, where the tables for it are there. Pure.

The shape is what counts: people, a table between people and roles, a table between roles and
permissions. Their names only choose among several.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phasegate.contract.names import TableName
from phasegate.migrate.identifiers import qualify, quote
from phasegate.operate.init_audit import TIME
from phasegate.operate.init_facts import Facts, Table
from phasegate.operate.init_links import Link, words_of
from phasegate.operate.init_tables import is_people

_ROLES = frozenset({"role", "roles", "group", "groups"})
_PERMISSIONS = frozenset(
    {"permission", "permissions", "privilege", "privileges", "right", "rights", "capabilities"}
)
_NAMES = ("name", "codename", "key", "code", "slug", "action")
_ENDS = ("valid_until", "expires_at", "expires_on", "ends_at")
_TEXTS = ("text", "character varying")


@dataclass(frozen=True)
class PermissionTables:
    """`chain` leads from the people to the permissions: each joins its left to its right table."""

    people: TableName
    between_roles: TableName
    roles: TableName
    between_permissions: TableName
    permissions: TableName
    chain: tuple[Link, Link, Link, Link]
    shown: str
    ends: str = ""

    def render_query(self, uuid_column: str) -> str:
        """One SELECT of the names of someone's permissions, by the UUID in `$1`."""
        to_user, to_role, from_role, to_permission = self.chain
        lines = [
            f"SELECT p.{quote(self.shown)}",
            f"FROM {qualify(self.people)} AS u",
            f"JOIN {qualify(self.between_roles)} AS ur "
            f"ON ur.{quote(to_user.column)} = u.{quote(to_user.referenced)}",
            f"JOIN {qualify(self.between_permissions)} AS rp "
            f"ON rp.{quote(from_role.column)} = ur.{quote(to_role.column)}",
            f"JOIN {qualify(self.permissions)} AS p "
            f"ON p.{quote(to_permission.referenced)} = rp.{quote(to_permission.column)}",
            f"WHERE u.{quote(uuid_column)} = $1",
        ]
        if self.ends:
            end = f"ur.{quote(self.ends)}"
            lines.append(f"AND ({end} IS NULL OR {end} > now())")
        return "\n".join(lines)


def plan_permissions(facts: Facts, links: Iterable[Link]) -> PermissionTables | None:
    """The first chain of that shape; declared links win over guessed ones."""
    by_table: dict[TableName, list[Link]] = {}
    for link in links:
        by_table.setdefault(link.table, []).append(link)
    found = sorted(
        _chains(facts, by_table),
        key=lambda one: (sum(not link.declared for link in one.chain), one.people),
    )
    return found[0] if found else None


def _chains(facts: Facts, by_table: dict[TableName, list[Link]]) -> Iterator[PermissionTables]:
    pairs = [pair for links in by_table.values() for pair in _pairs(links)]
    rights = [one for one in pairs if _is_right(one, facts)]
    lefts = [(user, role) for user, role in pairs if is_people(user.parent)]
    for from_role, to_permission in rights:
        for to_user, to_role in lefts:
            if (to_role.parent, to_role.referenced) != (from_role.parent, from_role.referenced):
                continue
            yield PermissionTables(
                people=to_user.parent,
                between_roles=to_user.table,
                roles=to_role.parent,
                between_permissions=from_role.table,
                permissions=to_permission.parent,
                chain=(to_user, to_role, from_role, to_permission),
                shown=_shown(facts.get(to_permission.parent)),
                ends=_ends(facts.get(to_user.table)),
            )


def _is_right(pair: tuple[Link, Link], facts: Facts) -> bool:
    roles, permissions = pair[0].parent, pair[1].parent
    named = _named(roles, _ROLES) and _named(permissions, _PERMISSIONS)
    return named and _shown(facts.get(permissions)) != ""


def _pairs(links: list[Link]) -> Iterator[tuple[Link, Link]]:
    for first in links:
        for second in links:
            if first.column != second.column and first.parent != second.parent:
                yield first, second


def _named(table: TableName, wanted: frozenset[str]) -> bool:
    words = words_of(table.table)
    return bool(words) and words[-1] in wanted


def _shown(table: Table | None) -> str:
    columns = {} if table is None else {one.name: one for one in table.columns}
    return next(
        (name for name in _NAMES if name in columns and columns[name].type.startswith(_TEXTS)), ""
    )


def _ends(table: Table | None) -> str:
    columns = {} if table is None else {one.name: one for one in table.columns}
    return next((name for name in _ENDS if name in columns and columns[name].type == TIME), "")
