"""Tables that are a framework's and not the application's: its code expects them so. Pure."""

from __future__ import annotations

from phasegate.operate.init_facts import Facts

BOOKKEEPING = {
    "django_migrations": "Django",
    "schema_migrations": "Rails",
    "ar_internal_metadata": "Rails",
    "_prisma_migrations": "Prisma",
    "alembic_version": "Alembic",
    "flyway_schema_history": "Flyway",
    "databasechangelog": "Liquibase",
    "databasechangeloglock": "Liquibase",
    "knex_migrations": "Knex",
    "knex_migrations_lock": "Knex",
    "goose_db_version": "goose",
}
"""The table in which a framework keeps its own state, and the framework's name."""
COMMANDS = {
    "Django": ("python", "manage.py", "migrate"),
    "Rails": ("bin/rails", "db:migrate"),
    "Prisma": ("npx", "prisma", "migrate", "deploy"),
    "Alembic": ("alembic", "upgrade", "head"),
    "Flyway": ("flyway", "migrate"),
}
"""What runs its migrations."""
# How its other tables begin.
_OF_FRAMEWORKS = {
    "Django": ("django_", "auth_group", "auth_permission", "auth_user_"),
    "Rails": ("active_storage_", "action_text_", "action_mailbox_", "solid_"),
}


def find_frameworks(facts: Facts) -> tuple[str, ...]:
    """By the tables in which they keep their state."""
    names = {one.name.table for one in facts.tables}
    return tuple(dict.fromkeys(of for name, of in BOOKKEEPING.items() if name in names))


def framework_of(name: str, frameworks: tuple[str, ...]) -> str:
    """The framework whose table it is; empty for none."""
    if name in BOOKKEEPING:
        return BOOKKEEPING[name]
    for framework in frameworks:
        if name.startswith(_OF_FRAMEWORKS.get(framework, ())):
            return framework
    return ""
