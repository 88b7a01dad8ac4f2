"""The metrics of a model canary, named as its rollout and its dashboards name them.

A window without events yields no sample, never a zero that a guard would take for a fact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporters.canary_events import HORIZONS_MS, ROUTES
from exporters.canary_state import Cell, Cohort, Totals
from exporters.drift import Drift
from exporters.intake import counter

MIN_TRADES = 50
"""Closed trades in the window below which `rolling_precision` is silent."""


def totals(found: Totals) -> Iterator[Metric]:
    """Yield the counters, from zero on."""
    yield counter("trades_opened", "Trades opened.", ["route"], found.trades_opened)
    yield counter("trades_closed", "Trades closed.", ["route"], found.trades_closed)
    yield counter("trades_won", "Trades closed with a profit.", ["route"], found.trades_won)
    text = "Comparisons of the exported model with its original that did not agree."
    yield CounterMetricFamily("onnx_parity_fail", text, value=found.parity_failures)
    text = "Values of served features that the reference does not have."
    yield CounterMetricFamily("rollguard_exporter_features_unknown", text, value=found.features_unknown)


def rolling(sums: Mapping[Cell, float]) -> Iterator[Metric]:
    """Yield what is judged over the rolling window.

    Args:
        sums: over the window, by (route or slot, quantity).
    """
    yield from _trades(sums)
    yield from _orders(sums)
    for horizon in HORIZONS_MS:
        text = f"Mean markout {horizon} ms after the fill, in the producer's unit."
        values = {r: _ratio(sums[r, f"markout_{horizon}"], sums[r, f"markouts_{horizon}"]) for r in ROUTES}
        yield _by_route(f"avg_markout_{horizon}ms", text, values)
    for name, slot in (("model_score_distribution", "active"), ("shadow_score_distribution", "shadow")):
        text = f"Mean and standard deviation of the scores of slot {slot}."
        moments = _moments(sums[slot, "scores"], sums[slot, "score"], sums[slot, "score_squared"])
        samples = ((("online", stat), value) for stat, value in moments.items())
        yield _gauge(name, text, ["split", "stat"], samples)


def cohort(found: Cohort) -> Iterator[Metric]:
    """Yield what is judged since the stage began, on trades opened in it."""
    for name, route, whose in (
        ("canary", "canary", "canary trades"),
        ("baseline_active", "paper", "paper trades (the active model's)"),
    ):
        closed, won = found.closed[route], found.won[route]
        text = f"Share that won of the {whose} opened and closed since the stage began."
        yield _gauge(f"winrate_{name}", text, [], [((), _ratio(won, closed))])
        text = f"Number of {whose} opened and closed since the stage began."
        yield _gauge(f"sample_{name}", text, [], [((), closed)])


def drift(sample: int, measured: Iterable[Drift]) -> Iterator[Metric]:
    """Yield the drift of the served features.

    Args:
        sample: rows in the window.
        measured: the features with enough of them.
    """
    found = list(measured)
    yield _gauge("drift_sample", "Scored rows with features in the drift window.", [], [((), sample)])
    text = "Population stability index against the reference, nats."
    yield _gauge("psi_feature", text, ["feature"], (((one.feature,), one.psi) for one in found))
    text = "Kolmogorov-Smirnov distance to the reference."
    yield _gauge("ks_feature", text, ["feature"], (((one.feature,), one.ks) for one in found))


def _trades(sums: Mapping[Cell, float]) -> Iterator[Metric]:
    rates = {route: _ratio(sums[route, "won"], sums[route, "closed"]) for route in ROUTES}
    yield _by_route("winrate_rolling", "Share of closed trades that won.", rates)
    closed = sum(sums[route, "closed"] for route in ROUTES)
    won = sum(sums[route, "won"] for route in ROUTES)
    precision = _ratio(won, closed) if closed >= MIN_TRADES else None
    text = f"Share of closed trades that won, over all routes; silent below {MIN_TRADES} trades."
    yield _gauge("rolling_precision", text, [], [((), precision)])


def _orders(sums: Mapping[Cell, float]) -> Iterator[Metric]:
    rates, ratios = {}, {}
    for route in ROUTES:
        filled, cancelled = sums[route, "filled"], sums[route, "cancelled"]
        rates[route] = _ratio(filled, filled + cancelled)
        ratios[route] = math.inf if cancelled and not filled else _ratio(cancelled, filled)
    yield _by_route("fill_rate_rolling", "Share of ended orders that were filled.", rates)
    text = "Cancelled orders per filled one; +Inf where none was filled."
    yield _by_route("cancel_to_fill_ratio", text, ratios)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _moments(n: float, total: float, squares: float) -> dict[str, float]:
    if not n:
        return {}
    mean = total / n
    return {"mean": mean, "std": math.sqrt(max(0.0, squares / n - mean * mean))}


def _by_route(name: str, text: str, values: Mapping[str, float | None]) -> GaugeMetricFamily:
    return _gauge(name, text, ["route"], (((route,), value) for route, value in values.items()))


def _gauge(
    name: str, text: str, labels: list[str], samples: Iterable[tuple[Sequence[str], float | None]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family
