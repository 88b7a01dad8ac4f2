"""Which kinds of test a guard has, seen from the rendered tests: what is claimed there is checked here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rollguard.generators.rule_tests.cases import (
    ABSENT,
    BEFORE_FOR,
    FIRES,
    RESOLVES,
    SILENT,
    RenderedCase,
    are_twins,
)
from rollguard.generators.rule_tests.files import cases
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.templates import template_of

Kind: TypeAlias = Literal["fires", "silent twin", "before for", "absent", "resolves"]

KINDS: tuple[Kind, ...] = ("fires", "silent twin", "before for", "absent", "resolves")


@dataclass(frozen=True)
class GuardCoverage:
    """The kinds of test that a guard has.

    Args:
        rollout: its rollout's name.
        guard: its name.
        needed: the kinds that it should have.
        missing: what is not there: kind → in words.
    """

    rollout: str
    guard: str
    needed: tuple[Kind, ...]
    missing: dict[Kind, str]


def coverage(rollout: Rollout, timing: Timing) -> list[GuardCoverage]:
    """Return the coverage of each guard of a rollout, derived guards included.

    Raises:
        RenderingError: a guard's tests cannot be rendered.
    """
    return [
        of_cases(rollout.name, guard, list(cases(rollout, guard, timing))) for guard in all_guards(rollout)
    ]


def of_cases(rollout: str, guard: Guard, rendered: Sequence[RenderedCase]) -> GuardCoverage:
    """Return a guard's coverage by test cases.

    Args:
        rollout: the rollout's name.
        guard: whose cases they are.
        rendered: its cases.
    """
    needed = tuple(kind for kind in KINDS if kind != "before for" or guard.for_)
    missing: dict[Kind, str] = {}
    several = len(guard.bindings) > 1
    for condition in range(1, len(guard.bindings) + 1):
        own = [case for case in rendered if case.condition == condition]
        for kind, words in _missing(own, each=not template_of(guard).judges_absence):
            if kind in needed:
                missing.setdefault(kind, f"condition {condition}: {words}" if several else words)
    return GuardCoverage(rollout, guard.name, needed, missing)


def share(found: Sequence[GuardCoverage]) -> float:
    """Return how much of what is needed is there, 0-1; 1 where nothing is needed."""
    needed = sum(len(guard.needed) for guard in found)
    return 1 - sum(len(guard.missing) for guard in found) / needed if needed else 1.0


def _missing(rendered: Sequence[RenderedCase], each: bool) -> Iterator[tuple[Kind, str]]:
    """Yield the kinds that are not there; each firing case needs twin and hold, or only one does."""
    firing = [case for case in rendered if case.kind == FIRES and _outcomes(case) == [True]]
    if not firing:
        yield "fires", "no case fires"
    valued = [case for case in firing if case.series and not _lacks_a_series(case, firing)]
    alone = [case for case in valued if not _has_twin(case, rendered)]
    if not valued:
        yield "silent twin", "no firing case shows a series"
    elif alone and (each or len(alone) == len(valued)):
        yield "silent twin", f"none within 1 % of the case: {alone[0].about}"
    late = [case for case in firing if not _is_held_back(case, rendered)]
    if not firing or (late and (each or len(late) == len(firing))):
        yield "before for", f"none one evaluation before: {late[0].about}" if late else "no case fires"
    if not any(_is_absence(case, firing) for case in rendered):
        yield "absent", "no case lacks a series that fires the guard"
    if not any(case.kind == RESOLVES and _ends(case) for case in rendered):
        yield "resolves", "no case fires and is silent later"


def _outcomes(case: RenderedCase) -> list[bool]:
    return [fires for _, fires in case.expected]


def _has_twin(fires: RenderedCase, rendered: Sequence[RenderedCase]) -> bool:
    return any(
        case.kind == SILENT and not any(_outcomes(case)) and are_twins(fires, case) for case in rendered
    )


def _is_held_back(fires: RenderedCase, rendered: Sequence[RenderedCase]) -> bool:
    before = (fires.expected[0][0] - 1, False)
    return any(
        case.kind == BEFORE_FOR and case.series == fires.series and before in case.expected
        for case in rendered
    )


def _is_absence(case: RenderedCase, firing: Sequence[RenderedCase]) -> bool:
    """Whether a case lacks a series of a firing one and is silent; or has none of its own and fires."""
    kind = FIRES if any(_outcomes(case)) else ABSENT
    return case.kind == kind and _lacks_a_series(case, firing)


def _lacks_a_series(case: RenderedCase, firing: Sequence[RenderedCase]) -> bool:
    return any(case.series.keys() < other.series.keys() for other in firing)


def _ends(case: RenderedCase) -> bool:
    outcomes = [fires for _, fires in sorted(case.expected)]
    return True in outcomes and outcomes[-1] is False
