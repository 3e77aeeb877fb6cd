"""All that `phasegate init` has found and chosen: what the file, and the words about it, are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phasegate.contract.names import TableName
from phasegate.operate.init_audit import AuditChoice, plan_audit
from phasegate.operate.init_cache import CacheFacts
from phasegate.operate.init_facts import Facts
from phasegate.operate.init_links import find_links
from phasegate.operate.init_permissions import PermissionTables, plan_permissions
from phasegate.operate.init_tables import Choice, plan_tables
from phasegate.operate.init_trial import Trial, TriedTable


@dataclass(frozen=True)
class Plans:
    """What the facts alone say."""

    tables: Choice
    audit: AuditChoice | None
    permissions: PermissionTables | None


@dataclass(frozen=True)
class Draft:
    """With what `migrate` says of it. `cache` is None where none was named, `environment` empty
    where nobody said."""

    facts: Facts
    plans: Plans
    trial: Trial
    cache: CacheFacts | None
    environment: str = ""

    @property
    def proposed(self) -> tuple[TriedTable, ...]:
        """The tables that become entries."""
        return tuple(one for one in self.trial.tables if one.proposed)

    @property
    def offered(self) -> tuple[TriedTable, ...]:
        """The others of which an entry could be made."""
        return tuple(one for one in self.trial.tables if not one.proposed)


def make_plans(facts: Facts) -> Plans:
    """Pure."""
    links = find_links(facts)
    audit, permissions = plan_audit(facts), plan_permissions(facts, links)
    return Plans(plan_tables(facts, links, _apart(audit, permissions)), audit, permissions)


def _apart(
    audit: AuditChoice | None, permissions: PermissionTables | None
) -> Mapping[TableName, str]:
    found: dict[TableName, str] = {}
    if permissions is not None:
        found |= {
            permissions.roles: "the roles of the permission check",
            permissions.permissions: "the permissions of the permission check",
        }
    if audit is not None:
        found[audit.table] = "the audit log, which has a section of its own"
    return found
