"""What Prometheus says of alerting rules."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from rollguard.monitoring.alerts import NotificationError
from rollguard.monitoring.rules import history_query, parse_history, parse_rules


def alert(state: str = "firing", **labels: str) -> dict[str, Any]:
    known = {"alertname": "Errors", "rollout": "model", "guard": "Errors", **labels}
    return {
        "labels": known,
        "annotations": {"description": "x"},
        "state": state,
        "activeAt": "1970-01-01T00:01:40.5Z",
        "value": "1e+00",
    }


def rules(*alerts: dict[str, Any], at: str = "2026-11-21T10:00:00.123456789Z") -> dict[str, Any]:
    rule = {
        "name": "Errors",
        "query": "errors > 1",
        "labels": {"rollout": "model"},
        "alerts": alerts,
        "type": "alerting",
    }
    return {"name": "group", "file": "f", "interval": 1, "lastEvaluation": at, "rules": [rule]}


def answer(data: Any) -> bytes:
    return json.dumps({"status": "success", "data": data}).encode()


def test_an_alert_that_fires_is_one_of_its_guard() -> None:
    (found,) = parse_rules(answer({"groups": [rules(alert())]})).firing
    assert (found.rollout, found.guard, found.starts_at, found.annotations, found.query) == (
        "model",
        "Errors",
        100.5,
        {"description": "x"},
        "errors > 1",
    )


@pytest.mark.parametrize("odd", [alert("pending"), alert(rollout="")])
def test_what_is_pending_or_of_no_rollout_does_not_fire(odd: dict[str, Any]) -> None:
    assert parse_rules(answer({"groups": [rules(odd)]})).firing == ()


@pytest.mark.parametrize("key", ["annotations", "value"])
def test_a_key_that_is_null_hides_no_alert(key: str) -> None:
    nobodys = {**alert(), "labels": None}
    (found,) = parse_rules(answer({"groups": [rules({**alert(), key: None}, nobodys)]})).firing
    assert found.guard == parse_rules(answer({"groups": [rules(alert())]})).firing[0].guard


@pytest.mark.parametrize(
    "group", [rules(), {**rules(), "rules": None}, {**rules(), "rules": [{"alerts": None}]}]
)
def test_lists_that_are_null_are_empty(group: dict[str, Any]) -> None:
    assert parse_rules(answer({"groups": [group]})).firing == ()
    assert parse_rules(answer({"groups": None})).firing == ()
    assert parse_history(answer({"result": None}), {}) == []


def test_the_newest_evaluation_of_a_rollouts_rules_counts() -> None:
    groups = [rules(at="2026-11-21T10:00:00Z"), rules(at="2026-11-21T10:00:05Z")]
    assert parse_rules(answer({"groups": groups})).evaluated == {"model": "2026-11-21T10:00:05Z"}


def test_series_of_the_history_are_alerts_with_the_times_at_which_they_fired() -> None:
    metric = {"__name__": "ALERTS", "alertstate": "firing", "alertname": "Errors", "rollout": "model"}
    matrix = {"resultType": "matrix", "result": [{"metric": metric, "values": [[100.5, "1"], [101.5, "1"]]}]}
    queries = parse_rules(answer({"groups": [rules()]})).queries
    (found,) = parse_history(answer(matrix), queries)
    assert (found.alert.guard, found.times) == ("Errors", (100.5, 101.5))
    assert found.alert.query == "errors > 1"
    assert found.alert.labels == {"alertname": "Errors", "rollout": "model"}


@pytest.mark.parametrize(("seconds", "window"), [(2.0, "[2000ms]"), (0.0, "[1ms]"), (-5.0, "[1ms]")])
def test_the_history_is_asked_for_by_a_window(seconds: float, window: str) -> None:
    assert history_query(seconds) == f'ALERTS{{alertstate="firing", rollout!=""}}{window}'


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", answer({"groups": 1}), answer({"result": [1]})])
@pytest.mark.parametrize("parse", [parse_rules, partial(parse_history, queries={})])
def test_another_shape_is_an_error(parse: Any, body: bytes) -> None:
    with pytest.raises(NotificationError, match="Prometheus's answer"):
        parse(body)
