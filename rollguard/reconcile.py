"""Reconciling: Alertmanager is asked every few seconds, as a notification may never come."""

from __future__ import annotations

import logging
from collections.abc import Callable

import httpx

from rollguard.control import ControlPlane
from rollguard.errors import RollguardError
from rollguard.notification import parse_listed
from rollguard.periodic import Periodic

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0

# Inhibited alerts count: inhibition is about what people hear. Silences are a person's word.
_QUERY = {
    "active": "true",
    "inhibited": "true",
    "silenced": "false",
    "unprocessed": "true",
    "filter": 'rollout=~".+"',
}


class Reconciler:
    """Asks Alertmanager for the alerts that fire, and lets the control plane decide upon them.

    Args:
        control: decides.
        alertmanager: base URL.
        every: seconds between two polls.
        on_poll: is told of each poll whether it succeeded.
    """

    def __init__(
        self,
        control: ControlPlane,
        alertmanager: str,
        *,
        every: float = POLL_SECONDS,
        on_poll: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._url = f"{alertmanager.rstrip('/')}/api/v2/alerts"
        self._on_poll = on_poll
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        self._failing = False
        self._polls = Periodic("reconciling", every, self._turn)
        self.start, self.wake = self._polls.start, self._polls.wake

    def stop(self) -> None:
        """Stop, and wait until the poll under way has ended."""
        self._polls.stop()
        self._client.close()

    def poll(self) -> bool:
        """Poll once.

        Returns:
            Whether Alertmanager answered and the decision, if any, was recorded.
        """
        asked_at = self._control.clock.monotonic()
        try:
            answer = self._client.get(self._url, params=_QUERY)
            answer.raise_for_status()
            self._control.polled(parse_listed(answer.content), asked_at)
        except (httpx.HTTPError, RollguardError) as error:
            if not self._failing:
                log.warning("reconciling with %s fails, and goes on: %s", self._url, error)
            self._failing = True
            return False
        if self._failing:
            log.info("reconciling with %s works again", self._url)
        self._failing = False
        return True

    def _turn(self) -> None:
        succeeded = False
        try:
            succeeded = self.poll()
        finally:
            self._on_poll(succeeded)
