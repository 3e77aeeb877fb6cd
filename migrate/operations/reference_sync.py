"""The functions that keep a reference's integer and its UUID equal, whichever is written.

Three are needed: one before each row of the child is written looks the other value up; one at
commit fills what could not be looked up yet, since a child may come before its parent in one
statement or under a deferred foreign key; one on the parent carries a changed UUID on. All run
as their owner, since whoever writes the child need not be allowed to read the parent.
"""

from __future__ import annotations

from phasegate.contract.migration import SCHEMA
from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog
from phasegate.migrate.identifiers import derive, literal, qualify, quote
from phasegate.migrate.references import Reference, only

ADDED = "-- The column came with this function, and goes with it."
ADOPTED = "-- The column was there before this function, and stays without it."
UNSURE = f"{SCHEMA}.unsure"
"""Set in a transaction in which both values were given and the parent was not there to compare."""

_SYNC = """
DECLARE
    found_uuid uuid;
    by_key boolean := NEW.{column} IS NOT NULL;
    by_uuid boolean := NEW.{uuid} IS NOT NULL;
BEGIN
    {mark}
    IF TG_OP = 'UPDATE' THEN
        by_key := NEW.{column} IS DISTINCT FROM OLD.{column};
        by_uuid := NEW.{uuid} IS DISTINCT FROM OLD.{uuid};
        IF NOT by_key AND current_setting('phasegate.backfill', true) = 'on' THEN
            -- The integer rules; its parent is not locked, for there are too many of them.
            NEW.{uuid} := (SELECT p.{parent_uuid} FROM {parent} AS p WHERE p.{key} = NEW.{column});
            RETURN NEW;
        END IF;
        IF NOT by_key AND NOT by_uuid THEN
            by_key := NEW.{uuid} IS NULL AND NEW.{column} IS NOT NULL;
            by_uuid := NEW.{column} IS NULL AND NEW.{uuid} IS NOT NULL;
        END IF;
    END IF;
    IF by_key THEN
        -- So that a change of the UUID waits for us, or we for it, as with the integer's own check.
        SELECT p.{parent_uuid} INTO found_uuid FROM {parent} AS p
        WHERE p.{key} = NEW.{column} FOR KEY SHARE;{itself_by_key}
        IF NOT by_uuid THEN
            NEW.{uuid} := found_uuid;
        ELSIF NEW.{uuid} IS DISTINCT FROM found_uuid THEN
            IF found_uuid IS NULL AND NEW.{uuid} IS NOT NULL AND NEW.{column} IS NOT NULL THEN
                PERFORM set_config('{unsure}', 'on', true);
            ELSE
                RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
                    MESSAGE = {disagree}, HINT = {hint};
            END IF;
        END IF;
    ELSIF by_uuid THEN
        NEW.{column} := NULL;
        SELECT p.{key} INTO NEW.{column} FROM {parent} AS p
        WHERE p.{parent_uuid} = NEW.{uuid} FOR KEY SHARE;{itself_by_uuid}
    END IF;
    RETURN NEW;
END
"""
_ITSELF_BY_KEY = """
        IF NEW.{column} = NEW.{key} THEN
            found_uuid := NEW.{parent_uuid};
        END IF;"""
_ITSELF_BY_UUID = """
        IF NEW.{uuid} = NEW.{parent_uuid} THEN
            NEW.{column} := NEW.{key};
        END IF;"""
_COMPLETE = """
BEGIN
    IF NEW.{uuid} IS NULL THEN
        UPDATE {child} AS c SET {uuid} = p.{parent_uuid} FROM {parent} AS p
        WHERE c.{column} = NEW.{column} AND c.{uuid} IS NULL AND p.{key} = c.{column};
    ELSIF NEW.{column} IS NULL THEN
        UPDATE {child} AS c SET {column} = p.{key} FROM {parent} AS p
        WHERE c.{uuid} = NEW.{uuid} AND c.{column} IS NULL AND p.{parent_uuid} = c.{uuid};
        IF EXISTS (SELECT FROM {child} AS c WHERE c.{uuid} = NEW.{uuid} AND c.{column} IS NULL) THEN
            RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = {missing};
        END IF;
    ELSIF EXISTS (
        SELECT FROM {child} AS c JOIN {parent} AS p ON p.{key} = c.{column}
        WHERE c.{column} = NEW.{column} AND c.{uuid} = NEW.{uuid}
            AND p.{parent_uuid} IS DISTINCT FROM c.{uuid}
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation',
            MESSAGE = {disagree}, HINT = {hint};
    END IF;
    RETURN NULL;
END
"""
_PROPAGATE = """
BEGIN
    UPDATE {child} AS c SET {uuid} = NEW.{parent_uuid}
    WHERE c.{column} = NEW.{key} AND c.{uuid} IS DISTINCT FROM NEW.{parent_uuid};
    RETURN NULL;
END
"""


def name_function(what: str, reference: Reference) -> TableName:
    """`what` is sync, complete or propagate."""
    return TableName(SCHEMA, derive(what, *reference.child, reference.uuid))


def make_body(what: str, reference: Reference, catalog: Catalog, mark: str) -> str:
    """What stands between BEGIN and END, and is compared with what the catalog has."""
    names = {
        "column": quote(reference.column),
        "uuid": quote(reference.uuid),
        "key": quote(reference.key),
        "parent_uuid": quote(reference.parent_uuid),
    }
    child = qualify(reference.child)
    own = reference.to_itself
    return {"sync": _SYNC, "complete": _COMPLETE, "propagate": _PROPAGATE}[what].format(
        **names,
        child=only(reference.child, catalog),
        parent=only(reference.parent, catalog),
        mark=mark,
        unsure=UNSURE,
        itself_by_key=_ITSELF_BY_KEY.format(**names) if own else "",
        itself_by_uuid=_ITSELF_BY_UUID.format(**names) if own else "",
        disagree=literal(
            f"{child}: {names['column']} and {names['uuid']} name different rows of "
            f"{qualify(reference.parent)}"
        ),
        hint=literal("Write one of the two, the other one follows; or write both of the same row."),
        missing=literal(f"{child}: {names['uuid']} names no row of {qualify(reference.parent)}"),
    )


def make_function(name: TableName, body: str) -> str:
    """Replaces what is there of that name in our own schema."""
    return (
        f"CREATE OR REPLACE FUNCTION {qualify(name)}() RETURNS trigger\n"
        "LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS "
        f"$body${body}$body$"
    )
