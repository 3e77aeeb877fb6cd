"""What `init` decides from facts, and that no name leaves its place in the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from phasegate.cli import group
from phasegate.contract.names import ColumnName, TableName
from phasegate.contract.settings_load import load_settings
from phasegate.operate.init_audit import TIME, find_writers, plan_audit
from phasegate.operate.init_cache import group_keys, rank_prefixes
from phasegate.operate.init_facts import Column, Facts, Reference, Table, Trigger
from phasegate.operate.init_links import find_links, words_of
from phasegate.operate.init_permissions import plan_permissions
from phasegate.operate.init_tables import plan_tables, plan_uuid_column
from phasegate.operate.init_yaml import block, comment, scalar

ID = Column("id", "bigint", not_null=True)


def named(name: str) -> TableName:
    return TableName("public", name)


def table(
    name: str, *columns: Column, rows: int = 0, references: tuple[Reference, ...] = ()
) -> Table:
    return Table(
        named(name), "r", rows=rows, columns=(ID, *columns), key=("id",),
        uniques=frozenset({"id"}), references=references,
    )  # fmt: skip


def facts(*tables: Table, functions: dict[TableName, str] | None = None) -> Facts:
    return Facts(180_000, "db", "me", False, True, "1", tables, functions or {})


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=15
).filter(lambda name: bool(name.strip()))


@given(name=NAMES, other=NAMES)
@example(name="${HOME}", other="$${HOME}")
@example(name="a\x85audit: {table: b.c}", other="\u2028\x07")
@example(name="yes", other="1_000")
def test_any_name_comes_back_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, name: str, other: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "names.yaml"
    written = scalar(str(TableName(name, other)))
    column = scalar(str(ColumnName("", "", other)))
    told = "\n".join(comment(f"{name}: {other}", 2))
    sql = "\n".join(block(f"SELECT {name}\n{other} $1", 6))
    parameter = scalar(str(ColumnName(name, other, other)))
    file.write_text(
        f"database: {{identity: {{system_identifier: '1', database: {scalar(name)}}}}}\n"
        f"tables:\n{told}\n  - {{name: {written}, uuid_column: {column}}}\n"
        f"lookups:\n  - query_type: a\n    parameter: {parameter}\n"
        f"    sql: {sql}\n",
        encoding="utf-8",
        newline="",
    )
    settings = load_settings(file, {"HOME": "elsewhere"}, connects=False)
    assert settings.database.identity.database == name
    assert [(one.name, one.uuid_column) for one in settings.tables] == [((name, other), other)]
    assert settings.lookups[0].sql == f"SELECT {name}\n{other} $1"


def test_names_of_every_framework_are_the_same_words() -> None:
    for name in ("auth_user", "AuthUser", "authUser", "Auth User"):
        assert words_of(name) == ["auth", "user"]
    assert words_of("HTTPLog2_id") == ["http", "log2", "id"]


def test_a_reference_without_a_foreign_key_is_found_by_its_name_and_told_apart() -> None:
    found = find_links(
        facts(
            table("companies"),
            table("posts", Column("company_id", "bigint"), Column("note_id", "text")),
            table("people", Column("companyId", "integer")),
            table("notes", Column("person_id", "bigint", True)),
        )
    )
    assert [(one.table.table, one.parent.table, one.declared) for one in found] == [
        ("posts", "companies", False),
        ("people", "companies", False),
        ("notes", "people", False),
    ]


def test_who_is_referred_to_comes_first_and_small_or_lone_tables_are_only_offered() -> None:
    choice = plan_tables(
        facts(
            table("orders", Column("user_id", "bigint"), rows=90_000),
            table("lines", Column("order_id", "bigint"), Column("kind_id", "int"), rows=200_000),
            table("kinds", rows=7),
            table("users", rows=50),
        ),
        find_links(
            facts(
                table("users"),
                table("orders", Column("user_id", "bigint")),
                table("kinds"),
                table("lines", Column("order_id", "bigint"), Column("kind_id", "integer")),
            )
        ),
        {},
    )
    assert [(one.table.name.table, one.optional) for one in choice.candidates] == [
        ("users", ""),
        ("kinds", "about 7 rows, perhaps reference data"),
        ("orders", ""),
        ("lines", "no other table holds its key"),
    ]


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (Table(named("t"), "r"), "it has no primary key"),
        (Table(named("t"), "f"), "a foreign table"),
        (Table(named("t"), "r", locked=True), "ACCESS EXCLUSIVE"),
        (Table(named("t"), "r", key=("a", "b")), "of several columns: a, b"),
        (Table(named("t"), "r", key=("k",), columns=(Column("k", "text"),)), "k is text"),
        (Table(named("t"), "r", key=("k",), columns=(Column("k", "uuid"),)), "k is uuid already"),
        (Table(named("t"), "r", readable=False, key=("id",), columns=(ID,)), "may not read it"),
        (table("django_migrations"), "it belongs to Django"),
        (table("t", references=(Reference("id", named("u"), "id"),)), "shares the one of public.u"),
    ],
)  # fmt: skip
def test_why_a_table_is_left_out(odd: Table, reason: str) -> None:
    [left_out] = plan_tables(facts(odd), (), {}).left_out
    assert reason in left_out.reason


def test_a_uuid_of_another_name_is_asked_for_and_never_filled() -> None:
    token = Column("reset_token", "uuid", nulls=0.97)
    chosen = plan_uuid_column(table("users", token))
    assert (chosen.name, chosen.there) == ("uuid", False)
    assert "reset_token (uuid, may be NULL, 97.0% NULL" in chosen.questions[0]
    assert plan_uuid_column(table("users", Column("user_uuid", "uuid"))).name == "user_uuid"
    assert plan_uuid_column(table("orders", Column("user_uuid", "uuid"))).name == "uuid"
    assert plan_uuid_column(table("users", Column("uuid", "text"))).name == "uuid_key"


def test_the_log_is_the_table_that_triggers_write_into() -> None:
    time, function = Column("at", TIME), named("note_it")
    watched = Table(named("users"), "r", triggers=(Trigger("t", function, rewrites=True),))
    source = """BEGIN -- insert into audit_logs
        INSERT INTO Public . trail VALUES ('insert into users'); RETURN NULL; END"""
    read = facts(
        watched, table("trail", time), table("log_lines", time), functions={function: source}
    )
    assert list(find_writers(read)) == [named("trail")]
    found = plan_audit(facts(watched, table("audit_trail", time), table("users_log", time)))
    assert found is not None
    assert found.table == named("audit_trail")
    assert plan_audit(facts(table("events"), table("orders", time))) is None


def test_a_chain_of_permissions_needs_its_names_and_a_text_to_show() -> None:
    members = (
        table("users"),
        table("roles"),
        table("user_roles", Column("user_id", "bigint"), Column("role_id", "bigint")),
        table("role_permissions", Column("role_id", "bigint"), Column("permission_id", "bigint")),
    )
    for shown, expected in ((Column("name", "text"), True), (Column("bits", "integer"), False)):
        read = facts(*members, table("permissions", shown))
        assert (plan_permissions(read, find_links(read)) is not None) is expected


def test_keys_are_told_by_what_of_them_is_no_identifier() -> None:
    keys = [
        *(f"perm:{n}".encode() for n in range(5)),
        *(f":1:view:{n}".encode() for n in range(3)),
        *(f"user:{n}:roles".encode() for n in range(2)),
        *(f"{n:032x}".encode() for n in range(2)),
        b"sess:9f86d081884c7d65", b"sess:0a86d081884c7d65", b"me@example.com:x", b"\xff:1",
    ]  # fmt: skip
    found = {text: len(group) for text, group in group_keys(keys).items()}
    assert found == {"perm:": 5, ":1:view:": 3, "user:": 2, "sess:": 2, "": 4}
    [prefix] = rank_prefixes({"app[1]:perm:user:": [b"x"]})
    assert prefix.pattern == r"app\[1\]:perm:*"


def test_flags_that_do_not_go_together(tmp_path: Path) -> None:
    def run(*flags: str) -> tuple[int, str]:
        result = CliRunner().invoke(
            group,
            ["init", *flags],
            env={"DATABASE_URL": "", "REDIS_URL": "", "PHASEGATE_CONFIG": ""},
        )
        return result.exit_code, result.output

    assert run()[0] == 2
    assert "set DATABASE_URL" in run()[1]
    assert "no other flag" in run("--grants", "--force")[1]
    assert "--output names the file" in run("--config", "x.yaml")[1]
    nowhere = ("--database-url", "postgresql://x", "--output", str(tmp_path / "no" / "x.yaml"))
    assert "is no folder" in run(*nowhere)[1]
    odd = ("--database-url", "postgresql://x", "--environment", "a b", "--output")
    assert "expected a name of letters" in run(*odd, str(tmp_path / "x.yaml"))[1]
    for told in ("Exit codes", "Example", "--redis-url"):
        assert told in run("--help")[1]
