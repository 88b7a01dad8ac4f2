"""What a change of rollout files means for rules, routes and time, in words for a review."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rollguard import durations
from rollguard.generators.budget import GuardBudget, budget
from rollguard.generators.rules.alerting import alerting_rule
from rollguard.generators.rules.timing import Timing
from rollguard.spec.rollout import Guard, Rollout

Kind: TypeAlias = Literal["added", "removed", "changed"]
Routes: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""Rollout → guard → receivers."""

_SIMPLE = ("use", "severity", "action", "no_data", "summary")
_ELSEWHERE = ("rollout", "guards")


@dataclass(frozen=True)
class GuardChange:
    """What became of one guard.

    Args:
        guard: its name.
        kind: whether it is new, gone or other than it was.
        words: each change of it, in a few words.
        worst: seconds from breach to flip at most, before and after; None where it is not there.
        receivers: whom its alert reaches, before and after.
    """

    guard: str
    kind: Kind
    words: tuple[str, ...]
    worst: tuple[float | None, float | None]
    receivers: tuple[Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class RolloutChange:
    """What became of one rollout.

    Args:
        rollout: its name.
        kind: whether it is new, gone or other than it was.
        guards: those that are new, gone or other than they were.
        others: what else differs, in a few words each.
    """

    rollout: str
    kind: Kind
    guards: tuple[GuardChange, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Side:
    """The rollouts at one time.

    Args:
        rollouts: by name.
        routes: whom their alerts reach.
    """

    rollouts: Mapping[str, Rollout]
    routes: Routes


def changes(before: Side, after: Side) -> list[RolloutChange]:
    """Return what is new, gone or other than it was, by name.

    Raises:
        RenderingError: a guard cannot be rendered.
    """
    names = sorted({*before.rollouts, *after.rollouts})
    found = (_rollout(name, before, after) for name in names)
    return [change for change in found if change is not None]


def _rollout(name: str, before: Side, after: Side) -> RolloutChange | None:
    old, new = before.rollouts.get(name), after.rollouts.get(name)
    pairs = _pairs(old, new)
    budgets = [
        {found.guard: found for found in budget(side)} if side is not None else {} for side in (old, new)
    ]
    guards = []
    for guard, (was, now) in pairs.items():
        times: list[GuardBudget | None] = [found.get(guard) for found in budgets]
        worst = tuple(None if found is None else found.worst for found in times)
        routes = [side.routes.get(name, {}).get(guard, ()) for side in (before, after)]
        words = tuple(_words(old, was, new, now))
        if words or worst[0] != worst[1] or routes[0] != routes[1]:
            kind: Kind = "added" if was is None else "removed" if now is None else "changed"
            guards.append(
                GuardChange(guard, kind, words, (worst[0], worst[1]), (tuple(routes[0]), tuple(routes[1])))
            )
    if old is None or new is None:
        return RolloutChange(name, "added" if old is None else "removed", tuple(guards))
    others = tuple(_others(old, new))
    return RolloutChange(name, "changed", tuple(guards), others) if guards or others else None


def _pairs(old: Rollout | None, new: Rollout | None) -> dict[str, tuple[Guard | None, Guard | None]]:
    sides = [{guard.name: guard for guard in side.guards} if side else {} for side in (old, new)]
    return {name: (sides[0].get(name), sides[1].get(name)) for name in {**sides[0], **sides[1]}}


def _words(old: Rollout | None, was: Guard | None, new: Rollout | None, now: Guard | None) -> Iterator[str]:
    if new is not None and now is not None and (old is None or was is None):
        yield f"{now.action} when {_description(new, now)}"
    elif old is not None and was is not None and (new is None or now is None):
        yield f"is gone: {was.action} when {_description(old, was)}"
    elif old is not None and was is not None and new is not None and now is not None:
        found = list(_differences(old, was, new, now))
        yield from found
        if not found and _rule(old, was)["expr"] != _rule(new, now)["expr"]:
            yield "another expression"


def _differences(old: Rollout, was: Guard, new: Rollout, now: Guard) -> Iterator[str]:
    yield from _parameters(was, now)
    if was.for_ != now.for_:
        yield f"for {durations.render(was.for_)} → {durations.render(now.for_)}"
    for key in _SIMPLE:
        before, after = getattr(was, key), getattr(now, key)
        if before != after:
            yield f"{key} {_shown(before)} → {_shown(after)}"
    armed, arms = old.armed_stages(was), new.armed_stages(now)
    more, less = [stage for stage in arms if stage not in armed], [x for x in armed if x not in arms]
    if more:
        yield f"now armed in {', '.join(more)} too"
    if less:
        yield f"no longer armed in {', '.join(less)}"


def _parameters(was: Guard, now: Guard) -> Iterator[str]:
    if len(was.bindings) != len(now.bindings):
        yield f"conditions {len(was.bindings)} → {len(now.bindings)}"
        return
    for before, after in zip(was.bindings, now.bindings, strict=True):
        several = f"{after.get('metric', '')} " if len(now.bindings) > 1 else ""
        for key in dict.fromkeys([*before, *after]):
            if before.get(key) != after.get(key):
                yield f"{several}{key} {_shown(before.get(key))} → {_shown(after.get(key))}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _others(old: Rollout, new: Rollout) -> Iterator[str]:
    sides = [side.model_dump(by_alias=True) for side in (old, new)]
    for key, value in sides[1].items():
        if key not in _ELSEWHERE:
            yield from _apart(key, sides[0][key], value)


def _apart(where: str, before: Any, after: Any) -> Iterator[str]:
    """Yield what differs between two values of a rollout file, each at its innermost key."""
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            yield from _apart(f"{where}.{key}", before.get(key), after.get(key))
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple):
        yield from _items_apart(where, _by_name(before), _by_name(after))
    else:
        yield f"{where} {_shown(before)} → {_shown(after)}"


def _items_apart(where: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for name in {**before, **after}:
        if name not in after:
            yield f"{where}: {name} is gone"
        elif name not in before:
            yield f"{where}: {name} is new"
        else:
            yield from _apart(f"{where} {name}", before[name], after[name])
    if before.keys() == after.keys() and [*before] != [*after]:
        yield f"{where}: another order"


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """Return the items of a list by their names; those without by their place, plain values as they are."""
    if not any(isinstance(item, dict) for item in items):
        return {str(item): item for item in items}
    return {str(item.get("name") or number): item for number, item in enumerate(items, 1)}


def _description(rollout: Rollout, guard: Guard) -> str:
    text = str(_rule(rollout, guard)["annotations"]["description"])
    return text.partition("}}: ")[2].rstrip(".") or text


def _rule(rollout: Rollout, guard: Guard) -> Mapping[str, Any]:
    return alerting_rule(rollout, guard, Timing(1.0, rollout.scrape.interval))
