"""alertmanager.yml: rollbacks and holds to the control plane at once, what people should know to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rollguard.conventions import DRILL, GUARD_LABEL, NOTICES, ROLLBACK_RECEIVER, ROLLOUT_LABEL
from rollguard.generators.alertmanager.receivers import (
    EMAIL_RECEIVER,
    NOTICE_RECEIVER,
    PEOPLE,
    PLATFORM_RECEIVER,
    WATCHDOG_RECEIVER,
    Routing,
    receivers,
)
from rollguard.generators.rules.timing import Timing
from rollguard.generators.scrape import Addresses
from rollguard.spec.platform import WATCHDOG, platform_alerts

GROUP_INTERVAL_SECONDS = 1.0
"""How long a second guard's alert may wait while another one of the rollout fires already."""

REPEAT_INTERVAL_SECONDS = 60.0

PEOPLE_GROUP_INTERVAL_SECONDS = 30.0
"""Less than the window of AlertmanagerNotificationsFailing, so that a chat that refuses is noticed."""

PEOPLE_REPEAT_INTERVAL_SECONDS = 4 * 3600.0
WATCHDOG_GROUP_INTERVAL_SECONDS = 10.0
WATCHDOG_REPEAT_INTERVAL_SECONDS = 25.0


def alertmanager_config(scale: float, addresses: Addresses, routing: Routing | None = None) -> dict[str, Any]:
    """Return Alertmanager's configuration.

    Args:
        scale: what every interval is divided by.
        addresses: of the control plane, and the token file.
        routing: who is told beside the control plane; default: nobody.
    Returns:
        The content of ``alertmanager.yml``.
    """
    routing = routing or Routing()
    timing = Timing(scale)
    return {
        "route": {
            "receiver": PEOPLE,
            "group_by": ["alertname", ROLLOUT_LABEL],
            **_unhurried(timing),
            "routes": [
                *_urgent_routes(timing),
                *_people_routes(timing, routing),
                # The last one takes all that only "continue" has let through.
                {"matchers": [], "receiver": PEOPLE},
            ],
        },
        "inhibit_rules": inhibit_rules(),
        "receivers": receivers(routing, addresses, nobody=True),
    }


def alertmanager_fragment(scale: float, addresses: Addresses, routing: Routing) -> dict[str, Any]:
    """Return what an Alertmanager that exists already needs; arguments as for `alertmanager_config`.

    Returns:
        Routes to stand before all others, receivers, and inhibition. Where no chat and no e-mail is switched
        on, rollbacks and holds go to the receiver of the route that these stand in, and on to those that
        follow.
    """
    timing = Timing(scale)
    told: list[dict[str, Any]] = [{"matchers": ['action=~"rollback|hold"'], "continue": True}]
    if routing.people:
        ours = {"matchers": [f'{GUARD_LABEL}=~".+"'], "receiver": PEOPLE, **_unhurried(timing)}
        told = [*_people_routes(timing, routing), {**ours, "group_by": ["alertname", ROLLOUT_LABEL]}]
    return {
        "route": {"routes": [*_urgent_routes(timing), *told]},
        "inhibit_rules": inhibit_rules(),
        "receivers": receivers(routing, addresses, nobody=False),
    }


def inhibit_rules() -> list[dict[str, Any]]:
    """Return what spares people notices; inhibition is global, so nothing that acts may be its target."""
    spared = [
        'action="notify"',
        'severity=~"warning|info"',
        f'{ROLLOUT_LABEL}=~".+"',  # alerts without the label would count as of one rollout
        f'alertname!~"{_any_of((*NOTICES, DRILL))}"',
    ]
    return [
        {"source_matchers": [source], "target_matchers": spared, "equal": [ROLLOUT_LABEL]}
        for source in ('action="rollback"', 'severity="critical"')
    ]


def _urgent_routes(timing: Timing) -> list[dict[str, Any]]:
    # A flush that fails is tried again within group_interval; a short one loses no time.
    urgent = {
        "receiver": ROLLBACK_RECEIVER,
        "group_by": [ROLLOUT_LABEL],
        "group_wait": "0s",
        "group_interval": timing.text(GROUP_INTERVAL_SECONDS),
        "repeat_interval": timing.text(REPEAT_INTERVAL_SECONDS),
        "continue": True,
    }
    heartbeat = {
        "receiver": WATCHDOG_RECEIVER,
        "group_by": ["alertname"],
        "group_wait": "0s",
        "group_interval": timing.text(WATCHDOG_GROUP_INTERVAL_SECONDS),
        "repeat_interval": timing.text(WATCHDOG_REPEAT_INTERVAL_SECONDS),
    }
    drill = {name: value for name, value in urgent.items() if name != "continue"}  # people need not know
    return [
        {"matchers": ['action="rollback"'], **urgent},
        {"matchers": ['action="hold"'], **urgent},
        {"matchers": [f'alertname="{DRILL}"', f'{GUARD_LABEL}="{DRILL}"'], **drill},
        {"matchers": [f'alertname="{WATCHDOG}"', f'{GUARD_LABEL}="{WATCHDOG}"'], **heartbeat},
    ]


def _people_routes(timing: Timing, routing: Routing) -> list[dict[str, Any]]:
    names = [alert.alert for alert in platform_alerts() if alert.alert not in (WATCHDOG, DRILL)]
    ours = {"group_by": ["alertname", ROLLOUT_LABEL], **_unhurried(timing)}
    platform = {"matchers": [f'{GUARD_LABEL}=~"{_any_of(names)}"'], "receiver": PLATFORM_RECEIVER, **ours}
    # Each notice is a group of its own: none waits for the interval of another.
    notices = {
        "matchers": ['action="notify"', f'alertname=~"{_any_of(NOTICES)}"'],
        "receiver": NOTICE_RECEIVER,
        **ours,
        "group_by": ["alertname", ROLLOUT_LABEL, "entry"],
    }
    if not (routing.chat and routing.email):
        return [platform, notices]
    copy = {"matchers": ['severity="critical"'], "receiver": EMAIL_RECEIVER, **ours, "continue": True}
    return [platform, notices, copy]


def _unhurried(timing: Timing) -> dict[str, str]:
    return {
        "group_wait": "0s",
        "group_interval": timing.text(PEOPLE_GROUP_INTERVAL_SECONDS),
        "repeat_interval": timing.text(PEOPLE_REPEAT_INTERVAL_SECONDS),
    }


def _any_of(names: Sequence[str]) -> str:
    return "|".join(names)
