"""Is every metric that a guard or a criterion reads offered by somebody, with the labels that it asks for?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rollguard.conventions import RULES_INFO
from rollguard.generators import known_metrics
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout, Severity
from rollguard.generators.known_metrics import SelectableSeries
from rollguard.generators.promql.reads import Read, Reading, reading
from rollguard.generators.promql.syntax import PromQLError
from rollguard.metric import Metric
from rollguard.spec.rollout import BY_EVIDENCE
from rollguard.spec.templates import template_of
from rollguard.yamlfile import Location

NAME = "metrics"
_RECORDED = (
    Metric(RULES_INFO, "gauge", "Which file the rules were rendered from.", ("digest", "dashboard")),
)


@dataclass(frozen=True)
class Used:
    """An expression, and where it comes from.

    Args:
        location: of the guard or criterion.
        reading: what it reads.
    """

    location: Location
    reading: Reading


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield metrics and labels that nobody offers."""
    for item in material.checked:
        try:
            saved = saved_exposition(item)
        except known_metrics.ExpositionError as error:
            yield Finding(NAME, "error", item.problem(("scrape", "offers"), f"{error}."))
            continue
        if item.offered is None and saved is None:
            message = "names no exposition, so the metrics of its guards cannot be checked."
            hint = "Save one: curl host:port/metrics > FILE, and write scrape.offers: FILE."
            yield Finding(NAME, "note", item.problem(("scrape",), message, hint))
            continue
        found = {(read, used.location): used for used in uses(item) for read in used.reading.series}
        certain, known = item.offered is not None and saved is None, everything(item, saved)
        for read, location in found:
            yield from _check(item, read, location, known, certain=certain)


def saved_exposition(item: LoadedRollout) -> tuple[Metric, ...] | None:
    """Return the metrics of the file that a rollout names, relative to its own; None where it names none.

    Raises:
        ExpositionError: it cannot be read.
    """
    given = item.rollout.scrape.offers
    if given is None:
        return None
    try:
        return known_metrics.exposition(item.document.path.parent / Path(given))
    except known_metrics.ExpositionError as error:
        raise known_metrics.ExpositionError(f"is {given}, which {error}") from error


def known_series(item: LoadedRollout) -> Mapping[str, SelectableSeries] | None:
    """Return what a rollout's expressions may select; None where this check says that it cannot be read."""
    try:
        return everything(item, saved_exposition(item))
    except known_metrics.ExpositionError:
        return None


def everything(item: LoadedRollout, saved: Iterable[Metric] | None) -> Mapping[str, SelectableSeries]:
    """Return what a rollout's expressions may select."""
    return known_metrics.selectable_series(
        [*(item.offered or ()), *(saved or ()), *known_metrics.servers(), *_RECORDED]
    )


def uses(item: LoadedRollout) -> Iterator[Used]:
    """Yield every expression of a rollout that is PromQL; what is not, the check of rules says."""
    for location, expr in (*item.expressions(), *_counters(item)):
        try:
            yield Used(location, reading(expr))
        except PromQLError:
            continue


def _counters(item: LoadedRollout) -> Iterator[tuple[Location, str]]:
    """Yield the counters of the guards by evidence: the evaluator reads them, no rule does."""
    for guard in item.rollout.guards:
        if guard.use in BY_EVIDENCE:
            bound = template_of(guard).bind(guard.bindings[0])
            for name in ("bad", "good", "total", "values", "assigned", "histogram"):
                if (series := bound.get(name)) is not None:
                    yield item.location(guard), str(series.suffixed("_bucket" if name == "histogram" else ""))


def _check(
    item: LoadedRollout,
    read: Read,
    location: Location,
    known: Mapping[str, SelectableSeries],
    *,
    certain: bool,
) -> Iterator[Finding]:
    if read.metric and read.metric not in known:
        message = f"reads {read.metric}, which nobody offers."
        hint = _near(read.metric, known) or "Neither its exporter nor the control plane has it."
        yield Finding(NAME, "error", item.problem(item.holding(location, read.metric), message, hint))
    elif read.metric:
        # Where somebody else scrapes, targets may have further labels.
        severity: Severity = "error" if certain else "warning"
        labels = known[read.metric].labels
        for label in read.labels:
            if label not in labels:
                own = sorted(known[read.metric].metric.labels)
                message = f"{read.metric} has no label {label}; known: {', '.join(own) or 'none'}."
                hint = _near(label, labels)
                yield Finding(NAME, severity, item.problem(item.holding(location, label), message, hint))


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}?" if near else ""
