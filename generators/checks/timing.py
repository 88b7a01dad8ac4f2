"""Do `for` and windows fit the interval at which Prometheus looks?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from rollguard import durations
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import PromQLError, Selector
from rollguard.spec.guards import NoDataGuard
from rollguard.yamlfile import Location

NAME = "timing"
_NEED_TWO_SAMPLES = frozenset(
    {"rate", "increase", "irate", "idelta", "delta", "deriv", "changes", "resets", "predict_linear"}
)


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield what is shorter than an interval, so that it says nothing."""
    for item in material.checked:
        interval = item.rollout.scrape.interval
        for index, guard in enumerate(item.rollout.guards):
            if 0 < guard.for_ < interval:
                message = (
                    f"is {durations.render(guard.for_)}, shorter than the scrape interval of "
                    f"{durations.render(interval)}."
                )
                hint = (
                    f"Write {durations.render(interval)}, which it would be rounded up to, or leave it out."
                )
                yield Finding(NAME, "error", item.problem(("guards", index, "for"), message, hint))
        yield from _windows(item, interval)


def _windows(item: LoadedRollout, interval: float) -> Iterator[Finding]:
    guards = (
        (item.location(guard), str(rule["expr"]))
        for guard, rule in item.rules
        if not isinstance(guard, NoDataGuard)
    )
    for location, expr in chain(guards, item.criteria()):
        try:
            selectors = syntax.parse(expr).selectors
        except PromQLError:
            continue  # the check of rules says so
        for selector in dict.fromkeys(selectors):
            yield from _window(item, location, selector, interval)


def _window(
    item: LoadedRollout, location: Location, selector: Selector, interval: float
) -> Iterator[Finding]:
    samples = 2 if selector.function in _NEED_TWO_SAMPLES else 1
    if not selector.window or durations.parse(selector.window) >= samples * interval:
        return
    place = item.holding(location, selector.window)
    message = (
        f"looks back {selector.window}, less than {samples} scrape "
        f"interval{'s' if samples > 1 else ''} of {durations.render(interval)}: it would see nothing."
    )
    hint = f"Write {durations.render(4 * interval)} or more, so that a failed scrape does no harm."
    yield Finding(NAME, "error", item.problem(place, message, hint))
