"""The generated routing in a real Alertmanager: nothing keeps what acts from the control plane."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from rollguard.cli.local.processes import free_port
from rollguard.conventions import NOTICES
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import Chat, Links, Routing
from rollguard.generators.scrape import Addresses
from rollguard.generators.tools import binaries
from rollguard.spec.loading import load_rollouts
from rollguard.spec.platform import platform_alerts
from tests import polling, versions
from tests.contract.conftest import Served
from tests.factories import ROOT

ROLLOUTS = load_rollouts(ROOT / "rollouts")
SECONDS = 20.0

Labels = dict[str, str]
Alert = tuple[tuple[str, str], ...]


eventually = partial(polling.eventually, seconds=SECONDS)


class Receiver:
    """An HTTP server that notes which alerts came to `/alerts`, the webhook, and what came to chat."""

    def __init__(self) -> None:
        self.alerts: list[tuple[str, Alert]] = []
        self.chat: list[str] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path == "/alerts":
                    receiver.alerts += [(item["status"], key(item["labels"])) for item in body["alerts"]]
                else:
                    receiver.chat.append(json.dumps(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def came(self, status: str) -> set[Alert]:
        return {alert for found, alert in list(self.alerts) if found == status}


def key(labels: Labels) -> Alert:
    return tuple(sorted(labels.items()))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def alertmanager(
    tmp_path: Path, receiver: Receiver, need_binary: Callable[[binaries.Binary], str]
) -> Iterator[Callable[..., str]]:
    """Return a function that runs Alertmanager with a configuration, and returns its URL."""
    binary = need_binary(binaries.ALERTMANAGER)
    processes = []

    def run(config: dict[str, Any], url: str = "") -> str:
        path = tmp_path / "alertmanager.yml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        (tmp_path / "token").write_text("0123456789abcdef")
        url = url or f"http://127.0.0.1:{free_port()}"
        command = [
            *(binary, f"--config.file={path}", f"--storage.path={tmp_path / 'data'}"),
            *(f"--web.listen-address={url.removeprefix('http://')}", "--cluster.listen-address="),
        ]
        with (tmp_path / "log").open("wb") as log:
            processes.append(subprocess.Popen(command, stderr=log, stdout=log))
        eventually(lambda: ready(url), "Alertmanager")
        return url

    yield run
    for process in processes:
        process.kill()
        process.wait()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/-/ready").status_code == 200
    except httpx.HTTPError:
        return False


LINKS = Links(runbooks="https://git.example.com/shop", dashboards="https://grafana.example.com/")


def chat_settings(folder: Path, receiver: Receiver) -> Routing:
    path = folder / "chat-url"
    path.write_text(f"http://{receiver.address}/chat")
    return Routing(chat=Chat(api_url_file=str(path)), links=LINKS)


def generated(folder: Path, receiver: Receiver, **options: Any) -> dict[str, Any]:
    addresses = Addresses(control_plane=receiver.address, token_file=str(folder / "token"))
    files = output.configuration(
        ROLLOUTS, addresses=addresses, routing=chat_settings(folder, receiver), **options
    )
    (text,) = (text for name, text in files.items() if name.startswith("alertmanager."))
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def every_kind() -> list[Labels]:
    """Return alerts of every action, severity and rollout, or none, by any name, with a guard or without."""
    names = ["Some", "Watchdog", *NOTICES, *(alert.alert for alert in platform_alerts())]
    found = []
    for name, action, severity, rollout in itertools.product(
        dict.fromkeys(names),
        ("rollback", "hold", "notify", ""),
        ("critical", "warning", "info", ""),
        ("model-canary", "other", ""),
    ):
        labels = {"alertname": name, "action": action, "severity": severity, "rollout": rollout}
        found.append(labels)
        found.append({**labels, "guard": name})
    return [{name: value for name, value in labels.items() if value} for labels in found]


def post(url: str, alerts: list[Labels], *, ends: timedelta = timedelta(hours=1)) -> None:
    now = datetime.now(UTC)
    body = [
        {
            "labels": labels,
            "startsAt": (now - timedelta(hours=2)).isoformat(),
            "endsAt": (now + ends).isoformat(),
            "annotations": {"summary": "S."},
        }
        for labels in alerts
    ]
    httpx.post(f"{url}/api/v2/alerts", json=body, timeout=20).raise_for_status()


def inhibited(url: str) -> list[Labels]:
    listed = httpx.get(f"{url}/api/v2/alerts", timeout=20).json()
    return [alert["labels"] for alert in listed if alert["status"]["inhibitedBy"]]


def acts(labels: Labels) -> bool:
    return labels.get("action") in ("rollback", "hold")


def foreign_tree(ours: dict[str, Any]) -> dict[str, Any]:
    """Return the fragment in a tree of somebody who has one already."""
    theirs = [
        {"matchers": ['severity="critical"'], "receiver": "pager"},
        {"matchers": ['action="rollback"'], "receiver": "pager"},
    ]
    return {
        "route": {"receiver": "pager", "group_wait": "5m", "routes": [*ours["route"]["routes"], *theirs]},
        "receivers": [{"name": "pager"}, *ours["receivers"]],
        "inhibit_rules": ours["inhibit_rules"],
    }


@pytest.mark.parametrize("fragments", [False, True], ids=["whole", "fragment in a foreign tree"])
def test_no_alert_of_any_kind_keeps_a_rollback_or_a_hold_from_the_control_plane(
    tmp_path: Path, receiver: Receiver, alertmanager: Callable[[dict[str, Any]], str], fragments: bool
) -> None:
    config = generated(tmp_path, receiver, fragments=fragments)
    url = alertmanager(foreign_tree(config) if fragments else config)
    alerts = every_kind()
    others = [labels for labels in alerts if not acts(labels)]
    wanted = {key(labels) for labels in alerts if acts(labels)}
    post(url, others)  # whatever could inhibit fires first
    eventually(lambda: inhibited(url), "inhibition to be at work")
    post(url, [labels for labels in alerts if acts(labels)])
    eventually(lambda: wanted <= receiver.came("firing"), "every rollback and every hold at the webhook")
    kept_back = inhibited(url)
    assert {labels["action"] for labels in kept_back} == {"notify"}
    assert not [labels for labels in kept_back if labels["severity"] == "critical"]
    assert not [labels for labels in kept_back if labels["alertname"] in NOTICES]
    post(url, [dict(alert) for alert in wanted], ends=timedelta(seconds=-1))
    eventually(lambda: wanted <= receiver.came("resolved"), "every end of a hold at the webhook")


def test_people_are_told_of_rollbacks_notices_and_the_platform(
    tmp_path: Path, receiver: Receiver, alertmanager: Callable[[dict[str, Any]], str]
) -> None:
    url = alertmanager(generated(tmp_path, receiver))
    post(
        url,
        [
            {"alertname": name, "guard": name, "action": action, "severity": "warning", "rollout": "other"}
            for name, action in (("DriftDetected", "rollback"), ("RolloutRolledBack", "notify"))
        ],
    )
    post(url, [{"alertname": "RollguardDown", "guard": "RollguardDown", "action": "notify"}])
    names = ("DriftDetected", "RolloutRolledBack", "RollguardDown")
    eventually(lambda: all(name in "".join(receiver.chat) for name in names), "all three in chat")


def test_the_links_that_people_are_sent_lead_somewhere(
    tmp_path: Path, receiver: Receiver, alertmanager: Callable[[dict[str, Any]], str]
) -> None:
    url = alertmanager(generated(tmp_path, receiver))
    labels = {
        "alertname": "DriftDetected",
        "guard": "DriftDetected",
        "action": "rollback",
        "rollout": "other",
    }
    links = {"runbook_url": "docs/runbooks/DriftDetected.md", "dashboard_url": "/d/other?viewPanel=7"}
    httpx.post(f"{url}/api/v2/alerts", json=[{"labels": labels, "annotations": links}]).raise_for_status()
    eventually(lambda: receiver.chat, "the alert in chat")
    assert "https://git.example.com/shop/docs/runbooks/DriftDetected.md" in receiver.chat[0]
    assert "https://grafana.example.com/d/other?viewPanel=7" in receiver.chat[0]


@pytest.mark.parametrize("version", versions.VERSIONS)
def test_merged_as_documented_the_default_receiver_hears_of_what_acts(
    tmp_path: Path, receiver: Receiver, version: str, monkeypatch: pytest.MonkeyPatch, request: Any
) -> None:
    versions.use(monkeypatch, version, binaries.ALERTMANAGER)
    addresses = Addresses(control_plane=receiver.address, token_file=str(tmp_path / "token"))
    files = output.configuration(ROLLOUTS, addresses=addresses, routing=Routing(), fragments=True)
    ours = yaml.safe_load(files["alertmanager.fragment.yml"])
    team = {"name": "team", "webhook_configs": [{"url": f"http://{receiver.address}/chat"}]}
    root = {"receiver": "team", "group_wait": "0s", "group_by": ["..."], "routes": ours["route"]["routes"]}
    config = {**ours, "route": root, "receivers": [team, *ours["receivers"]]}
    alerts = [
        {
            "alertname": "Errors",
            "guard": "Errors",
            "rollout": "other",
            "action": action,
            "severity": "critical",
        }
        for action in ("rollback", "hold", "notify")
    ]
    post(request.getfixturevalue("alertmanager")(config), alerts)
    eventually(lambda: {key(labels) for labels in alerts[:2]} <= receiver.came("firing"), "what acts")
    eventually(lambda: all(alert["action"] in "".join(receiver.chat) for alert in alerts), "all at the team")


def test_the_heartbeat_reaches_the_control_plane_and_nobody_else(
    tmp_path: Path, receiver: Receiver, alertmanager: Callable[[dict[str, Any]], str]
) -> None:
    url = alertmanager(generated(tmp_path, receiver))
    (watchdog,) = [alert for alert in platform_alerts() if alert.always]
    labels = {"alertname": "Watchdog", "guard": "Watchdog", "action": "notify", "severity": watchdog.severity}
    post(url, [labels, {**labels, "alertname": "Other", "guard": "Other"}])
    eventually(lambda: key(labels) in receiver.came("firing"), "the heartbeat")
    eventually(lambda: receiver.chat, "another alert in chat")
    assert not any("Watchdog" in text for text in receiver.chat)


def test_people_hear_of_every_step_although_alertmanager_was_down_meanwhile(
    tmp_path: Path, receiver: Receiver, alertmanager: Callable[..., str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    served = Served(tmp_path / "served")
    command = served.process.command
    command[command.index("--alertmanager") + 1] = url
    served.start()
    try:
        served.take_to("canary")  # which waits for nobody
        alertmanager(generated(tmp_path, receiver), url)
        assert served.notify(annotations={"description": "Value 0.41."}).status_code == 200
        chat = receiver.chat
        wanted = ("started from disabled", "promoted from shadow", "by guard DriftDetected. Value 0.41.")
        eventually(lambda: all(text in "".join(chat) for text in wanted), "three notices in chat")
        assert not [text for text in chat if "RESOLVED" in text]
    finally:
        served.process.stop()
