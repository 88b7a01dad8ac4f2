"""alertmanager.yml: rollbacks and holds to the control plane at once, everything else to people."""

from __future__ import annotations

from typing import Any

from generators.scrape import Addresses
from generators.timing import Timing
from rollguard.conventions import ROLLBACK_RECEIVER, ROLLOUT_LABEL

PEOPLE = "people"
GROUP_INTERVAL_SECONDS = 1.0
"""How long a second guard's alert may wait while another one of the rollout fires already."""

REPEAT_INTERVAL_SECONDS = 60.0


def alertmanager_config(scale: float, addresses: Addresses) -> dict[str, Any]:
    """Return Alertmanager's configuration.

    Args:
        scale: what every interval is divided by.
        addresses: of the control plane, and the token file.
    Returns:
        The content of ``alertmanager.yml``. The receiver for people has no integration yet: add one to it.
    """
    timing = Timing(scale)
    # A flush that fails is tried again within group_interval; a short one loses no time.
    urgent = {
        "receiver": ROLLBACK_RECEIVER,
        "group_by": [ROLLOUT_LABEL],
        "group_wait": "0s",
        "group_interval": timing.text(GROUP_INTERVAL_SECONDS),
        "repeat_interval": timing.text(REPEAT_INTERVAL_SECONDS),
    }
    return {
        "route": {
            "receiver": PEOPLE,
            "group_by": ["alertname", ROLLOUT_LABEL],
            "routes": [
                {"matchers": ['action="rollback"'], **urgent},
                {"matchers": ['action="hold"'], **urgent},
            ],
        },
        "receivers": [
            {"name": PEOPLE},
            {"name": ROLLBACK_RECEIVER, "webhook_configs": [_webhook(addresses)]},
        ],
    }


def _webhook(addresses: Addresses) -> dict[str, Any]:
    return {
        "url": f"http://{addresses.control_plane}/alerts",
        "send_resolved": True,
        "http_config": {
            # A redirect would turn the POST into a GET that counts as delivered.
            "follow_redirects": False,
            "authorization": {"type": "Bearer", "credentials_file": addresses.token_file},
        },
    }
