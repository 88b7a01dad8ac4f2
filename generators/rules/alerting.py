"""Alerting rules: one rollout file and the guard library make one rule file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rollguard import durations, links
from rollguard.conventions import (
    EVIDENCE_METRIC,
    EVIDENCE_PROBLEM_METRIC,
    GUARD_LABEL,
    OPEN_METRIC,
    RULES_INFO,
    STAGE_METRIC,
    STATES_WITHOUT_STAGE,
)
from rollguard.errors import RollguardError
from rollguard.generators.promql.syntax import past_edges
from rollguard.generators.rules import evidence_words, expressions
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import NoDataGuard, all_guards, runbook, window
from rollguard.spec.rollout import BY_EVIDENCE, Guard, Rollout
from rollguard.spec.templates import template_of

STAGE_LOOKBACK_SECONDS = 300.0
"""How long the control plane's last word on the stage counts; after that every guard is armed."""

RULES_IN_A_GROUP = 20
RUNBOOKS = "docs/runbooks"


class RenderingError(RollguardError):
    """A guard cannot be rendered.

    Args:
        where: the guard, and what of it.
        error: why not.
        key: of the guard, where that is written.
    """

    def __init__(self, where: str, error: Exception, key: str = "") -> None:
        self.message, self.key = str(error), key
        self.hint = error.hint if isinstance(error, expressions.ExpressionError) else ""
        super().__init__(f"{where}: {error}." + (f"\n  {self.hint}" if self.hint else ""))


@dataclass(frozen=True)
class Condition:
    """One binding of a guard: the names its template may use, and the expression they give."""

    names: Mapping[str, Any]
    expr: str
    words: str


def rule_file(rollout: Rollout, timing: Timing) -> dict[str, Any]:
    """Return a rollout's rules as Prometheus reads them.

    Args:
        rollout: a checked rollout.
        timing: interval and scale.
    Returns:
        The content of ``<rollout>.rules.yml``: groups of at most 20 rules.
    Raises:
        RenderingError: names the guard that cannot be rendered.
    """
    info = {
        "record": RULES_INFO,
        "expr": "vector(1)",
        "labels": {
            "rollout": rollout.name,
            "digest": rollout.digest(),
            "dashboard": links.of_rollout(rollout.name),
        },
    }
    rules = [info, *(evaluated(alerting_rule(rollout, guard, timing)) for guard in all_guards(rollout))]
    chunks = [rules[start : start + RULES_IN_A_GROUP] for start in range(0, len(rules), RULES_IN_A_GROUP)]
    interval = timing.text(timing.base_interval)
    group = rollout.scrape.rule_group or rollout.name
    return {
        "groups": [
            {
                "name": group if number == 1 else f"{group}-{number}",
                "interval": interval,
                "rules": chunk,
            }
            for number, chunk in enumerate(chunks, 1)
        ]
    }


def alerting_rule(rollout: Rollout, guard: Guard, timing: Timing) -> dict[str, Any]:
    """Return one guard as an alerting rule."""
    return rule_of(rollout, guard, conditions(rollout, guard, timing), timing)


def evaluated(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule as Prometheus is given it: its ranges do not end at a sample."""
    return {**rule, "expr": past_edges(rule["expr"])}


def rule_of(rollout: Rollout, guard: Guard, parts: list[Condition], timing: Timing) -> dict[str, Any]:
    """Return the alerting rule of a guard whose conditions are rendered already."""
    rule: dict[str, Any] = {"alert": guard.alert, "expr": _expression(rollout, guard, parts, timing)}
    if guard.for_:
        rule["for"] = timing.text(guard.for_)
    rule["labels"] = labels(rollout, guard)
    rule["annotations"] = _annotations(rollout, guard, parts, timing)
    return rule


def conditions(rollout: Rollout, guard: Guard, timing: Timing) -> list[Condition]:
    """Return a guard's conditions: one for each item of its ``with``.

    Raises:
        RenderingError: the template does not render with these parameters.
    """
    template = template_of(guard)
    found = []
    for values in guard.bindings:
        names = expressions.context(template, values, rollout.name, timing)
        key = "expr"
        try:
            expr = expressions.render(template.expr, names)
            key = "condition"
            words = expressions.render(template.condition, names)
        except expressions.ExpressionError as error:
            source = f"template {guard.use}" if guard.use else key
            where = f"{rollout.name}: guard {guard.name}, {source}"
            raise RenderingError(where, error, "with" if guard.use else key) from error
        found.append(Condition(names, expr, " ".join(words.split())))
    return found


def labels(rollout: Rollout, guard: Guard) -> dict[str, str]:
    """Return the labels that every alert of a guard carries."""
    return {
        "rollout": rollout.name,
        "guard": guard.name,
        "severity": guard.severity,
        "action": guard.action,
    }


def other_stages(rollout: Rollout, guard: Guard) -> list[str]:
    """Return the values of the label ``rollout_stage`` in which a guard is silent.

    One on missing data is silent outside of a run, too. Any other without stages of its own is not: what it
    says there keeps the next run from starting.
    """
    if guard.stages is None and not isinstance(guard, NoDataGuard):
        return []
    names = [*(stage.name for stage in rollout.stages), *STATES_WITHOUT_STAGE]
    return [name for name in names if not guard.armed_in(name)]


@dataclass(frozen=True)
class Silence:
    """What the control plane says while a guard is to be silent: another stage, or that its clock is closed.

    Args:
        condition: PromQL that yields a sample then.
        series: that say it, each with the case of which it is.
        value: that each of them has then.
        seconds: how long that counts.
        since: whether it counts although it has been taken back since.
    """

    condition: str
    series: Mapping[str, str]
    value: int
    seconds: float
    since: bool


def silences(rollout: Rollout, guard: Guard, timing: Timing) -> list[Silence]:
    """Return what silences a guard.

    Missing data is missed from then on only when they should have been there for a whole window: a run has
    begun, or a clock opened.
    """
    since = isinstance(guard, NoDataGuard)
    whole = timing.seconds(max(STAGE_LOOKBACK_SECONDS, window(guard)))
    found = []
    if elsewhere := other_stages(rollout, guard):
        seconds = whole if since else timing.seconds(STAGE_LOOKBACK_SECONDS)
        series = f'{STAGE_METRIC}{{rollout="{rollout.name}",{STAGE_METRIC}'
        read = f'{series}=~"{"|".join(elsewhere)}"}}[{durations.render(seconds)}]'
        each = {f'{series}="{stage}"}}': f"in {stage}" for stage in elsewhere}
        function = "max_over_time" if since else "last_over_time"
        found.append(Silence(f"{function}({read}) == 1", each, 1, seconds, since))
    if rollout.clock_of(guard) and timing.scale == 1.0:
        whose = guard.source_name if guard.clock else ""
        series = f'{OPEN_METRIC}{{rollout="{rollout.name}",{GUARD_LABEL}="{whose}"}}'
        read = f"{series}[{durations.render(whole)}]"
        function = "min_over_time" if since else "last_over_time"
        closed = {series: "while it is closed"}
        found.append(Silence(f"{function}({read}) == 0", closed, 0, whole, since))
    return found


def _expression(rollout: Rollout, guard: Guard, parts: list[Condition], timing: Timing) -> str:
    expr = parts[0].expr
    if len(parts) > 1:
        expr = "\nor\n".join(f"(\n{textwrap.indent(part.expr, '  ')}\n)" for part in parts)
    silent = [f"unless on (rollout)\n{silence.condition}" for silence in silences(rollout, guard, timing)]
    return "\n".join([f"(\n{textwrap.indent(expr, '  ')}\n)", *silent]) if silent else expr


def _annotations(rollout: Rollout, guard: Guard, parts: list[Condition], timing: Timing) -> dict[str, str]:
    lasting = f" for {timing.text(guard.for_)}" if guard.for_ else ""
    words = ", or ".join(part.words for part in parts)
    kind = {"no_data": _no_data_kind(rollout, parts)} if isinstance(guard, NoDataGuard) else {}
    # Not humanize: it makes 550m of a ratio of 0.55.
    value = f'Value {{{{ printf "%.6g" $value }}}}: {words}{lasting}.'
    by_evidence = guard.use in BY_EVIDENCE
    return {
        "summary": guard.summary or template_of(guard).summary,
        "description": evidence_words.description(rollout, guard, words) if by_evidence else value,
        **kind,
        "runbook_url": f"{RUNBOOKS}/{runbook(rollout, guard)}.md",
        "dashboard_url": links.url(links.of_rollout(rollout.name), shown_in(guard)),
    }


def shown_in(guard: Guard) -> str:
    """Return the title of the panel that shows a guard; one on missing data is shown with what it watches."""
    return guard.watched[0] if isinstance(guard, NoDataGuard) else guard.name


def _no_data_kind(rollout: Rollout, parts: list[Condition]) -> str:
    """Return what sort of missing data it is; for a missing series, Prometheus finds out when it fires."""
    names = parts[0].names
    if names["counter"] is not None or names["single"] is not None:
        return "no traffic" if names["counter"] is not None else "several series"
    metrics = dict.fromkeys(part.names["metric"] for part in parts if part.names["metric"] is not None)
    never = " or ".join(f"absent_over_time({metric}[1d])" for metric in metrics)
    if not never:
        return "not a number"
    named = ""
    for metric in metrics:
        if metric.name == EVIDENCE_METRIC:
            problem = replace(metric, name=EVIDENCE_PROBLEM_METRIC)
            reason = f'{{{{ with query `{problem}` }}}}{{{{ . | first | label "reason" }}}}{{{{ end }}}}'
            named = f"{{{{ else if query `{problem}` }}}}{reason}"
    return (
        f"{{{{ if ne $value $value }}}}not a number{named}"
        f'{{{{ else if query `up{{rollout="{rollout.name}"}} == 0` }}}}target down'
        f"{{{{ else if query `{never}` }}}}never existed{{{{ else }}}}vanished{{{{ end }}}}"
    )


def rendered_rules(content: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alerting rules of a rule file's content."""
    for group in content.get("groups") or ():
        for rule in group.get("rules") or ():
            if "alert" in rule:
                yield rule
