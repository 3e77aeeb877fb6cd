"""Which labels the series of an expression have, read from the expression and the contract.

A text that names another label prints nothing in its place, and no rule checker says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import promql_parser as promql

from phasegate.contract import metrics
from phasegate.contract.promql import SCRAPED

TARGET = frozenset({"job", "instance"})
"""What Prometheus adds to every series that it scrapes."""
_METRICS = {metric.name: frozenset(metric.labels) for metric in metrics.METRICS}
_SUFFIXES = {"_bucket": frozenset({"le"}), "_count": frozenset(), "_sum": frozenset()}


class Labels(NamedTuple):
    """`sure` are on each series, `possible` on some."""

    sure: frozenset[str]
    possible: frozenset[str]


def find_labels(expression: str, recorded: Mapping[str, str]) -> Labels:
    """Of the series of an expression; `recorded` are expressions by the name of their series."""
    found = _find(promql.parse(expression), recorded)
    assert found is not None, f"{expression} has no series"
    return found


def _find(node: Any, recorded: Mapping[str, str]) -> Labels | None:
    """None for what is a number."""
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.VectorSelector():
            return _of_metric(str(node.name), recorded)
        case promql.MatrixSelector():
            return _find(node.vector_selector, recorded)
        case promql.ParenExpr() | promql.SubqueryExpr() | promql.UnaryExpr():
            return _find(node.expr, recorded)
        case promql.Call():
            return _of_call(node, recorded)
        case promql.AggregateExpr():
            return _of_aggregate(node, recorded)
        case promql.BinaryExpr():
            return _of_binary(node, recorded)
    raise AssertionError(f"{type(node).__name__} is not read yet")


def _of_metric(name: str, recorded: Mapping[str, str]) -> Labels:
    if name in recorded:
        return find_labels(recorded[name], recorded)
    if name == SCRAPED:
        return Labels(TARGET, TARGET)
    own = _METRICS.get(name)
    for suffix, more in _SUFFIXES.items():
        base = name.removesuffix(suffix)
        if own is None and base != name and base in _METRICS:
            own = _METRICS[base] | more
    assert own is not None, f"nothing emits {name}"
    return Labels(own | TARGET, own | TARGET)


def _of_call(node: Any, recorded: Mapping[str, str]) -> Labels | None:
    name, arguments = node.func.name, node.args
    if name == "time":
        return None
    if name == "vector":
        return Labels(frozenset(), frozenset())
    if name == "absent":
        equal = {
            one.name for one in arguments[0].matchers.matchers if one.op == promql.MatchOp.Equal
        }
        return Labels(frozenset(equal), frozenset(equal))
    found = next(found for one in arguments if (found := _find(one, recorded)) is not None)
    if name == "histogram_quantile":
        return Labels(found.sure - {"le"}, found.possible - {"le"})
    if name == "label_replace":
        added = {arguments[1].val}
        return Labels(found.sure | added, found.possible | added)
    return found


def _of_aggregate(node: Any, recorded: Mapping[str, str]) -> Labels:
    found, modifier = _find(node.expr, recorded), node.modifier
    assert found is not None
    if modifier is None:
        return Labels(frozenset(), frozenset())
    named = set(modifier.labels)
    if modifier.type == promql.AggModifierType.By:
        return Labels(found.sure & named, found.possible & named)
    return Labels(found.sure - named, found.possible - named)


def _of_binary(node: Any, recorded: Mapping[str, str]) -> Labels | None:
    left, right = _find(node.lhs, recorded), _find(node.rhs, recorded)
    if left is None or right is None:
        return left or right
    match str(node.op):
        case "or":
            return Labels(left.sure & right.sure, left.possible | right.possible)
        case "and" | "unless":
            return left
    modifier = node.modifier
    matching = None if modifier is None else modifier.matching
    if matching is None:
        # Both sides have the same labels, or there is no pair of them and so no series.
        assert left.possible == right.possible, f"no series of {node} has a partner"
        return Labels(left.sure | right.sure, left.possible)
    assert modifier.card == promql.VectorMatchCardinality.OneToOne, f"{node} is not read yet"
    named = set(matching.labels)
    if matching.type == promql.LabelModifierType.Include:
        return Labels(left.sure & named, left.possible & named)
    return Labels(left.sure - named, left.possible - named)
