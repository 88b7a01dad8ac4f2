"""The counters by arm of measurements: variants become arms, and what cannot be sorted is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollguard.exporters.features.declaration import load_declaration
from rollguard.exporters.features.exporter import Features
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout

if TYPE_CHECKING:
    from tests.unit.clock import Time

NOW = 1_700_000_000.0
OWN = """
rollouts: [shop, search]
metrics:
  - {name: requests_assigned_total, help: Requests., aggregate: assigned, field: requests}
  - {name: request_outcomes_total, help: Requests., aggregate: outcomes, field: errors, of: requests}
  - name: wait_outcomes_total
    help: Waits.
    aggregate: outcomes
    field: wait
    buckets: [0.1, 1]
    rollouts: [shop]
  - {name: hit_outcomes_total, help: Hits., aggregate: outcomes, field: hit}
  - {name: hits_total, help: Hits., aggregate: tally, field: hit}
"""


class Shop:
    """The exporter of a declaration of two rollouts, of which one has a file."""

    def __init__(self, folder: Path, clock: Time) -> None:
        (folder / "own.yaml").write_text(OWN)
        self.declaration = load_declaration(folder / "own.yaml")
        flag = shipped_rollout().flag.model_copy(update={"serve": "new", "fallback": "old"})
        self.rollouts: tuple[Rollout, ...] = (
            shipped_rollout().model_copy(update={"rollout": "shop", "flag": flag}),
            shipped_rollout(),  # of another exporter
        )
        self.clock = clock
        self.exporter = self.fresh()

    def fresh(self) -> Features:
        return Features(FileSource("nowhere"), self.declaration, self.clock, self.rollouts)

    def feed(self, *lines: dict[str, Any]) -> None:
        text = b"".join(json.dumps({"ts": NOW, "rollout": "shop"} | line).encode() + b"\n" for line in lines)
        self.exporter.feed(Block(text))

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        found = {family.metric.name: family for family in self.exporter.families(NOW)}
        samples = found[name].samples.items()
        return {labels: value for labels, value in samples if isinstance(value, int | float)}

    def read(self, name: str) -> dict[tuple[str, ...], float]:
        return {labels: value for labels, value in self.all(name).items() if value}

    def left_out(self, metric: str) -> dict[str, float]:
        found = self.read("rollguard_exporter_evidence_left_out_total").items()
        return {reason: value for (_, name, reason), value in found if name == metric}


@pytest.fixture
def shop(tmp_path: Path, clock: Time) -> Shop:
    return Shop(tmp_path, clock)


@pytest.mark.parametrize(
    ("variant", "arm"),
    [("new", "canary"), ("exposed", "canary"), ("old", "baseline"), ("unexposed", "baseline")],
)
def test_the_rollouts_variants_are_the_arms(shop: Shop, variant: str, arm: str) -> None:
    shop.feed({"variant": variant, "requests": 5, "errors": 2, "wait": 0.1, "percent": 10})
    assert shop.read("requests_assigned_total") == {("shop", arm, "10"): 5}
    assert shop.read("request_outcomes_total") == {
        ("shop", arm, "10", "ok"): 3,
        ("shop", arm, "10", "error"): 2,
    }
    assert shop.read("wait_outcomes_total") == {("shop", arm, "10", "0.1"): 1}
    assert shop.read("rollguard_exporter_fields_unknown_total") == {}


@pytest.mark.parametrize("variant", [None, "other", "candidate", 7, ["new"]])
def test_other_variants_are_left_out_and_counted(shop: Shop, variant: Any) -> None:
    shop.feed({"variant": variant, "requests": 5, "percent": 10})
    assert shop.read("request_outcomes_total") == {}
    assert shop.left_out("request_outcomes_total") == {"no_arm": 5}
    events = shop.read("rollguard_exporter_evidence_events_total")
    assert events == {("shop", "requests_assigned_total"): 5, ("shop", "request_outcomes_total"): 5}


def test_every_rollout_has_its_own_stages(shop: Shop) -> None:
    stage = {"event": "stage", "stage": "canary", "ts": NOW - 100}
    shop.feed(stage, stage | {"rollout": "search", "percent": 50})
    for rollout in ("shop", "search"):
        line = {"rollout": rollout, "variant": "exposed", "requests": 1, "opened_ts": NOW - 1}
        shop.feed(line, line | {"opened_ts": NOW - 101}, line | {"opened_ts": None})
    assert shop.read("request_outcomes_total") == {
        ("shop", "canary", "10", "ok"): 1,
        ("search", "canary", "50", "ok"): 1,
    }
    assert shop.left_out("request_outcomes_total") == {"unknown_percent": 1, "unopened": 1}
    assert shop.read("requests_assigned_total") == {  # without opened_ts at its own ts
        ("shop", "canary", "10"): 2,
        ("search", "canary", "50"): 2,
    }
    assert shop.read("rollguard_exporter_fields_unknown_total") == {}


def test_the_percents_of_a_rollout_file_are_shown_at_zero(shop: Shop) -> None:
    assert len(shop.all("wait_outcomes_total")) == 2 * 5 * 3
    assert {labels[2] for labels in shop.all("request_outcomes_total")} == {"0", "10", "25", "50", "100"}
    assert {labels[0] for labels in shop.all("request_outcomes_window_total")} == {"shop"}
    assert len(shop.all("hits_total")) == 2 * 2


def test_what_is_right_or_wrong_is_counted_with_an_arm_and_without(shop: Shop) -> None:
    shop.feed(*[{"variant": "new", "hit": hit, "percent": 10} for hit in (True, 1, 0, False)], {"hit": True})
    assert shop.read("hit_outcomes_total") == {
        ("shop", "canary", "10", "ok"): 2,
        ("shop", "canary", "10", "error"): 2,
    }
    assert shop.read("hits_total") == {("shop", "ok"): 3, ("shop", "error"): 2}
    assert shop.left_out("hit_outcomes_total") == {"no_arm": 1}


@pytest.mark.parametrize(
    "odd",
    [
        {"requests": 1, "errors": 2},
        {"requests": 5, "errors": -1},
        {"requests": "x"},
        {"errors": 1},
        {"requests": [1], "errors": {}},
    ],
)
def test_errors_above_requests_and_other_nonsense_are_left_out(shop: Shop, odd: dict[str, Any]) -> None:
    shop.feed({"variant": "new", "percent": 10} | odd)
    assert shop.read("request_outcomes_total") == {}
    assert shop.left_out("request_outcomes_total") == {"odd_field": 1}


@pytest.mark.parametrize("key", ["percent", "assignment", "unit", "opened_ts"])
@pytest.mark.parametrize("odd", [True, [1], {"a": 1}, 1e300, -5.5])
def test_an_odd_key_leaves_only_evidence_out(shop: Shop, key: str, odd: Any) -> None:
    percent = None if key == "opened_ts" else 10
    shop.feed({"variant": "new", "hit": 1, "opened_ts": NOW, "percent": percent} | {key: odd})
    assert shop.read("hits_total") == {("shop", "ok"): 1}
    reason = "unknown_percent" if (key, odd) == ("opened_ts", -5.5) else "odd_field"
    assert shop.left_out("hit_outcomes_total") == {reason: 1}


def test_a_units_line_counts_once_a_run_and_as_one_request(shop: Shop) -> None:
    stage = {"event": "stage", "stage": "canary", "ts": NOW - 100}
    line = {"variant": "new", "requests": 9, "errors": 2, "percent": 10, "unit": "account-7"}
    shop.feed(stage | {"run": 1}, line, line, line | {"rollout": "search", "variant": "exposed"})
    assert shop.read("request_outcomes_total") == {
        ("shop", "canary", "10", "error"): 1,
        ("search", "canary", "10", "error"): 1,
    }
    assert shop.read("requests_assigned_total")["shop", "canary", "10"] == 1
    state, shop.exporter = shop.exporter.save(), shop.fresh()
    shop.exporter.restore(state)
    shop.feed(line, line | {"ts": NOW + 50})
    assert shop.read("request_outcomes_total")["shop", "canary", "10", "error"] == 1
    shop.feed(stage | {"run": 2, "ts": NOW}, line)
    assert shop.read("request_outcomes_total")["shop", "canary", "10", "error"] == 2
    assert shop.read("request_outcomes_total")["search", "canary", "10", "error"] == 1
    assert shop.read("request_outcomes_window_total")["shop", "canary", "10", "error"] == 1
