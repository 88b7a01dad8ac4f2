"""A real Prometheus with rendered rules: stages end by evaluated time, holds by data, silence by nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from generators import output
from generators.scrape import Addresses
from rollguard import binaries
from rollguard.control import ControlPlane
from rollguard.ledger import Ledger
from rollguard.lifecycle import RefusedError
from rollguard.loading import load_rollout
from rollguard.notification import GuardAlert, Notification
from rollguard.processes import Child, free_port
from rollguard.prometheus import Prometheus, PrometheusError, QueryRefusedError, SeveralSeriesError
from rollguard.seen import Observation
from rollguard.state import State
from rollguard.watch import Watcher
from tests.polling import eventually

SCALE = 60.0
"""Of 15 s remain 250 ms, of a minute a second."""

FILE = """
rollout: shop
title: A new shop
owner: shop
scrape: {{job: shop, targets: ["{target}"]}}
flag: {{key: shop, variants: {{"new": true, "old": false}}, serve: "new", fallback: "old"}}
stages:
  - {{name: canary, percent: 10, hold: 1m}}
  - {{name: half, percent: 50, hold: 1h}}
  - {{name: full, percent: 100, approve: manual}}
guards:
  - alert: TooSlow
    use: threshold
    with: {{metric: delay_seconds, above: 2}}
    severity: warning
    action: hold
  - alert: TooWrong
    use: threshold
    with: {{metric: error_ratio, above: 0.5}}
    for: 1h
    severity: critical
    action: rollback
advance:
  - {{name: enough, stages: [canary], when: end, expr: orders >= 100}}
  - {{name: well rated, stages: [canary], when: throughout, expr: rating > 3}}
  - {{name: of one, stages: [half], expr: by_country > 0}}
"""
HEALTHY = {"delay_seconds": "1", "error_ratio": "0", "orders": "100", "rating": "4"}


class Service:
    """What is scraped: a metric for each name, changed at will."""

    def __init__(self) -> None:
        self.metrics = dict(HEALTHY)
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [f"{name} {value}\n" for name, value in service.metrics.items()]
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write("".join(lines).encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class World:
    """A service, a Prometheus that watches it, and a control plane."""

    def __init__(self, folder: Path, binary: str) -> None:
        self.service = Service()
        path = folder / "shop.yaml"
        path.write_text(FILE.format(target=self.service.address))
        self.rollout = load_rollout(path)
        at = f"127.0.0.1:{free_port()}"
        files = output.generate([self.rollout], SCALE, Addresses(prometheus=at))
        output.write(files, folder / "config")
        self.url = f"http://{at}"
        command = [
            binary,
            f"--config.file={folder / 'config' / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={at}",
        ]
        self.process = Child("prometheus", command, folder / "log", f"{self.url}/-/ready")
        self.process.start()
        self.process.wait_until_ready(30)

    def control(self, folder: Path) -> ControlPlane:
        return ControlPlane([self.rollout], Ledger.open(f"sqlite:///{folder / 'ledger.db'}"), scale=SCALE)


@pytest.fixture(scope="module")
def shared(
    need_binary: Callable[[binaries.Binary], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("watch"), need_binary(binaries.PROMETHEUS))
    prometheus = Prometheus(world.url)
    eventually(lambda: prometheus.query("orders") and prometheus.query("rollguard_rules_info"))
    prometheus.close()
    yield world
    world.process.stop()
    world.service.close()


@pytest.fixture
def world(shared: World) -> World:
    shared.service.metrics = dict(HEALTHY)
    return shared


@pytest.fixture
def prometheus(world: World) -> Iterator[Prometheus]:
    found = Prometheus(world.url)
    yield found
    found.close()


@pytest.fixture
def control(world: World, tmp_path: Path) -> Iterator[ControlPlane]:
    found = world.control(tmp_path)
    yield found
    found.ledger.close()


@pytest.fixture
def watcher(control: ControlPlane, prometheus: Prometheus) -> Watcher:
    found = Watcher(control, prometheus, scale=SCALE)
    eventually(lambda: not found._observer.look(control.rollouts["shop"], ["canary"]))
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


def test_a_criterion_that_is_not_met_keeps_the_stage(
    world: World, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    world.service.metrics["orders"] = "99"
    eventually(lambda: prometheus.value("orders") == 99)
    control.start("shop", actor="ann")
    eventually(lambda: seen(control, watcher).clock_seconds >= 1.0)
    waits = control.waits_for(world.rollout, state(control))
    assert waits == ["enough: 99"]


def test_the_clock_begins_anew_when_a_criterion_fails_that_must_hold_throughout(
    world: World, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    world.service.metrics["orders"] = "99"
    control.start("shop", actor="ann")
    eventually(lambda: seen(control, watcher).clock_seconds >= 1.0)
    world.service.metrics["rating"] = "3"
    eventually(lambda: prometheus.value("rating") == 3)
    assert seen(control, watcher).clock_seconds < 0.5
    world.service.metrics["rating"] = "4"
    eventually(lambda: prometheus.value("rating") == 4)
    assert seen(control, Watcher(control, prometheus, scale=SCALE)).clock_seconds < 1.0, (
        "a restart forgets nothing"
    )


def test_several_series_where_one_is_meant_are_an_error(
    world: World, control: ControlPlane, watcher: Watcher, prometheus: Prometheus
) -> None:
    world.service.metrics |= {'by_country{country="a"}': "1", 'by_country{country="b"}': "1"}
    eventually(lambda: len(prometheus.query("by_country")) == 2)
    control.start("shop", actor="ann")
    control.promote("shop", actor="ann")
    (criterion,) = seen(control, watcher).criteria
    assert criterion.error == 'by_country{rollout="shop"} yields 2 series, expected one.'
    assert any("of one: by_country" in reason for reason in control.waits_for(world.rollout, state(control)))


# Guards


def test_a_hold_whose_series_vanishes_stays_and_ends_with_data(
    world: World, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    alert = GuardAlert("shop", "TooSlow", True, time.time(), "f", {}, {})
    control.notify(Notification((alert,)), time.monotonic())
    del world.service.metrics["delay_seconds"]
    eventually(lambda: seen(control, watcher).guards["TooSlow"].condition in ("waiting", "without data"))
    resolved = GuardAlert("shop", "TooSlow", False, alert.starts_at, "f", {}, {})
    control.notify(Notification((resolved,)), time.monotonic())
    assert watcher.turn()
    assert state(control).held == {"TooSlow"}
    world.service.metrics["delay_seconds"] = "1"
    eventually(lambda: watcher.turn() and not state(control).held)
    assert kinds(control)[:3] == ["start", "hold", "release"]


def test_a_guard_says_for_what_share_of_the_stage_it_could_judge(
    control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    shares = eventually(lambda: seen(control, watcher).guards["TooSlow"].armed_share)
    assert 0.5 < shares <= 1.0


def test_a_guard_that_is_pending_refuses_a_start_and_keeps_the_stage(
    world: World, control: ControlPlane, watcher: Watcher
) -> None:
    world.service.metrics["error_ratio"] = "0.9"
    eventually(lambda: watcher._observer.look(world.rollout, ["canary"]))
    with pytest.raises(RefusedError, match="TooWrong is pending in canary"):
        control.start("shop", actor="ann")
    entry = control.start("shop", actor="ann", unguarded=True)
    assert entry.evidence["unguarded"] == ["TooWrong is pending in canary"]
    assert seen(control, watcher).guards["TooWrong"].condition == "breached"
    assert "TooWrong, which is pending" in control.waits_for(world.rollout, state(control))


def test_the_rules_of_another_file_refuse_a_start(
    world: World, tmp_path: Path, prometheus: Prometheus
) -> None:
    other = world.rollout.model_copy(update={"title": "Another shop"})
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'other.db'}")
    control = ControlPlane([other], ledger, scale=SCALE)
    Watcher(control, prometheus, scale=SCALE)
    with pytest.raises(RefusedError, match=f"digest {world.rollout.digest()}, expected {other.digest()}"):
        control.start("shop", actor="ann")
    ledger.close()


def test_rules_that_are_not_loaded_refuse_a_start(
    world: World, tmp_path: Path, prometheus: Prometheus
) -> None:
    other = world.rollout.model_copy(update={"rollout": "other"})
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'other.db'}")
    control = ControlPlane([other], ledger, scale=SCALE)
    Watcher(control, prometheus, scale=SCALE)
    with pytest.raises(
        RefusedError, match="Prometheus has no rules of other: load what `rollguard generate`"
    ):
        control.start("other", actor="ann")
    ledger.close()


# Silence


def test_a_dead_prometheus_promotes_nothing_and_is_said(world: World, control: ControlPlane) -> None:
    dead = Prometheus(f"http://127.0.0.1:{free_port()}")
    control.start("shop", actor="ann")
    watcher = Watcher(control, dead, scale=SCALE)
    assert not watcher.turn()
    assert "Prometheus, which has not answered yet" in control.waits_for(world.rollout, state(control))
    with pytest.raises(RefusedError, match="does not answer"):
        control.promote("shop", actor="ann")
    dead.close()


def test_time_that_prometheus_did_not_evaluate_does_not_count(
    world: World, control: ControlPlane, watcher: Watcher
) -> None:
    control.start("shop", actor="ann")
    long_ago = State(
        "shop", "ROLLING_OUT", "half", run=1, entered_at=time.time() - 3600, clock_from=time.time() - 3600
    )
    clock = watcher._observer.observe(world.rollout, long_ago, []).clock_seconds
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


def test_what_is_no_prometheus_is_said(world: World) -> None:
    other = Prometheus(f"http://{world.service.address}")
    with pytest.raises(PrometheusError, match="no JSON: is it a Prometheus"):
        other.rules()
    other.close()
