"""What the dashboards are told of a rollout's guards: their rules, taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rollguard.dashboards.kit.units import unit_of
from rollguard.dashboards.kit.views import Comparison, GuardView, Pair, RolloutView
from rollguard.generators.known_metrics import servers
from rollguard.generators.promql import measures
from rollguard.generators.promql.comparisons import Compared, comparisons, parsed, rendered
from rollguard.generators.rules.alerting import conditions, evaluated, rule_of
from rollguard.generators.rules.platform import RenderedAlert, its_targets
from rollguard.generators.rules.timing import Timing
from rollguard.metric import Metric
from rollguard.spec.guards import NoDataGuard, all_guards, runbook
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.series import Series


def rollout_view(
    rollout: Rollout, offered: Sequence[Metric], timing: Timing, platform: Iterable[RenderedAlert] = ()
) -> RolloutView:
    """Return a rollout as its dashboard shows it.

    Args:
        rollout: a checked rollout.
        offered: the metrics of its exporter.
        timing: that its rules are rendered with.
        platform: the platform's alerts of this rollout.
    """
    known = measures.by_series((*offered, *servers()))
    return RolloutView(
        rollout,
        its_targets(rollout),
        guard_views(rollout, offered, timing),
        [platform_view(alert, rollout) for alert in platform],
        list(_pairs(rollout, known, timing)),
    )


def guard_views(rollout: Rollout, offered: Sequence[Metric], timing: Timing) -> list[GuardView]:
    """Return a rollout's guards as written, or for each scope; arguments as for `rollout_view`."""
    known = measures.by_series((*offered, *servers()))
    guards = all_guards(rollout)
    watching = [guard for guard in guards if isinstance(guard, NoDataGuard)]
    views = []
    for guard in guards:
        if isinstance(guard, NoDataGuard):
            continue
        parts = conditions(rollout, guard, timing)
        views.append(
            _view(
                guard,
                evaluated(rule_of(rollout, guard, parts, timing)),
                known,
                words=", or ".join(part.words for part in parts),
                stages=rollout.armed_stages(guard),
                watchers=dict.fromkeys(other.name for other in watching if guard.name in other.watched),
                page=runbook(rollout, guard),
            )
        )
    return views


def platform_view(alert: RenderedAlert, rollout: Rollout | None = None) -> GuardView:
    """Return an alert of the platform as its panel shows it.

    Args:
        alert: rendered.
        rollout: whose it is; None for one about the servers.
    """
    guard = alert.alert.guard
    return _view(
        guard,
        alert.rule(),
        measures.by_series(servers()),
        words="its rule holds",
        stages=rollout.armed_stages(guard) if rollout else ["every stage of every rollout"],
        watchers=(),
        page=guard.alert,
    )


def _view(
    guard: Guard,
    rule: Mapping[str, Any],
    known: measures.Metrics,
    *,
    words: str,
    stages: Sequence[str],
    watchers: Iterable[str],
    page: str,
) -> GuardView:
    tree = parsed(rule["expr"])
    return GuardView(
        name=guard.name,
        alert=guard.alert,
        summary=rule["annotations"]["summary"],
        words=words,
        severity=guard.severity,
        action=guard.action,
        lasting=rule.get("for", ""),
        stages=stages,
        no_data=guard.no_data,
        watchers=list(watchers),
        runbook=page,
        comparisons=[_comparison(one, known) for one in comparisons(tree)] or [_presence(rule["expr"])],
    )


def _comparison(one: Compared, known: measures.Metrics) -> Comparison:
    return Comparison(
        measured=rendered(one.measured),
        legend=measures.legend(one.measured, known),
        operator=one.operator,
        limit=one.limit,
        moving=one.moving,
        moving_legend=f"limit of {measures.name(one.measured)}{measures.told_apart(one.node.rhs, known)}",
        unit=unit_of(measures.unit(one.measured, known)),
        condition=one.condition,
    )


def _presence(expr: str) -> Comparison:
    """Return what fires when it is there at all."""
    return Comparison(f"count({expr}) or vector(0)", "fires", ">", 0.0, "", "", unit_of(""))


def _pairs(rollout: Rollout, known: measures.Metrics, timing: Timing) -> Iterator[Pair]:
    """Yield each metric that a guard is given a baseline for, once."""
    seen = set()
    for guard in rollout.guards:
        for values in guard.bindings:
            given = values.get("metric"), values.get("baseline")
            if None in given or given in seen:
                continue
            seen.add(given)
            metric, baseline = (Series.parse(str(one)).within(rollout.name) for one in given)
            if metric.name.endswith("_total"):
                continue  # a counter means nothing but by its rise, which the guard's own panel shows
            node = parsed(str(metric))
            legend = measures.legend(node, known)
            yield Pair(
                _shown(metric, known), _shown(baseline, known), legend, unit_of(measures.unit(node, known))
            )


def _shown(series: Series, known: measures.Metrics) -> str:
    """Return a series to look at; of a histogram, the 95th percentile."""
    buckets = f"{series.name}_bucket"
    if buckets in known and series.name not in known:
        rate = f"rate({series.suffixed('_bucket')}[$__rate_interval])"
        return f"histogram_quantile(0.95, sum by (le) ({rate}))"
    return str(series)
