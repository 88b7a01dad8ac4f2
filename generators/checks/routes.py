"""Does every alert reach whom it is meant for, by amtool?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rollguard.errors import Problem
from rollguard.generators.checks.context import CheckContext, Finding
from rollguard.generators.tools import amtool

NAME = "routes"
_GENERATED = "alertmanager.yml"


def check(material: CheckContext) -> Iterator[Finding]:
    """Yield what keeps alerts away, in the generated configuration and in the user's own."""
    generated = config(material)
    problems = amtool.check_config(generated)
    if not problems:
        idle, nowhere = amtool.unreached(generated, material.rollouts)
        problems = [*amtool.check_routes(generated, material.rollouts), *idle]
        if nowhere:
            message = f"tells no person of {', '.join(nowhere)}."
            note = Problem(Path(_GENERATED), 0, "", message, "See docs/alertmanager.md.")
            yield Finding(NAME, "note", note)
    for problem in problems:
        yield Finding(NAME, "error", replace(problem, path=Path(_GENERATED), line=0))
    own = material.own_alertmanager
    if own is not None:
        for problem in amtool.check_config(own) or amtool.check_routes(own, material.rollouts):
            yield Finding(NAME, "error", problem)


def config(material: CheckContext) -> Path:
    """Return the generated configuration of Alertmanager, written."""
    assert _GENERATED in material.files
    return material.folder / _GENERATED
