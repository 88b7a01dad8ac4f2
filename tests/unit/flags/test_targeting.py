"""Who gets which variant: users, match, schedule and dependencies, and the same in JavaScript."""

from __future__ import annotations

import hashlib
import json
import time
from functools import cache
from typing import Any

import pytest

from rollguard.flags import definitions, targeting
from rollguard.flags.definitions import FlagEvaluator
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Rollout
from rollguard.state import State
from tests.factories import ROOT, rolling_out

SHIPPED = load_rollout(ROOT / "rollouts" / "model-canary.yaml")
SYMBOLS = ["AAPL", "MSFT", "SPY"]
USERS = [
    *(f"user-{number}" for number in range(2_000)),
    *(hashlib.md5(str(number).encode()).hexdigest() for number in range(1_000)),
    *(f"ann+{number}@example.org" for number in range(1_000)),
]
"""All ASCII: for other keys the JavaScript library hashes other bytes than those in Python and Go."""


def rollout(name: str = "one", stage: dict[str, Any] | None = None, **changes: Any) -> Rollout:
    """Return a rollout of one stage and one flag."""
    flag = {"key": name, "variants": {"new": True, "old": False}, "serve": "new", "fallback": "old"}
    raw = SHIPPED.model_dump(by_alias=True, exclude_defaults=True)
    raw |= {"rollout": name, "targets": [], "advance": [], "requires": changes.pop("requires", [])}
    raw |= {"stages": [{"name": "canary", **(stage or {"percent": 10})}], "flag": {**flag, **changes}}
    raw["guards"] = [{key: guard[key] for key in guard if key != "stages"} for guard in raw["guards"]]
    return Rollout.model_validate(raw)


def served(*rollouts: Rollout, at: dict[str, State] | None = None, **context: Any) -> set[str]:
    """Return the keys of the flags that are on for a context, with all rollouts in their stage."""
    states = at or {item.name: rolling_out(item.name) for item in rollouts}
    evaluator = FlagEvaluator()
    evaluator.set_flags(definitions.definitions(rollouts, states))
    return {found.key for found in evaluator.evaluate_all(context) if found.value is True}


# Users


def test_a_user_that_is_on_is_served_in_a_stage_of_nothing() -> None:
    one = rollout(stage={"percent": 0}, users={"on": ["ann"], "off": []})
    assert served(one, targetingKey="ann")
    assert not served(one, targetingKey="bob")


@pytest.mark.parametrize("status", ["ROLLING_OUT", "ENABLED"])
def test_a_user_that_is_off_is_never_served(status: Any) -> None:
    one = rollout(stage={"percent": 100}, users={"on": [], "off": ["ann"]})
    state = State("one", status, "canary" if status == "ROLLING_OUT" else None, run=1)
    assert not served(one, at={"one": state}, targetingKey="ann")
    assert served(one, at={"one": state}, targetingKey="bob")


def test_off_wins_over_on() -> None:
    one = rollout(users={"on": ["ann"], "off": ["ann"]})
    assert not served(one, targetingKey="ann")


@pytest.mark.parametrize("status", ["ROLLBACK", "DISABLED"])
def test_outside_of_a_run_nobody_is_served_whatever_users_and_schedule_say(status: Any) -> None:
    one = rollout(users={"on": ["ann"]}, schedule={"enable_at": "2020-01-01T00:00:00Z"})
    assert not served(one, at={"one": State("one", status, run=1)}, targetingKey="ann")
    found = definitions.definition(one, State("one", status, run=1))
    assert (found["defaultVariant"], found["targeting"]) == ("old", {})


def test_whoever_has_no_key_is_no_user() -> None:
    one = rollout(stage={"percent": 0}, users={"on": ["ann"]})
    assert not served(one)
    assert not served(one, targetingKey="")


# Match


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({"symbol": "AAPL", "horizon": "1D"}, True),
        ({"symbol": "SPY", "horizon": "1D", "more": 1}, True),
        ({"symbol": "AAPL", "horizon": "4h"}, False),
        ({"symbol": "TSLA", "horizon": "1D"}, False),
        ({"symbol": "AAPL"}, False),
        ({"symbol": "AAP", "horizon": "1D"}, False),
        ({"symbol": ["AAPL"], "horizon": "1D"}, False),
        ({"symbol": None, "horizon": None}, False),
        ({}, False),
    ],
)
def test_a_match_serves_whoever_has_one_value_of_every_attribute(
    context: dict[str, Any], expected: bool
) -> None:
    one = rollout(stage={"match": {"symbol": SYMBOLS, "horizon": ["1D"]}})
    assert bool(served(one, targetingKey="ann", **context)) is expected
    assert bool(served(one, **context)) is expected


def test_a_share_is_taken_of_those_that_match() -> None:
    one = rollout(stage={"match": {"symbol": SYMBOLS}, "percent": 10})
    two = rollout("two", stage={"percent": 10}, salt="one")
    for user in USERS[:500]:
        on = served(one, two, targetingKey=user, symbol="SPY")
        assert on in (set(), {"one", "two"})
        assert "one" not in served(one, targetingKey=user, symbol="TSLA")


def test_enabled_is_for_everybody_though_the_last_stage_matched() -> None:
    one = rollout(stage={"match": {"symbol": SYMBOLS}})
    assert served(one, at={"one": State("one", "ENABLED", run=1)}, symbol="TSLA")


# Values


def test_a_stage_of_values_serves_everybody_and_hands_them_out_as_metadata() -> None:
    one = rollout(stage={"values": {"shadow_mode": True, "strategy": "simple_limit"}})
    found = definitions.definition(one, rolling_out("one"))
    assert found["defaultVariant"] == "new"
    assert found["metadata"] | {"shadow_mode": True, "strategy": "simple_limit"} == found["metadata"]


def test_values_are_those_of_the_stage_and_gone_after_a_rollback() -> None:
    one = rollout(stage={"percent": 10, "values": {"strategy": "x"}})
    assert "strategy" in definitions.definition(one, State("one", "ENABLED", run=1))["metadata"]
    assert "strategy" not in definitions.definition(one, State("one", "ROLLBACK", run=1))["metadata"]


# Schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"enable_at": "2020-01-01T00:00:00Z"}, True),
        ({"enable_at": "2999-01-01T00:00:00+01:00"}, False),
        ({"disable_at": "2020-01-01T00:00:00Z"}, False),
        ({"disable_at": "2999-01-01T00:00:00Z"}, True),
        ({"enable_at": "2020-01-01T00:00:00Z", "disable_at": "2021-01-01T00:00:00Z"}, False),
        ({"enable_at": "2020-01-01T00:00:00Z", "disable_at": "2999-01-01T00:00:00Z"}, True),
    ],
)
def test_a_schedule_bounds_everybody(schedule: dict[str, str], expected: bool) -> None:
    one = rollout(stage={"percent": 100}, schedule=schedule, users={"on": ["ann"]})
    assert bool(served(one, targetingKey="ann")) is expected
    assert bool(served(one, targetingKey="bob")) is expected


# Dependencies


def test_a_user_is_served_only_where_every_required_rollout_serves() -> None:
    parent, child = rollout("parent", {"percent": 50}), rollout("child", {"percent": 50}, requires=["parent"])
    for number in range(2_000):
        on = served(parent, child, targetingKey=f"user-{number}")
        assert "parent" in on or "child" not in on


def test_the_two_shares_are_drawn_by_their_own_seeds() -> None:
    parent, child = rollout("parent", {"percent": 50}), rollout("child", {"percent": 50}, requires=["parent"])
    evaluator = FlagEvaluator()
    both = {name: rolling_out(name) for name in ("parent", "child")}
    evaluator.set_flags(definitions.definitions((parent, child), both))
    share = sum(evaluator.evaluate("child", {"targetingKey": user}).value is True for user in USERS)
    assert share / len(USERS) == pytest.approx(0.25, abs=0.02)


def test_a_required_rollout_that_is_back_takes_its_children_along() -> None:
    chain = (
        rollout("a", {"percent": 100}),
        rollout("b", {"percent": 100}, requires=["a"]),
        rollout("c", {"percent": 100}, requires=["b"]),
    )
    states = {name: rolling_out(name) for name in "abc"}
    assert served(*chain, at=states, targetingKey="ann") == {"a", "b", "c"}
    states["a"] = State("a", "ROLLBACK", run=1)
    assert served(*chain, at=states, targetingKey="ann") == set()


def test_a_required_rollout_that_is_not_known_or_only_observes_serves_nobody() -> None:
    child = rollout("child", {"percent": 100}, requires=["parent"])
    observed = rollout("parent", {"percent": 100}).model_copy(update={"mode": "observe"})
    assert served(child, targetingKey="ann") == set()
    assert served(child, observed, targetingKey="ann") == set()


# How a variant was chosen

LISTS: dict[str, Any] = {"users": {"on": ["ann"], "off": ["bob"]}}
PAST, FUTURE = "2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


def chosen(*rollouts: Rollout, at: dict[str, State] | None = None, **context: Any) -> dict[str, Any]:
    """Return what the metadata of the first say of how a context's variant was chosen."""
    states = at or {item.name: rolling_out(item.name) for item in rollouts}
    evaluator = FlagEvaluator()
    evaluator.set_flags(definitions.definitions(rollouts, states))
    return dict(evaluator.evaluate(rollouts[0].flag.key, context).metadata)


@pytest.mark.parametrize(
    ("stage", "changes", "context", "expected"),
    [
        ({"percent": 10}, {}, {"targetingKey": "cid"}, "split"),
        ({"percent": 10}, {}, {}, "match"),
        ({"percent": 10}, {}, {"targetingKey": ""}, "match"),
        ({"percent": 0}, {}, {}, "split"),
        ({"percent": 100}, {}, {}, "split"),
        ({"percent": 10}, LISTS, {"targetingKey": "ann"}, "listed"),
        ({"percent": 10}, LISTS, {"targetingKey": "bob"}, "listed"),
        ({"percent": 10}, LISTS, {"targetingKey": "cid"}, "split"),
        ({"percent": 0}, LISTS, {"targetingKey": "ann"}, "listed"),
        ({"percent": 0}, LISTS, {"targetingKey": "cid"}, "split"),
        ({"percent": 100}, LISTS, {"targetingKey": "bob"}, "listed"),
        ({"percent": 100}, LISTS, {"targetingKey": "cid"}, "split"),
        ({"match": {"symbol": SYMBOLS}}, {}, {"targetingKey": "cid", "symbol": "SPY"}, "match"),
        ({"match": {"symbol": SYMBOLS}}, {}, {"targetingKey": "cid", "symbol": "TSLA"}, "match"),
        ({"match": {"symbol": SYMBOLS}, "percent": 10}, {}, {"targetingKey": "c", "symbol": "SPY"}, "split"),
        ({"match": {"symbol": SYMBOLS}, "percent": 10}, {}, {"targetingKey": "c", "symbol": "TSLA"}, "match"),
        ({"match": {"symbol": SYMBOLS}, "percent": 10}, LISTS, {"targetingKey": "ann"}, "listed"),
        ({"percent": 10}, {"schedule": {"enable_at": PAST}}, {"targetingKey": "cid"}, "split"),
        ({"percent": 100}, {"schedule": {"enable_at": PAST}}, {"targetingKey": "cid"}, "split"),
        ({"percent": 10}, {"schedule": {"enable_at": FUTURE}}, {"targetingKey": "cid"}, "match"),
    ],
)
def test_only_whom_the_hash_draws_is_of_the_split(
    stage: dict[str, Any], changes: dict[str, Any], context: dict[str, Any], expected: str
) -> None:
    found = chosen(rollout(stage=stage, **changes), **context)
    assert (found["assignment"], found["percent"]) == (expected, stage.get("percent", 100))


def test_who_lacks_a_required_rollout_is_not_of_the_split() -> None:
    parent, child = rollout("parent", {"percent": 50}), rollout("child", {"percent": 50}, requires=["parent"])
    for user in USERS[:100]:
        expected = "split" if served(parent, targetingKey=user) else "match"
        assert chosen(child, parent, targetingKey=user)["assignment"] == expected


@pytest.mark.parametrize("key", ["users", "some", "grandchild"])
def test_the_share_of_the_split_is_the_percent(key: str) -> None:
    evaluator = FlagEvaluator()
    evaluator.set_flags(scenarios())
    found = [evaluator.evaluate(key, context) for context in contexts()]
    split = [one.variant == "new" for one in found if one.metadata["assignment"] == "split"]
    percent = float(found[0].metadata["percent"])
    assert sum(split) / len(split) == pytest.approx(percent / 100, abs=4 * (0.25 / len(split)) ** 0.5)
    assert len(split) < len(found)


def test_what_flagd_is_told_names_the_split_only_where_nobody_is_chosen_otherwise() -> None:
    state = rolling_out("one")
    told = definitions.definition(rollout(), state)["metadata"]
    assert (told["percent"], told["assignment"]) == (10, "split")
    for one in (rollout(**LISTS), rollout(stage={"match": {"symbol": SYMBOLS}, "percent": 10})):
        told = definitions.definition(one, state)["metadata"]
        assert (told["percent"], told.get("assignment")) == (10, None)
    off = definitions.definition(rollout(**LISTS), State("one", "ROLLBACK", run=1))["metadata"]
    assert (off["percent"], off["assignment"]) == (0, "split")


# The same in JavaScript


@cache
def scenarios() -> dict[str, Any]:
    """Return definitions of every way to choose among users."""
    dated = {"enable_at": "2020-01-01T00:00:00Z", "disable_at": "2999-01-01T00:00:00Z"}
    rollouts = [
        rollout("tenth"),
        rollout("quarter", {"percent": 25}, salt="tenth"),
        rollout("eighth", {"percent": 12.5}, salt="1337"),
        rollout("tiny", {"percent": 0.003}),
        rollout("users", {"percent": 30}, users={"on": USERS[:50], "off": USERS[25:100]}),
        rollout("match", {"match": {"symbol": SYMBOLS, "horizon": ["1D"]}}),
        rollout("some", {"match": {"symbol": SYMBOLS}, "percent": 35}),
        rollout("scheduled", {"percent": 40}, schedule=dated),
        rollout("over", {"percent": 100}, schedule={"disable_at": dated["enable_at"]}),
        rollout("parent", {"percent": 50}, users={"off": USERS[:9]}),
        rollout("child", {"percent": 60}, requires=["parent"]),
        rollout("grandchild", {"percent": 70}, requires=["child", "tenth"]),
        rollout("back"),
    ]
    states = {item.name: rolling_out(item.name) for item in rollouts}
    states["back"] = State("back", "ROLLBACK", run=1)
    document: dict[str, Any] = definitions.definitions(rollouts, states)
    return document


def contexts() -> list[dict[str, Any]]:
    """Return a context for every user, with symbols and horizons in turn."""
    symbols, horizons = [*SYMBOLS, "TSLA", "NVDA"], ["1D", "4h", "8h"]
    return [
        {"targetingKey": user, "symbol": symbols[number % 5], "horizon": horizons[number % 3]}
        for number, user in enumerate(USERS)
    ] + [{}, {"symbol": "AAPL", "horizon": "1D"}]


@cache
def in_python() -> dict[str, list[str]]:
    evaluator = FlagEvaluator()
    evaluator.set_flags(scenarios())
    seen = [[found.variant for found in evaluator.evaluate_all(context)] for context in contexts()]
    return {key: list(column) for key, column in zip(evaluator.keys, zip(*seen, strict=True), strict=True)}


def digests(seen: dict[str, list[str]]) -> dict[str, str]:
    return {key: hashlib.sha256(",".join(found).encode()).hexdigest()[:16] for key, found in seen.items()}


def test_python_chooses_what_javascript_was_seen_to_choose() -> None:
    golden = json.loads((ROOT / "tests" / "golden" / "flagd_core_js.json").read_text())
    assert digests(in_python()) == golden


def test_a_user_in_at_a_tenth_is_in_at_a_quarter_of_the_same_salt() -> None:
    seen = in_python()
    pairs = list(zip(seen["tenth"], seen["quarter"], strict=True))
    assert ("new", "new") in pairs
    assert ("new", "old") not in pairs


def test_the_schedule_holds_at_the_moment_of_the_evaluation() -> None:
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    one = rollout(stage={"percent": 100}, schedule={"enable_at": soon})
    evaluator = FlagEvaluator()
    evaluator.set_flags(definitions.definitions([one], {"one": rolling_out("one")}))
    assert evaluator.evaluate("one", {}).value is False
    deadline = time.monotonic() + 10
    while evaluator.evaluate("one", {}).value is False:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_targeting_that_decides_nothing_is_folded_away() -> None:
    one = rollout(stage={"percent": 100}, users={"on": ["ann"]})
    assert targeting.variant(one, rolling_out("one"), {}, {}) == "new"
