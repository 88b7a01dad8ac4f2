"""What Prometheus says of alerting rules: which alerts fire or fired of late, and when it evaluated them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from rollguard.conventions import GUARD_LABEL, ROLLOUT_LABEL
from rollguard.monitoring.alerts import GuardAlert, Labels, Moment, NotificationError, guard_alert, texts

Data = TypeVar("Data")


class _Alert(msgspec.Struct):
    labels: Labels
    state: str
    activeAt: Moment  # noqa: N815 - Prometheus's names
    annotations: Any = None


class _Rule(msgspec.Struct):
    query: str | None = ""
    labels: Labels = None
    alerts: list[_Alert] | None = None


class _Group(msgspec.Struct):
    lastEvaluation: str  # noqa: N815
    rules: list[_Rule] | None


class _Groups(msgspec.Struct):
    groups: list[_Group] | None


class _Series(msgspec.Struct):
    metric: Labels
    values: list[tuple[float, str]]


class _Matrix(msgspec.Struct):
    result: list[_Series] | None


@dataclass(frozen=True)
class Evaluation:
    """Alerting rules as they were evaluated last.

    Args:
        firing: alerts that fire.
        evaluated: by rollout, when its rules were evaluated last, in Prometheus's words: what counts is
            whether they change.
        queries: by rollout and guard, the expression of its rule.
    """

    firing: tuple[GuardAlert, ...]
    evaluated: Mapping[str, str]
    queries: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class RecentFiring:
    """An alert that fired at some time, and may have resolved since.

    Args:
        alert: as if it fired now.
        times: of the evaluations at which it fired, Unix seconds by Prometheus's clock.
    """

    alert: GuardAlert
    times: tuple[float, ...]


def parse_rules(body: bytes) -> Evaluation:
    """Return what Prometheus's ``GET /api/v1/rules?type=alert`` says; raises NotificationError."""
    groups = _decoded(body, _Groups).groups or ()
    firing: list[GuardAlert] = []
    evaluated: dict[str, str] = {}
    queries: dict[tuple[str, str], str] = {}
    for group in groups:
        for rule in group.rules or ():
            labels = texts(rule.labels)
            rollout = labels.get(ROLLOUT_LABEL)
            if rollout:
                queries[rollout, labels.get(GUARD_LABEL, "")] = rule.query or ""
                evaluated[rollout] = max(evaluated.get(rollout, ""), group.lastEvaluation)
            firing += [
                _fires(alert, rule.query or "")
                for alert in rule.alerts or ()
                if alert.state == "firing" and texts(alert.labels).get(ROLLOUT_LABEL)
            ]
    return Evaluation(tuple(firing), evaluated, queries)


def _fires(alert: _Alert, query: str) -> GuardAlert:
    return guard_alert(texts(alert.labels), texts(alert.annotations), alert.activeAt.timestamp(), query=query)


def history_query(seconds: float) -> str:
    """Return the query for the alerts of rollouts that fired within the last seconds."""
    return f'ALERTS{{alertstate="firing", {ROLLOUT_LABEL}!=""}}[{max(1, round(seconds * 1000))}ms]'


def parse_history(body: bytes, queries: Mapping[tuple[str, str], str]) -> list[RecentFiring]:
    """Return the alerts of an answer to `history_query`, with their queries; raises NotificationError."""
    found = []
    for series in _decoded(body, _Matrix).result or ():
        known = texts(series.metric)
        labels = {key: value for key, value in known.items() if key not in ("__name__", "alertstate")}
        times = tuple(at for at, _ in series.values)
        if times:
            query = queries.get((labels.get(ROLLOUT_LABEL, ""), labels.get(GUARD_LABEL, "")), "")
            found.append(RecentFiring(guard_alert(labels, {}, times[0], query=query), times))
    return found


def _decoded(body: bytes, shape: type[Data]) -> Data:
    try:
        answer: dict[str, Any] = msgspec.json.decode(body)
        return msgspec.convert(answer["data"], shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError, TypeError) as error:
        raise NotificationError("shape", f"Prometheus's answer has another shape: {error}") from error
