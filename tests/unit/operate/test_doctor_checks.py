"""What the checks of `phasegate doctor` decide, from facts alone."""

from __future__ import annotations

from typing import Any

import pytest

from phasegate.contract.evidence import CLOCK_SKEW_SECONDS
from phasegate.contract.names import TableName
from phasegate.contract.settings import Settings
from phasegate.contract.settings_monitoring import Monitoring
from phasegate.operate.checks.cache import evaluate_answer, evaluate_memory, evaluate_state
from phasegate.operate.checks.clocks import evaluate_clocks
from phasegate.operate.checks.database import evaluate_server
from phasegate.operate.checks.indexes import Invalid, evaluate_indexes
from phasegate.operate.checks.lookup_plans import Facts, evaluate_scan, render_index
from phasegate.operate.checks.prometheus import evaluate_scrapes
from phasegate.operate.checks.rules import Wanted, evaluate_rules, make_wanted
from phasegate.operate.checks.runs import Session, evaluate_runs
from phasegate.operate.checks.thresholds import evaluate_limits, read_limits
from phasegate.operate.checks.uuid_generation import evaluate_callers, evaluate_own
from phasegate.operate.doctor import Finding, Severity
from phasegate.operate.doctor_plans import Scan, find_scans, find_tables
from phasegate.operate.doctor_prometheus import Rule

USERS = TableName("public", "users")


def severities(findings: Any) -> list[Severity]:
    return [one.severity for one in findings]


def only(findings: Any) -> Finding:
    [one] = findings
    assert isinstance(one, Finding)
    return one


class TestPlans:
    @pytest.mark.parametrize(
        ("condition", "filtered", "cast"),
        [
            ("(u.uuid = $1)", ("uuid",), ()),
            ("(($1)::uuid = u.uuid)", ("uuid",), ()),
            ("((u.uuid)::text = $1)", (), ("uuid",)),
            ('((u."Odd ""one" = $1) AND (u.id > 5))', ('Odd "one',), ()),
            ("((u.id >= 5) AND (u.name <> 'a = b'))", (), ()),
            ("(other.uuid = $1)", (), ()),
        ],
    )
    def test_columns_that_are_compared(
        self, condition: str, filtered: tuple[str, ...], cast: tuple[str, ...]
    ) -> None:
        node = {
            **{"Node Type": "Seq Scan", "Relation Name": "users", "Schema": "public"},
            **{"Alias": "u", "Filter": condition},
        }
        scan = only_scan(node)
        assert (scan.filtered, scan.cast) == (filtered, cast)

    def test_a_join_names_both_sides(self) -> None:
        scans = [
            {"Node Type": "Seq Scan", "Relation Name": name, "Schema": "public", "Alias": alias}
            for name, alias in (("users", "u"), ("user_roles", "ur"))
        ]
        root = {"Node Type": "Hash Join", "Hash Cond": "(ur.user_id = u.id)", "Plans": scans}
        found = find_scans(root)
        assert [(one.table.table, one.joined) for one in found] == [
            ("users", ("id",)),
            ("user_roles", ("user_id",)),
        ]
        assert [one.table for one in found] == find_tables(root)

    def test_which_index_is_missing(self) -> None:
        scan = Scan(USERS, ("uuid",), ("id",), ())
        assert scan.missing([]) == "uuid"
        assert scan.missing(["id"]) == "uuid"
        assert scan.missing(["uuid"]) == ""
        joined = Scan(USERS, (), ("id", "role_id"), ())
        assert joined.missing([]) == "id"
        assert joined.missing(["role_id"]) == ""

    def test_a_small_table_is_rightly_read_whole(self) -> None:
        scan = Scan(USERS, ("uuid",), (), ())
        facts = Facts("r", 8192, [], [])
        assert list(evaluate_scan("q", "Seq Scan", scan, facts, Settings())) == []
        assert severities(
            evaluate_scan("q", "Seq Scan", scan, facts._replace(size=10**7), Settings())
        ) == [Severity.PROBLEM]

    def test_an_index_of_a_partitioned_table_is_made_by_parts(self) -> None:
        assert "ON ONLY" in render_index(USERS, "uuid", "p", Settings())


def only_scan(node: dict[str, Any]) -> Scan:
    [scan] = find_scans({"Node Type": "Result", "Plans": [node]})
    return scan


class TestServers:
    @pytest.mark.parametrize(
        ("version", "recovering", "sessions", "wanted"),
        [
            (180006, False, 5, [Severity.OK]),
            (120010, False, 5, [Severity.PROBLEM]),
            (180006, True, 5, [Severity.PROBLEM]),
            (180006, False, 90, [Severity.WARNING]),
        ],
    )
    def test_database(
        self, version: int, recovering: bool, sessions: int, wanted: list[Severity]
    ) -> None:
        found = evaluate_server(version, recovering=recovering, sessions=sessions, room=100)
        assert severities(found) == wanted

    def test_uuids_of_old_majors_need_pgcrypto(self) -> None:
        old = only(evaluate_own(120_000, core=False, pgcrypto=False, tried=""))
        assert (old.severity, old.remedy) == (
            Severity.PROBLEM,
            "CREATE EXTENSION IF NOT EXISTS pgcrypto;",
        )
        assert severities(evaluate_own(120_000, core=False, pgcrypto=True, tried="")) == [
            Severity.OK
        ]
        assert severities(evaluate_own(150_000, core=False, pgcrypto=True, tried="")) == [
            Severity.PROBLEM
        ]

    def test_an_extension_that_is_not_on_the_machine(self) -> None:
        one = only(
            evaluate_callers("pgcrypto", [("f()", "crypt")], installed=False, available=False)
        )
        assert one.remedy.startswith("install the server's contrib package")

    @pytest.mark.parametrize(
        ("used", "limit", "policy", "wanted"),
        [
            (10, 0, "noeviction", Severity.OK),
            (89, 100, "noeviction", Severity.OK),
            (90, 100, "noeviction", Severity.PROBLEM),
            (90, 100, "allkeys-lru", Severity.WARNING),
        ],
    )
    def test_cache_memory(self, used: int, limit: int, policy: str, wanted: Severity) -> None:
        info = {"used_memory": used, "maxmemory": limit, "maxmemory_policy": policy}
        assert severities(evaluate_memory(info)) == [wanted]

    def test_cache_state(self) -> None:
        info = {
            **{"loading": 1, "rdb_last_bgsave_status": "err", "aof_last_write_status": "ok"},
            **{"role": "slave", "master_link_status": "down"},
        }
        assert severities(evaluate_state(info)) == [Severity.PROBLEM] * 3
        assert severities(evaluate_answer(1.0, {})) == [Severity.WARNING]


class TestClocks:
    @pytest.mark.parametrize("side", [1, -1])
    def test_the_limit_is_that_of_evidence(self, side: int) -> None:
        good = {"database": side * (CLOCK_SKEW_SECONDS - 0.1)}
        assert severities(evaluate_clocks(good, [])) == [Severity.OK]
        bad = {"database": side * (CLOCK_SKEW_SECONDS + 0.1), "cache": 0.0}
        assert severities(evaluate_clocks(bad, [])) == [Severity.PROBLEM, Severity.OK]

    def test_nobody_told_a_time(self) -> None:
        assert severities(evaluate_clocks({}, ["database"])) == [Severity.UNKNOWN]


class TestLeftovers:
    def test_a_runner_that_is_silent_and_one_at_work(self) -> None:
        alive = Session(1, True, "phasegate migrate", "local", "idle", 0.4)
        assert severities(evaluate_runs(None, [alive])) == [Severity.OK]
        dead = alive._replace(silent=3600.0)
        one = only(evaluate_runs(None, [dead]))
        assert one.remedy.startswith("SELECT pg_terminate_backend(1);")

    def test_indexes(self) -> None:
        invalid = Invalid("public.a", "public.t", "a", "i", False)
        found = [
            invalid,
            invalid._replace(building=True),
            invalid._replace(name="a_ccnew"),
            invalid._replace(kind="I"),
        ]
        assert severities(evaluate_indexes(found)) == [
            *(Severity.PROBLEM, Severity.OK, Severity.PROBLEM, Severity.WARNING),
        ]


class TestMonitoring:
    def test_scrapes(self) -> None:
        given = Monitoring(scrape_interval=10.0)

        def seen(*scrapes: tuple[str, float, float]) -> list[Severity]:
            return severities(evaluate_scrapes(list(scrapes), given, "http://p"))

        assert seen() == [Severity.PROBLEM]
        assert seen(("a", 1.0, 29.0)) == [Severity.OK]
        assert seen(("a", 1.0, 31.0)) == [Severity.PROBLEM]
        assert seen(("a", 0.0, 1.0), ("b", 1.0, 1.0)) == [Severity.PROBLEM, Severity.OK]

    def test_rules(self) -> None:
        wanted = make_wanted(Settings())
        loaded = [load(one) for one in wanted]
        assert severities(evaluate_rules(wanted, loaded, set(), "http://p")) == [Severity.OK]
        assert "none of our rules" in only(evaluate_rules(wanted, [], set(), "http://p")).evidence
        assert (
            wanted[0].text in only(evaluate_rules(wanted, loaded[1:], set(), "http://p")).evidence
        )
        drifted = only(evaluate_rules(wanted, loaded, {wanted[3]}, "http://p"))
        assert wanted[3].text in drifted.evidence
        held = [*loaded[:-1], load(wanted[-1]._replace(hold=7.0))]
        assert wanted[-1].text in only(evaluate_rules(wanted, held, set(), "http://p")).evidence
        loaded[2].health = "err"
        assert severities(evaluate_rules(wanted, loaded, set(), "http://p")) == [Severity.WARNING]

    def test_limits(self) -> None:
        text = (
            "# TYPE phasegate_criterion_threshold gauge\n"
            'phasegate_criterion_threshold{criterion="cache_hit_rate",severity="warning"} 0.9\n'
            'phasegate_criterion_threshold{criterion="cache_hit_rate",severity="critical"} 0.7\n'
        )
        found = read_limits(text)
        assert found["cache_hit_rate", "warning"] == 0.9
        one = only(evaluate_limits(found, Settings()))
        assert "cache_hit_rate critical: 0.7 there, 0.8 here" in one.evidence
        assert severities(evaluate_limits({}, Settings())) == [Severity.PROBLEM]


def load(one: Wanted) -> Rule:
    labels = {"severity": one.severity} if one.severity else {}
    return Rule(one.name, one.expression, duration=one.hold, labels=labels)
