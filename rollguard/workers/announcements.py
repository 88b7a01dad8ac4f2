"""People are told through Alertmanager: each step of a rollout is posted to it as an alert."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx

from rollguard.control.decisions import Listener
from rollguard.control.evidence import said
from rollguard.control.plane import ControlPlane
from rollguard.conventions import FALLBACK, GUARD_LABEL, NOTICES, ROLLOUT_LABEL
from rollguard.errors import RollguardError, without_login
from rollguard.state import GUARD, Entry
from rollguard.targets.memory import Memory

log = logging.getLogger(__name__)

SHOWN_SECONDS = 300.0
"""How long Alertmanager shows a notice, and so how long its receivers may fail before it is lost."""

OLDEST_SECONDS = 24 * 3600.0
"""Of what happened earlier nobody is told any more."""

HOLD_SECONDS = 3600.0
"""So often people are told at most that a guard holds: one that comes and goes is one piece of news."""

TIMEOUT_SECONDS = 5.0
SHORTEST_RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 30.0
GATHER_SECONDS = 0.2
"""For so long, what happens next may come along: a storm of steps, or of tries, is no storm of posts."""

BATCH = 100

_STARTED, _PROMOTED, _HELD, _ROLLED_BACK = NOTICES
_ANNOUNCEMENT_OF: Mapping[str, tuple[str, str, str]] = {
    "start": (_STARTED, "info", "started"),
    "promote": (_PROMOTED, "info", "promoted"),
    "pause": (_HELD, "warning", "paused"),
    "hold": (_HELD, "warning", "held"),
    "release": (_HELD, "warning", "held no longer"),
    "overdue": (_HELD, "warning", "overdue"),
    "extend": (_HELD, "warning", "extended"),
    "step_back": (_ROLLED_BACK, "warning", "taken back"),
    "rollback": (_ROLLED_BACK, "warning", "rolled back"),
}
"""Kinds of ledger entries: as which alert people hear of them, its severity, what happened in words."""


def announcement(entry: Entry, now: float, link: str = "") -> dict[str, Any] | None:
    """Return the alert by which people hear of a ledger entry, as Alertmanager's API v2 takes it.

    Args:
        entry: of the ledger.
        now: Unix seconds.
        link: base URL of the control plane for people; empty for none.
    Returns:
        The alert; None for a kind of entry of which nobody is told, and for what happened long ago.
    """
    if not is_told(entry) or entry.at < now - OLDEST_SECONDS:
        return None
    name, severity, done = _ANNOUNCEMENT_OF[entry.kind]
    labels = {
        "alertname": name,
        GUARD_LABEL: name,
        ROLLOUT_LABEL: entry.rollout,
        "action": "notify",
        "severity": severity,
        "run": str(entry.run),
        "entry": str(entry.seq),  # each step is an alert of its own, and the same one when it is posted again
    }
    found: dict[str, Any] = {
        "labels": labels,
        "annotations": _annotations(entry, done),
        "startsAt": _moment(entry.at),
        "endsAt": _moment(now + SHOWN_SECONDS),
    }
    if link:
        found["generatorURL"] = f"{link}/api/v1/history?rollout={entry.rollout}&after={entry.seq - 1}"
    return found


def _annotations(entry: Entry, done: str) -> dict[str, str]:
    before = entry.from_stage or entry.from_status.lower()
    after = entry.to_stage or (FALLBACK if entry.to_status == "ROLLBACK" else entry.to_status.lower())
    where = f"from {before} to {after}" if before != after else f"in {after}"
    told = entry.evidence.get("annotations")
    own: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    guards = _guards(entry)
    who = ", ".join(f"guard {name}" for name in guards) or entry.actor
    words = entry.reason if entry.reason != ", ".join(guards) else ""
    why = "; ".join(text for text in (words, said(entry.evidence)) if text)
    links = {key: str(own[key]) for key in ("runbook_url", "dashboard_url") if own.get(key)}
    return {
        "summary": f"{entry.rollout}, run {entry.run}: {done} {where} by {who}.",
        "description": f"{why} (entry {entry.seq} of the ledger)".strip(),
        **links,
    }


def is_told(entry: Entry) -> bool:
    """Return whether people are told of an entry of its kind; not that guards were false for long enough."""
    return entry.kind in _ANNOUNCEMENT_OF and (entry.kind != "release" or bool(entry.evidence.get("why")))


def _guards(entry: Entry) -> Sequence[str]:
    """Return the guards that decided; none where a person or the clock did."""
    if entry.guard:
        return [entry.guard]
    return entry.evidence.get("guards", ()) if entry.actor == GUARD else ()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def holds_to_tell(
    entries: Sequence[Entry], told: Mapping[str, float], scale: float = 1.0
) -> tuple[list[Entry], dict[str, float]]:
    """Return entries without the holds of which people were told already, and when they were told of which.

    Of each guard people are told once an hour in a run that it holds, and once that it ceased to unasked for.

    Args:
        entries: of the ledger, in order.
        told: when people were last told of a guard's hold, Unix seconds, by rollout, run, guard and kind.
        scale: what the hour is divided by.
    """
    found, last = [], dict(told)
    for entry in entries:
        if entry.kind not in ("hold", "release"):
            found.append(entry)
            continue
        keys = {guard: _key(entry, guard) for guard in entry.evidence["guards"]}
        new = [guard for guard in keys if entry.at >= last.get(keys[guard], -math.inf) + HOLD_SECONDS / scale]
        if new:
            found.append(_of_guards(entry, new))
        if entry.kind == "hold" or entry.evidence.get("why"):
            last |= {keys[guard]: entry.at for guard in new}
    oldest = entries[-1].at - HOLD_SECONDS / scale if entries else -math.inf
    return found, {key: at for key, at in last.items() if at > oldest}


def _key(entry: Entry, guard: str) -> str:
    kind = "" if entry.kind == "hold" else f"/{entry.kind}"
    return f"{entry.rollout}/{entry.run}/{guard}{kind}"


def _of_guards(entry: Entry, guards: Sequence[str]) -> Entry:
    """Return an entry as it would be of some of its guards alone."""
    if guards == entry.evidence["guards"]:
        return entry
    why = entry.evidence.get("why")
    alerts = {name: said for name, said in entry.evidence.get("alerts", {}).items() if name in guards}
    reason = ", ".join(guards) + (f": {why}" if why else "")
    return replace(entry, reason=reason, evidence={**entry.evidence, "guards": guards, "alerts": alerts})


@dataclass(frozen=True)
class _Outcome:
    """Of a post to one Alertmanager: what is wrong, empty for nothing, and whether another try may help."""

    wrong: str = ""
    again: bool = False


class Announcements(Listener):
    """Posts what the ledger says to Alertmanager, in order, each entry at least once; nothing waits for it.

    The ledger is the outbox. How far it was told is kept on disk, so that neither a kill nor an
    Alertmanager that is down loses a notice. Two control planes on a ledger post the same alerts, and to each
    Alertmanager of a cluster, which takes them for one.

    Args:
        control: whose ledger it is.
        alertmanagers: base URLs; a notice is told once one of them has taken it.
        memory: up to which entry people were told.
        link: see `notice`.
        scale: what durations are divided by.
        on_post: is told of each post how many notices it had, and whether it succeeded.
    """

    def __init__(
        self,
        control: ControlPlane,
        alertmanagers: Sequence[str],
        memory: Memory,
        *,
        link: str = "",
        scale: float = 1.0,
        on_post: Callable[[int, bool], None] = lambda _count, _succeeded: None,
    ) -> None:
        self._control = control
        self._urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in alertmanagers]
        self._memory = memory
        self._link = without_login(link.rstrip("/"), "")
        self._scale = scale
        self._on_post = on_post
        self._client = httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)

    def start(self) -> None:
        """Start telling, beginning with what was left."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; what is not told yet is told after the next start."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(TIMEOUT_SECONDS + 1)
        self._client.close()

    def decided(self, entries: Sequence[Entry], received_at: float | None) -> None:
        """Tell of committed entries soon; the caller does not wait."""
        self._wake.set()

    def step(self) -> bool:
        """Post what was not told yet, and return whether people were told of everything."""
        try:
            while entries := self._untold():
                oldest = self._control.clock.wall() - OLDEST_SECONDS
                fresh = [entry for entry in entries if entry.at >= oldest]
                news, holds = holds_to_tell(fresh, self._holds(), self._scale)
                if not self._post(news):
                    return False
                self._memory.keep({"told": entries[-1].seq, "hash": entries[-1].hash, "holds": holds})
        except RollguardError as error:
            self._failed(str(error))
            return False
        if self._failures:
            log.info("people are told again by Alertmanager")
        self._failures = 0
        return True

    def _holds(self) -> dict[str, float]:
        known = self._memory.load().get("holds")
        pairs = known.items() if isinstance(known, dict) else ()
        return {key: float(at) for key, at in pairs if isinstance(at, int | float)}

    def _untold(self) -> Sequence[Entry]:
        told = self._memory.load()
        seq = told.get("told")
        if isinstance(seq, int) and seq > 0:
            since = self._control.ledger.entries(None, seq - 1, BATCH + 1)
            if since and since[0].hash == told.get("hash"):
                return since[1:]
        return self._control.ledger.entries(limit=BATCH)  # nobody was told yet, or of another ledger

    def _post(self, entries: Sequence[Entry]) -> bool:
        now = self._control.clock.wall()
        alerts = [found for entry in entries if (found := announcement(entry, now, self._link))]
        if not alerts:
            return True
        with ThreadPoolExecutor(len(self._urls)) as pool:
            outcomes = list(pool.map(lambda url: self._tell(url, alerts), self._urls))
        taken = any(not outcome.wrong for outcome in outcomes)
        failing = [outcome.wrong for outcome in outcomes if outcome.again]
        if failing and not taken:
            return self._failed("; ".join(failing), len(alerts))
        for outcome in outcomes:
            if outcome.wrong and not outcome.again:
                log.error("notices are refused, so that nobody hears them: %s", outcome.wrong)
        self._on_post(len(alerts), taken)
        return True

    def _tell(self, url: str, alerts: Sequence[Mapping[str, Any]]) -> _Outcome:
        try:
            answer = self._client.post(url, json=alerts)
        except httpx.HTTPError as error:
            return _Outcome(without_login(f"{url}: {error}"), again=True)
        if answer.is_success:
            return _Outcome()
        # What is refused now would be refused for ever, and keep the next ones back.
        said = f"{without_login(url)} answers {answer.status_code}: {answer.text[:300]}"
        return _Outcome(said, answer.is_server_error)

    def _failed(self, why: str, count: int = 0) -> bool:
        if not self._failures:
            log.warning("people cannot be told, which is tried again: %s", why)
        self._failures += 1
        self._on_post(count, False)
        return False

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                told = self.step()
            except Exception:
                log.exception("notices failed in a way nobody foresaw")
                told, self._failures = False, self._failures + 1
            pause = SHORTEST_RETRY_SECONDS * 2.0 ** min(self._failures, 10)
            self._wake.wait(None if told else min(LONGEST_RETRY_SECONDS, pause))
            self._stopping.wait(GATHER_SECONDS)
