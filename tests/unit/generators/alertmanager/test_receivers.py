"""The settings of routing: chat and e-mail switched on, secrets in files, mistakes with their line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rollguard.errors import FileProblemsError
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import Routing, load_routing
from rollguard.spec.loading import load_rollouts
from tests.factories import ROOT

ROLLOUTS = load_rollouts(ROOT / "rollouts")

CHAT = "chat: {api_url_file: /etc/chat-url, channel: '#rollouts'}\n"
MAIL = (
    "email: {to: [a@example.com, b@example.com], from: r@example.com, smarthost: 'smtp.example.com:587', "
    "auth_username: r, auth_password_file: /etc/smtp-password}\n"
)


def settings(folder: Path, text: str) -> Routing:
    path = folder / "routing.yaml"
    path.write_text(text)
    return load_routing(path)


def rendered(routing: Routing, name: str = "alertmanager.yml", **options: Any) -> Any:
    return yaml.safe_load(output.configuration(ROLLOUTS, routing=routing, **options)[name])


def named(config: Any) -> dict[str, Any]:
    return {receiver.pop("name"): receiver for receiver in config["receivers"]}


def test_what_is_shipped_tells_nobody() -> None:
    assert load_routing(ROOT / "alerts" / "routing.yaml") == Routing()


def test_without_a_file_nobody_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_routing(None) == Routing()


def test_without_chat_and_mail_the_receivers_of_people_have_no_way() -> None:
    found = named(rendered(Routing()))
    assert found["rollguard-people"] == found["rollguard-platform"] == {}


def test_chat_is_told_by_an_address_that_stays_in_its_file(tmp_path: Path) -> None:
    found = named(rendered(settings(tmp_path, CHAT)))
    (chat,) = found["rollguard-people"]["slack_configs"]
    assert (chat["api_url_file"], chat["channel"]) == ("/etc/chat-url", "#rollouts")
    assert "api_url" not in chat


def test_mail_takes_the_place_of_chat_where_there_is_none(tmp_path: Path) -> None:
    (mail,) = named(rendered(settings(tmp_path, MAIL)))["rollguard-people"]["email_configs"]
    assert mail["to"] == "a@example.com, b@example.com"
    assert mail["auth_password_file"] == "/etc/smtp-password"


def test_with_both_each_tells_of_the_platform(tmp_path: Path) -> None:
    found = named(rendered(settings(tmp_path, CHAT + MAIL)))
    assert set(found["rollguard-platform"]) == {"slack_configs", "email_configs"}
    assert set(found["rollguard-people"]) == {"slack_configs"}
    assert set(found["rollguard-email"]) == {"email_configs"}


def test_the_heartbeat_may_go_to_somebody_outside(tmp_path: Path) -> None:
    found = named(rendered(settings(tmp_path, "watchdog: {url: 'https://example.com/x'}")))
    urls = [webhook["url"] for webhook in found["rollguard-watchdog"]["webhook_configs"]]
    assert urls == ["http://127.0.0.1:9840/alerts", "https://example.com/x"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chat: {url: x}", "routing.yaml:1: chat.url is not a known key."),
        ("\nchat: {channel: x}", "routing.yaml:2: chat.api_url_file is missing"),
        ("chatt: {}", "Did you mean chat?"),
        ("email: {to: [], from: a, smarthost: 'h:25'}", "email.to"),
        ("email: {to: [a@b], from: a, smarthost: 'h:25', auth_username: u}", "auth_password_file together"),
        ("watchdog: {url: example.com}", "watchdog.url"),
        ("[", "is not YAML"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(FileProblemsError) as caught:
        settings(tmp_path, text)
    assert says in str(caught.value)


# Fragments


def test_fragments_have_no_defaults_of_their_own(tmp_path: Path) -> None:
    found = rendered(settings(tmp_path, ""), "alertmanager.fragment.yml", fragments=True)
    assert set(found) == {"route", "inhibit_rules", "receivers"}
    assert set(found["route"]) == {"routes"}
    assert set(named(found)) == {"rollguard", "rollguard-watchdog"}


def test_what_acts_goes_on_to_the_routes_that_follow_a_fragment(tmp_path: Path) -> None:
    found = rendered(settings(tmp_path, ""), "alertmanager.fragment.yml", fragments=True)
    assert [route.get("continue") for route in found["route"]["routes"]] == [True, True, None, None, True]
    assert found["route"]["routes"][-1] == {"matchers": ['action=~"rollback|hold"'], "continue": True}


def test_a_fragment_takes_none_but_our_alerts_for_people(tmp_path: Path) -> None:
    found = rendered(settings(tmp_path, CHAT), "alertmanager.fragment.yml", fragments=True)
    assert all(route["matchers"] for route in found["route"]["routes"])


def test_a_fragment_for_prometheus_scrapes_no_server_that_scrapes_itself() -> None:
    found = rendered(Routing(), "prometheus.fragment.yml", fragments=True)
    jobs = {job["job_name"] for job in found["scrape_configs"]}
    assert {"model-canary", "rollguard"} <= jobs
    assert not {"prometheus", "alertmanager"} & jobs
    assert all("scrape_interval" in job for job in found["scrape_configs"])
    assert found["rule_files"] == ["rules/*.rules.yml"]
