"""Reconciling: Alertmanagers and Prometheus are asked every few seconds, as a notification may never come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import httpx

from rollguard.control.plane import ControlPlane
from rollguard.errors import RollguardError, without_login
from rollguard.monitoring.alerts import NotificationError, parse_listed, unsilenced
from rollguard.monitoring.rules import Evaluation, RecentFiring, history_query, parse_history, parse_rules
from rollguard.monitoring.silences import Silence, parse_silences, silenced
from rollguard.targets.memory import Memory
from rollguard.workers.periodic import Periodic

log = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")

POLL_SECONDS = 2.0
TIMEOUT_SECONDS = 2.0
OVERLAP_SECONDS = 5.0
"""By how much two looks at the history overlap: Prometheus writes what it evaluated a moment later."""

LONGEST_LOOK_BACK_SECONDS = 24 * 3600.0
NOTE_SECONDS = 10.0
"""How often is noted until when everything is known; after a kill, so much is looked at again."""

# Inhibited alerts count: inhibition is about what people hear. Silences are a person's word, whichever of
# several Alertmanagers has heard it.
_QUERY = {
    "active": "true",
    "inhibited": "true",
    "silenced": "true",
    "unprocessed": "true",
    "filter": 'rollout=~".+"',
}


class Reconciler:
    """Asks which alerts fire and which have fired, and lets the control plane decide upon them.

    Args:
        control: decides.
        alertmanagers: base URLs; each is told of all alerts by Prometheus, so that the others' word will do
            where one does not answer.
        prometheus: base URL; None where only Alertmanager is asked.
        memory: keeps until when Prometheus's history is known; None to begin with the first look.
        every: seconds between two turns.
        on_poll: is told of each poll of Alertmanager whether it succeeded.
    """

    def __init__(
        self,
        control: ControlPlane,
        alertmanagers: Sequence[str],
        *,
        prometheus: str | None = None,
        memory: Memory | None = None,
        every: float = POLL_SECONDS,
        on_poll: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self._control = control
        self._alertmanagers = [f"{url.rstrip('/')}/api/v2" for url in alertmanagers]
        self._prometheus = f"{prometheus.rstrip('/')}/api/v1" if prometheus else None
        self._memory = memory
        self._on_poll = on_poll
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False, trust_env=False)
        # Twice as many: who asks to be sure of a notification does not wait for the turn under way.
        self._asking = ThreadPoolExecutor(2 * len(self._alertmanagers), "asking")
        self._failing: set[str] = set()
        self._silences: tuple[Silence, ...] = ()
        self._told_silences: list[str] = []
        self._known_until: float | None = None
        self._noted_at: float | None = None
        if memory:
            self._recall(memory.load())
        self._turns = Periodic("reconciling", every, self._turn)
        self.start, self.wake = self._turns.start, self._turns.wake

    def stop(self) -> None:
        """Stop, and wait until the turn under way has ended."""
        self._turns.stop()
        self._asking.shutdown()
        self._client.close()

    def poll(self) -> bool:
        """Ask every Alertmanager once.

        Returns:
            Whether one answered and the decision, if any, was recorded.
        """
        asked_at = self._control.clock.monotonic()
        listings = self._answers("alerts", _QUERY, parse_listed)
        return bool(listings) and self._tried(
            "the ledger", lambda: self._control.polled(unsilenced(listings), asked_at)
        )

    def look(self) -> bool:
        """Ask Prometheus once, about now and about the time since it last answered.

        Returns:
            Whether it answered and the decision, if any, was recorded.
        """
        assert self._prometheus is not None
        asked_at = self._control.clock.monotonic()
        seen = self._tried(self._prometheus, lambda: self._look(asked_at))
        if not seen:
            self._tried("the ledger", lambda: self._control.evaluated(None, (), asked_at))
        return seen

    def _ask_silences(self) -> None:
        """Take the silences of those that answer; where none does, the last known ones stay."""
        if told := self._answers("silences", {}, _read_silences):
            self._silences = tuple(chain.from_iterable(silences for silences, _ in told))
            self._told_silences = [body for _, body in told]

    def _answers(
        self, path: str, query: Mapping[str, str], parse: Callable[[bytes], _Answer]
    ) -> list[_Answer]:
        """Return what those Alertmanagers say that answer, all asked at once."""
        found: list[_Answer] = []

        def ask(url: str) -> None:
            found.append(parse(self._get(url, query)))

        urls = [f"{base}/{path}" for base in self._alertmanagers]
        list(self._asking.map(lambda url: self._tried(url, partial(ask, url)), urls))
        return found

    def _look(self, asked_at: float) -> None:
        now = self._control.clock.wall()
        evaluation = parse_rules(self._get(f"{self._prometheus}/rules", {"type": "alert"}))
        since = now - self._known_until if self._known_until is not None else 0.0
        window = min(LONGEST_LOOK_BACK_SECONDS, max(0.0, since) + OVERLAP_SECONDS)
        answer = self._get(f"{self._prometheus}/query", {"query": history_query(window)})
        history = parse_history(answer, evaluation.queries)
        self._control.evaluated(self._heard(evaluation, now), self._unsilenced(history), asked_at)
        self._known_until = now
        self._note(now)

    def _heard(self, evaluation: Evaluation, now: float) -> Evaluation:
        """Return an evaluation without the alerts that are silenced, by the last silences that are known."""
        firing = [alert for alert in evaluation.firing if not silenced(self._silences, alert.labels, now)]
        return replace(evaluation, firing=tuple(firing))

    def _unsilenced(self, history: list[RecentFiring]) -> list[RecentFiring]:
        """Return what fired at a time at which it was not silenced."""
        heard = [
            replace(
                one, times=tuple(at for at in one.times if not silenced(self._silences, one.alert.labels, at))
            )
            for one in history
        ]
        return [one for one in heard if one.times]

    def _note(self, now: float) -> None:
        if self._memory is None or (self._noted_at is not None and abs(now - self._noted_at) < NOTE_SECONDS):
            return
        self._noted_at = now
        try:
            self._memory.keep({"known_until": now, "silences": self._told_silences})
        except (OSError, RollguardError) as error:
            log.warning("it cannot be noted until when everything is known: %s", error)

    def _recall(self, noted: Mapping[str, Any]) -> None:
        """Take up what was noted before a restart."""
        with suppress(NotificationError, KeyError, TypeError, ValueError):
            self._known_until = float(noted["known_until"])
            told = [_read_silences(body.encode()) for body in noted["silences"]]
            self._silences = tuple(chain.from_iterable(silences for silences, _ in told))
            self._told_silences = [body for _, body in told]

    def _get(self, url: str, query: Mapping[str, str]) -> bytes:
        answer = self._client.get(url, params=query)
        answer.raise_for_status()
        return answer.content

    def _tried(self, what: str, work: Callable[[], object]) -> bool:
        """Return whether work succeeded; its failures are logged once, and so is their end."""
        try:
            work()
        except (httpx.HTTPError, RollguardError) as error:
            if what not in self._failing:
                shown = without_login(what), without_login(str(error))
                log.warning("reconciling with %s fails, and goes on: %s", *shown)
            self._failing.add(what)
            return False
        if what in self._failing:
            log.info("reconciling with %s works again", without_login(what))
        self._failing.discard(what)
        return True

    def _turn(self) -> None:
        succeeded = False
        try:
            succeeded = self.poll()
        finally:
            self._on_poll(succeeded)
            if self._prometheus:
                self._ask_silences()
                self.look()


def _read_silences(body: bytes) -> tuple[tuple[Silence, ...], str]:
    """Return an Alertmanager's silences, and its words for the memory."""
    return parse_silences(body), body.decode()
