"""Real OpenFeature clients on the file that the flagd-file target writes see what this process sees."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider import ProviderStatus

from rollguard.flags import definitions
from rollguard.flags.definitions import FlagEvaluator
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout
from rollguard.spec.targets import FlagdFile, Target
from rollguard.state import State
from rollguard.targets import build
from tests.factories import ROOT
from tests.polling import eventually

NAME = "model-canary"
USERS = [f"user-{number}" for number in range(2_000)]
CANARY = State(NAME, "ROLLING_OUT", "canary", run=1, seq=2)
FULL = State(NAME, "ENABLED", run=1, seq=5)
BACK = State(NAME, "ROLLBACK", run=1, reason="DriftDetected", seq=6)

VARIANTS: dict[str, dict[str, Any]] = {
    "boolean": {"candidate": True, "active": False},
    "string": {"candidate": "new", "active": "old"},
    "integer": {"candidate": 2, "active": 1},
    "float": {"candidate": 0.5, "active": 0.25},
}


def rollout_with(variants: dict[str, Any]) -> Rollout:
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    flag = rollout.flag.model_copy(update={"variants": variants})
    target = Target(flagd_file=FlagdFile(path="flags.json"))
    return rollout.model_copy(update={"flag": flag, "targets": (target,)})


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[[], OpenFeatureClient]]:
    """Return a client on the file, once that is there; it looks for changes every 10 ms."""

    def connect() -> OpenFeatureClient:
        provider = FlagdProvider(
            resolver_type=ResolverType.FILE,
            offline_flag_source_path=str(tmp_path / "flags.json"),
            deadline_ms=10,
        )
        api.set_provider(provider)
        found = api.get_client()
        wait_until(lambda: found.get_provider_status() == ProviderStatus.READY)
        return found

    yield connect
    api.shutdown()
    api.clear_providers()


wait_until = partial(eventually, seconds=10.0)


def evaluate(client: OpenFeatureClient, kind: str, user: str | None) -> Any:
    """Return what a client sees; its own default is a value that no variant has."""
    own = {"boolean": False, "string": "?", "integer": -1, "float": -1.0}[kind]
    details = getattr(client, f"get_{kind}_details")(NAME, own, EvaluationContext(user))
    return details.value, details.variant, details.reason, dict(details.flag_metadata)


@pytest.mark.parametrize("kind", VARIANTS)
@pytest.mark.parametrize("state", [CANARY, FULL, BACK, State(NAME)], ids=lambda state: state.position)
def test_file_and_process_evaluate_alike(
    client: Callable[[], OpenFeatureClient], tmp_path: Path, kind: str, state: State
) -> None:
    rollout = rollout_with(VARIANTS[kind])
    build(rollout, tmp_path, tmp_path / "memory")[0].apply(state)
    evaluator = FlagEvaluator()
    evaluator.set_flags(definitions.definitions([rollout], {NAME: state}))
    reader = client()
    for user in (None, "", *USERS):
        here = evaluator.evaluate(NAME, {"targetingKey": user})
        # A file's metadata are the same for everybody, also for those who have no key to be split by.
        metadata = here.metadata if user else {**here.metadata, "assignment": "split"}
        assert evaluate(reader, kind, user) == (here.value, here.variant, here.reason, metadata)


def test_the_canary_is_a_tenth_of_the_users(client: Callable[[], OpenFeatureClient], tmp_path: Path) -> None:
    build(rollout_with(VARIANTS["boolean"]), tmp_path, tmp_path)[0].apply(CANARY)
    reader = client()
    share = sum(evaluate(reader, "boolean", user)[0] for user in USERS) / len(USERS)
    assert share == pytest.approx(0.10, abs=0.03)


def test_a_client_sees_a_rollback_even_where_its_own_default_is_true(
    client: Callable[[], OpenFeatureClient], tmp_path: Path
) -> None:
    target = build(rollout_with(VARIANTS["boolean"]), tmp_path, tmp_path)[0]
    target.apply(FULL)
    reader = client()
    assert reader.get_boolean_value(NAME, True) is True
    target.apply(BACK)
    wait_until(lambda: reader.get_boolean_value(NAME, True) is False)


def test_a_client_sees_every_flip(client: Callable[[], OpenFeatureClient], tmp_path: Path) -> None:
    target = build(rollout_with(VARIANTS["boolean"]), tmp_path, tmp_path)[0]
    target.apply(BACK)
    reader = client()
    for number in range(10, 20):
        state = State(NAME, "ROLLING_OUT", "full", run=number, seq=number)
        target.apply(state)
        wait_until(lambda run=number: evaluate(reader, "boolean", "ann")[3].get("run") == run)  # type: ignore[misc]


def test_other_peoples_flags_stay_readable(client: Callable[[], OpenFeatureClient], tmp_path: Path) -> None:
    other = {"state": "ENABLED", "variants": {"a": "A"}, "defaultVariant": "a"}
    (tmp_path / "flags.json").write_text(json.dumps({"flags": {"other": other}}, indent=4))
    build(rollout_with(VARIANTS["boolean"]), tmp_path, tmp_path)[0].apply(FULL)
    assert client().get_string_value("other", "?") == "A"
