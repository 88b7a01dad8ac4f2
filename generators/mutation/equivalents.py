"""Whether two rules are the same in fact: both are evaluated over random series near the rule's numbers."""

from __future__ import annotations

import json
import random
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollguard import durations
from rollguard.conventions import ROLLOUT_LABEL
from rollguard.generators.promql import syntax
from rollguard.generators.promql.syntax import Expression, Selector
from rollguard.generators.rule_tests.notation import STALE, Sample, shortened
from rollguard.generators.rules.alerting import evaluated
from rollguard.generators.tools import promtool

_LOOKS = 720
_WINDOWS = 36
_LONGEST = 2880
_SEED = 20
_ONE, _OTHER = "RollguardRule", "RollguardOther"
_ALERTS = 'ALERTS{{alertname="{}"}}'
_COUNTER_FUNCTIONS = ("rate", "increase", "irate")


def difference(rule: Mapping[str, Any], other: Mapping[str, Any], interval: float) -> str:
    """Return why two alerting rules cannot be called equivalent; nothing if they can.

    Args:
        rule: the rule.
        other: the one declared to be its equivalent.
        interval: of evaluation, seconds.
    Raises:
        PromtoolError: promtool did not answer.
    """
    rules = [{**evaluated(rule), "alert": _ONE}, {**evaluated(other), "alert": _OTHER}]
    sample = _Sample(syntax.parse(rule["expr"]), rule.get("for", "0s"), interval)
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        groups = [{"name": "equivalents", "rules": rules}]
        (Path(folder) / "rules.yml").write_text(json.dumps({"groups": groups}), encoding="utf-8")
        every = sample.interval * (1 if "for" in rule else sample.stride)
        tests = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": durations.render(every),
            "tests": [sample.group()],
        }
        path = Path(folder) / "test.yml"
        path.write_text(json.dumps(tests), encoding="utf-8")
        output = promtool.test_output(path)
    return _verdict(output)


def _verdict(output: str) -> str:
    looks = [line for line in output.splitlines() if line.strip().startswith("expr:")]
    if ", err: " in output:
        return "on sampled series one of the two cannot be evaluated"
    apart = next((line for line in looks if "unless" in line), None)
    if apart is not None:
        match = re.search(r"time: (\w+)", apart)
        return f"on sampled series the two differ{f' at {match[1]}' if match else ''}"
    return "" if looks else "on sampled series neither ever holds, which proves nothing"


class _Sample:
    """Random series for an expression."""

    def __init__(self, parsed: Expression, lasting: str, interval: float) -> None:
        self.parsed, self.interval = parsed, interval
        self.random = random.Random(_SEED)  # noqa: S311 - the same series on every run
        windows = [durations.parse(token.text) for token in parsed.tokens if token.kind == "duration"]
        longest = max([durations.parse(lasting), *windows])
        self.steps = min(_LONGEST, _LOOKS + int(_WINDOWS * longest / interval))
        self.stride = self.steps // _LOOKS
        self.limits = [float(token.text) for token in parsed.tokens if token.kind == "number"] or [1.0]

    def group(self) -> dict[str, Any]:
        """Return a test group of which a part fails where the rules differ, or where the first one holds."""
        one, other = _ALERTS.format(_ONE), _ALERTS.format(_OTHER)
        apart = (
            f"count({one} unless ignoring (alertname) {other} or {other} unless ignoring (alertname) {one})"
        )
        return {
            "name": "random series",
            "interval": durations.render(self.interval),
            "input_series": [{"series": name, "values": values} for name, values in self._series().items()],
            "promql_expr_test": [
                {"expr": expr, "eval_time": durations.render(step * self.interval), "exp_samples": []}
                for step in range(0, self.steps, self.stride)
                for expr in (apart, f"count({one})")
            ],
        }

    def _series(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for selector in self.parsed.selectors:
            counts = selector.function in _COUNTER_FUNCTIONS
            for rollout in (None, "another"):
                name = _example(selector, rollout)
                if selector.metric.endswith("_bucket"):
                    found |= self._histogram(name)
                else:
                    found[name] = shortened(self._counter() if counts else self._gauge())
        return found

    def _histogram(self, name: str) -> dict[str, str]:
        """Return buckets that end at the expression's numbers; each holds what the smaller ones do."""
        found, below = {}, [0.0] * self.steps
        limits = sorted({limit for limit in self.limits if limit > 0})
        for edge in [*limits, *(2 * limit for limit in limits[-1:]), "+Inf"]:
            more = [sample if isinstance(sample, float) else 0.0 for sample in self._counter(steady=True)]
            below = [one + other for one, other in zip(below, more, strict=True)]
            found[f'{name[:-1]},le="{edge}"}}'] = shortened(list(below))
        return found

    def _gauge(self) -> list[Sample]:
        limits = [*self.limits, sum(self.limits), 0.0]
        samples: list[Sample] = []
        while len(samples) < self.steps:
            limit = self.random.choice(limits)
            value: Sample = (
                limit + self.random.choice((-3, -1, 0, 0, 1, 3)) * (abs(limit) or 1.0) * self.random.random()
            )
            run = self.random.choice((1, 1, 2, 5, 10, 40))
            if self.random.random() < 0.1:
                value = self.random.choice((None, STALE))
            samples += [value] * run
        return samples[: self.steps]

    def _counter(self, steady: bool = False) -> list[Sample]:
        samples: list[Sample] = []
        total, rise = 0.0, 0.0
        for _ in range(self.steps):
            if self.random.random() < 0.05:
                rise = self.random.choice((0.0, 0.0, self.random.choice(self.limits), 1.0))
            total = 0.0 if not steady and self.random.random() < 0.01 else total + rise
            samples.append(STALE if self.random.random() < 0.03 and not steady else total)
        return samples


def _example(selector: Selector, rollout: str | None) -> str:
    """Return a series that a selector selects, or that of another rollout."""
    labels = {
        matcher.label: matcher.value[1:-1].split("|")[0]
        for matcher in selector.matchers
        if matcher.operator in {"=", "=~"}
    }
    if rollout is not None:
        labels[ROLLOUT_LABEL] = rollout
    inside = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{selector.metric}{{{inside}}}"
