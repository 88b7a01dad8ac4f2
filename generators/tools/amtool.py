"""amtool, asked where every alert goes; and what it does not see: who mutes, inhibits or delays one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rollguard import durations
from rollguard.conventions import DRILL, NOTICES, ROLLBACK_RECEIVER
from rollguard.errors import Problem, RollguardError
from rollguard.generators.alertmanager.existing_routes import RouteTree, Stop, is_true
from rollguard.generators.alertmanager.receivers import WATCHDOG_RECEIVER
from rollguard.generators.rules.alerting import labels
from rollguard.generators.rules.platform import rendered_alerts
from rollguard.generators.tools import binaries
from rollguard.spec.guards import all_guards
from rollguard.spec.platform import WATCHDOG
from rollguard.spec.rollout import Rollout

LONGEST_GROUP_WAIT_SECONDS = 1.0
LONGEST_GROUP_INTERVAL_SECONDS = 10.0
_TIMEOUT_SECONDS = 30
_SIGNS: Mapping[str, set[str]] = {
    WATCHDOG: {ROLLBACK_RECEIVER, WATCHDOG_RECEIVER},
    DRILL: {ROLLBACK_RECEIVER},
}
"""Alerts that show the control plane that others would come, and the receivers that bring them there."""

_AGAIN = """Put {matchers: ['action=~"rollback|hold"'], continue: true} behind ours, as in the fragments."""
_FIRST = "Put the routes of `rollguard generate --fragments` before all others."


class AmtoolError(RollguardError):
    """amtool could not be run."""


def alerts_of(rollouts: Sequence[Rollout]) -> list[Mapping[str, str]]:
    """Return the labels of every alert: of each guard, of the platform, and of the notices of transitions."""
    found = [
        {"alertname": guard.alert, **labels(rollout, guard)}
        for rollout in rollouts
        for guard in all_guards(rollout)
    ]
    found += [{"alertname": item.alert.alert, **item.labels} for item in rendered_alerts(rollouts, 1.0)]
    notice = {"severity": "info", "action": "notify"}
    return [
        *found,
        *(
            {"alertname": name, "guard": name, "rollout": item.name, **notice}
            for item in rollouts
            for name in NOTICES
        ),
    ]


def check_config(path: Path) -> list[Problem]:
    """Return what amtool refuses in a configuration of Alertmanager."""
    done = _amtool("check-config", str(path))
    if done.returncode == 0:
        return []
    text = (done.stdout + done.stderr).strip()
    return [Problem(path, 0, "", f"is refused by amtool:\n{text}")]


def reached(path: Path, tree: RouteTree, alerts: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """Return the receivers that each alert reaches, by amtool, asked once for those of a rollout alike."""
    ways = [(alert.get("rollout"), alert["action"], tree.outcome(alert)) for alert in alerts]
    one_of_each = dict(zip(ways, alerts, strict=True))
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda alert: _route(path, alert), one_of_each.values())
        answer_of = dict(zip(one_of_each, answers, strict=True))
    return [answer_of[way] for way in ways]


def check_routes(path: Path, rollouts: Sequence[Rollout]) -> list[Problem]:
    """Return what keeps alerts from whom they are meant for.

    Args:
        path: a configuration of Alertmanager that amtool accepts.
        rollouts: checked rollouts.
    Returns:
        Rollbacks, holds, the heartbeat and drills that do not reach the control plane, with the route that
        takes them; what mutes, inhibits or delays them; a receiver that would lose them; where people hear
        of them no longer. Each place once.
    Raises:
        FileProblemsError, AmtoolError: it cannot be read, or asked.
    """
    tree = RouteTree(path)
    acting = [alert for alert in alerts_of(rollouts) if alert["action"] != "notify"]
    problems = list(_check_receiver(tree))
    for alert, receivers in zip(acting, reached(path, tree, acting), strict=True):
        if {stop.receiver for stop in tree.stops(alert)} != {*receivers}:
            problems.append(_misread(tree, alert, receivers))
        elif ROLLBACK_RECEIVER in receivers:
            problems += [*_check_way(tree, alert), *_check_people(tree, alert, receivers)]
        else:
            problems.append(_taken(tree, alert, receivers))
        for location in tree.inhibitors(alert):
            message = f"may keep {alert['action']}s from the control plane: inhibition is global."
            hint = """Add 'action!~"rollback|hold"' to its target_matchers."""
            problems.append(tree.document.problem(location, message, hint))
    return list(dict.fromkeys([*problems, *_check_signs(path, tree, rollouts)]))


def _check_signs(path: Path, tree: RouteTree, rollouts: Sequence[Rollout]) -> Iterator[Problem]:
    """Yield what keeps the heartbeat and drills, which act on nothing, from the control plane."""
    signs = [alert for alert in alerts_of(rollouts) if alert["alertname"] in _SIGNS]
    for alert, receivers in zip(signs, reached(path, tree, signs), strict=True):
        if not _SIGNS[alert["alertname"]] & {*receivers}:
            yield _taken(tree, alert, receivers)


def unreached(path: Path, rollouts: Sequence[Rollout]) -> tuple[list[Problem], list[str]]:
    """Return receivers that none of our alerts reach, and guards whose alerts no person receives."""
    tree, alerts = RouteTree(path), alerts_of(rollouts)
    ways = reached(path, tree, alerts)
    known = {name for way in ways for name in way}
    hint = "Take it out, or give it a route."
    idle = [
        tree.document.problem(("receivers", index), f"{name} is reached by no alert.", hint)
        for index, name in enumerate(tree.receivers)
        if name not in known
    ]
    nowhere = {
        alert["guard"]
        for alert, way in zip(alerts, ways, strict=True)
        if alert.get("guard") and not any(tree.integrations(name) for name in way)
    }
    return idle, sorted(nowhere)


def receivers_of_guards(path: Path, rollouts: Sequence[Rollout]) -> dict[str, dict[str, list[str]]]:
    """Return the receivers that each guard's alert reaches: rollout → alert → receivers.

    Args:
        path: a configuration of Alertmanager that amtool accepts.
        rollouts: checked rollouts.
    """
    alerts = [alert for alert in alerts_of(rollouts) if alert.get("guard") and alert.get("rollout")]
    found: dict[str, dict[str, list[str]]] = {}
    for alert, way in zip(alerts, reached(path, RouteTree(path), alerts), strict=True):
        found.setdefault(alert["rollout"], {})[alert["guard"]] = list(way)
    return found


def _taken(tree: RouteTree, alert: Mapping[str, str], receivers: Sequence[str]) -> Problem:
    stop, name = tree.stops(alert)[0], alert["alertname"]
    what = name if name in _SIGNS else f"alerts of action {alert['action']}"
    message = f"takes {what} to {', '.join(receivers)}, not to {ROLLBACK_RECEIVER}."
    return tree.document.problem(stop.location, message, _FIRST)


def _misread(tree: RouteTree, alert: Mapping[str, str], receivers: Sequence[str]) -> Problem:
    read = ", ".join(stop.receiver for stop in tree.stops(alert))
    message = (
        f"takes {alert['alertname']} of {alert.get('rollout')} to {', '.join(receivers)} by amtool, "
        f"and to {read} as it is read here: a matcher cannot be read."
    )
    return tree.document.problem(("route",), message, 'Write matchers as label="value" or label=~"a|b".')


def _check_people(tree: RouteTree, alert: Mapping[str, str], receivers: Sequence[str]) -> Iterator[Problem]:
    """Yield that the default receiver hears of an alert no longer, and nobody else does."""
    default = str(tree.data["route"].get("receiver"))
    told = [name for name in receivers if name != ROLLBACK_RECEIVER and tree.integrations(name)]
    if default != ROLLBACK_RECEIVER and tree.integrations(default) and not told:
        (ours, *_) = (stop for stop in tree.stops(alert) if stop.receiver == ROLLBACK_RECEIVER)
        message = (
            f"takes {alert['action']}s to {ROLLBACK_RECEIVER} alone: `continue` leads to the routes that "
            f"follow, not to {default}, the receiver of the root."
        )
        yield tree.document.problem(ours.location, message, _AGAIN)


def _check_way(tree: RouteTree, alert: Mapping[str, str]) -> Iterator[Problem]:
    ours = [stop for stop in tree.stops(alert) if stop.receiver == ROLLBACK_RECEIVER]
    for stop in ours:
        for key in ("mute_time_intervals", "active_time_intervals"):
            if stop.settings.get(key):
                message = f"is silent at times, and {alert['action']}s with it."
                yield tree.document.problem((*stop.location, key), message, "Take it out.")
        yield from _check_delay(tree, stop)


def _check_delay(tree: RouteTree, stop: Stop) -> Iterator[Problem]:
    limits = (
        ("group_wait", "30s", LONGEST_GROUP_WAIT_SECONDS),
        ("group_interval", "5m", LONGEST_GROUP_INTERVAL_SECONDS),
    )
    for key, default, limit in limits:
        given = str(stop.settings.get(key, default))
        if durations.parse(given) > limit:
            message = f"is {given} for rollbacks and holds, expected {durations.render(limit)} at most."
            yield tree.document.problem((*stop.location, key), message, "A rollback waits that long.")


def _check_receiver(tree: RouteTree) -> Iterator[Problem]:
    names = list(tree.receivers)
    if ROLLBACK_RECEIVER not in names:
        hint = "Add the receivers of `rollguard generate --fragments`."
        yield tree.document.problem(("receivers",), f"have none named {ROLLBACK_RECEIVER}.", hint)
        return
    here = ("receivers", names.index(ROLLBACK_RECEIVER))
    webhooks = tree.receivers[ROLLBACK_RECEIVER].get("webhook_configs") or ()
    if not webhooks:
        yield tree.document.problem(
            here, f"{ROLLBACK_RECEIVER} has no webhook.", "Take it from the fragments."
        )
    for index, webhook in enumerate(webhooks):
        place = (*here, "webhook_configs", index)
        if webhook.get("max_alerts") not in (None, "0"):
            yield tree.document.problem((*place, "max_alerts"), "cuts alerts off.", "Take it out.")
        if not is_true(webhook.get("send_resolved", "true")):
            message = "is false, so no hold would end by a notification."
            yield tree.document.problem((*place, "send_resolved"), message, "Take it out.")
        if is_true((webhook.get("http_config") or {}).get("follow_redirects", "true")):
            message = "is true: a redirect makes a GET of the POST, which counts as delivered."
            key = (*place, "http_config", "follow_redirects")
            yield tree.document.problem(key, message, "Write follow_redirects: false.")


def _route(path: Path, alert: Mapping[str, str]) -> tuple[str, ...]:
    pairs = [f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in alert.items()]
    done = _amtool("config", "routes", "test", f"--config.file={path}", *pairs)
    if done.returncode:
        raise AmtoolError(f"amtool cannot route by {path}: {done.stderr.strip()}")
    *_warnings, answer = done.stdout.strip().splitlines()  # of a newer one warns of matchers in old forms
    return tuple(answer.split(","))


def _amtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [binaries.find(binaries.AMTOOL), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AmtoolError(f"amtool {arguments[0]} did not answer: {error}.") from error
