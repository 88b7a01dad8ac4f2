"""Are the rules and tests in a folder those that the rollouts render to?"""

from __future__ import annotations

from collections.abc import Iterator

from rollguard.errors import Problem
from rollguard.generators import output
from rollguard.generators.checks.context import CheckContext, Finding

NAME = "drift"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield generated files that are out of date; configuration depends on options and is left out."""
    if material.generated is None:
        return
    files = {name: text for name, text in material.files.items() if name.startswith("rules/")}
    files |= output.rule_tests(material.rollouts, of_guard=material.cases)
    for path in output.outdated(files, material.generated):
        hint = f"Run: rollguard generate --out {material.generated}"
        yield Finding(NAME, "error", Problem(path, 0, "", "is out of date.", hint))
