"""Every shipped dashboard keeps every rule."""

from __future__ import annotations

import pytest

from tests.dashboards import shipped
from tests.unit.dashboards.lint_rules import RULES, Rule


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.check], ids=lambda rule: rule.name)
def test_every_shipped_dashboard_keeps_the_rule(rule: Rule) -> None:
    assert rule.check is not None
    found = {uid: list(rule.check(dashboard)) for uid, dashboard in shipped().items()}
    assert {uid: broken for uid, broken in found.items() if broken} == {}


def test_what_is_left_out_has_a_reason() -> None:
    assert [rule.name for rule in RULES if not rule.check and not rule.reason] == []
