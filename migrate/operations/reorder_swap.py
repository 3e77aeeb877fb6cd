"""The transaction in which the table written anew takes the name of the old one.

All that was bound to the old table and not to its name is made again here, of the catalog alone:
no row is read but the few that were changed in the last moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from phasegate.contract.names import TableName
from phasegate.migrate.catalog import Catalog, Column, Constraint, Index, Relation
from phasegate.migrate.identifiers import derive, derive_apart, literal, qualify, quote
from phasegate.migrate.model import Action, Lock, LockMode, Work
from phasegate.migrate.operations.premake import own_and_grant
from phasegate.migrate.operations.reorder_refusals import UNPROVED
from phasegate.migrate.operations.reorder_rows import PROVED, Rewrite

TRIGGERS = {
    "phasegate_reorder": ("AFTER INSERT OR DELETE OR UPDATE", "FOR EACH ROW"),
    "phasegate_reorder_truncate": ("AFTER TRUNCATE", "FOR EACH STATEMENT"),
}
"""Those that write down which rows change: when, and for what each."""
# Few keys: each by the index, whatever the planner thinks of tables that it does not know.
_BY_INDEX = tuple(f"SET LOCAL enable_{way} = off" for way in ("hashjoin", "mergejoin", "seqscan"))
_GUARD = """DO $look$
BEGIN
    IF obj_description({shadow}::regclass, 'pg_class') IS DISTINCT FROM {proved}
        AND EXISTS (SELECT FROM ONLY {table})
    THEN
        RAISE EXCEPTION 'the copy is not proved to have the rows of the table';
    END IF;
    IF ROW(
        (SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_attribute AS a
         WHERE a.attrelid = {name}::regclass AND a.attnum > 0 AND NOT a.attisdropped),
        (SELECT count(*) FROM pg_constraint AS k
         WHERE k.conrelid = {name}::regclass AND k.contype <> 't'),
        (SELECT count(*) FROM pg_constraint AS k
         WHERE k.confrelid = {name}::regclass AND k.conparentid = 0),
        (SELECT count(*) FROM pg_index AS x WHERE x.indrelid = {name}::regclass),
        (SELECT count(*) FROM pg_trigger AS g
         WHERE g.tgrelid = {name}::regclass AND NOT g.tgisinternal),
        (SELECT count(*) FROM pg_rewrite AS r WHERE r.ev_class = {name}::regclass),
        (SELECT count(*) FROM pg_policy AS p WHERE p.polrelid = {name}::regclass),
        (SELECT count(*) FROM pg_publication_rel AS p WHERE p.prrelid = {name}::regclass),
        (SELECT count(*) FROM pg_statistic_ext AS s WHERE s.stxrelid = {name}::regclass)
    ) IS DISTINCT FROM ROW(
        {columns}::text[], {counts}, 0::bigint, 0::bigint, 0::bigint, 0::bigint
    ) THEN
        RAISE EXCEPTION 'the table was changed since the swap was planned: run again';
    END IF;
END
$look$"""
_ONLY_OWNER = """DO $rights$
DECLARE grantee text;
BEGIN
    FOR grantee IN
        SELECT DISTINCT
            CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END
        FROM pg_class AS c CROSS JOIN aclexplode(c.relacl) AS x
        WHERE c.oid = {name}::regclass AND x.grantee <> c.relowner
    LOOP
        EXECUTE 'REVOKE ALL ON SEQUENCE {escaped} FROM ' || grantee;
    END LOOP;
END
$rights$"""
_IN_THE_SWAP = {
    "renaming-table": "the copy takes the name in the same transaction",
    "renaming-object": "the copy's take the names of the table's",
    "ban-drop-table": "the copy has its rows, as was proved, and takes its name",
    "ban-drop-function": "it wrote down changes for this migration alone",
    "ban-drop-constraint": "the foreign key is made again in the same transaction",
    "ban-alter-identity": "it goes on where it stood",
    "adding-foreign-key-constraint": "it is made again NOT VALID, and proved after the swap",
    "constraint-missing-not-valid": "it is made again NOT VALID, and proved after the swap",
}


def index_name(table: TableName, index: Index) -> str:
    """The name of an index of the copy, until the swap gives it that of the table's."""
    return derive_apart("phasegate", table.table, index.name.table)


def foreign_keys(relation: Relation, catalog: Catalog) -> list[tuple[Relation, Constraint]]:
    """Those of the table and those to it, each once."""
    own = [(relation, one) for one in relation.constraints if one.type == "f" and not one.inherited]
    others = catalog.references_to(relation.name)
    return own + [one for one in others if one[0].name != relation.name]


def make_swap(rewrite: Rewrite, relation: Relation, catalog: Catalog, before: Work) -> Action:
    """The action; `before` is done ahead of each try, so that little is left to do in it."""
    keys = foreign_keys(relation, catalog)
    # In the order in which a write takes them that is checked against a foreign key: whoever holds
    # the first of two locks then gets the second before we have it.
    children = [child.name for child, _ in keys if child is not relation]
    parents = [one.references for child, one in keys if child is relation and one.references]
    tables = dict.fromkeys([*children, relation.name, *parents])
    names = [qualify(name) for name in tables]
    table, shadow, log = map(qualify, (rewrite.table, rewrite.shadow, rewrite.log))
    statements = [
        f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE",
        *_BY_INDEX,
        *rewrite.make_apply(relation),
        _guard(rewrite, relation, catalog),
        *(
            f"ALTER TABLE {qualify(child.name)} DROP CONSTRAINT {quote(one.name)}"
            for child, one in keys
            if child is not relation
        ),
        *(text for one in relation.columns for text in _continue_sequence(shadow, one)),
        f"DROP TABLE {table}",
        f"DROP TABLE {log}",
        f"DROP FUNCTION {log}()",
        f"ALTER TABLE {shadow} RENAME TO {quote(rewrite.table.table)}",
        *_take_over(rewrite, relation, catalog),
        *(text for child, one in keys for text in _make_key(child, one)),
    ]
    return Action(
        f"let the copy take the place of {table}, which goes, in one transaction; its order of "
        "columns is not taken back by a roll-back",
        tuple(statements),
        before=before,
        locks=tuple(Lock(LockMode.ACCESS_EXCLUSIVE, name) for name in names),
        suppressions=_IN_THE_SWAP,
    )


def _guard(rewrite: Rewrite, relation: Relation, catalog: Catalog) -> str:
    """What was planned from the catalog must still be so, now that nobody can change it."""
    foreign = [one for one in relation.triggers if one.name not in TRIGGERS]
    counts = (
        len(relation.constraints),
        len(catalog.references_to(relation.name)),
        len(relation.indexes),
        len(foreign) + len(TRIGGERS),
    )
    names = ", ".join(literal(one.name) for one in relation.columns)
    return _GUARD.format(
        table=qualify(rewrite.table),
        name=literal(qualify(rewrite.table)),
        shadow=literal(qualify(rewrite.shadow)),
        proved=literal(PROVED),
        columns=f"ARRAY[{names}]",
        counts=", ".join(f"{count}::bigint" for count in counts),
    )


def _continue_sequence(shadow: str, column: Column) -> Iterator[str]:
    """The copy counts on where the table stood, by the same name, steps and rights."""
    if not column.sequence:
        return
    schema, sequence, options = column.sequence
    place, name = qualify(TableName(schema, sequence)), quote(column.name)
    if not column.identity:
        yield f"ALTER SEQUENCE {place} OWNED BY {shadow}.{name}"
        return
    aside = TableName(schema, derive(sequence, "phasegate_old"))
    yield f"ALTER SEQUENCE {place} RENAME TO {quote(aside.table)}"
    how = "ALWAYS" if column.identity == "a" else "BY DEFAULT"
    yield (
        f"ALTER TABLE {shadow} ALTER COLUMN {name} ADD GENERATED {how} AS IDENTITY "
        f"(SEQUENCE NAME {place} {options})"
    )
    yield f"SELECT setval({literal(place)}, last_value, is_called) FROM {qualify(aside)}"
    yield _ONLY_OWNER.format(name=literal(place), escaped=place.replace("'", "''"))
    for grantee, privilege, passes_on in column.sequence_grants:
        to = quote(grantee) if grantee else "PUBLIC"
        option = " WITH GRANT OPTION" if passes_on else ""
        yield f"GRANT {privilege} ON SEQUENCE {place} TO {to}{option}"


def _take_over(rewrite: Rewrite, relation: Relation, catalog: Catalog) -> Iterator[str]:
    """What the copy did not have before: names, rights, triggers, comments, replica identity."""
    table = qualify(rewrite.table)
    for index in relation.indexes:
        schema = rewrite.table.schema
        old = qualify(TableName(schema, index_name(rewrite.table, index)))
        # With an index the constraint is renamed that it serves.
        yield f"ALTER INDEX {old} RENAME TO {quote(index.name.table)}"
        if index.comment:
            yield f"COMMENT ON INDEX {qualify(index.name)} IS {literal(index.comment)}"
    for one in relation.constraints:
        if one.type in "pu" and one.comment:
            name = quote(one.name)
            yield f"COMMENT ON CONSTRAINT {name} ON {table} IS {literal(one.comment)}"
    yield from own_and_grant(rewrite.table, relation, catalog)
    for trigger in relation.triggers:
        if trigger.name in TRIGGERS:
            continue
        name = quote(trigger.name)
        yield trigger.definition
        word = {"A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}
        if trigger.enabled in word:
            yield f"ALTER TABLE {table} {word[trigger.enabled]} TRIGGER {name}"
        if trigger.comment:
            yield f"COMMENT ON TRIGGER {name} ON {table} IS {literal(trigger.comment)}"
    yield f"COMMENT ON TABLE {table} IS {literal(relation.comment) if relation.comment else 'NULL'}"
    replica = next((quote(one.name.table) for one in relation.indexes if one.replica), "")
    identity = {"f": "FULL", "n": "NOTHING", "i": f"USING INDEX {replica}"}
    if relation.replica_identity in identity:
        yield f"ALTER TABLE {table} REPLICA IDENTITY {identity[relation.replica_identity]}"


def _make_key(child: Relation, key: Constraint) -> Iterator[str]:
    """Proved after the swap: until then the comment tells that it is to be."""
    table, name = qualify(child.name), quote(key.name)
    yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {key.definition} NOT VALID"
    comment = "\n".join(filter(None, (UNPROVED, key.comment)))
    yield f"COMMENT ON CONSTRAINT {name} ON {table} IS {literal(comment)}"
