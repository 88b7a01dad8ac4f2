"""A real Prometheus with rendered rules: stages end by evaluated time, holds by data, silence by nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from rollguard.cli.local.processes import free_port
from rollguard.control.plane import ControlPlane
from rollguard.control.transitions import RefusedError
from rollguard.ledger import Ledger
from rollguard.monitoring.alerts import GuardAlert, Notification
from rollguard.monitoring.observation import Observation
from rollguard.monitoring.prometheus import Prometheus, PrometheusError, QueryRefusedError, SeveralSeriesError
from rollguard.spec.rollout import Criterion, Failure
from rollguard.state import State
from rollguard.workers.reconciler import Reconciler
from rollguard.workers.watcher import Watcher
from tests.contract.shop import SCALE, Shop
from tests.polling import eventually


@pytest.fixture
def prometheus(shop: Shop) -> Iterator[Prometheus]:
    found = Prometheus(shop.url)
    yield found
    found.close()


@pytest.fixture
def control(shop: Shop, tmp_path: Path) -> Iterator[ControlPlane]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    found = ControlPlane([shop.rollout], ledger, scale=SCALE)
    yield found
    found.ledger.close()


@pytest.fixture
def watcher(control: ControlPlane, prometheus: Prometheus) -> Watcher:
    found = Watcher(control, prometheus, scale=SCALE)
    eventually(lambda: not found._observer.check_rules_loaded(control.rollouts["shop"], ["canary"]))
    return found


def state(control: ControlPlane) -> State:
    return control.state("shop")


def seen(control: ControlPlane, watcher: Watcher) -> Observation:
    assert watcher.turn()
    found = control.seen(state(control))
    assert found is not None
    return found


def kinds(control: ControlPlane) -> list[str]:
    return [entry.kind for entry in control.ledger.entries()]


# Advance


def test_a_stage_ends_when_its_hold_has_passed_and_its_criteria_hold(
    control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    assert watcher.turn()
    assert state(control).stage == "canary"
    eventually(lambda: watcher.turn() and state(control).stage == "half")
    entry = control.ledger.entries()[-1]
    assert (entry.kind, entry.actor) == ("promote", "advance")
    assert entry.at - state(control).started_at >= 1.0
    assert entry.evidence["criteria"][0] == {
        "name": "enough",
        "query": 'orders{rollout="shop"} >= 100',
        "value": 100.0,
        "holds": True,
    }
    assert entry.evidence["guards"]["TooWrong"]["condition"] == "armed"


def test_a_stage_fails_by_what_its_file_says_when_its_hold_has_passed(
    shop: Shop, prometheus: Prometheus, tmp_path: Path
) -> None:
    few = Failure(name="few orders", expr="orders < 100")
    shop.service.metrics["orders"] = "99"
    eventually(lambda: prometheus.value("orders") == 99)
    rollout = shop.rollout.model_copy(update={"fail": (few,)})
    with closing(Ledger.open(f"sqlite:///{tmp_path / 'fails.db'}")) as ledger:
        control = ControlPlane([rollout], ledger, scale=SCALE)
        control.start("shop", actor="ann")
        watcher = Watcher(control, prometheus, scale=SCALE)
        eventually(lambda: watcher.turn() and control.state("shop").status == "ROLLBACK")
        entry = ledger.entries()[-1]
    assert entry.reason == "FAIL: canary, by few orders"
    assert entry.at - control.state("shop").started_at >= 1.0
    assert entry.evidence["criteria"][0]["value"] == 99.0


def test_a_criterion_that_is_not_met_keeps_the_stage(
    shop: Shop, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    shop.service.metrics["orders"] = "99"
    eventually(lambda: prometheus.value("orders") == 99)
    control.start("shop", actor="ann")
    eventually(lambda: seen(control, watcher).clock_seconds >= 1.0)
    waits = control.waits_for(shop.rollout, state(control))
    assert waits == ["enough: 99"]


def test_the_clock_begins_anew_when_a_criterion_fails_that_must_hold_throughout(
    shop: Shop, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    shop.service.metrics["orders"] = "99"
    control.start("shop", actor="ann")
    eventually(lambda: seen(control, watcher).clock_seconds >= 1.0)
    shop.service.metrics["rating"] = "3"
    eventually(lambda: prometheus.value("rating") == 3)
    assert seen(control, watcher).clock_seconds < 0.5
    shop.service.metrics["rating"] = "4"
    eventually(lambda: prometheus.value("rating") == 4)
    assert seen(control, Watcher(control, prometheus, scale=SCALE)).clock_seconds < 1.0, (
        "a restart forgets nothing"
    )


@pytest.mark.parametrize("when", ["end", "throughout"])
def test_a_criterion_that_always_yields_a_sample_is_unmet_and_says_why(
    shop: Shop,
    control: ControlPlane,
    watcher: Watcher,
    prometheus: Prometheus,
    when: Literal["end", "throughout"],
) -> None:
    criteria = tuple(
        Criterion(name=f"number {number}", when=when, expr=expr)
        for number, expr in enumerate(("rating >= bool 5", "rating", "rating > 5 or vector(0)"))
    )
    rollout = shop.rollout.model_copy(update={"advance": criteria})
    control.start("shop", actor="ann")
    found = watcher._observer.observe(rollout, state(control), prometheus.rules()).criteria
    assert [(one.holds, one.error) for one in found] == [
        (False, "always holds: bool yields 0 where the comparison fails, and 0 is a sample, too"),
        (False, "always holds: rating is compared with nothing, so that any sample of it counts"),
        (False, "always holds: vector(0) is compared with nothing, so that any sample of it counts"),
    ]


def test_several_series_where_one_is_meant_are_an_error(
    shop: Shop, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    shop.service.metrics |= {'by_country{country="a"}': "1", 'by_country{country="b"}': "1"}
    eventually(lambda: len(prometheus.query("by_country")) == 2)
    control.start("shop", actor="ann")
    control.promote("shop", actor="ann", early=True)
    (criterion,) = seen(control, watcher).criteria
    assert criterion.error == 'by_country{rollout="shop"} yields 2 series, expected one.'
    assert any("of one: by_country" in reason for reason in control.waits_for(shop.rollout, state(control)))


# Guards


def test_a_hold_whose_series_vanishes_stays_and_ends_with_data(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    alert = GuardAlert("shop", "TooSlow", True, time.time(), "f", {}, {})
    control.notify(Notification((alert,)), time.monotonic())
    del shop.service.metrics["delay_seconds"]
    eventually(lambda: (seen(control, watcher).guards["TooSlow"].silent_seconds or 0.0) > 0.2)
    resolved = GuardAlert("shop", "TooSlow", False, alert.starts_at, "f", {}, {})
    control.notify(Notification((resolved,)), time.monotonic())
    assert watcher.turn()
    assert state(control).held == {"TooSlow"}
    shop.service.metrics["delay_seconds"] = "1"
    eventually(lambda: watcher.turn() and not state(control).held)
    assert kinds(control)[:3] == ["start", "hold", "release"]
    assert seen(control, watcher).guards["TooSlow"].silent_seconds is None


@pytest.fixture
def reconciling(shop: Shop, control: ControlPlane) -> Iterator[None]:
    """Prometheus is asked several times a second what fires and fired; no Alertmanager answers."""
    nobody = f"http://127.0.0.1:{free_port()}"
    reconciler = Reconciler(control, [nobody], prometheus=shop.url, every=0.2)
    reconciler.start()
    yield
    reconciler.stop()


@pytest.mark.usefixtures("reconciling")
def test_a_guard_that_comes_and_goes_holds_once_until_it_is_quiet(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    for _ in range(3):
        shop.service.metrics["delay_seconds"] = "3"
        eventually(lambda: shop.fires("TooSlow") and watcher.turn())
        shop.service.metrics["delay_seconds"] = "1"
        eventually(lambda: not shop.fires("TooSlow") and watcher.turn())
    assert kinds(control) == ["start", "hold"]
    quiet = time.time()
    waits = control.waits_for(shop.rollout, state(control))
    assert any("TooSlow, which holds it until it was false for 3s" in wait for wait in waits)
    eventually(lambda: watcher.turn() and not state(control).held)
    assert kinds(control)[1:3] == ["hold", "release"]
    later = time.time() + 1.0  # the history that is asked for overlaps
    eventually(lambda: watcher.turn() and time.time() > later)
    assert kinds(control).count("hold") == 1
    assert control.ledger.entries()[2].at - quiet > 2.0


def test_a_hold_asks_for_data_all_the_while(shop: Shop, control: ControlPlane, watcher: Watcher) -> None:
    control.start("shop", actor="ann")
    alert = GuardAlert("shop", "TooSlow", True, time.time(), "f", {}, {})
    control.notify(Notification((alert,)), time.monotonic())
    eventually(lambda: (seen(control, watcher).guards["TooSlow"].clear_seconds or 0.0) > 2.0)
    del shop.service.metrics["delay_seconds"]
    eventually(lambda: condition(control, watcher, "TooSlow") == "without data")
    shop.service.metrics["delay_seconds"] = "1"
    eventually(lambda: condition(control, watcher, "TooSlow") == "armed")
    assert (seen(control, watcher).guards["TooSlow"].clear_seconds or 0.0) < 1.5


def condition(control: ControlPlane, watcher: Watcher, guard: str) -> str | None:
    return seen(control, watcher).guards[guard].condition


@pytest.mark.parametrize(
    ("metric", "value"),
    [("error_ratio_before", None), ("error_ratio_before", "NaN"), ("error_ratio", "NaN"), ("orders", "NaN")],
)
def test_a_rollback_guard_whose_baseline_or_sample_is_gone_or_nan_keeps_the_stage(
    shop: Shop, control: ControlPlane, watcher: Watcher, metric: str, value: str | None
) -> None:
    control.start("shop", actor="ann")
    shop.service.metrics.pop(metric)
    shop.service.metrics |= {metric: value} if value else {}
    eventually(lambda: condition(control, watcher, "WorseThanBefore") == "without data")
    eventually(lambda: seen(control, watcher).clock_seconds >= 1.0)
    assert "WorseThanBefore, which has no data" in control.waits_for(shop.rollout, state(control))
    assert state(control).stage == "canary"
    eventually(lambda: shop.fires("WorseThanBeforeNoData") or shop.fires("TooWrongNoData"))


@pytest.mark.parametrize("left_out", ["error_ratio_before", None])
def test_a_guard_waits_below_its_minimal_sample_only(
    shop: Shop, control: ControlPlane, watcher: Watcher, left_out: str | None
) -> None:
    shop.service.metrics["orders"] = "49"
    if left_out:
        del shop.service.metrics[left_out]
    control.start("shop", actor="ann")
    eventually(lambda: condition(control, watcher, "WorseThanBefore") == "waiting")
    del shop.service.metrics["orders"]
    eventually(lambda: condition(control, watcher, "WorseThanBefore") == "without data")


def test_infinity_is_data(shop: Shop, control: ControlPlane, watcher: Watcher) -> None:
    shop.service.metrics["error_ratio"] = "-Inf"
    control.start("shop", actor="ann")
    eventually(lambda: watcher._prometheus.value("error_ratio") == float("-inf"))
    assert condition(control, watcher, "WorseThanBefore") == "armed"


def test_a_guard_says_for_what_share_of_the_stage_it_could_judge(
    control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    shares = eventually(lambda: seen(control, watcher).guards["TooSlow"].armed_share)
    assert 0.5 < shares <= 1.0


def test_a_guard_that_is_pending_refuses_a_start_and_keeps_the_stage(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    shop.service.metrics["error_ratio"] = "0.9"
    eventually(lambda: watcher._observer.check_rules_loaded(shop.rollout, ["canary"]))
    with pytest.raises(RefusedError, match="TooWrong is pending in canary"):
        control.start("shop", actor="ann")
    entry = control.start("shop", actor="ann", unguarded=True)
    assert entry.evidence["unguarded"] == ["TooWrong is pending in canary"]
    assert seen(control, watcher).guards["TooWrong"].condition == "breached"
    assert "TooWrong, which is pending" in control.waits_for(shop.rollout, state(control))


def test_the_rules_of_another_file_refuse_a_start(shop: Shop, tmp_path: Path, prometheus: Prometheus) -> None:
    other = shop.rollout.model_copy(update={"title": "Another shop"})
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'other.db'}")
    control = ControlPlane([other], ledger, scale=SCALE)
    Watcher(control, prometheus, scale=SCALE)
    with pytest.raises(RefusedError, match=f"digest {shop.rollout.digest()}, expected {other.digest()}"):
        control.start("shop", actor="ann")
    ledger.close()


def test_rules_that_are_not_loaded_refuse_a_start(shop: Shop, tmp_path: Path, prometheus: Prometheus) -> None:
    other = shop.rollout.model_copy(update={"rollout": "other"})
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'other.db'}")
    control = ControlPlane([other], ledger, scale=SCALE)
    Watcher(control, prometheus, scale=SCALE)
    with pytest.raises(
        RefusedError, match="Prometheus has no rules of other: load what `rollguard generate`"
    ):
        control.start("other", actor="ann")
    ledger.close()


def breaks_a_rule(shop: Shop, metric: str) -> None:
    """Let a guard's rule yield two alerts with the same labels, which is an error."""
    del shop.service.metrics[metric]
    shop.service.metrics |= {f'{metric}{{severity="{one}"}}': "9" for one in "ab"}


def test_a_guard_whose_rule_is_in_error_has_no_data_and_keeps_the_stage(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    breaks_a_rule(shop, "delay_seconds")
    guard = eventually(lambda: seen(control, watcher).guards["TooSlow"].why and control.seen(state(control)))
    assert guard.guards["TooSlow"].condition == "without data"
    assert guard.guards["TooSlow"].why.startswith("cannot be evaluated: ")
    assert any(
        text.startswith("TooSlow, which cannot") for text in control.waits_for(shop.rollout, state(control))
    )


def test_a_rollback_guard_whose_rule_is_in_error_refuses_a_start(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    breaks_a_rule(shop, "error_ratio")
    eventually(lambda: watcher._observer.check_rules_loaded(shop.rollout, ["canary"]))
    with pytest.raises(RefusedError, match=r"TooWrong cannot be evaluated: .* in canary"):
        control.start("shop", actor="ann")


# Silence


def test_a_hold_stops_the_clock_also_over_a_restart(
    shop: Shop, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    plain = shop.rollout.model_copy(update={"advance": ()})

    def clock(watcher: Watcher) -> float:
        return watcher._observer.observe(plain, state(control), []).clock_seconds

    control.start("shop", actor="ann")
    eventually(lambda: clock(watcher) >= 1.0)
    begun = time.time()
    control.notify(Notification((GuardAlert("shop", "TooSlow", True, begun, "f", {}, {}),)), 0.0)
    stopped = clock(watcher)
    assert stopped >= 0.8
    eventually(lambda: time.time() > begun + 2.0)
    restarted = Watcher(control, prometheus, scale=SCALE)
    assert clock(watcher) == pytest.approx(stopped, abs=0.5)
    assert clock(restarted) == pytest.approx(stopped, abs=0.5)
    control.notify(Notification((GuardAlert("shop", "TooSlow", False, begun, "f", {}, {}),)), 0.0)
    control.acknowledge("shop", actor="ann")
    eventually(lambda: clock(restarted) > stopped + 0.5)


def test_a_dead_prometheus_promotes_nothing_and_is_said(shop: Shop, control: ControlPlane) -> None:
    dead = Prometheus(f"http://127.0.0.1:{free_port()}")
    control.start("shop", actor="ann")
    watcher = Watcher(control, dead, scale=SCALE)
    assert not watcher.turn()
    assert "Prometheus, which has not answered yet" in control.waits_for(shop.rollout, state(control))
    with pytest.raises(RefusedError, match="does not answer"):
        control.promote("shop", actor="ann", early=True)
    dead.close()


def test_time_that_prometheus_did_not_evaluate_does_not_count(
    shop: Shop, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    long_ago = State(
        "shop", "ROLLING_OUT", "half", run=1, entered_at=time.time() - 3600, clock_from=time.time() - 3600
    )
    clock = watcher._observer.observe(shop.rollout, long_ago, []).clock_seconds
    assert clock < 600, "the hour began before this Prometheus did"


# The client


def test_a_query_that_is_none_is_refused_with_prometheus_words(prometheus: Prometheus) -> None:
    with pytest.raises(QueryRefusedError, match="parse error"):
        prometheus.query("sum(")


def test_one_value_is_not_taken_from_several(prometheus: Prometheus) -> None:
    with pytest.raises(SeveralSeriesError, match=r"Select one by a label .*, or aggregate them"):
        prometheus.value("up")


def test_a_scalar_is_a_value(prometheus: Prometheus) -> None:
    assert prometheus.value("time()") == pytest.approx(time.time(), abs=60)


def test_what_is_no_prometheus_is_said(shop: Shop) -> None:
    other = Prometheus(f"http://{shop.service.address}")
    with pytest.raises(PrometheusError, match="no JSON: is it a Prometheus"):
        other.rules()
    other.close()
