"""What a dashboard is told of a rollout beside its file: how each guard's rule compares what with what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollguard.spec.rollout import Rollout


@dataclass(frozen=True)
class Comparison:
    """One comparison of a guard's rule.

    Args:
        measured: PromQL of the left side, as the rule has it.
        legend: the name of its lines.
        operator: ``<``, ``>=`` and so on.
        limit: the right side where it is a number, in the measure's unit.
        moving: PromQL of the right side where it is none.
        moving_legend: the name of its lines.
        unit: of both, as Grafana calls it.
        condition: it only says whether the guard may fire at all, such as a minimal sample.
    """

    measured: str
    legend: str
    operator: str
    limit: float | None
    moving: str
    moving_legend: str
    unit: str
    condition: bool = False


@dataclass(frozen=True)
class GuardView:
    """A guard as its panel shows it.

    Args:
        name: the label `guard`.
        alert: the alert's name, under which Prometheus lists the rule.
        summary: one sentence.
        words: the condition in words.
        severity: critical, warning or info.
        action: rollback, hold or notify.
        lasting: how long the condition must last, as a duration; empty for no time.
        stages: where it is armed.
        no_data: what happens without data.
        watchers: the guards that see its data go.
        runbook: name of its page.
        comparisons: in the order of the rule.
    """

    name: str
    alert: str
    summary: str
    words: str
    severity: str
    action: str
    lasting: str
    stages: Sequence[str]
    no_data: str
    watchers: Sequence[str]
    runbook: str
    comparisons: Sequence[Comparison]


@dataclass(frozen=True)
class Pair:
    """A metric and its baseline, as PromQL, for the eye to compare."""

    metric: str
    baseline: str
    legend: str
    unit: str


@dataclass(frozen=True)
class RolloutView:
    """A rollout with all that its dashboard shows.

    Args:
        rollout: the checked rollout.
        targets: selector of its targets' own series, such as ``rollout="model-canary"``.
        guards: its own, as written.
        platform: those of the platform that act on it.
        pairs: metrics that some guard holds against a baseline.
    """

    rollout: Rollout
    targets: str
    guards: Sequence[GuardView]
    platform: Sequence[GuardView]
    pairs: Sequence[Pair]
