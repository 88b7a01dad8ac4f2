"""Who gets which variant: share, match, users, schedule and dependencies in flagd's JSON logic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from openfeature.contrib.tools.flagd.core.targeting import targeting
from openfeature.evaluation_context import EvaluationContext

from rollguard.spec.flag import Flag
from rollguard.spec.rollout import Rollout, Stage
from rollguard.state import State

Logic: TypeAlias = str | dict[str, Any]
"""A variant's name, or JSON logic that yields one."""

_DECIMALS = 6
"""Of a percentage; the weights of a flag then add up to 10^8, and flagd allows 2^31."""

SPLIT, LISTED, MATCH = "split", "listed", "match"

_KEY = {"var": "targetingKey"}
_NOW = {"var": "$flagd.timestamp"}


def variant(
    rollout: Rollout, state: State, rollouts: Mapping[str, Rollout], states: Mapping[str, State]
) -> Logic:
    """Return which variant a flag is in a state, and for whom.

    Outside of a run everybody gets the fallback, whatever users and schedule say. In a run, from the
    strongest: users that are off, the schedule, the rollouts that this one requires, users that are on, and
    what the stage says.

    Args:
        rollout: whose flag it is.
        state: its state.
        rollouts: all of them by name, for those that are required; one that is absent serves nobody.
        states: of all rollouts by name; DISABLED where one is absent.
    Returns:
        The variant's name where it is the same for everybody.
    """
    flag, stage = rollout.flag, stage_of(rollout, state)
    if stage is None:
        return flag.fallback
    among = _among(stage.match or {})
    found = _if(_listed(flag.users.on), flag.serve, _if(among, _share(flag, stage.share), flag.fallback))
    for name in rollout.requires:
        found = _if(_is_served(name, rollouts, states), found, flag.fallback)
    if flag.schedule is not None:
        found = _if(_within(flag.schedule.enable_time, flag.schedule.disable_time), found, flag.fallback)
    return _if(_listed(flag.users.off), flag.fallback, found)


def assignment(logic: Any, context: EvaluationContext) -> str:
    """Return how the variant of a context was chosen: by the `split`, as a `listed` user, or by a `match`.

    Whom the hash draws is of the split, and everybody where a stage's share has all or nobody. Users that are
    off or on are listed. Whom an attribute, another rollout or the schedule decides about is matched, and
    who has no targeting key.

    Args:
        logic: as `variant` returns it, or nothing where everybody gets the same.
        context: whose flag it is.
    """
    found = SPLIT
    while isinstance(logic, dict) and "if" in logic:
        condition, then, otherwise = logic["if"]
        met = bool(context.targeting_key if condition == _KEY else targeting("", condition, context))
        logic = then if met else otherwise
        if _is_list(condition):
            if met:
                return LISTED
        elif not met or not (condition == _KEY or _is_schedule(condition)):
            found = MATCH
    return SPLIT if isinstance(logic, dict) and "fractional" in logic else found


def is_split(logic: Logic) -> bool:
    """Return whether the split alone chooses, for everybody who has a targeting key."""
    return isinstance(logic, str) or logic["if"][0] == _KEY


def stage_of(rollout: Rollout, state: State) -> Stage | None:
    """Return the stage whose share is served: the last one when ENABLED, None outside of a run."""
    if state.status == "ENABLED":
        return rollout.stages[-1].model_copy(update={"percent": 100, "match": None})
    stages = {stage.name: stage for stage in rollout.stages}
    return stages.get(state.stage or "") if state.status == "ROLLING_OUT" else None


def _share(flag: Flag, percent: float) -> Logic:
    """Return a share, sticky: `serve` comes first, so that a larger share holds the smaller one.

    Whoever has no targeting key gets the fallback, where ``fractional`` would hash the seed alone.
    """
    if percent <= 0 or percent >= 100:
        return flag.serve if percent else flag.fallback
    served, rest = weights(percent)
    seed = {"cat": [flag.salt or flag.key, _KEY]}
    split = {"fractional": [seed, [flag.serve, served], [flag.fallback, rest]]}
    return {"if": [_KEY, split, flag.fallback]}


def weights(percent: float) -> tuple[int, int]:
    """Return a percentage as two whole numbers, as small as they can be in powers of ten."""
    share = round(Decimal(str(percent)), _DECIMALS).normalize()
    exponent = share.as_tuple().exponent
    scale = 10 ** max(0, -int(exponent))
    served = int(share * scale)
    return served, 100 * scale - served


def _is_served(
    name: str, rollouts: Mapping[str, Rollout], states: Mapping[str, State]
) -> bool | dict[str, Any]:
    """Return whether a required rollout serves its new variant, decided by its own seed."""
    required = rollouts.get(name)
    if required is None or required.observed:
        return False
    theirs = variant(required, states.get(name, State(name)), rollouts, states)
    return theirs == required.flag.serve if isinstance(theirs, str) else {"==": [theirs, required.flag.serve]}


def _among(match: Mapping[str, Sequence[str]]) -> bool | dict[str, Any]:
    """Return whether a context has one of the values of every attribute."""
    return (
        {"and": [{"in": [{"var": name}, list(values)]} for name, values in match.items()]} if match else True
    )


def _listed(users: Sequence[str]) -> bool | dict[str, Any]:
    return {"in": [_KEY, list(users)]} if users else False


def _is_list(condition: Any) -> bool:
    return isinstance(condition, dict) and condition.get("in", [None])[0] == _KEY


def _is_schedule(condition: Any) -> bool:
    return all(_NOW in next(iter(limit.values())) for limit in condition.get("and", [{"": ()}]))


def _within(begin: int | None, end: int | None) -> bool | dict[str, Any]:
    limits: list[dict[str, Any]] = []
    if begin is not None:
        limits.append({">=": [_NOW, begin]})
    if end is not None:
        limits.append({"<": [_NOW, end]})
    return {"and": limits} if limits else True


def _if(condition: bool | dict[str, Any], then: Logic, otherwise: Logic) -> Logic:
    if then == otherwise or isinstance(condition, bool):
        return then if condition else otherwise
    return {"if": [condition, then, otherwise]}
