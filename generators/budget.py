"""How long a rollback takes by configuration: from a breach that an exporter shows until the flag is off.

Each step is a setting that somebody chose. The time that a window needs to fill is none of them: an average
over half an hour is meant to take its time, so it stands apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollguard import durations
from rollguard.conventions import OPEN_METRIC, ROLLBACK_RECEIVER, STAGE_METRIC
from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.alertmanager.routing import GROUP_INTERVAL_SECONDS
from rollguard.generators.promql import syntax
from rollguard.generators.rules.alerting import alerting_rule, labels
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.targets import Target
from rollguard.workers.reconciler import POLL_SECONDS

PATH_SECONDS = 0.03, 0.25
"""Median and worst time for what nobody sets: to Alertmanager, to the control plane, onto its disk."""

TARGET_SECONDS = 0.02, 0.25
"""Median and worst time until a target reads back as written, where it has no time limit of its own."""

_INTERVALS = (60.0, 30.0, 15.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2)


@dataclass(frozen=True)
class Step:
    """One part of the way from breach to flip.

    Args:
        name: what takes the time.
        setting: the key that decides it; empty where none does.
        median: in seconds.
        worst: in seconds.
    """

    name: str
    setting: str
    median: float
    worst: float


@dataclass(frozen=True)
class Delivery:
    """How Alertmanager hands alerts on.

    Args:
        group_wait: seconds that the first alert of a rollout waits.
        group_interval: seconds that another one waits at most while one fires already.
        poll: seconds between two looks of the control plane at what Alertmanager has.
    """

    group_wait: float = 0.0
    group_interval: float = GROUP_INTERVAL_SECONDS
    poll: float = POLL_SECONDS


@dataclass(frozen=True)
class GuardBudget:
    """The time of one guard.

    Args:
        rollout: its rollout's name.
        guard: its name.
        action: what it does.
        steps: from breach to flip, in order.
        window: seconds that the longest window needs to fill; not part of the steps.
        within: the rollout's limit, seconds.
        interval: the longest scrape interval that would keep to the limit; None where none of the usual does.
    """

    rollout: str
    guard: str
    action: str
    steps: tuple[Step, ...]
    window: float
    within: float
    interval: float | None

    @property
    def median(self) -> float:
        """Seconds from breach to flip, in half of all cases."""
        return sum(step.median for step in self.steps)

    @property
    def worst(self) -> float:
        """Seconds from breach to flip, at most."""
        return sum(step.worst for step in self.steps)

    @property
    def over(self) -> bool:
        """Whether a rollback may come later than its rollout allows."""
        return self.action == "rollback" and self.worst > self.within

    @property
    def advice(self) -> str:
        """How to keep to the limit."""
        needed = durations.render(math.ceil(self.worst))
        if self.interval is not None:
            shorter = f"scrape.interval: {durations.render(self.interval)}"
            return f"Write {shorter}, or rollback.within: {needed}."
        key, seconds = self.helps_most
        taken = f"{key} takes {durations.render(seconds)} of it"
        return f"{taken}; shorten that, or write rollback.within: {needed}."

    @property
    def helps_most(self) -> tuple[str, float]:
        """The setting that takes the largest part of the worst case, and its seconds."""
        by_setting: dict[str, float] = {}
        for step in self.steps:
            if step.setting:
                by_setting[step.setting] = by_setting.get(step.setting, 0.0) + step.worst
        return max(by_setting.items(), key=lambda item: item[1])


def budget(rollout: Rollout, *, tree: RouteTree | None = None) -> list[GuardBudget]:
    """Return the time of each guard of a rollout, derived guards included.

    Args:
        rollout: a checked rollout.
        tree: a configuration of Alertmanager of the user's own; default: the generated one.
    Raises:
        RenderingError: a guard cannot be rendered.
    """
    return [_of_guard(rollout, guard, tree) for guard in all_guards(rollout)]


def _of_guard(rollout: Rollout, guard: Guard, tree: RouteTree | None) -> GuardBudget:
    timing = Timing(1.0, rollout.scrape.interval)
    delivery = _delivery(rollout, guard, tree)
    within = rollout.rollback.within
    steps = tuple(_steps(rollout, guard, timing, delivery))
    shorter = (value for value in _INTERVALS if value < rollout.scrape.interval)
    fitting = (
        value
        for value in shorter
        if sum(step.worst for step in _steps(rollout, guard, Timing(1.0, value), delivery)) <= within
    )
    window = _window(alerting_rule(rollout, guard, timing), timing)
    return GuardBudget(rollout.name, guard.name, guard.action, steps, window, within, next(fitting, None))


def _steps(rollout: Rollout, guard: Guard, timing: Timing, delivery: Delivery) -> Iterator[Step]:
    interval = timing.interval
    yield Step("scrape", "scrape.interval", interval / 2, interval)
    yield Step("evaluation", "scrape.interval", interval / 2, interval)
    if guard.for_:
        lasting = timing.steps(timing.seconds(guard.for_)) * interval
        yield Step("for", "for", lasting, lasting)
    # An alert that is the first of its rollout waits group_wait, every other one group_interval at most.
    first = min(delivery.group_wait, delivery.poll)
    later = min(max(delivery.group_wait, delivery.group_interval), delivery.poll)
    setting = "group_wait" if delivery.group_wait >= delivery.group_interval else "group_interval"
    yield Step("notification", setting, first, later)
    yield Step("decision", "", *PATH_SECONDS)
    median, worst = _targets(rollout)
    if worst:
        yield Step("targets", "targets", median, worst)


def _targets(rollout: Rollout) -> tuple[float, float]:
    """Targets follow one another, so their times add up."""
    limits = [_limit(target) for target in rollout.targets]
    median = len(limits) * TARGET_SECONDS[0]
    return median, sum(limit or TARGET_SECONDS[1] for limit in limits)


def _limit(target: Target) -> float:
    """Return the time limits of what a rollback runs for a target: command, restart, verification."""
    found = 0.0
    if target.command is not None and "fallback" in target.command.run:
        found += target.command.timeout
    if target.then is not None:
        found += target.then.timeout
    if target.verify is not None:
        found += target.verify.log.settle if target.verify.log else 0.0
        found += sum(part.timeout for part in (target.verify.command, target.verify.http) if part)
    return found


def _delivery(rollout: Rollout, guard: Guard, tree: RouteTree | None) -> Delivery:
    if tree is None:
        return Delivery()
    alert = {"alertname": guard.alert, **labels(rollout, guard)}
    stops = [stop for stop in tree.stops(alert) if stop.receiver == ROLLBACK_RECEIVER]
    if not stops:
        return Delivery(math.inf, math.inf)  # only the poll finds what no route brings
    settings = stops[0].settings
    return Delivery(_given(settings, "group_wait", "30s"), _given(settings, "group_interval", "5m"))


def _given(settings: Mapping[str, Any], key: str, default: str) -> float:
    return durations.parse(str(settings.get(key, default)))


def _window(rule: Mapping[str, Any], timing: Timing) -> float:
    """Return the longest range of an expression, but for those that only bridge failed scrapes."""
    ranges = [
        durations.parse(selector.window)
        for selector in syntax.parse(rule["expr"]).selectors
        if selector.window and selector.metric not in (STAGE_METRIC, OPEN_METRIC)
    ]
    longest = max(ranges, default=0.0)
    return longest if longest > timing.lookback else 0.0
