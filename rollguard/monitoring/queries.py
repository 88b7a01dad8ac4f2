"""What Prometheus is asked about a rollout, made of the expressions of its file and of its loaded rules."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import promql_parser as parser

from rollguard.conventions import GUARD_LABEL, ROLLOUT_LABEL, RULES_INFO
from rollguard.durations import render
from rollguard.errors import RollguardError
from rollguard.spec.falsifiable import COMPARATORS


class QueryError(RollguardError):
    """An expression is not PromQL."""


def within(expression: str, rollout: str) -> str:
    """Return an expression that reads the series of one rollout only.

    Args:
        expression: PromQL; a selector that names the label ``rollout`` already stays as it is.
        rollout: its name.
    Raises:
        QueryError: it is not PromQL.
    """

    def narrowed(node: parser.Expr) -> parser.Expr | None:
        if not isinstance(node, parser.VectorSelector):
            return None
        matchers = node.matchers.matchers
        if any(matcher.name == ROLLOUT_LABEL for matcher in matchers):
            return None
        own = parser.Matcher(parser.MatchOp.Equal, ROLLOUT_LABEL, rollout)
        node.matchers = parser.Matchers([own, *matchers])
        return parser.parse(str(node))

    return _line(parser.transform(_parsed(expression), post_visit=narrowed))


def measured(expression: str) -> str:
    """Return what an expression compares, without the comparisons: it yields a value where they fail, too.

    Raises:
        QueryError: it is not PromQL.
    """
    node = _parsed(expression)
    while isinstance(node, parser.ParenExpr) or (
        isinstance(node, parser.BinaryExpr) and str(node.op) in COMPARATORS
    ):
        node = node.expr if isinstance(node, parser.ParenExpr) else node.lhs
    return _line(node)


def armed(rule: str, optional: Collection[str] = ()) -> str | None:
    """Return the query that yields a sample where a rule can judge: its series are there, its samples enough.

    NaN is no data: what a rule compares must be numbers, of every series.

    Args:
        rule: a rule's expression. `and … >= number` is taken as its minimal sample, what stands right of
            `unless` as where the guard is not meant.
        optional: selectors of series that may be absent.
    Returns:
        PromQL, or None for a rule that reads no series, or their absence.
    Raises:
        QueryError: it is not PromQL.
    """
    absent = {_line(_parsed(selector)) for selector in optional}
    needs = list(dict.fromkeys(_needs(_parsed(rule))))
    there = [f"group({need.query})" for need in needs if not need.operand and need.selector not in absent]
    odd = [f"({need.query} != {need.query})" for need in needs if need.operand]
    return " unless on () ".join([" and on () ".join(there), *odd]) if there else None


def waiting(rule: str) -> str | None:
    """Return the query that yields a sample where one of a rule's samples is there, and below its minimum.

    Args:
        rule: a rule's expression.
    Returns:
        PromQL, or None for a rule without a minimal sample.
    Raises:
        QueryError: it is not PromQL.
    """
    few = dict.fromkeys(need.below for need in _needs(_parsed(rule)) if need.below)
    return " or ".join(f"group({below})" for below in few) or None


def scarce(raw: str, metric: str, seconds: float) -> str:
    """Return the query that yields a sample where a metric is not there, but what it is made of is.

    Args:
        raw: selector of what is there however little there is.
        metric: selector.
        seconds: for how long a sample counts.
    """
    there, left_out = (f"last_over_time({one}[{_range(seconds)}])" for one in (raw, metric))
    return f"group({there}) unless on () group({left_out})"


def evaluated_samples(rollout: str, seconds: float, ago: float = 0.0) -> str:
    """Return the query that counts how often the rules of a rollout were evaluated.

    Args:
        rollout: its name.
        seconds: in how many.
        ago: before how many seconds those ended.
    """
    return f"sum(count_over_time({_rules(rollout)}[{_range(seconds)}]{_offset(ago)}))"


def rules_age(rollout: str) -> str:
    """Return the query for the seconds since a rollout's rules were last evaluated, by Prometheus's clock."""
    return f"time() - max(timestamp({_rules(rollout)}))"


def last_failure(criterion: str, rollout: str, seconds: float, step: float, ago: float = 0.0) -> str:
    """Return the query for when a criterion last did not hold although rules were evaluated, Unix seconds.

    Args:
        criterion: PromQL.
        rollout: its name.
        seconds: in how many.
        step: seconds from one look to the next.
        ago: before how many seconds those ended.
    """
    failed = f"timestamp({_rules(rollout)}) unless on () ({criterion})"
    return f"max(max_over_time(({failed})[{_range(seconds)}:{_range(step)}]{_offset(ago)}))"


def last_alert(rollout: str, guard: str, seconds: float, step: float) -> str:
    """Return the query for when a guard was last pending or fired, Unix seconds; arguments as above."""
    alerts = f'ALERTS{{{ROLLOUT_LABEL}="{rollout}",{GUARD_LABEL}="{guard}"}}'
    return f"max(max_over_time(timestamp({alerts})[{_range(seconds)}:{_range(step)}]))"


def share(armed_query: str, seconds: float, step: float) -> str:
    """Return the query for in how many steps of the last seconds a guard could judge."""
    return f"max(count_over_time(({armed_query})[{_range(seconds)}:{_range(step)}]))"


def _rules(rollout: str) -> str:
    return f'{RULES_INFO}{{{ROLLOUT_LABEL}="{rollout}"}}'


def _offset(ago: float) -> str:
    return f" offset {_range(ago)}" if ago > 0 else ""


def _range(seconds: float) -> str:
    return render(max(0.001, seconds))


def _parsed(expression: str) -> parser.Expr:
    try:
        return parser.parse(expression)
    except (ValueError, RecursionError) as error:
        raise QueryError(f"{expression!r} is not PromQL: {error}.") from error


def _line(node: parser.Expr) -> str:
    """Return an expression on one line; no string of PromQL is broken over lines here."""
    return " ".join(line.strip() for line in node.prettify().split("\n"))


@dataclass(frozen=True)
class _Need:
    """What a rule needs to judge.

    Args:
        query: yields a sample where it is given; of an operand, its values.
        selector: of one series; empty where it is none.
        operand: whether it is an operand of a comparison, which must not be NaN.
        below: of a minimal sample, the query for where it is not reached.
    """

    query: str
    selector: str = ""
    operand: bool = False
    below: str = ""


def _needs(node: parser.Expr) -> Iterator[_Need]:
    match node:
        case parser.ParenExpr():
            yield from _needs(node.expr)
        case parser.BinaryExpr() if str(node.op) == "unless":
            yield from _needs(node.lhs)
        case parser.BinaryExpr() if str(node.op) == "and":
            yield from _needs(node.lhs)
            sample = _minimal_sample(node.rhs)
            yield from [sample] if sample else _needs(node.rhs)
        case _:
            yield from _series(node)
            yield from _operands(node)


def _minimal_sample(node: parser.Expr) -> _Need | None:
    """Return a condition that is a number which must be reached, and not part of the breach."""
    inner = _inner(node)
    if not isinstance(inner, parser.BinaryExpr) or str(inner.op) != ">=":
        return None
    if not isinstance(inner.rhs, parser.NumberLiteral):
        return None
    return _Need(_line(node), below=f"{_line(inner.lhs)} < {_line(inner.rhs)}")


def _operands(node: parser.Expr) -> Iterator[_Need]:
    node = _inner(node)
    if isinstance(node, parser.BinaryExpr) and str(node.op) in COMPARATORS:
        for side in (node.lhs, node.rhs):
            compared = list(_operands(side))
            yield from compared
            if not compared and not _is_scalar(side):
                text = _line(side)
                yield _Need(f"({text})" if isinstance(side, parser.BinaryExpr) else text, operand=True)


def _is_scalar(node: parser.Expr) -> bool:
    match node:
        case parser.ParenExpr() | parser.UnaryExpr():
            return _is_scalar(node.expr)
        case parser.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case parser.Call():
            return node.func.name in {"time", "scalar", "pi"}
        case _:
            return isinstance(node, parser.NumberLiteral)


def _inner(node: parser.Expr) -> parser.Expr:
    while isinstance(node, parser.ParenExpr):
        node = node.expr
    return node


def _series(node: parser.Expr) -> Iterator[_Need]:
    """Yield what an operand reads: each selector, within its range."""
    match node:
        case parser.VectorSelector():
            yield _Need(_line(node), _line(node))
        case parser.MatrixSelector():
            yield _Need(f"last_over_time({_line(node)})", _bare(node))
        case parser.ParenExpr() | parser.SubqueryExpr() | parser.UnaryExpr() | parser.AggregateExpr():
            yield from _series(node.expr)
        case parser.BinaryExpr() if str(node.op) == "or":
            yield from _needs(node.lhs)
            yield from _needs(node.rhs)
        case parser.BinaryExpr():
            yield from _series(node.lhs)
            yield from _series(node.rhs)
        case parser.Call() if not node.func.name.startswith("absent"):
            for argument in node.args:
                yield from _series(argument)


def _bare(node: parser.MatrixSelector) -> str:
    """Return a selector without its range, and without an offset."""
    selector = node.vector_selector
    selector.offset = None
    return _line(parser.parse(str(selector)))
