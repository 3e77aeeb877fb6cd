"""The SQL of the three roles: who measures, who judges and who migrates, each with the least.

The script is run by whoever may grant, in the database itself, and again whenever tables, columns
or columns were added: it grants on what is there, by looking in the catalog, since before the
migration the UUID columns are not. Which columns a lookup reads the server says itself. Nothing in
it revokes, and nothing changes data.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from psycopg import sql

from phasegate.contract.names import TableName
from phasegate.contract.settings import Lookup, Settings


class Roles(NamedTuple):
    """Names of the three roles: lower-case letters, digits and underscores only."""

    exporter: str = "phasegate_exporter"
    validator: str = "phasegate_validator"
    migrator: str = "phasegate_migrator"


ROLES = Roles()

_HEAD = """\
-- The roles of Phasegate. As a role that may grant, in the database that is measured:
--   psql -v ON_ERROR_STOP=1 -d <database> -f grants.sql
-- Again after each change of the schema: new tables and columns have grants of their own.
-- Give each role its password with \\password, or let it in by certificate or peer.
-- Before PostgreSQL 15 everyone may create tables in schema public, these roles too, until:
--   REVOKE CREATE ON SCHEMA public FROM PUBLIC;
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
"""

_ROLES = """
DO {body};
"""

_ROLES_BODY = """
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY[
        {roles}
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role);
        END IF;
        EXECUTE format('GRANT pg_monitor TO %I', role);
        EXECUTE format(
            'GRANT CONNECT ON DATABASE %I TO %I', current_database(), role
        );
    END LOOP;
END
"""

_EXPORTER = """
-- {exporter} measures: it reads statistics, and of the tables only the columns below.
ALTER ROLE {exporter} SET default_transaction_read_only = on;
DO {body};
"""

_EXPORTER_BODY = """
DECLARE
    found record;
BEGIN
    FOR found IN
        -- An empty attribute stands for the primary key.
        WITH RECURSIVE probed (schema, name, attribute) AS (VALUES
{probed}
        ),
        tree (oid, attribute) AS (
            SELECT c.oid, p.attribute
            FROM probed AS p
            JOIN pg_namespace AS n ON n.nspname = p.schema
            JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.name
            WHERE c.relkind IN ('r', 'p')
            UNION
            SELECT i.inhrelid, t.attribute
            FROM tree AS t
            JOIN pg_inherits AS i ON i.inhparent = t.oid
        )
        SELECT
            n.nspname, c.relname, c.oid, c.relrowsecurity AS guarded,
            string_agg(DISTINCT quote_ident(a.attname), ', ') AS columns
        FROM tree AS t
        JOIN pg_class AS c ON c.oid = t.oid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_index AS k ON k.indrelid = c.oid AND k.indisprimary
        JOIN pg_attribute AS a
            ON a.attrelid = c.oid AND NOT a.attisdropped
            AND (a.attname = t.attribute OR t.attribute = '' AND a.attnum = ANY (k.indkey))
        GROUP BY n.nspname, c.relname, c.oid, c.relrowsecurity
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {exporter}', found.nspname);
        EXECUTE format(
            'GRANT SELECT (%s) ON TABLE %I.%I TO {exporter}',
            found.columns, found.nspname, found.relname
        );
        IF found.guarded THEN
            RAISE WARNING '%.% has row security: only a role with BYPASSRLS can count its rows',
                found.nspname, found.relname;
        END IF;
    END LOOP;
    FOR found IN
        -- How far a key has come, without a scan of its index.
        SELECT DISTINCT q.relnamespace::regnamespace AS schema, q.relname
        FROM (VALUES
{named}
        ) AS named (schema, name)
        JOIN pg_namespace AS n ON n.nspname = named.schema
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
        JOIN pg_depend AS d
            ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
            AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
        JOIN pg_class AS q ON q.oid = d.objid AND q.relkind = 'S'
    LOOP
        EXECUTE format(
            'GRANT SELECT ON SEQUENCE %s.%I TO {exporter}', found.schema, found.relname
        );
    END LOOP;
END
"""

_PARTITIONS = """
-- A grant on a partitioned table does not reach partitions that are read by themselves, and a
-- default privilege cannot be narrower than this: {exporter} may read every table that
-- the owner of a partition makes beside it from now on. Where that is too much, give the audit log
-- a schema of its own; or leave this out, and run the script again after each new partition.
DO {body};
"""

_PARTITIONS_BODY = """
DECLARE
    found record;
BEGIN
    FOR found IN
        WITH RECURSIVE tree (oid) AS (
            SELECT c.oid
            FROM (VALUES
{audited}
            ) AS audited (schema, name)
            JOIN pg_namespace AS n ON n.nspname = audited.schema
            JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = audited.name
            WHERE c.relkind = 'p'
            UNION
            SELECT i.inhrelid
            FROM tree AS t
            JOIN pg_inherits AS i ON i.inhparent = t.oid
        )
        SELECT DISTINCT n.nspname, r.rolname
        FROM tree AS t
        JOIN pg_class AS c ON c.oid = t.oid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_roles AS r ON r.oid = c.relowner
    LOOP
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES FOR ROLE %I IN SCHEMA %I '
                'GRANT SELECT ON TABLES TO {exporter}',
            found.rolname, found.nspname
        );
        RAISE NOTICE '{exporter} may read every table that % makes in schema % from now on',
            found.rolname, found.nspname;
    END LOOP;
END
"""

_LOOKUP = """
-- The columns that the lookup {query_type} reads, as the server finds them: in a view
-- of the same query, which is dropped at once. A query that fails is told and grants nothing.
DO {body};
"""

_LOOKUP_BODY = """
DECLARE
    parameter text;
    found record;
BEGIN
    SELECT format_type(a.atttypid, a.atttypmod) INTO parameter
    FROM pg_namespace AS n
    JOIN pg_class AS c ON c.relnamespace = n.oid
    JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
    WHERE (n.nspname, c.relname, a.attname) = ({parameter});
    IF parameter IS NULL THEN
        RAISE WARNING 'lookup %: % is not there yet; run this again once it is',
            {query_type}, {column};
        RETURN;
    END IF;
    PERFORM set_config('search_path', {path}, true);
    BEGIN
        EXECUTE 'CREATE TEMPORARY VIEW phasegate_lookup AS SELECT FROM ('
            || replace({sql}, '$1', format('CAST(NULL AS %s)', parameter)) || E'\n) AS asked';
    EXCEPTION WHEN OTHERS THEN
        RAISE WARNING 'lookup %: %; run this again once it can be asked', {query_type}, SQLERRM;
        PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
        RETURN;
    END;
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    FOR found IN
        SELECT
            n.nspname, c.relname,
            -- count(*) reads no column, and needs the right to one.
            COALESCE(string_agg(DISTINCT quote_ident(a.attname), ', '), (
                SELECT quote_ident(f.attname)
                FROM pg_attribute AS f
                WHERE f.attrelid = c.oid AND f.attnum > 0 AND NOT f.attisdropped
                ORDER BY f.attnum
                LIMIT 1
            )) AS columns
        FROM pg_rewrite AS r
        JOIN pg_depend AS d
            ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
            AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
        JOIN pg_class AS c ON c.oid = d.refobjid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = NULLIF(d.refobjsubid, 0)
        WHERE r.ev_class = to_regclass('pg_temp.phasegate_lookup')
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        GROUP BY n.nspname, c.relname, c.oid
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {exporter}', found.nspname);
        EXECUTE format(
            'GRANT SELECT (%s) ON TABLE %I.%I TO {exporter}',
            found.columns, found.nspname, found.relname
        );
    END LOOP;
    DROP VIEW pg_temp.phasegate_lookup;
END
"""

_LOOKUP_BY_HAND = """
-- The lookup {query_type} holds a semicolon; grant {exporter} SELECT on what it names:
{sql}
"""

_CANARY = """
-- {validator} tries a canary: it may update one column of the table that holds the row, in a
-- transaction that it rolls back, and find in the audit log what the trigger wrote.
DO {body};
"""

_CANARY_BODY = """
DECLARE
    found record;
BEGIN
    FOR found IN
        SELECT
            n.nspname, c.relname, quote_ident(changed.attname) AS changed,
            (
                SELECT string_agg(DISTINCT quote_ident(a.attname), ', ')
                FROM pg_attribute AS a
                WHERE a.attrelid = c.oid AND NOT a.attisdropped
                    AND (a.attname = changed.attname OR EXISTS (
                        SELECT FROM (VALUES
{keys}
                        ) AS key (schema, name, attribute)
                        WHERE (n.nspname, c.relname, a.attname)
                            = (key.schema, key.name, key.attribute)
                    ))
            ) AS columns
        FROM (VALUES
{tables}
        ) AS tried (schema, name)
        JOIN pg_namespace AS n ON n.nspname = tried.schema
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = tried.name
        CROSS JOIN LATERAL (
            SELECT a.attname
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                AND a.attgenerated = '' AND a.attidentity = ''
            ORDER BY
                EXISTS (
                    SELECT FROM pg_index AS i
                    WHERE i.indrelid = a.attrelid AND a.attnum = ANY (i.indkey)
                ),
                a.attnum
            LIMIT 1
        ) AS changed
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {validator}', found.nspname);
        EXECUTE format(
            'GRANT SELECT (%s), UPDATE (%s) ON TABLE %I.%I TO {validator}',
            found.columns, found.changed, found.nspname, found.relname
        );
    END LOOP;
    FOR found IN
        SELECT n.nspname, c.relname, quote_ident(a.attname) AS time
        FROM pg_namespace AS n
        JOIN pg_class AS c ON c.relnamespace = n.oid
        JOIN pg_attribute AS a ON a.attrelid = c.oid AND NOT a.attisdropped
        WHERE (n.nspname, c.relname, a.attname) = ({log})
    LOOP
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO {validator}', found.nspname);
        EXECUTE format(
            'GRANT SELECT (%s, xmin) ON TABLE %I.%I TO {validator}',
            found.time, found.nspname, found.relname
        );
    END LOOP;
END
"""

_DECODING = """
-- {validator} decodes committed changes (criteria.audit_coverage.decoding). That takes a right
-- which reads every table of the server, so it is given by hand, as a superuser:
--   ALTER ROLE {validator} REPLICATION;
"""

_MIGRATOR = """
-- {migrator} changes the tables, so it becomes a member of the roles that own them; its own
-- records stand in schema phasegate, where the other two may read.
DO {body};
"""

_MIGRATOR_BODY = """
DECLARE
    found record;
BEGIN
    EXECUTE format(
        'GRANT CREATE ON DATABASE %I TO {migrator}', current_database()
    );
    FOR found IN
        SELECT DISTINCT n.nspname, c.relname, r.rolname, r.rolsuper
        FROM (VALUES
{named}
        ) AS named (schema, name)
        JOIN pg_namespace AS n ON n.nspname = named.schema
        JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = named.name
        JOIN pg_roles AS r ON r.oid = c.relowner
    LOOP
        EXECUTE format(
            'GRANT USAGE, CREATE ON SCHEMA %I TO {migrator}', found.nspname
        );
        IF found.rolsuper THEN
            RAISE WARNING '%.% is owned by the superuser %: give it another owner first, '
                'since a member of % could do everything',
                found.nspname, found.relname, found.rolname, found.rolname;
        ELSIF found.rolname <> '{migrator}' THEN
            BEGIN
                EXECUTE format('GRANT %I TO {migrator}', found.rolname);
            EXCEPTION WHEN insufficient_privilege THEN
                RAISE WARNING '%; whoever may grant % grants it to {migrator}',
                    SQLERRM, found.rolname;
            END;
        END IF;
    END LOOP;
    CREATE SCHEMA IF NOT EXISTS phasegate;
    GRANT ALL ON SCHEMA phasegate TO {migrator};
    GRANT USAGE ON SCHEMA phasegate TO {exporter}, {validator};
    GRANT SELECT ON ALL TABLES IN SCHEMA phasegate TO {exporter}, {validator};
END
"""


def probed_columns(settings: Settings) -> list[tuple[str, str, str]]:
    """Schema, table and column of all that the exporter reads; '' stands for the primary key."""
    found: list[tuple[str, str, str]] = []
    for table in settings.tables:
        found += [(*table.name, ""), (*table.name, table.uuid_column)]
    found += [(p.schema, p.table, p.column) for p in (e.parameter for e in settings.lookups)]
    if settings.audit is not None:
        audit = settings.audit
        # Which rows are new since a count, only the system columns tell.
        columns = ["", audit.time_column, audit.category_column, "xmin", "cmin"]
        found += [(*audit.table, column) for column in columns if column is not None]
        found += [(*watch.table, "") for watch in audit.watch]
    return list(dict.fromkeys(found))


def render_grants(settings: Settings, roles: Roles = ROLES) -> str:
    """One script in one transaction; safe to run again."""
    names = roles._asdict()
    probed = probed_columns(settings)
    parts = [_HEAD, _ROLES.format(body=_dollar_quoted(_ROLES_BODY.format(roles=_literals(roles))))]
    if probed:
        tables = dict.fromkeys(TableName(schema, table) for schema, table, _ in probed)
        named = _rows(tables)
        measured = _EXPORTER_BODY.format(probed=_rows(probed), named=named, **names)
        parts.append(_EXPORTER.format(body=_dollar_quoted(measured), **names))
        if settings.audit is not None:
            body = _PARTITIONS_BODY.format(audited=_rows([settings.audit.table]), **names)
            parts.append(_PARTITIONS.format(body=_dollar_quoted(body), **names))
        parts += [_render_lookup(lookup, settings, names) for lookup in settings.lookups]
        parts += _render_proofs(settings, names)
        moved = _MIGRATOR_BODY.format(named=named, **names)
        parts.append(_MIGRATOR.format(body=_dollar_quoted(moved), **names))
    return "".join([*parts, "COMMIT;\n"])


def _render_proofs(settings: Settings, names: dict[str, str]) -> list[str]:
    """What the proofs of the audit log need, where they are configured."""
    audit, parts = settings.audit, []
    tried = [one for one in audit.watch if one.canary] if audit is not None else []
    if audit is not None and tried:
        body = _CANARY_BODY.format(
            keys=_rows((*one.table, column) for one in tried for column in one.canary),
            tables=_rows(one.table for one in tried),
            log=_literals([*audit.table, audit.time_column]),
            **names,
        )
        parts.append(_CANARY.format(body=_dollar_quoted(body), **names))
    if audit is not None and audit.watch and settings.criteria.audit_coverage.decoding:
        parts.append(_DECODING.format(**names))
    return parts


def _render_lookup(lookup: Lookup, settings: Settings, names: dict[str, str]) -> str:
    asked = lookup.sql.strip().rstrip(";")
    # Without one it cannot be more than a query, also when it tries to leave its parentheses.
    if ";" in asked:
        text = "\n".join(f"--   {line}" for line in lookup.sql.splitlines())
        return _LOOKUP_BY_HAND.format(query_type=lookup.query_type, sql=text, **names)
    body = _LOOKUP_BODY.format(
        parameter=_literals(lookup.parameter),
        query_type=_literals([lookup.query_type]),
        column=_literals([str(lookup.parameter)]),
        path=_literals([_search_path(settings)]),
        sql=_literals([asked]),
        **names,
    )
    return _LOOKUP.format(query_type=lookup.query_type, body=_dollar_quoted(body))


def _search_path(settings: Settings) -> str:
    """That of the probe, for names without a schema."""
    tables = [*(t.name.schema for t in settings.tables)]
    schemas = dict.fromkeys([*tables, *(e.parameter.schema for e in settings.lookups), "public"])
    return ", ".join(sql.Identifier(name).as_string() for name in ("pg_catalog", *schemas))


def _rows(rows: Iterable[tuple[str, ...]]) -> str:
    return ",\n".join(f"            ({_literals(row)})" for row in rows)


def _literals(values: Iterable[str]) -> str:
    return ", ".join(sql.Literal(value).as_string().strip() for value in values)


def _dollar_quoted(body: str) -> str:
    """The body between tags that do not occur in it, whatever the tables are called."""
    tag = "$grants$"
    while tag in body:
        tag = f"${tag.strip('$')}_$"
    return f"{tag}{body}{tag}"
