"""Where alerts go, by a real amtool: in what is generated, and in the trees of people who have one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rollguard.cli.main import cli
from rollguard.errors import FileProblemsError
from rollguard.generators import output
from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.alertmanager.receivers import Chat, Email, Routing
from rollguard.generators.tools import amtool, binaries
from rollguard.spec.loading import load_rollouts
from tests.factories import ROOT

_NAMES = ("adaptive-weights", "ensemble-forecast", "model-canary")
ROLLOUTS = [item for item in load_rollouts(ROOT / "rollouts") if item.name in _NAMES]
MAIL = Email.model_validate({"to": ("a@b",), "from": "c@d", "smarthost": "h:25"}, by_alias=True)
BOTH = Routing(chat=Chat(api_url_file="/chat"), email=MAIL)

Write = Callable[[Any], Path]


@pytest.fixture(autouse=True)
def binary(need_binary: Callable[[binaries.Binary], str]) -> str:
    return need_binary(binaries.AMTOOL)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(config: Any) -> Path:
        path = tmp_path / "alertmanager.yml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config), encoding="utf-8")
        return path

    return to_file


def whole(routing: Routing) -> Any:
    return yaml.safe_load(output.configuration(ROLLOUTS, routing=routing)["alertmanager.yml"])


def theirs(**changes: Any) -> Any:
    """Return the fragment within a tree of somebody's own, changed."""
    text = output.configuration(ROLLOUTS, routing=Routing(), fragments=True)["alertmanager.fragment.yml"]
    ours = yaml.safe_load(text)
    pager = {"name": "pager", "webhook_configs": [{"url": "http://pager"}]}
    config = {
        "route": {"receiver": "pager", "routes": ours["route"]["routes"]},
        "receivers": [pager, *ours["receivers"]],
        "inhibit_rules": ours["inhibit_rules"],
    }
    return {**config, **changes}


def found(path: Path) -> list[str]:
    assert amtool.check_config(path) == []
    return [str(problem).split(": ", 1)[1].split("\n")[0] for problem in amtool.check_routes(path, ROLLOUTS)]


@pytest.mark.parametrize("routing", [Routing(), BOTH], ids=["nobody", "chat and mail"])
def test_what_is_generated_has_no_flaw_and_no_idle_receiver(write: Write, routing: Routing) -> None:
    path = write(whole(routing))
    assert found(path) == []
    assert amtool.unreached(path, ROLLOUTS)[0] == []


def test_with_chat_no_alert_goes_nowhere(write: Write) -> None:
    assert amtool.unreached(write(whole(BOTH)), ROLLOUTS)[1] == []


def test_without_chat_only_notices_go_nowhere(write: Write) -> None:
    nowhere = set(amtool.unreached(write(whole(Routing())), ROLLOUTS)[1])
    actions = {alert["action"] for alert in amtool.alerts_of(ROLLOUTS) if alert.get("guard") in nowhere}
    assert actions == {"notify"}
    assert "Watchdog" not in nowhere


def test_an_idle_receiver_is_named(write: Write) -> None:
    config = whole(BOTH)
    config["receivers"].append({"name": "spare"})
    (problem,) = amtool.unreached(write(config), ROLLOUTS)[0]
    assert "spare is reached by no alert" in str(problem)


@pytest.mark.parametrize("routing", [Routing(), BOTH], ids=["nobody", "chat and mail"])
def test_alerts_that_are_taken_for_alike_are_alike_to_amtool(write: Write, routing: Routing) -> None:
    path = write(whole(routing))
    tree, alerts = RouteTree(path), amtool.alerts_of(ROLLOUTS)
    for alert, receivers in zip(alerts, amtool.reached(path, tree, alerts), strict=True):
        assert amtool._route(path, alert) == receivers
        assert tuple(dict.fromkeys(stop.receiver for stop in tree.stops(alert))) == receivers


def test_the_fragment_works_in_a_tree_of_ones_own(write: Write) -> None:
    assert found(write(theirs())) == []


def test_a_route_before_ours_that_takes_rollbacks_is_named(write: Write) -> None:
    config = theirs()
    first = {"match_re": {"severity": "crit.*"}, "receiver": "pager"}
    config["route"]["routes"].insert(0, first)
    assert found(write(config)) == [
        f"route.routes[0] takes alerts of action {action} to pager, not to rollguard."
        for action in ("rollback", "hold")
    ]


def test_a_route_before_ours_that_continues_takes_nothing(write: Write) -> None:
    config = theirs()
    config["route"]["routes"].insert(0, {"matchers": ["{action!=x}"], "receiver": "pager", "continue": True})
    assert found(write(config)) == []


def test_a_line_is_named(write: Write) -> None:
    text = "route:\n  receiver: p\n  routes:\n  - receiver: p\nreceivers:\n- name: p\n"
    places = [problem.line for problem in amtool.check_routes(write(text), ROLLOUTS)]
    assert places == [5, 4, 4, 4, 4]


def test_a_heartbeat_or_a_drill_that_goes_elsewhere_is_named(write: Write) -> None:
    config = theirs()
    first = {"matchers": ['alertname=~"Watchdog|RollguardDrill"'], "receiver": "pager"}
    config["route"]["routes"].insert(0, first)
    assert set(found(write(config))) == {
        f"route.routes[0] takes {name} to pager, not to rollguard." for name in ("Watchdog", "RollguardDrill")
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"group_wait": "30s"}, "group_wait is 30s for rollbacks and holds, expected 1s at most."),
        ({"group_interval": "5m"}, "group_interval is 5m for rollbacks and holds, expected 10s at most."),
        ({"mute_time_intervals": ["night"]}, "is silent at times"),
    ],
)
def test_what_delays_or_mutes_our_route_is_named(write: Write, changes: dict[str, Any], says: str) -> None:
    config = theirs(time_intervals=[{"name": "night", "time_intervals": [{"weekdays": ["sunday"]}]}])
    config["route"]["routes"][0].update(changes)
    (message,) = found(write(config))
    assert says in message


@pytest.mark.parametrize(
    ("target", "flawed"),
    [(['severity="warning"'], True), (['action="notify"'], False), (['rollout=~"x.*"'], False)],
)
def test_an_inhibition_that_may_hit_what_acts_is_named(write: Write, target: list[str], flawed: bool) -> None:
    rule = {"source_matchers": ['severity="critical"'], "target_matchers": target}
    messages = found(write(theirs(inhibit_rules=[rule])))
    assert [message.split(" ")[0] for message in set(messages)] == ["inhibit_rules[0]"] * (2 * flawed)


def test_the_hint_about_an_inhibition_mends_it_and_spares_their_own_alerts(write: Write) -> None:
    rule = {"source_matchers": ['severity="critical"'], "target_matchers": ['severity="warning"']}
    path = write(theirs(inhibit_rules=[rule]))
    (hint,) = {problem.hint for problem in amtool.check_routes(path, ROLLOUTS)}
    added = hint.split("'")[1]
    rule["target_matchers"].append(added)
    path = write(theirs(inhibit_rules=[rule]))
    assert found(path) == []
    assert list(RouteTree(path).inhibitors({"alertname": "DiskFull", "severity": "warning"}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"send_resolved": False}, "send_resolved is false"),
        ({"max_alerts": 5}, "max_alerts cuts alerts off"),
        ({"http_config": {}}, "follow_redirects is true"),
    ],
)
def test_a_webhook_that_would_lose_something_is_named(
    write: Write, changes: dict[str, Any], says: str
) -> None:
    config = theirs()
    config["receivers"][1]["webhook_configs"][0] |= changes
    assert says in found(write(config))[0]


def test_a_receiver_without_its_webhook_is_named(write: Write) -> None:
    config = theirs()
    del config["receivers"][1]["webhook_configs"]
    assert "has no webhook" in found(write(config))[0]


@pytest.mark.parametrize("text", ["[", "x: 1", ""])
def test_a_file_of_something_else_is_a_problem(write: Write, text: str) -> None:
    with pytest.raises(FileProblemsError):
        amtool.check_routes(write(text), ROLLOUTS)


def test_what_amtool_refuses_is_a_problem(write: Write) -> None:
    (problem,) = amtool.check_config(write("route: {receiver: nobody}\nreceivers: []\n"))
    assert "undefined receiver" in str(problem)


# The command


def test_check_names_the_line_that_takes_rollbacks_away(write: Write) -> None:
    path = write("route:\n  receiver: p\n  routes:\n  - receiver: p\nreceivers:\n- name: p\n")
    arguments = ["check", "--rollouts", str(ROOT / "rollouts"), "--alertmanager-config", str(path)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert f"{path}:4: route.routes[0] takes alerts of action rollback to p" in result.output


def test_check_is_content_with_the_fragment_in_a_tree_of_ones_own(write: Write) -> None:
    path = write(theirs())
    arguments = [
        "check",
        "--rollouts",
        str(ROOT / "rollouts"),
        "--alertmanager-config",
        str(path),
        "--verbose",
    ]
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, "no errors" in result.output) == (0, True)
    (unheard,) = [line for line in result.output.splitlines() if "tells no person of" in line]
    assert {"AlertmanagerNotificationsFailing", "RollguardDown"} <= set(re.findall(r"\w+", unheard))
