"""Every query of every dashboard is answered by the real stack: ten rollouts, five exporters, all servers."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from rollguard.cli.local.stack import Settings, Stack
from rollguard.generators.tools import binaries
from rollguard.server.metric_names import DECISION
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import Target
from tests.contract.watched_systems import WatchedSystems
from tests.dashboards import Query, queries, resolved, shipped
from tests.factories import ROOT
from tests.polling import eventually

QUICK_EXPORTER = Path(__file__).parents[1] / "quick_exporter.py"
SINGLE = {
    "rollguard_canary": "model-canary",
    "rollguard_screener": "setup-engine",
    "rollguard_validation": "signal-validation",
    "rollguard_forecast": "ensemble-forecast",
}
"""What the variable `rollout` stands for where one is chosen."""

EMPTY_IN_HEALTH: Mapping[str, str] = {
    "Rollbacks / annotation": "there is none",
    "Guards firing / annotation": "none does",
    "Breach to flip": "nothing was decided for an alert",
    "Notification to decision": "nothing was decided for an alert",
}
"""Queries that have no answer while all is well, by panel or by panel and target, and why."""

BEFORE_THE_TEST: Mapping[str, str] = {
    "rollguard-model-canary / ExecutionDegradation / C": "it compares with the half hour before the last",
}
"""Queries about a time before the stack was started, by name, and why."""

_WINDOW_SECONDS = 20.0
_PATIENCE_SECONDS = 120.0
"""Ten processes start at once, maybe on a busy machine."""

_SLOWEST = (
    "psi_feature",
    "forecast_db_query_baseline_seconds",
    "se_score_drift_psi",
    "rollout_guard:closeness:max",
)


class Answer(NamedTuple):
    """What Prometheus said to a query.

    Args:
        numbers: series with a number in them.
        labels: those that all of them have.
    """

    numbers: int
    labels: frozenset[str]


class Answers(NamedTuple):
    """What it said in health to all of them, and after a rollback to those declared empty in health."""

    healthy: Mapping[Query, Answer]
    after_rollback: Mapping[Query, Answer]


EVERY = tuple(query for dashboard in shipped().values() for query in queries(dashboard))


@pytest.fixture(scope="module")
def answers(
    need_binary: Callable[[binaries.Binary], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Answers]:
    for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER):
        need_binary(binary)
    folder = tmp_path_factory.mktemp("watched")
    systems = WatchedSystems(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORECAST_DATABASE_URL", systems.forecast_url)
        stack = _stack(folder)
        with systems, stack.running():
            yield _asked(stack, systems)
            for child in stack.exporters:
                child.kill()  # what they would save on their way out is of no use


def _stack(folder: Path) -> Stack:
    rollouts = [_quick(rollout) for rollout in load_rollouts(ROOT / "rollouts")]
    stack = Stack(Settings(rollouts, folder / "rollguard", folder, free_ports=True))
    for number, child in enumerate(stack.exporters):
        checkpoint = str(folder / f"{number}.checkpoint")
        child.command = [sys.executable, str(QUICK_EXPORTER), *child.command[3:], "--checkpoint", checkpoint]
    return stack


def _quick(rollout: Rollout) -> Rollout:
    """Return a rollout that is scraped every second, at whatever hour, and writes one file."""
    file = Target.model_validate({"flagd-file": {"path": f"var/{rollout.name}.json"}})
    scrape = rollout.scrape.model_copy(update={"interval": 1.0})
    always = {"clock": None, "advance": (), "requires": (), "after": ()}
    return rollout.model_copy(update={"scrape": scrape, "targets": (file,), **always})


def _asked(stack: Stack, systems: WatchedSystems) -> Answers:
    prometheus = f"http://{stack.addresses.prometheus}/api/v1"
    with stack.client() as client:
        for metric in _SLOWEST:
            eventually(partial(_series, prometheus, metric), f"{metric} in Prometheus", _PATIENCE_SECONDS)
        for rollout in stack.rollouts:
            acts = f'ALERTS{{rollout="{rollout.name}",alertstate="firing",action=~"rollback|hold"}}'
            calm = f"absent({acts})"
            eventually(partial(_series, prometheus, calm), f"no guard of {rollout.name} fires", 60)
            client.post(f"rollouts/{rollout.name}/start", {"actor": "test"})
        client.post("rollouts/model-canary/promote", {"actor": "test", "early": True})
        everywhere = f"count(count by (rollout) (rollout_guard:closeness:max)) == {len(stack.rollouts)}"
        eventually(
            partial(_series, prometheus, everywhere), "a guard armed in every rollout", _PATIENCE_SECONDS
        )
        healthy = _answers(prometheus, EVERY)
        systems.break_parity()
        eventually(
            lambda: client.get("rollouts/model-canary")["state"] == "ROLLBACK",
            "the rollback",
            _PATIENCE_SECONDS,
        )
        evidence = f'{DECISION.name}{{rollout="model-canary",decision="rollback",evidence!=""}}'
        eventually(partial(_series, prometheus, evidence), "its evidence", 60)
        _notify(stack, "confidence-calibration", "RiskViolation")  # a poll may have seen the other one first
        eventually(
            lambda: _series(prometheus, "rate(rollguard_flip_duration_seconds_count[10s]) > 0"),
            "the time of a rollback by notification",
            60,
        )
        return Answers(healthy, _answers(prometheus, [query for query in EVERY if _declared(query)]))


def _notify(stack: Stack, rollout: str, guard: str) -> None:
    """Tell the control plane that a guard fires, as Alertmanager does."""
    labels = {"rollout": rollout, "guard": guard, "alertname": guard}
    begun = datetime.now(UTC).isoformat()
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": begun}
    answer = httpx.post(
        f"http://{stack.addresses.control_plane}/alerts",
        json={"version": "4", "alerts": [alert]},
        headers={"authorization": f"Bearer {stack.token_file.read_text(encoding='ascii').strip()}"},
    )
    assert [entry["kind"] for entry in answer.json()["decided"]] == ["rollback"]


def _series(prometheus: str, expr: str) -> list[Any]:
    found: list[Any] = httpx.get(f"{prometheus}/query", params={"query": expr}).json()["data"]["result"]
    return found


def _answers(prometheus: str, asked: Sequence[Query]) -> dict[Query, Answer]:
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda query: _answer(client, prometheus, query), asked)
        return dict(zip(asked, found, strict=True))


def _answer(client: httpx.Client, prometheus: str, query: Query) -> Answer:
    """Ask as Grafana does, the variables resolved; always over a range, as a scrape may fail just now."""
    chosen = SINGLE.get(query.dashboard, ".+")
    values = {
        "rollout": chosen,
        "route": ".+",
        "feature": ".+",
        "symbol": ".+",
        "horizon": ".+",
        "signal": ".+",
    }
    expr = resolved(query.expr, {**values, "__rate_interval": "10s", "__range": "20s"})
    now = time.time()
    asked = {"query": expr, "start": now - _WINDOW_SECONDS, "end": now, "step": 1}
    answer = client.post(f"{prometheus}/query_range", data=asked).json()
    assert answer["status"] == "success", f"{query.name}: {answer.get('error')}"
    result = answer["data"]["result"]
    numbers = [
        one for one in result if any(_is_number(text) for _, text in one.get("values", [one.get("value")]))
    ]
    labels = [frozenset(one["metric"]) for one in result]
    return Answer(len(numbers), frozenset.intersection(*labels) if labels else frozenset())


def _is_number(text: str) -> bool:
    return not math.isnan(float(text))


def _declared(query: Query) -> bool:
    return query.place in EMPTY_IN_HEALTH or f"{query.place} / {query.ref}" in EMPTY_IN_HEALTH


def test_every_query_is_answered_in_health_or_at_least_after_a_rollback(answers: Answers) -> None:
    """One test, since two processes that share the tests would each start a stack."""
    healthy, after = answers
    about = {"rollguard-model-canary", "rollguard_canary", "rollguard", "rollguard-platform"}
    found = {
        "without a number in health": [
            f"{one.name}: {one.expr}"
            for one, answer in healthy.items()
            if not (answer.numbers or _declared(one) or one.name in BEFORE_THE_TEST)
        ],
        "without a number after the rollback": [
            one.name for one, answer in after.items() if one.dashboard in about and not answer.numbers
        ],
        "with a legend of labels that are not there": [
            f"{one.name}: {one.legend} of {one.expr}"
            for one, answer in (*healthy.items(), *after.items())
            if answer.numbers and not set(re.findall(r"\{\{(\w+)\}\}", one.legend)) <= answer.labels
        ],
        "with a link by labels that are not there": [
            f"{one.name}: {one.linked} of {one.expr}"
            for one, answer in healthy.items()
            if answer.numbers and not one.linked <= answer.labels
        ],
    }
    assert {words: queries for words, queries in found.items() if queries} == {}


def test_at_most_a_tenth_is_declared_empty_in_health() -> None:
    assert sum(map(_declared, EVERY)) <= len(EVERY) / 10
