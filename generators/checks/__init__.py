"""Checks of rollouts and of what they render to: one module each, with a section in docs/checks.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from rollguard.generators.checks import (
    budget,
    conventions,
    coverage,
    drift,
    false_rates,
    falsifiable,
    metrics,
    routes,
    rules,
    runbooks,
    stages,
    timing,
    units,
    variants,
    versions,
)
from rollguard.generators.checks.context import CheckContext, Finding
from rollguard.generators.promql.syntax import PromQLError

SPEC = "spec"
"""The check of the rollout files themselves, which is done as they are loaded."""

CHECKS: Mapping[str, Callable[[CheckContext], Iterator[Finding]]] = MappingProxyType(
    {
        module.NAME: module.check
        for module in (
            rules, falsifiable, metrics, variants, units, timing, versions, conventions,
            stages, runbooks, routes, coverage, budget, false_rates, drift,
        )
    }
)  # fmt: skip
"""Every check by its name, in the order in which they are done."""


def run(material: CheckContext) -> list[Finding]:
    """Return what all checks find, errors first, then by place.

    Args:
        material: what is checked.
    Raises:
        RollguardError: promtool or amtool cannot be run, or a guard cannot be rendered.
    """
    found: list[Finding] = []
    for check in CHECKS.values():
        try:
            found += check(material)
        except PromQLError:  # what cannot be read is not checked further: one of the first checks said where
            if not any(finding.check in (rules.NAME, falsifiable.NAME) for finding in found):
                raise
    order = ("error", "warning", "note")
    return sorted(dict.fromkeys(found), key=lambda item: (order.index(item.severity), item.problem))
