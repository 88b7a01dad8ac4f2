"""What a guard by evidence asks, checked as a whole: what its parameters alone cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rollguard import durations
from rollguard.conventions import ENABLED
from rollguard.spec.rollout import BY_EVIDENCE, Rollback
from rollguard.spec.templates import library
from rollguard.yamlfile import Location

Finding: TypeAlias = tuple[Location, str, str]
"""Where within the guard, what is wrong, how to mend it."""


def check(guard: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what does not go together in a guard of the templates `compare` or `limit`.

    Args:
        guard: as in the file.
    """
    given = guard.get("with", {})
    if not isinstance(given, Mapping):
        yield (
            ("with",),
            "is a list, expected one mapping.",
            "Write a guard for each: each has its own evidence.",
        )
        return
    yield from _check_compare(given) if guard["use"] == "compare" else _check_limit(given)


def check_stages(guard: Mapping[str, Any], stages: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield where a comparison is armed though one of its arms is empty, or too short for its horizon.

    Args:
        guard: as in the file, of the template `compare`.
        stages: as in the file.
    """
    named = guard.get("stages")
    armed = named if isinstance(named, list) else [*(stage.get("name") for stage in stages), ENABLED]
    both = {
        str(stage.get("name")): stage
        for stage in stages
        if isinstance(percent := stage.get("percent"), int | float) and 0 < percent < 100
    }
    lone = [str(name) for name in armed if str(name) not in both]
    if lone:
        yield (
            ("stages",),
            f"has {', '.join(lone)}, where there is nothing beside the new variant to compare with.",
            f"Name stages of more than 0 and less than 100 percent: {', '.join(both) or 'there is none'}. "
            "In the others, `limit` judges the new variant alone.",
        )
    given = guard.get("with")
    text = given.get("horizon") if isinstance(given, Mapping) else None
    horizon = _seconds(text)
    for name, stage in both.items():
        if name in map(str, armed) and 0 < _seconds(stage.get("hold")) <= horizon:
            message = f"is {text}, no shorter than the stage {name}, which would judge nothing."
            yield ("with", "horizon"), message, "Shorten it, or lengthen the stage's hold."


def check_budget(data: Mapping[str, Any], guards: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield that the guards that roll back by evidence may do so by chance too often, all together.

    Args:
        data: the file.
        guards: as in the file.
    """
    rollback = data.get("rollback")
    given = rollback.get("false_budget") if isinstance(rollback, Mapping) else None
    budget = given if isinstance(given, int | float) and 0 < given < 1 else Rollback().false_budget
    shares = {
        index: alpha
        for index, guard in enumerate(guards)
        if guard.get("action") == "rollback" and (alpha := _alpha(guard))
    }
    total = sum(shares.values())
    if total > budget * (1 + 1e-9):
        last = max(shares)
        yield (
            ("guards", last, "with", "alpha"),
            f"makes {total:.12g} with the other guards that roll back by evidence, expected at most "
            f"rollback.false_budget: {budget:.12g} together.",
            f"Write alpha: {budget / len(shares):.3g} into each of the {len(shares)}.",
        )


def _alpha(guard: Mapping[str, Any]) -> float:
    """Return the alpha of a guard by evidence; 0 of another one, or where it is none."""
    template = library().get(str(guard.get("use")))
    given = guard.get("with")
    if template is None or guard.get("use") not in BY_EVIDENCE or not isinstance(given, Mapping):
        return 0.0
    alpha = given.get("alpha", template.parameters["alpha"].default)
    return float(alpha) if isinstance(alpha, int | float) and 0 < alpha < 1 else 0.0


def check_proof(criterion: Mapping[str, Any], guards: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield where a criterion asks for the proof of what no guard compares.

    Args:
        criterion: as in the file.
        guards: as in the file.
    """
    wanted = criterion.get("not_worse")
    compared = [
        name
        for guard in guards
        if guard.get("use") == "compare" and isinstance(name := guard.get("name", guard.get("alert")), str)
    ]
    if isinstance(wanted, str) and wanted not in compared:
        known = f"one of {', '.join(compared)}" if compared else "a guard by `compare`, and there is none"
        yield ("not_worse",), f"is {wanted}, expected {known}.", "It needs the counters of both variants."


def _seconds(text: object) -> float:
    try:
        return durations.parse(text) if isinstance(text, str) else 0.0
    except ValueError:
        return 0.0  # said elsewhere


def _check_compare(given: Mapping[str, Any]) -> Iterator[Finding]:
    if "cluster" not in given and "times" not in given:
        yield (
            ("with",),
            "has none of cluster, times, expected one.",
            "Where users or accounts are split, their outcomes come in clusters: count each unit once and "
            "write cluster: unit, or give times: 1.1; cluster: none says that each outcome is drawn alone.",
        )
    if "times" in given and "bad" not in given:
        yield ("with", "times"), "is given without bad, which it is a factor of.", "Give bad and total."
    for key in ("worse", "each"):
        if key in given and "values" not in given:
            yield ("with", key), "is given without values.", "Take it out."
    if "," in str(given.get("each", "")):
        yield ("with", "each"), f"is {given['each']}, expected one label.", ""
    defaults = library()["compare"].parameters
    arms = [given.get(name, defaults[name].default) for name in ("canary", "baseline")]
    if arms[0] == arms[1]:
        yield ("with",), f"has the same arms: {arms[0]}, expected two.", "Give canary and baseline."


def _check_limit(given: Mapping[str, Any]) -> Iterator[Finding]:
    for role, limit in (("bad", "above"), ("good", "below")):
        if role in given and limit not in given:
            yield ("with", limit), "is missing, expected a share, 0-1.", f"It is the limit of {role}."
        elif limit in given and role not in given:
            yield ("with", limit), f"is given without {role}.", "above is of bad, below of good."
        elif given.get(limit) in (0, 1):
            yield (
                ("with", limit),
                f"is {given[limit]}, expected a share between 0 and 1.",
                ("Evidence cannot show a limit of none or all; a threshold can."),
            )
