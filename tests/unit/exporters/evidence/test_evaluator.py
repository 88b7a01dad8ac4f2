"""The evaluator: counters of both variants become evidence, or it says why they cannot."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest

from rollguard.exporters.evidence.evaluator import PROCESS_START, GuardState, Look
from rollguard.exporters.evidence.exporter import _as_array, _as_list
from rollguard.exporters.evidence.judged import Judged, judged
from rollguard.exporters.measures import dispersion
from rollguard.exporters.measures.evidence import START
from rollguard.monitoring.prometheus import Sample
from rollguard.spec.rollout import Rollout
from tests.factories import shipped_rollout

RATE: dict[str, Any] = {"bad": 'requests_total{code="500"}', "total": "requests_total", "cluster": "none"}
ERRORS, ALL = 'requests_total{rollout="model-canary",code="500"}', 'requests_total{rollout="model-canary"}'


def guard(use: str = "compare", action: str = "rollback", **given: Any) -> Judged:
    rollout = shipped_rollout().model_dump(by_alias=True, exclude_defaults=True)
    written = {"alert": "Worse", "use": use, "with": given or RATE, "severity": "critical", "action": action}
    (found,) = judged(Rollout.model_validate({**rollout, "guards": [written]}))
    return found


class Watched:
    """A service that counts, and a guard that is looked at every 15 s."""

    def __init__(self, one: Judged | None = None, **target: str) -> None:
        self.one = one or guard()
        self.state = GuardState()
        self.at = 1000.0
        self.target = {"job": "shop", "instance": "a:1", **target}
        self.counts: dict[tuple[str, str, str], float] = {}
        self.starts: list[Sample] = []
        self.extra: list[Sample] = []

    def count(self, arm: str, good: float = 0, bad: float = 0, assigned: str = "10") -> None:
        for code, more in (("200", good), ("500", bad)):
            key = (arm, code, assigned)
            self.counts[key] = self.counts.get(key, 0.0) + more

    def samples(self) -> list[Sample]:
        return [
            Sample(self.labels(arm, code, assigned), value)
            for (arm, code, assigned), value in self.counts.items()
        ] + self.extra

    def labels(self, arm: str, code: str, assigned: str) -> dict[str, str]:
        return {
            "__name__": "requests_total", "arm": arm, "code": code, "assigned": assigned, **self.target,
        }  # fmt: skip

    def look(self, seconds: float = 15.0, **changes: Any) -> GuardState:
        samples = self.samples()
        self.at += seconds
        bad = [sample for sample in samples if sample.labels.get("code") == "500"]
        read = {ALL: samples, ERRORS: bad}
        self.state.look(self.one, Look(self.at, 1, read, self.starts, **changes))
        return self.state

    def begun(self) -> Watched:
        for arm in ("canary", "baseline"):
            self.count(arm)
        self.look()
        return self

    def log_e(self) -> float:
        found = self.state.log_e(self.one)
        assert found is not None, self.state.trouble
        return found


def test_what_was_counted_before_the_run_is_no_evidence() -> None:
    watched = Watched()
    watched.count("canary", bad=1000)
    watched.count("baseline", good=1000)
    watched.look()
    assert watched.log_e() == pytest.approx(0, abs=1e-12)
    assert watched.state.events(1) == 0


def test_a_worse_variant_is_evidence() -> None:
    watched = Watched().begun()
    for _ in range(20):
        watched.count("canary", good=5, bad=5)
        watched.count("baseline", good=90, bad=1)
        watched.look()
    assert watched.log_e() > math.log(100)
    assert watched.state.mean(watched.one, 1) == pytest.approx(0.5)
    assert watched.state.events(0) == 20 * 91
    estimate, lower, upper = watched.state.effect(watched.one)
    assert estimate == pytest.approx(0.5 - 1 / 91, abs=0.01)
    assert 0 < lower < estimate < upper


def test_a_better_variant_is_none() -> None:
    watched = Watched().begun()
    for _ in range(20):
        watched.count("canary", good=10)
        watched.count("baseline", good=50, bad=40)
        watched.look()
    assert watched.log_e() <= 0.01


def test_what_both_variants_suffer_is_none() -> None:
    watched = Watched().begun()
    for _ in range(20):
        watched.count("canary", good=5, bad=5)
        watched.count("baseline", good=45, bad=45)
        watched.look()
    assert watched.log_e() < 1


def test_a_rollback_reads_the_greatest_evidence_of_the_run_and_a_hold_that_of_now() -> None:
    sticky, current = Watched(), Watched(guard(action="hold"))
    for watched in (sticky, current):
        watched.begun()
        for bad in [5] * 20 + [0] * 400:
            watched.count("canary", good=10 - bad, bad=bad)
            watched.count("baseline", good=86, bad=4)
            watched.look()
    assert sticky.log_e() > math.log(100) > current.log_e()


def test_the_evidence_of_a_hold_begins_anew_when_the_hold_ends() -> None:
    watched = Watched(guard(action="hold")).begun()
    for _ in range(20):
        watched.count("canary", good=5, bad=5)
        watched.count("baseline", good=90, bad=1)
        watched.look(held=frozenset({"Worse"}))
    assert watched.log_e() > math.log(100)
    watched.look()
    assert watched.log_e() == pytest.approx(0, abs=1e-6)


def test_a_hold_that_ends_before_anything_was_read_is_no_fault() -> None:
    one = guard(action="hold", values="pnl_total", cluster="none")
    state = GuardState()
    state.look(one, Look(1000.0, 1, held=frozenset({"Worse"})))
    state.look(one, Look(1015.0, 1))
    assert state.trouble == "no series of pnl_total"


def test_by_an_unknown_share_a_worse_variant_is_found_too() -> None:
    watched = Watched().begun()
    for _ in range(30):
        watched.count("canary", good=5, bad=5, assigned="")
        watched.count("baseline", good=90, bad=1, assigned="")
        watched.look()
    assert watched.log_e() > math.log(100)


@pytest.mark.parametrize("assigned", ["0", "100"])
def test_where_nothing_is_drawn_nothing_is_compared(assigned: str) -> None:
    watched = Watched().begun()
    watched.count("canary", bad=500, assigned=assigned)
    watched.count("baseline", good=500, assigned=assigned)
    watched.look()
    assert watched.log_e() == pytest.approx(0, abs=1e-6)


def test_worse_by_less_than_the_factor_is_none() -> None:
    watched = Watched(guard(**{**RATE, "times": 3})).begun()
    for _ in range(50):
        watched.count("canary", good=8, bad=2)
        watched.count("baseline", good=81, bad=9)
        watched.look()
    assert watched.log_e() < math.log(100)
    for _ in range(20):
        watched.count("canary", good=2, bad=8)
        watched.count("baseline", good=81, bad=9)
        watched.look()
    assert watched.log_e() > math.log(100)


def test_early_outcomes_do_not_count_before_the_horizon() -> None:
    watched = Watched(guard(**{**RATE, "horizon": "10m"})).begun()
    watched.count("canary", bad=100)
    watched.count("baseline", good=900)
    watched.look()
    watched.look(seconds=300)
    assert watched.state.events(1) == 0
    watched.look(seconds=300)
    watched.count("canary", bad=100)
    watched.look()
    assert watched.state.events(1) == 100


# Counters that misbehave


def grown(watched: Watched) -> None:
    watched.count("canary", good=100, bad=100)
    watched.count("baseline", good=1800, bad=10)
    watched.look()


def fallen(watched: Watched, to: float) -> None:
    for key in watched.counts:
        watched.counts[key] = to


def test_a_counter_that_started_anew_counts_from_zero() -> None:
    watched = Watched().begun()
    grown(watched)
    fallen(watched, 7)
    watched.starts = [Sample({"__name__": PROCESS_START, **watched.target}, watched.at + 5)]
    watched.look()
    assert not watched.state.trouble
    assert watched.state.events(1) == 200 + 14


def test_a_checkpoint_that_stepped_back_counts_nothing_twice() -> None:
    watched = Watched().begun()
    watched.starts = [
        Sample({"__name__": START.name, **watched.target}, 500.0),
        Sample({"__name__": PROCESS_START, **watched.target}, watched.at + 20),
    ]
    grown(watched)
    fallen(watched, 90)
    watched.look()
    assert watched.state.events(1) == 200
    fallen(watched, 101)
    watched.look()
    assert not watched.state.trouble
    assert watched.state.events(1) == 200 + 1 + 1


def test_a_counter_that_fell_for_no_known_reason_is_said() -> None:
    watched = Watched().begun()
    grown(watched)
    fallen(watched, 3)
    watched.look()
    assert "fell from" in watched.state.trouble
    assert watched.state.log_e(watched.one) is None


def test_a_counter_that_comes_back_after_an_hour_goes_on_where_it_was() -> None:
    watched = Watched().begun()
    grown(watched)
    counts, watched.counts = watched.counts, {}
    for _ in range(240):
        watched.look()
    watched.counts = counts
    watched.count("canary", good=3)
    watched.look()
    assert not watched.state.trouble
    assert watched.state.events(1) == 203


def test_a_first_error_counts_though_its_series_is_new() -> None:
    watched = Watched()
    for arm in ("canary", "baseline"):
        watched.counts[arm, "200", "10"] = 50.0
    watched.look()
    watched.counts["canary", "500", "10"] = 4.0
    watched.look()
    assert watched.state.mean(watched.one, 1) == 1.0
    assert watched.state.events(1) == 4


def test_a_new_target_that_has_counted_for_long_is_taken_from_there() -> None:
    watched = Watched().begun()
    other = {**watched.labels("canary", "500", "10"), "instance": "b:1"}
    watched.extra = [Sample(other, 5000.0)]
    watched.look()
    assert watched.state.events(1) == 0
    watched.extra = [Sample(other, 5002.0)]
    watched.look()
    assert watched.state.events(1) == 2


def test_targets_that_came_and_went_are_forgotten_after_a_day() -> None:
    watched = Watched().begun()
    for number in range(50):
        watched.extra = [
            Sample({**watched.labels("canary", "500", "10"), "instance": f"pod-{number}:1"}, 1.0)
        ]
        watched.look(seconds=3600)
    assert len(watched.state.targets) <= 1 + 25


# What cannot be judged


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0])
def test_what_is_no_count_is_said(value: float) -> None:
    watched = Watched().begun()
    watched.extra = [Sample({**watched.labels("canary", "404", "10")}, value)]
    watched.look()
    assert "expected a count" in watched.state.trouble


def test_more_bad_outcomes_than_outcomes_are_said() -> None:
    one = guard(bad="errors_total", total="requests_total", cluster="none")
    state, labels = GuardState(), {"arm": "canary", "job": "shop", "instance": "a:1"}
    base = {**labels, "arm": "baseline"}
    for number in range(3):
        read = {
            'errors_total{rollout="model-canary"}': [Sample(labels, 9.0 * number)],
            'requests_total{rollout="model-canary"}': [Sample(labels, 2.0 * number), Sample(base, 9.0)],
        }
        state.look(one, Look(1000.0 + 15 * number, 1, read))
    assert state.trouble == "`bad` counts more than `total`"


def test_counters_that_are_not_there_are_said() -> None:
    watched = Watched()
    watched.look()
    assert watched.state.trouble == "no series of requests_total"


@pytest.mark.parametrize(("arm", "name"), [("canary", "new"), ("baseline", "old")])
def test_an_arm_that_vanishes_is_said_after_five_minutes(arm: str, name: str) -> None:
    watched = Watched().begun()
    watched.counts = {key: value for key, value in watched.counts.items() if key[0] != arm}
    watched.look(seconds=299)
    assert not watched.state.trouble
    watched.look(seconds=1)
    assert watched.state.trouble == f"no series of the {name} variant"


def test_while_prometheus_is_away_there_is_no_evidence_and_afterwards_nothing_is_lost() -> None:
    watched = Watched().begun()
    watched.look(error="Prometheus does not answer")
    assert watched.state.log_e(watched.one) is None
    watched.count("canary", bad=50)
    watched.count("baseline", good=450)
    watched.look(seconds=3600)
    assert watched.state.events(1) == 50
    assert watched.log_e() > math.log(100)


def test_over_one_per_cent_left_out_is_said_with_its_reason() -> None:
    watched = Watched().begun()
    watched.look(left_out={"requests_total": (1000.0, {"unopened": 5.0})})
    watched.look(left_out={"requests_total": (1100.0, {"unopened": 6.0})})
    assert watched.log_e() == pytest.approx(0, abs=1e-3)
    watched.look(left_out={"requests_total": (1200.0, {"unopened": 13.0})})
    assert watched.state.trouble == "over 1 % of the events of requests_total are left out: unopened"


def assigned_look(watched: Watched, shares: dict[str, float]) -> None:
    samples = [
        Sample({"arm": arm, "assigned": "10", **watched.target}, value) for arm, value in shares.items()
    ]
    watched.at += 15
    read = {ALL: watched.samples(), ERRORS: [], 'assigned_total{rollout="model-canary"}': samples}
    watched.state.look(watched.one, Look(watched.at, 1, read))


@pytest.mark.parametrize(("canary", "trouble"), [(100, ""), (130, "the variants were not split as declared")])
def test_a_split_of_13_instead_of_10_in_100_is_said_within_2000_assignments(
    canary: int, trouble: str
) -> None:
    watched = Watched(guard(**{**RATE, "assigned": "assigned_total"}))
    watched.count("canary", good=1)
    watched.count("baseline", good=1)
    for number in range(3):
        assigned_look(watched, {"canary": canary * number, "baseline": (1000 - canary) * number})
    assert watched.state.trouble == trouble


def clustered(watched: Watched, size: int) -> GuardState:
    """Let units of so many outcomes that are all alike come to each variant."""
    rng = np.random.default_rng(1)
    watched.begun()
    for _ in range(200):
        for arm, units in (("canary", 40 // size), ("baseline", 40 // size)):
            bad = int(rng.binomial(units, 0.4)) * size
            watched.count(arm, good=units * size - bad, bad=bad, assigned="50")
        watched.look(seconds=60)
    return watched.state


def test_outcomes_in_clusters_are_said() -> None:
    assert clustered(Watched(), size=4).trouble.startswith("outcomes come in clusters")


def test_outcomes_one_by_one_are_no_clusters() -> None:
    assert not clustered(Watched(), size=1).trouble


def test_what_both_variants_share_is_no_cluster() -> None:
    watched, rng = Watched().begun(), np.random.default_rng(1)
    for _ in range(200):
        chance = 0.4 + 0.3 * rng.random()
        for arm in ("canary", "baseline"):
            bad = int(rng.binomial(50, chance))
            watched.count(arm, good=50 - bad, bad=bad, assigned="50")
        watched.look(seconds=60)
    assert watched.state.spread is not None
    assert dispersion.ratio(watched.state.spread) < 1.5
    assert not watched.state.trouble


# Histograms and bins


def binned(one: Judged, label: str, edges: dict[str, list[str]], looks: int = 3) -> GuardState:
    """Return the state after some looks at counters by bucket, of both variants."""
    state = GuardState()
    name = next(str(series) for series in one.counters.values())
    for number in range(looks):
        samples = [
            Sample(
                {"arm": arm, "assigned": "50", label: edge, "job": "j", "instance": "i"},
                10.0 * number * (place + 1),
            )
            for arm, found in edges.items()
            for place, edge in enumerate(found)
        ]
        state.look(one, Look(1000.0 + 15 * number, 1, {name: samples}))
    return state


def test_buckets_of_a_histogram_are_cumulative_and_bins_are_not() -> None:
    edges = {"canary": ["0.1", "0.5", "+Inf"], "baseline": ["0.1", "0.5", "+Inf"]}
    histogram = binned(guard(histogram="latency_seconds", cluster="none"), "le", edges)
    bins = binned(guard(values="pnl_total", cluster="none"), "outcome", edges)
    assert histogram.events(1) == 60
    assert bins.events(1) == 120


@pytest.mark.parametrize(
    ("edges", "trouble"),
    [
        ({"canary": ["0.1", "+Inf"], "baseline": ["0.2", "+Inf"]}, "the arms have different buckets"),
        ({"canary": ["1", "5"], "baseline": ["1", "5"]}, "expected two buckets at least, the last one +Inf"),
        ({"canary": ["high", "+Inf"], "baseline": ["0.1", "+Inf"]}, 'outcome="high" is no edge of a bucket'),
    ],
)  # fmt: skip
def test_buckets_that_do_not_go_together_are_said(edges: dict[str, list[str]], trouble: str) -> None:
    assert binned(guard(values="pnl_total", cluster="none"), "outcome", edges).trouble == trouble


def test_of_several_features_the_mean_of_the_evidence_counts() -> None:
    one = guard(values="feature_total", worse="moved", each="feature", cluster="none")
    state, (name,) = GuardState(), (str(series) for series in one.counters.values())
    for number in range(30):
        samples = []
        for feature, moved in (("a", True), ("b", False)):
            for arm in ("canary", "baseline"):
                shape = [1, 2, 7] if moved and arm == "canary" else [7, 2, 1]
                for edge, more in zip(("1", "2", "+Inf"), shape, strict=True):
                    labels = {
                        "arm": arm,
                        "feature": feature,
                        "outcome": edge,
                        "assigned": "50",
                        "instance": "i",
                    }
                    samples.append(Sample(labels, 5.0 * more * number))
        state.look(one, Look(1000.0 + 15 * number, 1, {name: samples}))
    found = [float(one.log_e) for one in state.evidence.values()]
    assert state.log_e(one) == pytest.approx(np.logaddexp.reduce(found) - math.log(2), rel=0.05)


# Limits


@pytest.mark.parametrize("assigned", ["", "0", "10", "100"])
@pytest.mark.parametrize(("down", "found"), [(0, False), (1, True)])
def test_a_rate_beyond_its_limit_is_evidence_and_one_within_is_none(
    down: int, found: bool, assigned: str
) -> None:
    limit = guard("limit", bad='requests_total{code="500"}', total="requests_total", above=0.01)
    watched = Watched(limit).begun()
    watched.count("canary", assigned=assigned)
    watched.look()
    for _ in range(4):  # an outage of a minute, checked every 15 s
        watched.count("canary", good=1 - down, bad=down, assigned=assigned)
        watched.look()
    assert (watched.log_e() > math.log(100)) == found


def test_one_failed_check_is_no_outage() -> None:
    watched = Watched(
        guard("limit", bad='requests_total{code="500"}', total="requests_total", above=0.01)
    ).begun()
    watched.count("canary", bad=1)
    watched.look()
    assert watched.log_e() < math.log(100)


def test_good_outcomes_say_the_same_as_bad_ones() -> None:
    good = guard("limit", good='requests_total{code="200"}', total="requests_total", below=0.99)
    assert good.limit == pytest.approx(0.01)
    state, ok, every = GuardState(), *(str(one) for one in good.counters.values())
    for number in range(2):
        labels = {"instance": "a"}
        read = {ok: [Sample(labels, 90.0 * number)], every: [Sample(labels, 100.0 * number)]}
        state.look(good, Look(1000.0 + 15 * number, 1, read))
    assert state.mean(good, 1) == pytest.approx(0.1)


def test_a_checkpoint_holds_everything() -> None:
    watched, other = Watched().begun(), Watched().begun()
    for number in range(30):
        for one in (watched, other):
            one.count("canary", good=7, bad=2)
            one.count("baseline", good=80, bad=9)
            one.look()
        if number % 7 == 0:
            text = msgspec.json.encode(other.state, enc_hook=_as_list)
            other.state = msgspec.json.decode(text, type=GuardState, dec_hook=_as_array)
        assert other.log_e() == watched.log_e()
