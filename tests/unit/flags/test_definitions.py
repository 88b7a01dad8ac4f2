"""Flags: the share that a stage promises, sticky, and a shape that every client obeys."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from rollguard.flags import definitions, targeting
from rollguard.flags.definitions import FlagError, FlagEvaluator, FlagNotFoundError
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from tests.factories import ROOT

KEYS = [f"user-{number}" for number in range(4_000)]
KNOWN_TO_FLAGD = {"state", "variants", "defaultVariant", "targeting", "metadata"}


def rollout_with(*percents: float, **flag: Any) -> Rollout:
    """Return the shipped rollout with other stages, named s0, s1 and so on."""
    rollout = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
    stage = rollout.stages[0]
    stages = tuple(
        stage.model_copy(update={"name": f"s{number}", "percent": percent})
        for number, percent in enumerate(percents)
    )
    return rollout.model_copy(update={"stages": stages, "flag": rollout.flag.model_copy(update=flag)})


def in_stage(number: int) -> State:
    return State(
        "model-canary",
        "ROLLING_OUT",
        f"s{number}",
        run=3,
        entered_at=1.0,
        reason="Errors",
        guard="Errors",
        seq=7,
    )


def evaluator_of(rollout: Rollout, state: State) -> FlagEvaluator:
    evaluator = FlagEvaluator()
    evaluator.set_flags(definitions.definitions([rollout], {state.rollout: state}))
    return evaluator


def served(rollout: Rollout, state: State) -> set[str]:
    """Return the keys that get the new variant."""
    evaluator = evaluator_of(rollout, state)
    key = rollout.flag.key
    return {
        user for user in KEYS if evaluator.evaluate(key, {"targetingKey": user}).variant == rollout.flag.serve
    }


# The shape


@pytest.mark.parametrize(
    "state",
    [State("model-canary"), State("model-canary", "ROLLBACK", run=1, reason="DriftDetected"), in_stage(0)],
    ids=["disabled", "rollback", "stage of 0 %"],
)
def test_a_flag_that_is_off_is_enabled_with_the_fallback_and_no_targeting(state: State) -> None:
    found = definitions.definition(rollout_with(0, 10), state)
    assert (found["state"], found["defaultVariant"], found["targeting"]) == ("ENABLED", "active", {})


@pytest.mark.parametrize(
    "state", [State("model-canary", "ENABLED", run=1), in_stage(1)], ids=["enabled", "stage of 100 %"]
)
def test_a_flag_that_is_fully_on_serves_without_targeting(state: State) -> None:
    found = definitions.definition(rollout_with(10, 100), state)
    assert (found["state"], found["defaultVariant"], found["targeting"]) == ("ENABLED", "candidate", {})


def test_a_share_falls_back_by_default_and_serves_the_first_bucket() -> None:
    found = definitions.definition(rollout_with(10), in_stage(0))
    assert found["defaultVariant"] == "active"
    assert found["targeting"] == {
        "if": [
            {"var": "targetingKey"},
            {
                "fractional": [
                    {"cat": ["1337", {"var": "targetingKey"}]},
                    ["candidate", 10],
                    ["active", 90],
                ]
            },
            "active",
        ]
    }


def test_a_stage_that_the_file_no_longer_has_falls_back() -> None:
    found = definitions.definition(rollout_with(10), in_stage(5))
    assert (found["defaultVariant"], found["targeting"]) == ("active", {})


@pytest.mark.parametrize("state", [State("model-canary"), in_stage(0), in_stage(1)])
def test_a_definition_holds_only_keys_that_flagd_knows(state: State) -> None:
    assert set(definitions.definition(rollout_with(10, 100), state)) == KNOWN_TO_FLAGD


def test_the_metadata_says_where_the_rollout_is_in_scalars() -> None:
    assert definitions.definition(rollout_with(10), in_stage(0))["metadata"] == {
        "rollout": "model-canary",
        "position": "s0",
        "stage": "s0",
        "run": 3,
        "seq": 7,
        "percent": 10,
        "assignment": "split",
        "reason": "Errors",
    }


def test_the_metadata_keeps_a_persons_words_to_itself() -> None:
    state = State("model-canary", "ROLLBACK", run=3, entered_at=1.0, reason="ann's oops", seq=7)
    metadata = definitions.definition(rollout_with(10), state)["metadata"]
    where = {"rollout": "model-canary", "position": "rollback", "run": 3, "seq": 7}
    assert metadata == where | {"percent": 0, "assignment": "split"}


def test_a_rollout_without_entries_is_off() -> None:
    found = definitions.definitions([rollout_with(100)], {})
    assert found["flags"]["model-canary"]["defaultVariant"] == "active"


def test_an_observed_rollout_has_no_flag() -> None:
    observed = rollout_with(100).model_copy(update={"mode": "observe"})
    assert definitions.definitions([observed], {}) == {"flags": {}}


# The share


@pytest.mark.parametrize("percent", [0.5, 1, 10, 25, 33.3, 50, 99.5])
def test_a_stage_serves_its_share_of_the_keys(percent: float) -> None:
    share = 100 * len(served(rollout_with(percent), in_stage(0))) / len(KEYS)
    deviation = 100 * (percent / 100 * (1 - percent / 100) / len(KEYS)) ** 0.5
    assert share == pytest.approx(percent, abs=4 * deviation)


@pytest.mark.parametrize("percent", [0, 0.0, 1e-9])
def test_a_share_of_nothing_serves_nobody(percent: float) -> None:
    assert served(rollout_with(percent), in_stage(0)) == set()


@pytest.mark.parametrize("salt", ["1337", None])
def test_whoever_is_in_stays_in_as_the_share_grows(salt: str | None) -> None:
    rollout = rollout_with(0.5, 10, 12.5, 25, 50, 100, salt=salt)
    shares = [served(rollout, in_stage(number)) for number in range(6)]
    assert all(smaller < larger for smaller, larger in pairwise(shares))


def test_without_a_salt_the_share_is_that_of_flagds_own_seed() -> None:
    rollout = rollout_with(10, salt=None)
    own = definitions.definition(rollout, in_stage(0))
    own["targeting"] = {"fractional": [["candidate", 10], ["active", 90]]}
    evaluator = FlagEvaluator()
    evaluator.set_flags({"flags": {"model-canary": own}})
    alike = {
        user
        for user in KEYS
        if evaluator.evaluate("model-canary", {"targetingKey": user}).variant == "candidate"
    }
    assert served(rollout, in_stage(0)) == alike


def test_another_salt_picks_other_keys() -> None:
    one = served(rollout_with(10, salt="1"), in_stage(0))
    other = served(rollout_with(10, salt="2"), in_stage(0))
    assert len(one & other) < 0.2 * len(one)


@pytest.mark.parametrize("context", [{}, {"targetingKey": None}, {"targetingKey": ""}, {"country": "ES"}])
def test_without_a_targeting_key_the_fallback_is_served(context: dict[str, Any]) -> None:
    rollout = rollout_with(99.999)
    assert evaluator_of(rollout, in_stage(0)).evaluate("model-canary", context).variant == "active"


@pytest.mark.parametrize(
    ("percent", "weights"),
    [
        (10, (10, 90)),
        (10.0, (10, 90)),
        (0.5, (5, 995)),
        (12.5, (125, 875)),
        (100 / 3, (33333333, 66666667)),
        (99.999999, (99999999, 1)),
        (1e-7, (0, 100)),
    ],
)
def test_weights_are_whole_numbers(percent: float, weights: tuple[int, int]) -> None:
    assert targeting.weights(percent) == weights


# Evaluation


def test_an_evaluation_says_value_variant_reason_and_metadata() -> None:
    rollout = rollout_with(100)
    found = evaluator_of(rollout, in_stage(0)).evaluate("model-canary", {"targetingKey": "ann"})
    assert (found.key, found.value, found.variant, found.reason) == (
        "model-canary",
        True,
        "candidate",
        "STATIC",
    )
    assert found.metadata["run"] == 3


@pytest.mark.parametrize(
    "variants",
    [{"candidate": "new", "active": "old"}, {"candidate": 2, "active": 1}, {"candidate": 0.5, "active": 0.0}],
)
def test_variants_may_have_any_scalar_type(variants: dict[str, Any]) -> None:
    rollout = rollout_with(100, variants=variants)
    assert evaluator_of(rollout, in_stage(0)).evaluate("model-canary", {}).value == (variants["candidate"])


def test_an_unknown_flag_is_not_found() -> None:
    with pytest.raises(FlagNotFoundError) as caught:
        FlagEvaluator().evaluate("nothing", {})
    assert caught.value.code == "FLAG_NOT_FOUND"


def test_a_targeting_key_that_is_no_text_is_an_invalid_context() -> None:
    with pytest.raises(FlagError) as caught:
        evaluator_of(rollout_with(10), in_stage(0)).evaluate("model-canary", {"targetingKey": 5})
    assert caught.value.code == "INVALID_CONTEXT"


def test_all_flags_are_evaluated_in_their_order() -> None:
    rollout = rollout_with(100)
    definition = definitions.definition(rollout, in_stage(0))
    evaluator = FlagEvaluator()
    evaluator.set_flags({"flags": {"b": definition, "a": definition}})
    assert [found.key for found in evaluator.evaluate_all({})] == ["b", "a"]
    assert evaluator.keys == ("b", "a")


def test_definitions_that_flagd_refuses_leave_the_old_ones() -> None:
    evaluator = evaluator_of(rollout_with(100), in_stage(0))
    broken = {"flags": {"model-canary": {"state": "ENABLED", "variants": {"a": 1}, "colour": "red"}}}
    with pytest.raises(FlagError, match=r"flagd refuses the flags: .*colour"):
        evaluator.set_flags(broken)
    assert evaluator.evaluate("model-canary", {}).variant == "candidate"


def test_a_flip_is_seen_by_the_next_evaluation() -> None:
    rollout = rollout_with(100)
    evaluator = evaluator_of(rollout, in_stage(0))
    fallen = State("model-canary", "ROLLBACK", run=3)
    evaluator.set_flags(definitions.definitions([rollout], {"model-canary": fallen}))
    assert evaluator.evaluate("model-canary", {"targetingKey": "ann"}).value is False


def test_setting_flags_leaves_the_document_as_it_is() -> None:
    document = definitions.definitions([rollout_with(10)], {})
    before = json.dumps(document)
    FlagEvaluator().set_flags(document)
    assert json.dumps(document) == before
