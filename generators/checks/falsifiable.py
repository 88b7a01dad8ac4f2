"""Can every criterion, and every guard's own expression, be false? Where not, a caret shows the place."""

from __future__ import annotations

from collections.abc import Iterator

from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import Binary, Expression, PromQLError, Span
from rollguard.generators.rules.alerting import conditions
from rollguard.generators.rules.timing import Timing
from rollguard.spec.falsifiable import AlwaysTrue, Side, criterion_fault, guard_fault
from rollguard.yamlfile import Location

NAME = "falsifiable"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield criteria that always hold, and guards that always fire."""
    for item in material.checked:
        for problem in (*_criteria(item), *_guards(item)):
            yield Finding(NAME, "error", problem)


def _criteria(item: LoadedRollout) -> Iterator[Problem]:
    for location, expr in item.criteria():
        try:
            fault = criterion_fault(expr)
        except ValueError:
            continue  # the check of rules says so
        if fault:
            yield _problem(item, location, f"always holds: {fault.why}.", expr, fault)


def _guards(item: LoadedRollout) -> Iterator[Problem]:
    timing = Timing(1.0, item.rollout.scrape.interval)
    for guard in item.rollout.guards:
        if guard.expr is None:
            continue
        (part,) = conditions(item.rollout, guard, timing)
        try:
            fault = guard_fault(part.expr)
        except ValueError:
            continue  # as above
        if fault:
            here = (*item.location(guard), "expr")
            yield _problem(item, here, f"fires whenever there is data: {fault.why}.", part.expr, fault)


def _problem(item: LoadedRollout, here: Location, message: str, expr: str, fault: AlwaysTrue) -> Problem:
    try:
        shown = f"\n{pointed(expr, _place(expr, fault))}"
    except PromQLError:
        shown = ""
    return item.problem(here, message + shown, fault.hint)


def pointed(expr: str, place: int) -> str:
    """Return the line of an expression that holds a place, and a caret below it."""
    begin = expr.rfind("\n", 0, place) + 1
    line = expr[begin:].partition("\n")[0]
    return f"    {line}\n    {' ' * (place - begin)}^"


def _place(expr: str, fault: AlwaysTrue) -> int:
    """Return where the part begins that is at fault, or its operator stands."""
    parsed = syntax.parse(expr)
    span: Span = (0, len(expr))
    for side in fault.path:
        span = _operand(_outermost(parsed, span), side)
    if fault.of_operator:
        operator = _outermost(parsed, span).operator
        following = (token for token in parsed.tokens if token.start > operator.start)
        after = next(following)
        return after.start if after.text.lower() == "bool" else operator.start
    return next(token.start for token in parsed.tokens if token.start >= span[0] and token.text != "(")


def _outermost(parsed: Expression, span: Span) -> Binary:
    within = [one for one in parsed.binaries if span[0] <= one.left[0] and one.right[1] <= span[1]]
    return max(within, key=lambda one: one.right[1] - one.left[0])


def _operand(binary: Binary, side: Side) -> Span:
    return binary.left if side == "left" else binary.right
