"""The platform's rules and their tests: rendered once, or for each rollout where they name it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from rollguard import durations, links
from rollguard.conventions import PLATFORM, ROLLOUT_LABEL
from rollguard.generators.promql.syntax import past_edges
from rollguard.generators.rules import expressions
from rollguard.generators.rules.alerting import RULES_IN_A_GROUP, RUNBOOKS, RenderingError
from rollguard.generators.rules.expressions import PromQL
from rollguard.generators.rules.timing import LOOKBACK_INTERVALS, Timing
from rollguard.spec.platform import PlatformAlert, PlatformTest, platform_alerts
from rollguard.spec.rollout import Rollout
from rollguard.spec.rule_tests import Equivalent

_LONGEST_WINDOW_SECONDS = 600.0


def shortest_timing(rollouts: Sequence[Rollout], scale: float) -> Timing:
    """Return the timing of what belongs to no rollout: that of the most hurried one."""
    return Timing(scale, min(rollout.scrape.interval for rollout in rollouts))


def platform_rules(rollouts: Sequence[Rollout], scale: float) -> dict[str, Any]:
    """Return the platform's rules as Prometheus reads them.

    Args:
        rollouts: checked rollouts.
        scale: what every duration is divided by.
    Returns:
        The content of ``platform.rules.yml``: groups of at most 20 rules.
    Raises:
        RenderingError: names the alert that cannot be rendered.
    """
    found = rendered_alerts(rollouts, scale)
    rules = [alert.rule() for alert in found]
    interval = durations.render(shortest_timing(rollouts, scale).interval)
    chunks = [rules[start : start + RULES_IN_A_GROUP] for start in range(0, len(rules), RULES_IN_A_GROUP)]
    return {
        "groups": [
            {
                "name": PLATFORM if number == 1 else f"{PLATFORM}-{number}",
                "interval": interval,
                "rules": chunk,
            }
            for number, chunk in enumerate(chunks, 1)
        ]
    }


def platform_tests(rollouts: Sequence[Rollout], scale: float) -> dict[str, Any]:
    """Return the tests of the platform's rules, as promtool reads them; arguments as for `platform_rules`."""
    found = rendered_alerts(rollouts, scale)
    return {
        "rule_files": [f"../rules/{PLATFORM}.rules.yml"],
        "evaluation_interval": durations.render(shortest_timing(rollouts, scale).interval),
        "tests": [group for alert in found for group in alert.tests()],
    }


def rendered_alerts(rollouts: Sequence[Rollout], scale: float) -> list[RenderedAlert]:
    """Return every alert of the platform, those that name a rollout once for each."""
    timing = shortest_timing(rollouts, scale)
    found = []
    for alert in platform_alerts():
        if alert.each_rollout:
            found += [RenderedAlert(alert, rollout, timing) for rollout in rollouts]
        else:
            found.append(RenderedAlert(alert, None, timing))
    return found


class RenderedAlert:
    """One alert of the platform, of one rollout or of none.

    Args:
        alert: as the file has it.
        rollout: whose it is; None for one about the servers.
        timing: of the platform's rules; what a rollout's expressions look at follows its own interval.
    """

    def __init__(self, alert: PlatformAlert, rollout: Rollout | None, timing: Timing) -> None:
        self.alert, self.timing = alert, timing
        self.labels = {
            **({ROLLOUT_LABEL: rollout.name} if rollout else {}),
            "guard": alert.alert,
            "severity": alert.severity,
            "action": alert.action,
        }
        self._names = {
            "interval": timing.interval,
            "lookback": PromQL(durations.render(timing.lookback)),
            "lasting": PromQL(timing.text(alert.for_)),
            "span": lambda text: PromQL(durations.render(_span(timing, durations.parse(text)))),
            "span_seconds": lambda text: _span(timing, durations.parse(text)),
            **(_names_of(rollout, timing.scale) if rollout else {}),
        }

    @property
    def title(self) -> str:
        """Its name, with the rollout's where it has one."""
        of = f" of {self.labels[ROLLOUT_LABEL]}" if ROLLOUT_LABEL in self.labels else ""
        return f"{self.alert.alert}{of}"

    def rule(self) -> dict[str, Any]:
        """Return it as an alerting rule."""
        rule: dict[str, Any] = {"alert": self.alert.alert, "expr": past_edges(self._render(self.alert.expr))}
        if self.alert.for_:
            rule["for"] = self.timing.text(self.alert.for_)
        rule["labels"] = self.labels
        rule["annotations"] = {
            "summary": self.alert.summary,
            "description": self._render(self.alert.description),
            "runbook_url": f"{RUNBOOKS}/{self.alert.alert}.md",
            "dashboard_url": links.url(self._dashboard(), self.alert.alert),
        }
        return rule

    def _dashboard(self) -> str:
        rollout = self.labels.get(ROLLOUT_LABEL)
        return links.of_rollout(rollout) if rollout else links.PLATFORM

    def tests(self) -> Iterator[dict[str, Any]]:
        """Yield its test groups, and one silent just before `for` for each that fires."""
        for test in self.alert.tests:
            if test.window and _span(self.timing, test.window) > self.timing.seconds(self.alert.for_):
                continue
            begins = self.timing.steps(float(self._render(test.starts)))
            at = begins + self.timing.steps(self.timing.seconds(self.alert.for_))
            yield self._group(f"{test.case}, {test.about}", test, at, test.case == "fires")
            if test.case == "fires" and self.alert.for_:
                yield self._group(f"silent just before `for`, {test.about}", test, at - 1, False)
        yield from self._resolving()
        if self.alert.always:
            yield self._group("silent, it never acts", self.alert.tests[0], 0, False, 'action!="notify",')

    def equivalents(self) -> list[Equivalent]:
        """Return its declared equivalent mutants, with their numbers."""
        found = [
            Equivalent(mutation=self._render(item.mutation), reason=item.reason)
            for item in self.alert.equivalent
        ]
        return [item for item in found if item.mutation]

    def _group(self, title: str, test: PlatformTest, at: int, fires: bool, only: str = "") -> dict[str, Any]:
        name, rollout = self.alert.alert, self.labels.get(ROLLOUT_LABEL)
        one = f'rollout="{rollout}",' if rollout else ""  # of no rollout's own it may have that of its series
        chosen = f'{only}alertname="{name}",guard="{name}",{one}alertstate="firing"'
        names = ", ".join(sorted({"alertname", *self.labels}))
        labels = ",".join(f'{key}="{self.labels[key]}"' for key in sorted(self.labels))
        case = {
            "expr": f"count by ({names}) (ALERTS{{{chosen}}})",
            "eval_time": durations.render(at * self.timing.interval),
            "exp_samples": [{"labels": f'{{alertname="{name}",{labels}}}', "value": 1}] if fires else [],
        }
        return {
            "name": f"{self.title}: {title}",
            "interval": durations.render(self.timing.interval),
            "input_series": list(self._series(test, at + 1)),
            "promql_expr_test": [case],
        }

    def _resolving(self) -> Iterator[dict[str, Any]]:
        """Yield a test that fires and is silent after its series are as in one that is healthy throughout."""
        healthy = [test for test in self.alert.tests if test.case == "silent" and self._is_plain(test)]
        pairs = (
            (sick, test)
            for sick in self.alert.tests
            for test in healthy
            if sick.case == "fires" and sick.series and _names(sick) == _names(test)
        )
        for sick, test in list(pairs)[:1]:
            begins = self.timing.steps(float(self._render(sick.starts)))
            at = begins + self.timing.steps(self.timing.seconds(self.alert.for_))
            rest = self.timing.steps(_span(self.timing, _LONGEST_WINDOW_SECONDS)) + LOOKBACK_INTERVALS
            group = self._group(f"resolves, {sick.about}", sick, at, True)
            well = {series["series"]: series["values"] for series in self._series(test, rest)}
            for series in group["input_series"]:
                series["values"] += f" {well[series['series']]}"
            end = durations.render((at + rest) * self.timing.interval)
            case = group["promql_expr_test"][0]
            group["promql_expr_test"].append({**case, "eval_time": end, "exp_samples": []})
            yield group

    def _is_plain(self, test: PlatformTest) -> bool:
        """Whether every series holds one value."""
        return all(re.fullmatch(r"[\d.]+", self._render(series.values, steps=1)) for series in test.series)

    def _series(self, test: PlatformTest, steps: int) -> Iterator[dict[str, str]]:
        for series in test.series:
            values = self._render(series.values, steps=steps)
            held = values if "x" in values or " " in values else f"{values}x{steps}"
            yield {"series": self._render(series.series), "values": held}

    def _render(self, text: str, **more: Any) -> str:
        try:
            return expressions.render(text, {**self._names, **more})
        except expressions.ExpressionError as error:
            raise RenderingError(f"platform alert {self.alert.alert}", error) from error


def _names_of(rollout: Rollout, scale: float) -> dict[str, float | str]:
    """Return what an expression may say of a rollout: its name, its targets' own series, and their scrapes.

    The targets of a job whose series come with their rollout are known by the job.
    """
    own = Timing(scale, rollout.scrape.interval)
    label, value = _of_targets(rollout)
    return {
        "rollout": rollout.name,
        "its_interval": own.interval,
        "its_lookback": PromQL(durations.render(own.lookback)),
        "its_targets": PromQL(its_targets(rollout)),
        "other_targets": PromQL(f'{label}="{value}-2"'),
    }


def its_targets(rollout: Rollout) -> str:
    """Return the matcher of the series that Prometheus and an exporter add about a rollout's targets."""
    label, value = _of_targets(rollout)
    return f'{label}="{value}"'


def _of_targets(rollout: Rollout) -> tuple[str, str]:
    scrape = rollout.scrape
    return ("job", scrape.job) if scrape.labelled else (ROLLOUT_LABEL, rollout.name)


def _names(test: PlatformTest) -> set[str]:
    return {series.series for series in test.series}


def _span(timing: Timing, window: float) -> float:
    """Return a window scaled, in seconds, of some intervals at least: a rate needs two samples."""
    return max(timing.seconds(window), LOOKBACK_INTERVALS * timing.interval)
