"""The guards' formulas against promtool: the rendered rules fire at the same looks on the same paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rollguard.generators.rules.alerting import rule_file
from rollguard.generators.rules.timing import Timing
from rollguard.generators.tools import promtool
from rollguard.simulation.laws import Moment, Stream
from rollguard.simulation.play import look_parts
from rollguard.simulation.reads import Traffic
from rollguard.simulation.watching import Watches
from rollguard.spec.rollout import Rollout
from rollguard.spec.series import Series
from rollguard.yamlfile import dump
from tests.unit.simulation.played import rollout

LOOKS, ROWS = 150, 3
GUARDS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "ratio-above": (
        {"use": "ratio", "for": "2m", "with": {
            "numerator": 'requests_total{variant="exposed",code="500"}',
            "denominator": 'requests_total{variant="exposed"}',
            "above": 0.1003, "window": "5m", "min_denominator": 50}},
        {"requests_total": {"per_minute": 40, "bad": 0.1, "correlation": 0.02, "memory": "5m"}},
    ),
    "ratio-below": (
        {"use": "ratio", "with": {"numerator": 'requests_total{code="200"}', "denominator": "requests_total",
                                  "below": 0.85, "window": "7m"}},
        {"requests_total": {"per_minute": 4, "bad": 0.1}},
    ),
    "increases": (
        {"use": "increases", "for": "1m",
         "with": {"metric": "requests_total", "by_more_than": 2, "window": "10m"}},
        {"requests_total": {"per_minute": 0.2}},
    ),
    "quantile": (
        {"use": "quantile",
         "with": {"metric": "latency_seconds", "above": 0.8, "window": "5m", "min_count": 40}},
        {"latency_seconds": {"per_minute": 12, "median": 0.2, "p95": 0.8}},
    ),
    "quantile-of-a-baseline": (
        {"use": "quantile", "for": "1m",
         "with": {"metric": 'latency_seconds{variant="exposed"}', "times": 1.5,
                                                  "baseline": "usual_seconds", "window": "10m"}},
        {"latency_seconds": {"per_minute": 40, "median": 0.2, "p95": 0.7}, "usual_seconds": {"mean": 0.5}},
    ),
    "threshold": (
        {"use": "threshold", "for": "90s", "with": {"metric": "level", "above": 6, "at_most": 3}},
        {"level": {"mean": 5, "deviation": 2, "memory": "3m"}},
    ),
    "threshold-average": (
        {"use": "threshold",
         "with": {"metric": "level", "at_least": 5.5, "aggregate": "average", "window": "10m"}},
        {"level": {"mean": 5, "deviation": 2, "memory": "3m"}},
    ),
    "threshold-maximum": (
        {"use": "threshold",
         "with": {"metric": "level", "above": 8.5, "aggregate": "maximum", "window": "7m"}},
        {"level": {"mean": 5, "deviation": 2}},
    ),
    "threshold-deviation": (
        {"use": "threshold",
         "with": {"metric": "level", "above": 1.6, "aggregate": "deviation", "window": "10m"}},
        {"level": {"mean": 5, "deviation": 2, "memory": "5m"}},
    ),
    "threshold-of-a-baseline": (
        {"use": "threshold", "with": {"metric": "level", "above": 1.3, "baseline": "usual"}},
        {"level": {"mean": 5, "deviation": 2, "memory": "3m"}, "usual": {"mean": 5, "deviation": 1}},
    ),
    "trails-baseline": (
        {"use": "trails-baseline", "with": {"metric": "wins_new", "baseline": "wins_old", "delta_ratio": 0.05,
                                            "sample": "wins_number", "min_sample": 60}},
        {"requests_total": {"per_minute": 20, "bad": 0.45},
         "wins_new": {"good_of": "requests_total", "arm": "canary"},
         "wins_old": {"good_of": "requests_total", "arm": "baseline", "window": "30m"},
         "wins_number": {"number_of": "requests_total", "arm": "canary"}},
    ),
    "trails-baseline-average": (
        {"use": "trails-baseline", "with": {"metric": "slip_new", "baseline": "slip_old", "delta_ratio": 0.1,
                                            "worse": "higher", "window": "10m"}},
        {"slip_new": {"mean": 5, "deviation": 1, "memory": "2m"}, "slip_old": {"mean": 5, "deviation": 0.5}},
    ),
}  # fmt: skip


class Sampled:
    """The series of one sampled path, as promtool is given them."""

    def __init__(self) -> None:
        self.counters: dict[str, list[float]] = {}
        self.gauges: dict[str, list[str]] = {}

    def count(self, series: str, gained: np.ndarray) -> None:
        values = self.counters.setdefault(series, [0.0])
        values.extend(values[-1] + np.cumsum(gained))

    def show(self, series: str, values: np.ndarray) -> None:
        known = self.gauges.setdefault(series, ["_"])
        known.extend("_" if np.isnan(value) else repr(float(value)) for value in values)

    def series(self) -> Iterator[dict[str, str]]:
        for name, counted in self.counters.items():
            yield {"series": name, "values": " ".join(f"{value:g}" for value in counted)}
        for name, shown in self.gauges.items():
            yield {"series": name, "values": " ".join(shown)}


def note(path: Sampled, name: str, stream: Stream) -> None:
    """Add what was drawn of a counter: by variant and outcome, or by bucket; a plain one has no labels."""
    counts = stream.counts[..., 0]
    if stream.categories == 1:
        path.count(f'{name}{{rollout="shop"}}', counts.sum(axis=(1, 2)))
        return
    for arm, variant in enumerate(("unexposed", "exposed")):
        own = f'rollout="shop",variant="{variant}"'
        if stream.law.median is None:
            for outcome, code in enumerate(("200", "500")):
                path.count(f'{name}{{{own},code="{code}"}}', counts[:, arm, outcome])
            continue
        below = counts[:, arm].cumsum(axis=1)
        path.count(f"{name}_count{{{own}}}", below[:, -1])
        for place, edge in enumerate([*stream.edges, 10 * stream.edges[-1], "+Inf"]):
            path.count(f'{name}_bucket{{{own},le="{edge}"}}', below[:, min(place, len(stream.edges))])


def sampled(played: Rollout, seed: int) -> tuple[Sampled, list[bool]]:
    """Return a path, and at which looks the guard fires by its formula."""
    step, parts = look_parts(played)
    traffic = Traffic(played, ROWS, np.random.default_rng(seed), step, parts)
    (watch,) = Watches(played, traffic).watches
    path, fires = Sampled(), []
    entered = np.ones(ROWS, dtype=bool)
    for look in range(1, LOOKS + 1):
        moment = Moment(look * step * parts, step * parts, parts, np.full(ROWS, 0.3), np.zeros(ROWS), entered)
        traffic.draw(moment)
        watch.look(moment, np.zeros(ROWS, dtype=int), moment.at)
        for name, law in played.traffic.items():
            if law.per_minute is not None:
                for stream in traffic.streams_of(name):
                    note(path, name, stream)
            else:
                values = traffic.gauge(Series.parse(name)).values[:, 0]
                path.show(f'{name}{{rollout="shop"}}', np.broadcast_to(values, (parts,)))
        fires.append(bool(watch.fired[0]))
        entered = np.zeros(ROWS, dtype=bool)
    return path, fires


@pytest.mark.parametrize("interval", ["15s", pytest.param("1m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", GUARDS)
def test_the_rendered_rule_fires_at_the_same_looks(name: str, interval: str, tmp_path: Path) -> None:
    given, laws = GUARDS[name]
    interval = "1m" if name == "trails-baseline" else interval  # its gauges are looked at each minute
    guard = {"alert": "Watched", "severity": "warning", "action": "rollback", "no_data": "ignore", **given}
    played = rollout(laws, guard, interval=interval)
    step, parts = look_parts(played)
    rules = tmp_path / "shop.rules.yml"
    rules.write_text(dump(rule_file(played, Timing(1.0, step))), encoding="utf-8")
    groups, seen = [], []
    for seed in (1, 2):
        path, fires = sampled(played, seed)
        seen += fires
        firing = 'ALERTS{alertname="Watched",alertstate="firing"}'
        within = round(step * parts - step / 2)
        tests = [
            {
                "expr": f"count(last_over_time({firing}[{within}s])) or vector(0)",
                "eval_time": f"{round(look * step * parts)}s",
                "exp_samples": [{"labels": "{}", "value": int(fired)}],
            }
            for look, fired in enumerate(fires, 1)
        ]
        groups.append({"interval": interval, "input_series": [*path.series()], "promql_expr_test": tests})
    assert set(seen) == {True, False}  # the path is on both sides of the limit
    tested = tmp_path / "shop.test.yml"
    content = {"rule_files": [rules.name], "evaluation_interval": interval, "tests": groups}
    tested.write_text(dump(content), encoding="utf-8")
    assert promtool.test_output(tested) == ""
