"""How often do a rollout's guards roll a healthy release back? Measured on the file's `traffic`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rollguard.conventions import ENABLED
from rollguard.durations import parse
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.simulation.false_rates import Rate, Subject
from rollguard.spec.fields import Value
from rollguard.spec.guards import alpha, window
from rollguard.spec.rollout import BY_EVIDENCE, Guard, Rollout
from rollguard.spec.templates import Template, template_of

NAME = "false-rates"
WEEK_SECONDS = 7 * 86_400.0
_STEPS = (2, 3, 5, 10, 20, 50, 100)
_MINIMUM = {"ratio": "min_denominator", "quantile": "min_count", "trails-baseline": "min_sample"}


@dataclass(frozen=True)
class FalseRate:
    """How likely a guard rolls a healthy release back, 0-1.

    Args:
        guard: its name.
        until_enabled: in all stages together; None where nobody knows.
        enabled_week: in a week after that.
        unknown: why nobody knows; empty where that is known.
        least: both, as they are at least, by what was measured.
    """

    guard: str
    until_enabled: float | None = None
    enabled_week: float | None = None
    unknown: str = ""
    least: tuple[float, float] = (0.0, 0.0)


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield rollouts that chance rolls back too often, and guards of which nobody knows."""
    for item in material.checked:
        found = rates(item.rollout)
        for rate in found:
            if rate.unknown:
                guard = item.rollout.guard(rate.guard)
                place = item.location(guard) if guard else ()
                message = f"has a false_rate that is unknown, because {rate.unknown}."
                hint = "Say under traffic what is normal: docs/evidence.md."
                yield Finding(NAME, "note", item.problem(place, message, hint))
        yield from _over(item, found)


def rates(rollout: Rollout) -> list[FalseRate]:
    """Return how often each guard rolls back that is no guard by evidence; measured once, then remembered."""
    return [
        _rate(rollout, guard)
        for guard in rollout.guards
        if guard.action == "rollback" and guard.use not in BY_EVIDENCE
    ]


def evidence_alpha(rollout: Rollout) -> float:
    """Return the chance that the guards by evidence are allowed together."""
    return sum(
        alpha(guard) for guard in rollout.guards if guard.action == "rollback" and guard.use in BY_EVIDENCE
    )


def as_data(rollout: Rollout) -> dict[str, Any]:
    """Return everything as JSON data."""
    found = rates(rollout)
    known = [rate for rate in found if not rate.unknown]
    return {
        "evidence_alpha": evidence_alpha(rollout),
        "until_enabled": evidence_alpha(rollout) + sum(rate.until_enabled or 0.0 for rate in known),
        "enabled_week": sum(rate.enabled_week or 0.0 for rate in known),
        "guards": [{key: value for key, value in asdict(rate).items() if key != "least"} for rate in found],
    }


def _rate(rollout: Rollout, guard: Guard) -> FalseRate:
    subject = Subject(rollout, guard)
    if subject.unknown:
        return FalseRate(guard.name, unknown=subject.unknown)
    chance = least = 0.0
    for stage in rollout.stages:
        if stage.hold and guard.armed_in(stage.name):
            rate = _measured(subject, stage.share / 100, stage.hold)
            chance += rate.chance(stage.hold)
            least += rate.least_chance(stage.hold)
    week = least_week = 0.0
    if guard.armed_in(ENABLED):
        rate = _measured(subject, rollout.stages[-1].share / 100, WEEK_SECONDS)
        week, least_week = rate.chance(WEEK_SECONDS), rate.least_chance(WEEK_SECONDS)
    return FalseRate(guard.name, min(1.0, chance), week, "", (min(1.0, least), least_week))


def _over(item: LoadedRollout, found: Sequence[FalseRate]) -> Iterator[Finding]:
    """Yield what is beyond a budget by what was measured, at the guard that takes most of it."""
    rollback = item.rollout.rollback
    terms = (
        (0, "until it is enabled", "false_budget", rollback.false_budget, evidence_alpha(item.rollout)),
        (1, "in a week after it is enabled", "enabled_budget", rollback.enabled_budget, 0.0),
    )
    for number, when, key, budget, taken in terms:
        if taken + sum(rate.least[number] for rate in found) <= budget * (1 + 1e-9):
            continue
        worst = max(found, key=lambda rate: rate.least[number])
        chances = [(rate.until_enabled or 0.0, rate.enabled_week or 0.0)[number] for rate in found]
        own = (worst.until_enabled or 0.0, worst.enabled_week or 0.0)[number]
        guard = item.rollout.guard(worst.guard)
        if guard is None:
            continue
        together = min(1.0, taken + sum(chances))
        message = (
            f"rolls {own:.2%} of healthy runs back {when}, {together:.2%} with the other guards, expected "
            f"at most rollback.{key}: {budget:.12g} together."
        )
        room = max(budget - taken - sum(chances) + own, budget / 10)
        yield Finding(
            NAME, "error", item.problem(item.location(guard), message, mend(item.rollout, guard, room))
        )
        return


def mend(rollout: Rollout, guard: Guard, room: float) -> str:
    """Return what to write so that a guard keeps within a budget."""
    given = dict(guard.bindings[0])
    for key, value in _changes(rollout, guard) if len(guard.bindings) == 1 else ():
        rate = _rate(rollout, guard.model_copy(update={"with_": {**given, key: value}}))
        if max(rate.until_enabled or 0.0, rate.enabled_week or 0.0) <= room:
            was = given.get(key, template_of(guard).parameters[key].default)
            numbers = [f"{one:g}" if isinstance(one, float) else str(one) for one in (value, was)]
            return f"Write {key}: {numbers[0]} instead of {numbers[1]}."
    return "Nothing near its numbers would keep within it: hold or notify, or judge by `compare` or `limit`."


def _changes(rollout: Rollout, guard: Guard) -> Iterator[tuple[str, Value]]:
    """Yield parameters that make a guard less eager, the gentlest kind first."""
    template, given = template_of(guard), guard.bindings[0]
    bound = template.bind(given)
    minimum = _MINIMUM.get(template.template)
    if minimum and (template.template != "trails-baseline" or bound["sample"] is not None):
        values = [max(20, int(bound[minimum])) * step for step in _STEPS]
        yield from ((minimum, value) for value in values if value <= _most(rollout, guard))
    if template.template == "increases":
        yield from (("by_more_than", bound["by_more_than"] + step) for step in _STEPS)
    if template.template == "trails-baseline":
        yield from (("delta_ratio", min(1.0, bound["delta_ratio"] * step)) for step in (1.5, 2, 3))
    if template.window and bound[template.window]:
        yield from (("window", text) for text in ("1h", "6h") if parse(text) > bound[template.window])
    for key, sign in (("above", 1), ("at_least", 1), ("below", -1), ("at_most", -1)):
        if bound.get(key) is not None:
            yield from ((key, value) for value in _farther(template, key, bound[key], sign))


def _farther(template: Template, key: str, limit: float, sign: int) -> Iterator[float]:
    for step in (0.1, 0.2, 0.5, 1.0, 2.0):
        value = float(f"{limit + sign * step * abs(limit):.3g}")
        if template.parameters[key].type != "ratio" or 0 < value < 1:
            yield value


def _most(rollout: Rollout, guard: Guard) -> float:
    """Return the events that a guard may wait for: half of those of its window, or of its shortest stage."""
    seconds = window(guard) or min((stage.hold for stage in rollout.stages if stage.hold), default=0.0)
    laws = [law.per_minute for law in rollout.traffic.values() if law.per_minute]
    return max(laws, default=0.0) * seconds / 60 / 2


_KNOWN: dict[str, Rate] = {}


def _measured(subject: Subject, share: float, seconds: float) -> Rate:
    """Return what was measured before, here or by another run of the command; or measure."""
    digest = subject.digest(share, seconds)
    if digest not in _KNOWN:
        path = _folder() / f"{digest}.json"
        try:
            _KNOWN[digest] = Rate(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            _KNOWN[digest] = subject.measure(share, seconds)
            _keep(path, asdict(_KNOWN[digest]))
    return _KNOWN[digest]


def _keep(path: Path, content: Mapping[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(content), encoding="utf-8")
        unfinished.replace(path)
    except OSError:
        return  # it is measured again next time


def _folder() -> Path:
    """Return where measurements are kept: $XDG_CACHE_HOME/rollguard, or ~/.cache/rollguard."""
    return (
        Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "rollguard" / "false-rates"
    )
