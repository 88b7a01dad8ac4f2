"""Do stages, actions and targets make sense together? Doubts, not mistakes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout

NAME = "stages"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield what is allowed, but seldom meant."""
    for item in material.checked:
        for problem in (*_shares(item), *_actions(item), *_fallbacks(item)):
            yield Finding(NAME, "warning", problem)


def _shares(item: LoadedRollout) -> Iterator[Problem]:
    stages = item.rollout.stages
    for index, (before, after) in enumerate(pairwise(stages), 1):
        if before.match == after.match and after.share < before.share:
            message = f"is {after.share:g}, less than {before.share:g} of {before.name} before it."
            hint = "Users would lose what they have while all goes well."
            yield item.problem(("stages", index, "percent"), message, hint)


def _actions(item: LoadedRollout) -> Iterator[Problem]:
    if not any(guard.action == "rollback" for guard in item.rollout.guards):
        yield item.problem(("guards",), "have none with action rollback: nothing rolls back by itself.")


def _fallbacks(item: LoadedRollout) -> Iterator[Problem]:
    """Yield targets of which a rollback leaves keys as a stage has set them."""
    for index, target in enumerate(item.document.data.get("targets") or ()):
        for kind, body in target.items():
            values = body.get("values") if isinstance(body, dict) else None
            if not isinstance(values, dict) or not isinstance(values.get("fallback"), dict):
                continue
            kept = values["fallback"]
            left = dict.fromkeys(
                key for keys in values.values() for key in keys or () if not _within_reach(key, kept)
            )
            if left:
                message = f"does not set {', '.join(left)}, which stages set: a rollback leaves it as it is."
                yield item.problem(("targets", index, kind, "values", "fallback"), message)


def _within_reach(key: str, kept: Iterable[str]) -> bool:
    """Return whether one of the kept keys is a key, lies within its value, or holds it."""
    return any(f"{key}.".startswith(f"{other}.") or other.startswith(f"{key}.") for other in kept)
