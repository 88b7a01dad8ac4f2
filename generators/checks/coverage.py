"""Has every guard every kind of test?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rollguard.conventions import PLATFORM
from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding
from rollguard.generators.mutation import subjects
from rollguard.generators.rule_tests import coverage
from rollguard.spec.guards import all_guards

NAME = "coverage"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield the kinds of test that a guard lacks."""
    for item in material.checked:
        for guard in all_guards(item.rollout):
            found = coverage.of_cases(item.rollout.name, guard, item.cases(guard))
            for kind, words in found.missing.items():
                message = f"{found.guard} has no test of the kind {kind}: {words}."
                place = item.location(guard)
                yield Finding(NAME, "error", item.problem(place, message, "See docs/testing-guards.md."))
    for found in subjects.coverage(material.rollouts, 1.0):
        for kind, words in found.missing.items():
            message = f"{found.guard} has no test of the kind {kind}: {words}."
            yield Finding(NAME, "error", Problem(Path(PLATFORM), 0, "", message))
