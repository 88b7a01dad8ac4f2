"""What never came as a notification is found in a real Alertmanager and Prometheus, and decided once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rollguard.cli.local.processes import Child, free_port
from rollguard.generators.tools import binaries
from tests.contract.planes import TOKEN, MakePlane, Plane, eventually

INTERVAL = "200ms"
NAMES = (
    "lost",
    "missed",
    "silenced",
    "heard",
    "hidden",
    "deployed",
    "unseen",
    "doubled",
    "truncated",
    "late",
    "asleep",
)

_ROLLOUT = """\
rollout: {name}
title: A release that somebody must watch
owner: test
scrape: {{job: {name}, targets: ["127.0.0.1:1"]}}
flag: {{key: {name}, variants: {{candidate: true, active: false}}, serve: candidate, fallback: active}}
stages:
  - {{name: full, percent: 100}}
guards:
  - {{alert: Errors, use: threshold, with: {{metric: x, above: 1}}, severity: critical, action: rollback}}
  - {{alert: Delay, use: threshold, with: {{metric: y, above: 1}}, severity: warning, action: notify}}
blind_after: 1s
blind: {blind}
"""


class Gauges:
    """An exporter: one gauge for each rollout, over its limit while it is broken."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        gauges = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                lines = [f'x{{rollout="{name}"}} {int(name in gauges.broken)}\n' for name in NAMES]
                body = "".join(lines).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Servers:
    """A Prometheus that watches the gauges, and an Alertmanager that it never tells of anything."""

    def __init__(self, folder: Path, prometheus: str, alertmanager: str) -> None:
        self.gauges = Gauges()
        self.prometheus_url, self.alertmanager_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.prometheus = self._prometheus(folder, prometheus)
        self.alertmanager = alertmanager_child(folder, alertmanager, self.alertmanager_url, "nowhere")

    def _prometheus(self, folder: Path, binary: str) -> Child:
        groups = [{"name": name, "interval": INTERVAL, "rules": [_rule(name)]} for name in NAMES]
        (folder / "rules.yml").write_text(yaml.safe_dump({"groups": groups}))
        target = {"targets": [f"127.0.0.1:{self.gauges.port}"]}
        config = {
            "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "x", "honor_labels": True, "static_configs": [target]}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = [
            *(binary, f"--config.file={folder / 'prometheus.yml'}", "--log.level=warn"),
            *(f"--storage.tsdb.path={folder / 'data'}",),
            f"--web.listen-address={self.prometheus_url.removeprefix('http://')}",
        ]
        return Child("prometheus", command, folder / "prometheus.log", f"{self.prometheus_url}/-/ready")

    def fires(self, name: str) -> bool:
        """Return whether Prometheus says that the rollout's alert fires."""
        query = {"query": f'ALERTS{{alertstate="firing", rollout="{name}"}}'}
        answer = httpx.get(f"{self.prometheus_url}/api/v1/query", params=query)
        return bool(answer.json()["data"]["result"])

    def breaks(self, name: str) -> None:
        """Put the gauge over its limit, and wait until the alert fires."""
        self.gauges.broken.add(name)
        eventually(lambda: self.fires(name), f"the alert of {name}")

    def recovers(self, name: str) -> None:
        """Put the gauge back, and wait until the alert is gone."""
        self.gauges.broken.discard(name)
        eventually(lambda: not self.fires(name), f"the end of the alert of {name}")


def _rule(name: str) -> dict[str, Any]:
    labels = {"rollout": name, "guard": "Errors", "action": "rollback"}
    return {"alert": "Errors", "expr": f'x{{rollout="{name}"}} > 0.5', "labels": labels}


def alertmanager_child(
    folder: Path, binary: str, url: str, receiver: str, peers: Sequence[str] | None = None, **webhook: Any
) -> Child:
    """Return an Alertmanager that tells a control plane, or nobody, at once of each rollout."""
    told = {
        "url": f"{receiver}/alerts",
        "http_config": {"authorization": {"credentials": TOKEN}},
        **webhook,
    }
    route = {
        "receiver": "it",
        "group_by": ["rollout"],
        "group_wait": "0s",
        "group_interval": "1s",
        "repeat_interval": "1m",
    }
    receivers = [{"name": "it", **({} if receiver == "nowhere" else {"webhook_configs": [told]})}]
    inhibition = {
        "source_matchers": ["alertname=Outage"],
        "target_matchers": ["alertname=Errors"],
        "equal": ["rollout"],
    }
    place = folder / url.rpartition(":")[2]
    place.mkdir()
    config = {"route": route, "receivers": receivers, "inhibit_rules": [inhibition]}
    (place / "config.yml").write_text(yaml.safe_dump(config))
    command = [
        *(binary, f"--config.file={place / 'config.yml'}", f"--storage.path={place / 'data'}"),
        *(f"--web.listen-address={url.removeprefix('http://')}", "--log.level=warn"),
        *(peers or ("--cluster.listen-address=",)),
    ]
    return Child("alertmanager", command, place / "log", f"{url}/-/ready")


def post_alerts(url: str, *alerts: tuple[str, str]) -> None:
    """Tell an Alertmanager of alerts, each a rollout and an alert's name."""
    now = datetime.now(UTC).isoformat()
    body = [
        {"labels": {"alertname": guard, "guard": guard, "rollout": name}, "startsAt": now}
        for name, guard in alerts
    ]
    httpx.post(f"{url}/api/v2/alerts", json=body).raise_for_status()


def silence(url: str, name: str) -> None:
    """Silence a rollout for an hour."""
    now = datetime.now(UTC)
    body = {
        "matchers": [{"name": "rollout", "value": name, "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "ann",
        "comment": "known",
    }
    httpx.post(f"{url}/api/v2/silences", json=body).raise_for_status()


@pytest.fixture(scope="module")
def servers(
    tmp_path_factory: pytest.TempPathFactory, need_binary: Callable[[binaries.Binary], str]
) -> Iterator[Servers]:
    programs = [need_binary(binary) for binary in (binaries.PROMETHEUS, binaries.ALERTMANAGER)]
    found = Servers(tmp_path_factory.mktemp("servers"), *programs)
    with ExitStack() as stack:
        stack.callback(found.gauges.close)
        for child in (found.prometheus, found.alertmanager):
            child.start()
            stack.callback(child.stop)
        for child in (found.prometheus, found.alertmanager):
            child.wait_until_ready(60)
        yield found


@pytest.fixture
def watching(make_plane: MakePlane, tmp_path: Path) -> Callable[..., Plane]:
    """Return a function that runs a control plane for rollouts, all started."""

    def make(*names: str, blind: str = "hold", poll: str = INTERVAL, **options: Any) -> Plane:
        rollouts = tmp_path / "rollouts"
        rollouts.mkdir()
        for name in names:
            (rollouts / f"{name}.yaml").write_text(_ROLLOUT.format(name=name, blind=blind))
        plane = make_plane("plane", rollouts, f"sqlite:///{tmp_path / 'ledger.db'}", poll=poll, **options)
        plane.start()
        for name in names:
            plane.begin(name)
        return plane

    return make


def reasons(plane: Plane) -> list[str]:
    """Return why rollouts were taken back, in order."""
    return [entry["reason"] for entry in plane.get("history") if entry["kind"] == "rollback"]


def asks(servers: Servers) -> dict[str, Any]:
    return {"alertmanagers": [servers.alertmanager_url], "prometheus": servers.prometheus_url}


def test_an_alert_that_never_reached_alertmanager_is_decided_by_prometheus_word(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("lost", **asks(servers))
    servers.breaks("lost")
    eventually(lambda: not plane.flag("lost"), "the rollback")
    assert reasons(plane) == ["Errors"]


def test_what_fired_and_resolved_while_the_control_plane_was_dead_is_decided_once(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("missed", **asks(servers))
    noted = plane.child.log.parent / "memory"
    eventually(lambda: list(noted.glob("reconciled*")), "a first look at the history")
    plane.child.kill()
    servers.breaks("missed")
    servers.recovers("missed")
    plane.start()
    eventually(lambda: not plane.flag("missed"), "the rollback")
    assert reasons(plane) == ["Errors"]


def test_an_inhibited_alert_counts(servers: Servers, watching: Callable[..., Plane]) -> None:
    plane = watching("hidden", alertmanagers=[servers.alertmanager_url])
    post_alerts(servers.alertmanager_url, ("hidden", "Outage"), ("hidden", "Errors"))
    eventually(lambda: not plane.flag("hidden"), "the rollback")
    assert reasons(plane) == ["Errors"]


def test_a_silence_is_respected_also_when_alertmanager_is_gone(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    silence(servers.alertmanager_url, "silenced")
    plane = watching("silenced", "heard", **asks(servers))
    eventually(lambda: not plane.get("rollouts/heard")["alerts_unknown"], "a poll of Alertmanager")
    servers.breaks("silenced")
    servers.alertmanager.kill()
    servers.breaks("heard")
    eventually(lambda: not plane.flag("heard"), "the rollback of the one that is not silenced")
    assert plane.flag("silenced")
    servers.alertmanager.start()
    servers.alertmanager.wait_until_ready(30)


def test_three_deploys_of_alertmanager_blind_nobody_and_the_end_of_prometheus_does(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("deployed", blind="rollback", **asks(servers))
    failures = 'rollguard_reconcile_polls_total{result="failure"}'
    for deploy in range(1, 4):
        servers.alertmanager.kill()
        wanted = 7 * deploy  # polls in 1.4 s, which is more than `blind_after`
        eventually(partial(lambda wanted: plane.metric(failures) >= wanted, wanted), "failed polls")
        servers.alertmanager.start()
        servers.alertmanager.wait_until_ready(30)
    assert plane.flag("deployed")
    servers.prometheus.kill()
    eventually(lambda: not plane.flag("deployed"), "the rollback")
    assert reasons(plane) == ["blind: no heartbeat, and no rule evaluated in 1s"]
    servers.prometheus.start()
    servers.prometheus.wait_until_ready(30)


def test_a_machine_that_was_suspended_takes_nothing_back(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("asleep", blind="rollback", **asks(servers))
    eventually(lambda: not plane.get("rollouts/asleep")["alerts_unknown"], "a poll of Alertmanager")
    pids = [child.pid for child in (plane.child, servers.alertmanager, servers.prometheus)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    morning = time.monotonic() + 2.0  # more than `blind_after`
    eventually(lambda: time.monotonic() > morning, "the morning")
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    looks = 'rollguard_reconcile_polls_total{result="success"}'
    before = plane.metric(looks)
    eventually(lambda: plane.metric(looks) >= before + 5, "looks after that")
    assert plane.flag("asleep")


def test_who_is_blind_holds_and_who_sees_again_holds_no_longer(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("unseen", **asks(servers))
    servers.prometheus.kill()
    eventually(lambda: plane.get("rollouts/unseen")["held_by"] == ["blind"], "the hold")
    assert plane.flag("unseen")
    servers.prometheus.start()
    eventually(lambda: plane.get("rollouts/unseen")["held_by"] == [], "the end of the hold")


@contextmanager
def cluster(folder: Path, binary: str, receiver: str) -> Iterator[list[tuple[str, Child]]]:
    """Yield two Alertmanagers that know of each other, with their URLs; started, but perhaps not ready."""
    gossip = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    found: list[tuple[str, Child]] = []
    with ExitStack() as stack:
        for own, other in (gossip, reversed(gossip)):
            peers = (
                *(f"--cluster.listen-address={own}", f"--cluster.peer={other}"),
                *("--cluster.peer-timeout=200ms", "--cluster.settle-timeout=1s"),
            )
            url = f"http://127.0.0.1:{free_port()}"
            child = alertmanager_child(folder, binary, url, receiver, peers)
            child.start()
            stack.callback(child.stop)
            found.append((url, child))
        yield found


def test_two_alertmanagers_in_a_cluster_are_one_decision(
    tmp_path: Path, watching: Callable[..., Plane], need_binary: Callable[[binaries.Binary], str]
) -> None:
    plane = watching("doubled", poll="1h")
    with cluster(tmp_path, need_binary(binaries.ALERTMANAGER), plane.url) as pair:
        for url, child in pair:
            child.wait_until_ready(30)
            post_alerts(url, ("doubled", "Errors"))
        eventually(lambda: not plane.flag("doubled"), "the rollback")
    assert reasons(plane) == ["Errors"]


def test_of_two_alertmanagers_the_one_that_lives_is_believed_with_its_silences(
    tmp_path: Path, watching: Callable[..., Plane], need_binary: Callable[[binaries.Binary], str]
) -> None:
    with cluster(tmp_path, need_binary(binaries.ALERTMANAGER), "nowhere") as pair:
        (_, first), (url, second) = pair
        for child in (first, second):
            child.wait_until_ready(30)
        plane = watching("doubled", "silenced", alertmanagers=[url for url, _ in pair])
        first.kill()
        silence(url, "silenced")
        post_alerts(url, ("silenced", "Errors"), ("doubled", "Errors"))
        eventually(lambda: not plane.flag("doubled"), "the rollback")
        eventually(lambda: told(url, "RolloutRolledBack"), "the notice")
    assert plane.flag("silenced")
    assert reasons(plane) == ["Errors"]


def told(url: str, name: str) -> bool:
    """Return whether an Alertmanager lists an alert of a name."""
    listed = httpx.get(f"{url}/api/v2/alerts").json()
    return any(alert["labels"]["alertname"] == name for alert in listed)


@pytest.fixture
def hanging(servers: Servers) -> Iterator[None]:
    """An Alertmanager that takes connections and does not answer."""
    os.kill(servers.alertmanager.pid, signal.SIGSTOP)
    yield
    os.kill(servers.alertmanager.pid, signal.SIGCONT)


@pytest.mark.usefixtures("hanging")
def test_an_alertmanager_that_hangs_keeps_no_rollback_back(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("late", **asks(servers))
    servers.breaks("late")
    eventually(lambda: not plane.flag("late"), "the rollback")
    assert reasons(plane) == ["Errors"]


@pytest.mark.usefixtures("hanging")
def test_an_old_notification_is_believed_where_alertmanager_hangs(
    servers: Servers, watching: Callable[..., Plane]
) -> None:
    plane = watching("doubled", alertmanagers=[servers.alertmanager_url])
    plane.notify("doubled", "Errors", at=time.time() - 60)
    assert reasons(plane) == ["Errors"]


def test_alerts_that_a_notification_left_out_are_asked_for(
    servers: Servers,
    tmp_path: Path,
    watching: Callable[..., Plane],
    need_binary: Callable[[binaries.Binary], str],
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    plane = watching("truncated", poll="1h", alertmanagers=[url])
    child = alertmanager_child(
        tmp_path, need_binary(binaries.ALERTMANAGER), url, plane.url, None, max_alerts=1
    )
    child.start()
    try:
        child.wait_until_ready(30)
        post_alerts(url, ("truncated", "Delay"), ("truncated", "Errors"))
        eventually(lambda: not plane.flag("truncated"), "the rollback")
    finally:
        child.stop()
    assert reasons(plane) == ["Errors"]
