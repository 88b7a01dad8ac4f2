"""Tests that follow from a firing case: the alert resolves, outlasts failed scrapes, reads no other series.

A template says what fires and what is silent; here the same series go on in time, lose scrapes, vanish one
by one, or carry another label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rollguard.conventions import ROLLOUT_LABEL
from rollguard.generators.alertmanager.matchers import Matcher
from rollguard.generators.promql import syntax
from rollguard.generators.rule_tests.cases import (
    FIRES,
    SILENT,
    RenderedCase,
    Watched,
    are_same,
    are_twins,
)
from rollguard.generators.rule_tests.following import Following
from rollguard.generators.rules.alerting import Condition
from rollguard.spec.rule_tests import TestCase
from rollguard.spec.series import Series

_BESIDE_HEALTH = f"{FIRES} beside health"


def derived(watched: Watched, part: Condition) -> Iterator[RenderedCase]:
    """Yield what follows from each case of a condition.

    Args:
        watched: the guard.
        part: one of its conditions.
    Yields:
        Cases beside those that the template writes.
    """
    written = watched.written(part)
    healthy = watched.healthy(part)
    absence = watched.fires_on_absence(part)
    unjudged = (
        watched.template.judges_absence
        and "metric" in part.names
        and part.names.get("counter") is part.names.get("single") is None
    )
    for case, fires in written:
        if fires.kind != FIRES:
            continue
        then = next((twin for twin, silent in written if _is_twin(fires, silent)), None)
        cases = Following(watched, part, case, fires)
        if absence or unjudged:
            if not unjudged or _ends_as_any(part, case):
                yield from cases.resolves(healthy)
            continue
        if then is not None:
            yield from cases.resolves(then)
            yield from cases.begins_late(then)
        yield from cases.loses_series()
        if any(not series.foreign for series in _named(part)):
            yield from cases.loses_scrapes()
            yield from _others(part, fires)
        else:
            yield from _mislabelled(_named(part), fires, f"{SILENT} for other labels")
    if unjudged:
        yield from _unjudged(watched, part, written)
    else:
        yield from _beside_others(watched, part, written)


def _ends_as_any(part: Condition, case: TestCase) -> bool:
    """Return whether missing data ends by the healthy case, which has no label sets, as another case ends."""
    return part.names["metric"] is None or not any(one.labels or one.values == "NaN" for one in case.series)


def _unjudged(
    watched: Watched, part: Condition, written: Sequence[tuple[TestCase, RenderedCase]]
) -> Iterator[RenderedCase]:
    """Yield what a guard on missing data says of series with other labels: it misses its own only."""
    breach = next(case for _, case in written if case.kind == FIRES and case.series)
    healthy = written[-1][1].varied(FIRES, "", written[-1][1].series, (watched.waits, True))
    expected = part.names["metric"]
    others = [item for item in _named(part) if item is not expected]
    if expected is not None:
        yield from _mislabelled([expected], healthy, f"{FIRES} for other labels")
    if others and len(watched.parts) == 1:
        yield from _mislabelled(others, breach, f"{SILENT} for other labels")
    for case, rendered in written:
        if case.case == FIRES and case.series:
            yield from _missing_elsewhere(watched, part, case, rendered)


def _missing_elsewhere(
    watched: Watched, part: Condition, case: TestCase, breach: RenderedCase
) -> Iterator[RenderedCase]:
    """Yield that a guard is silent beside a breach that has other labels than its own series."""
    own = part.names["metric"] or part.names.get("number")
    no_number = any(one.values == "NaN" for one in case.series)
    if own is None or not (no_number or part.names.get("by") is not None or "stale" not in str(case.series)):
        return
    healthy = watched.healthy(part)
    ((at, _),) = breach.expected
    longer = max(0, at - watched.waits - watched.begins(part, healthy))
    calm = watched.series(part, healthy, longer)
    labels = {ROLLOUT_LABEL: "another"}
    if no_number:
        labels |= {
            label: _unselected(operator, value)
            for label, operator, value in own.own_matchers
            if not any(
                _reads(other, own, {label: _unselected(operator, value)})
                for other in watched.parts
                if other is not part
            )
        }
    for label, value in labels.items():
        moved = {
            _with_label(name, label, value): values
            for name, values in breach.series.items()
            if label == ROLLOUT_LABEL or _is_of(own, name)
        }
        about = f"healthy, beside this with another {label}: {breach.about}"
        yield breach.varied(SILENT, about, {**calm, **moved}, (at, False))


def _reads(part: Condition, series: Series, labels: Mapping[str, str]) -> bool:
    """Return whether a condition reads a metric whose series has these labels."""
    return any(
        item.name == series.name
        and all(Matcher(*matcher).matches(labels) for matcher in item.own_matchers if matcher[0] in labels)
        for item in _named(part)
    )


def _is_twin(fires: RenderedCase, silent: RenderedCase) -> bool:
    """Return whether a silent case shows other values than a firing one, but for them is the same."""
    return silent.kind == SILENT and are_twins(fires, silent) and not are_same(fires, silent)


def _others(part: Condition, fires: RenderedCase) -> Iterator[RenderedCase]:
    """Series that a guard must not read: of another rollout, or with another label."""
    yield from _mislabelled(_named(part), fires, f"{SILENT} for other labels")
    moved = {
        _with_label(name, ROLLOUT_LABEL, "another", f'replica="{replica}"'): values
        for name, values in fires.series.items()
        for replica in (1, 2)
    }
    yield fires.varied(
        f"{FIRES} beside another rollout", fires.about, {**fires.series, **moved}, *fires.expected
    )


def _beside_others(
    watched: Watched, part: Condition, written: Sequence[tuple[TestCase, RenderedCase]]
) -> Iterator[RenderedCase]:
    """Yield each case beside its opposite in series of another label, which are none of the guard's."""
    labels = {label: (op, value) for item in _named(part) for label, op, value in item.own_matchers}
    for case, rendered in written:
        opposite = _opposite(case, written)
        if opposite is None or rendered.kind not in {FIRES, SILENT} or not rendered.series:
            continue
        ((at, fires),) = rendered.expected
        longer = max(0, at - watched.begins(part, opposite))
        for label, (op, value) in labels.items():
            others = {
                _with_label(name, label, _unselected(op, value)): values
                for name, values in watched.series(part, opposite, longer).items()
                if f'{label}="' in name
            }
            if others and not any(_selected(item, name) for item in _named(part) for name in others):
                kind, beside = (_BESIDE_HEALTH, "health") if fires else (SILENT, "a breach")
                about = f"{rendered.about}, beside {beside} with another {label}"
                yield rendered.varied(kind, about, {**rendered.series, **others}, (at, fires))


def _opposite(case: TestCase, written: Sequence[tuple[TestCase, RenderedCase]]) -> TestCase | None:
    """Return a breach for a case that is silent, of the same start where there is one; else health."""
    found = [
        other
        for other, rendered in written
        if rendered.series and (rendered.kind == FIRES) != (case.case == FIRES)
    ]
    if case.case == FIRES:  # what is written last is healthiest
        return found[-1] if found else None
    return next((other for other in found if other.starts == case.starts), found[0] if found else None)


def _selected(item: Series, name: str) -> bool:
    """Return whether a guard's series selects a series of a test; a histogram by its parts."""
    (selector,) = syntax.parse(name).selectors
    metric = selector.metric.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum")
    labels = {matcher.label: matcher.value[1:-1] for matcher in selector.matchers}
    return item.name in {metric, selector.metric} and item.selects(labels)


def _named(part: Condition) -> list[Series]:
    return [value for value in part.names.values() if isinstance(value, Series) and value.name in part.expr]


def _mislabelled(series: Sequence[Series], case: RenderedCase, kind: str) -> Iterator[RenderedCase]:
    at = case.expected[0][0]
    if any(not item.foreign for item in series):
        own = [name for name in case.series if any(_is_of(item, name) for item in series)]
        elsewhere = {
            _with_label(name, ROLLOUT_LABEL, "another") if name in own else name: values
            for name, values in case.series.items()
        }
        yield case.varied(kind, _about(case, "in another rollout"), elsewhere, (at, kind.startswith(FIRES)))
    for read, (label, operator, value) in _matchers(series):
        moved = {
            _with_label(key, label, _unselected(operator, value))
            if any(_is_of(item, key) for item in read)
            else key: values
            for key, values in case.series.items()
        }
        if moved != case.series:
            names = " and ".join(dict.fromkeys(item.name for item in read))
            about = _about(case, f"{names} with another {label}")
            yield case.varied(kind, about, moved, (at, kind.startswith(FIRES)))


def _matchers(series: Sequence[Series]) -> Iterator[tuple[list[Series], tuple[str, str, str]]]:
    """Yield each matcher with the series that have it: one by one, and where several do, together."""
    for item in series:
        yield from (([item], matcher) for matcher in item.own_matchers)
    for matcher in dict.fromkeys(matcher for item in series for matcher in item.own_matchers):
        several = [item for item in series if matcher in item.own_matchers]
        if len(several) > 1:
            yield several, matcher


def _is_of(item: Series, name: str) -> bool:
    """Return whether a series of a test is what a guard's series selects, a histogram's parts included."""
    example = str(item.example())
    metric, _, labels = example.partition("{")
    return any(
        name == f"{metric}{suffix}{{{labels}" or name.startswith(f"{metric}{suffix}{{{labels[:-1]},")
        for suffix in ("", "_bucket", "_count", "_sum")
    )


def _about(case: RenderedCase, words: str) -> str:
    return f"{case.about}, {words}" if case.about else f"healthy, but {words}"


def _unselected(operator: str, value: str) -> str:
    first, _, _ = value.partition("|")
    return first if operator.startswith("!") else f"{first}-other"


def _with_label(name: str, label: str, value: str, more: str = "") -> str:
    """Return a series with one of its labels set to another value."""
    (selector,) = syntax.parse(name).selectors
    labels = {matcher.label: matcher.value for matcher in selector.matchers} | {label: f'"{value}"'}
    pairs = [f"{key}={text}" for key, text in labels.items()]
    return f"{selector.metric}{{{','.join([*pairs, *([more] if more else [])])}}}"
