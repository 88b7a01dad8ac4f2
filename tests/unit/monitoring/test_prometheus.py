"""What Prometheus answers: read as each of its versions gives it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rollguard.monitoring.observation import state_of
from rollguard.monitoring.prometheus import Prometheus


def prometheus_with(*rules: dict[str, Any]) -> Prometheus:
    found = Prometheus("http://prometheus")
    found._http.close()
    answer = {"status": "success", "data": {"groups": [{"rules": list(rules)}]}}
    found._http = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer)))
    return found


RULE: dict[str, Any] = {"name": "Errors", "query": "up == 0", "labels": {"rollout": "shop"}}


@pytest.mark.parametrize(
    "told",
    [
        {"state": "unknown", "health": "unknown"},
        {"state": "unknown", "health": "ok"},
        {"state": "inactive", "health": "unknown"},
        {"state": "of a later version", "health": "ok"},
        {"state": None, "health": None},
        {"state": "inactive"},
    ],
)
def test_a_rule_of_an_unknown_state_was_not_evaluated(told: dict[str, Any]) -> None:
    rules = prometheus_with({**RULE, **told}).rules()
    assert state_of(tuple(rules)) == ("inactive", "has not been evaluated yet")


def test_a_rule_of_an_unknown_state_hides_none_that_fires() -> None:
    unknown = {**RULE, "state": "unknown", "health": "unknown"}
    fires = {**RULE, "state": "firing", "health": "ok"}
    assert [rule.state for rule in prometheus_with(unknown, fires).rules()] == ["inactive", "firing"]


@pytest.mark.parametrize("key", ["labels", "lastError"])
def test_a_key_that_is_null_is_empty(key: str) -> None:
    (rule,) = prometheus_with({**RULE, "state": "inactive", "health": "ok", key: None}).rules()
    assert (rule.evaluated, rule.error) == (True, "")
