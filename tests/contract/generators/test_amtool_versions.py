"""Alertmanager's file, read as amtool of each version reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollguard.errors import FileProblemsError
from rollguard.generators import output
from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.alertmanager.receivers import Routing
from rollguard.generators.tools import amtool, binaries
from rollguard.spec.loading import load_rollouts
from tests import versions

ROLLOUTS = load_rollouts(Path(__file__).parents[3] / "rollouts")[:2]
FIRST = ROLLOUTS[0].name

ALERTS = [
    {"rollout": "live1", "action": "rollback"},
    {"rollout": "live2", "action": "hold", "x": "true"},
    {"rollout": "a,b", "action": "notify", "x": "1.10"},
    {"action": "rollback", "x": "é"},
]

CLASSIC: list[dict[str, Any]] = [
    {"matchers": ['rollout="live1"', "action=~roll.*"]},
    {"matchers": ['{rollout="a,b",action!="hold"}']},
    {"matchers": ["x!~.+"]},
    {"matchers": [r'x=~"\\d.*"']},
    {"matchers": ["x=~\\w"]},
    {"matchers": [""]},
    {"match": {"x": True}},
    {"match": {"x": 1.10, "action": "notify"}},
    {"match_re": {"rollout": "live(1|3)"}, "match": {"action": "rollback"}},
    {"match": {"x": None}, "matchers": ["rollout=~live.*"]},
    {"matchers": ['action="rollback"'], "routes": [{"match": {"rollout": "live1"}, "receiver": "two"}]},
]
"""Routes that every version takes."""

QUOTED: list[dict[str, Any]] = [
    {"matchers": ['"rollout"="live1"']},
    {"matchers": ['{"rollout"=~"live.*", "action"!="hold",}']},
    {"matchers": ['"service.name"="x"']},
    {"matchers": ["x=é"]},
    {"matchers": [r'"x"="\u00e9"']},
    {"matchers": ['"rollout"="a,b"']},
]
"""Routes that Alertmanager takes since 0.27."""


@pytest.fixture(params=versions.VERSIONS)
def version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    versions.use(monkeypatch, request.param, binaries.AMTOOL)
    return str(request.param)


def written(folder: Path, config: Any) -> Path:
    path = folder / "alertmanager.yml"
    path.write_text(config if isinstance(config, str) else yaml.safe_dump(config), encoding="utf-8")
    return path


def tree_with(routes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a tree in which every route that an alert takes names itself."""
    named = [{"receiver": f"r{number}", "continue": True, **route} for number, route in enumerate(routes)]
    names = ("root", "two", *(f"r{number}" for number in range(len(routes))))
    return {
        "route": {"receiver": "root", "routes": named},
        "receivers": [{"name": name} for name in names],
    }


def test_routes_are_read_as_amtool_reads_them(version: str, tmp_path: Path) -> None:
    newer = "0.25" not in told(binaries.find(binaries.AMTOOL))
    path = written(tmp_path, tree_with([*CLASSIC, *(QUOTED if newer else ())]))
    assert amtool.check_config(path) == []
    tree = RouteTree(path)
    for alert in ALERTS:
        read = tuple(dict.fromkeys(stop.receiver for stop in tree.stops(alert)))
        assert read == amtool._route(path, alert)


def told(program: str) -> str:
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout


def theirs(**changes: Any) -> Any:
    """Return the fragment in a tree of somebody's own, merged as the docs say."""
    text = output.configuration(ROLLOUTS, routing=Routing(), fragments=True)["alertmanager.fragment.yml"]
    ours = yaml.safe_load(text)
    team = {"name": "team", "webhook_configs": [{"url": "http://127.0.0.1:1/"}]}
    return {
        "route": {"receiver": "team", "routes": ours["route"]["routes"]},
        "receivers": [team, *ours["receivers"]],
        "inhibit_rules": ours["inhibit_rules"],
        **changes,
    }


def problems(path: Path) -> list[str]:
    if refused := amtool.check_config(path):
        return [str(problem) for problem in refused]
    return [str(problem).split(": ", 1)[1] for problem in amtool.check_routes(path, ROLLOUTS)]


def test_a_quoted_matcher_that_takes_one_rollouts_alerts_is_named_or_refused(
    version: str, tmp_path: Path
) -> None:
    config = theirs()
    config["route"]["routes"].insert(0, {"matchers": [f'"rollout"="{FIRST}"'], "receiver": "team"})
    found = problems(written(tmp_path, config))
    assert any("route.routes[0] takes alerts of action rollback to team" in text for text in found) or (
        version == versions.MACHINE and "bad matcher format" in found[0]
    )


def test_a_route_of_one_rollout_alone_is_named(version: str, tmp_path: Path) -> None:
    config = theirs()
    config["route"]["routes"].insert(0, {"match_re": {"rollout": f"{FIRST}|x"}, "receiver": "team"})
    found = problems(written(tmp_path, config))
    assert any("route.routes[0] takes alerts of action rollback to team" in text for text in found)


def test_a_quoted_matcher_hides_nothing_that_follows(version: str, tmp_path: Path) -> None:
    config = theirs()
    config["route"]["routes"][0]["group_wait"] = "5m"
    config["route"]["routes"].insert(0, {"matchers": ['"service.name"="x"'], "receiver": "team"})
    found = "\n".join(problems(written(tmp_path, config)))
    assert "group_wait is 5m" in found or (version == versions.MACHINE and "bad matcher format" in found)


def test_a_quoted_matcher_of_an_inhibition_is_read(version: str, tmp_path: Path) -> None:
    rule = {"source_matchers": ['severity="critical"'], "target_matchers": ['"severity"="warning"']}
    config = theirs()
    config["inhibit_rules"].append(rule)
    found = "\n".join(problems(written(tmp_path, config)))
    assert "inhibit_rules[2] may keep" in found or (version == versions.MACHINE and "bad matcher" in found)


def test_merged_as_documented_the_default_receiver_hears_of_rollbacks_and_holds(
    version: str, tmp_path: Path
) -> None:
    config = theirs()
    config["route"]["routes"].append({"matchers": ['severity="page"'], "receiver": "team"})
    path = written(tmp_path, config)
    assert problems(path) == []
    acting = [alert for alert in amtool.alerts_of(ROLLOUTS) if alert["action"] != "notify"]
    assert {*amtool.reached(path, RouteTree(path), acting)} == {("rollguard", "team")}


def test_where_the_default_receiver_hears_nothing_any_more_that_is_an_error(
    version: str, tmp_path: Path
) -> None:
    config = theirs()
    config["route"]["routes"] = [route for route in config["route"]["routes"] if "receiver" in route]
    found = problems(written(tmp_path, config))
    assert {text.split("\n")[0] for text in found} == {
        f"route.routes[{index}] takes {action}s to rollguard alone: `continue` leads to the routes that "
        "follow, not to team, the receiver of the root."
        for index, action in enumerate(("rollback", "hold"))
    }


# Files that amtool would not have taken


@pytest.mark.parametrize("key", ["route", "inhibit_rules"])
def test_a_matcher_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, key: str) -> None:
    parts = {"route": "matchers: ['a']", "inhibit_rules": "target_matchers: ['a']"}
    routes = f"route:\n  receiver: p\n  routes:\n  - {parts['route'] if key == 'route' else 'receiver: p'}\n"
    rules = f"inhibit_rules:\n- {parts['inhibit_rules'] if key != 'route' else 'equal: [a]'}\n"
    path = written(tmp_path, f"{routes}receivers:\n- name: p\n{rules}")
    with pytest.raises(FileProblemsError) as caught:
        RouteTree(path)
    assert f"{path}:{4 if key == 'route' else 8}: {key}" in str(caught.value)
    assert "cannot be read" in str(caught.value)
