"""Where dashboards and panels are found: what alerts point at, and what dashboards link to."""

from __future__ import annotations

from collections.abc import Collection
from hashlib import sha256
from zlib import crc32

MAX_UID = 40
"""Grafana refuses longer ones."""

FLEET = "rollguard"
PLATFORM = "rollguard-platform"


def of_rollout(rollout: str) -> str:
    """Return the uid of a rollout's dashboard; a long name is shortened, and told apart by its hash."""
    uid = f"rollguard-{rollout}"
    return uid if len(uid) <= MAX_UID else f"{uid[: MAX_UID - 9]}_{sha256(rollout.encode()).hexdigest()[:8]}"


def of_system(name: str) -> str:
    """Return the uid of a watched system's dashboard; no rollout's can be the same."""
    return f"rollguard_{name}"


def url(uid: str, panel: str = "") -> str:
    """Return the path of a dashboard within Grafana, or of one of its panels.

    Args:
        uid: of the dashboard.
        panel: title of a panel that has a title of its own; empty for none.
    """
    return f"/d/{uid}?viewPanel={panel_id(panel)}" if panel else f"/d/{uid}"


def panel_id(title: str, taken: Collection[int] = ()) -> int:
    """Return the id of a panel, which stays the same wherever the panel stands.

    Args:
        title: what names it within its dashboard.
        taken: ids of panels before it.
    """
    number = crc32(title.encode()) % 1_000_000 + 1
    while number in taken:
        number += 1
    return number
