"""The threads that step targets: few of them, and apart by what a step may wait for."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count

from rollguard.targets.applier import HANGS_SECONDS, Applier, At, Job
from rollguard.targets.interface import Lane

THREADS: Mapping[Lane, int] = {"files": 4, "network": 16, "commands": 8}
"""At most, for each kind of target: services and commands that hang keep no file waiting."""

MOST_GIVEN_UP = 32
"""Threads of a lane that may hang beside those: each has another in its place until its step ends."""

WATCH_SECONDS = 0.5
"""How often it is looked for steps that hang."""

SOON_SECONDS = 1.0
"""So much before its time a target is looked at with others that share its file."""

_log = logging.getLogger(__name__)


class TargetPool:
    """Steps an applier's targets when they are due, what is due first first; one step of a job at a time.

    Args:
        applier: what to step.
    """

    def __init__(self, applier: Applier) -> None:
        self._applier = applier
        self._homes: dict[At, tuple[_Queue, Job]] = {}
        self._of: dict[str, list[At]] = {}
        self._crews: list[_Crew] = []
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="targets, watcher", daemon=True)
        jobs = applier.jobs
        for lane in THREADS:
            mine = [job for job in jobs if job.lane == lane]
            crew = _Crew(lane, len(mine), self._step)
            self._homes |= {at: (crew.queue, job) for job in mine for at in job.members}
            self._crews.append(crew)
        for at in sorted(self._homes):
            self._of.setdefault(at[0], []).append(at)

    def start(self) -> None:
        """Start the threads; each target is looked at at once."""
        for rollout in self._of:
            self.wake(rollout)
        for crew in self._crews:
            crew.start()
        self._watcher.start()

    def wake(self, rollout: str) -> None:
        """Have a rollout's targets looked at, after those that were due before."""
        now = time.monotonic()
        for at in self._of.get(rollout, ()):
            self._put(at, now)

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads; one whose target hangs is left behind after a while, and ends with the process."""
        self._stopping.set()
        self._watcher.join()
        deadline = time.monotonic() + timeout
        for crew in self._crews:
            crew.queue.stop()
        for crew in self._crews:
            crew.join(deadline)

    def _put(self, at: At, when: float) -> None:
        queue, job = self._homes[at]
        queue.put(job, at, when)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            for crew in self._crews:
                crew.replace_hung()

    def _step(self, due: Sequence[At]) -> Mapping[At, float]:
        try:
            delays = self._applier.step(due)
            for rollout in {rollout for rollout, _ in due}:
                for at in self._applier.released(rollout):
                    self._put(at, time.monotonic())
            return delays
        except Exception:  # noqa: BLE001 - whatever it is, the targets must be looked at again
            _log.exception("Targets of %s cannot be looked at.", due[0][0])
            return dict.fromkeys(due, 1.0)


class _Crew:
    """The threads of one lane. One whose step hangs is given up: another takes its place.

    Args:
        lane: theirs.
        jobs: how many there are; a thread more would have nothing to do.
        step: steps targets, and returns after how many seconds each is due again.
    """

    def __init__(self, lane: Lane, jobs: int, step: Callable[[Sequence[At]], Mapping[At, float]]) -> None:
        self.queue = _Queue()
        self._lane, self._jobs, self._step = lane, jobs, step
        self._numbers = count()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._steps: dict[threading.Thread, tuple[float, At]] = {}
        self._given_up: set[threading.Thread] = set()

    def start(self) -> None:
        """Start as many threads as the lane may have."""
        for _ in range(min(THREADS[self._lane], self._jobs)):
            self._start_one()

    def join(self, deadline: float) -> None:
        """Wait for the threads until a time, monotonic seconds."""
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def replace_hung(self) -> None:
        """Give up threads whose step hangs, as far as the lane may, and start others in their places."""
        before = time.monotonic() - HANGS_SECONDS
        with self._lock:
            for thread, (since, at) in self._steps.items():
                if since >= before or thread in self._given_up:
                    continue
                if len(self._given_up) >= MOST_GIVEN_UP or len(self._threads) >= self._jobs:
                    return
                self._given_up.add(thread)
                self._start_one()
                said = (at[0], at[1] + 1, self._lane, len(self._given_up), MOST_GIVEN_UP)
                _log.warning("%s: target %d hangs; the other %s go on without its thread (%d of %d).", *said)

    def _start_one(self) -> None:
        name = f"targets, {self._lane} {next(self._numbers)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        me = threading.current_thread()
        while me not in self._given_up and (taken := self.queue.take()):
            job, due = taken
            with self._lock:
                self._steps[me] = time.monotonic(), due[0]
            delays = self._step(due)
            with self._lock:
                del self._steps[me]
            self.queue.done(job, {at: time.monotonic() + seconds for at, seconds in delays.items()})
        with self._lock:
            self._given_up.discard(me)
            self._threads.discard(me)


class _Queue:
    """Jobs by the time when the first of their targets is due; safe to use from several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: dict[Job, dict[At, float]] = {}
        self._busy: set[Job] = set()
        self._heap: list[tuple[float, int, Job]] = []
        self._numbers = count()
        self._stopping = False

    def put(self, job: Job, at: At, when: float) -> None:
        """Have a target looked at at a time, monotonic seconds, or when it was due before that."""
        with self._changed:
            due = self._due.setdefault(job, {})
            due[at] = min(when, due.get(at, when))
            if job not in self._busy:
                self._push(job, due[at])

    def take(self) -> tuple[Job, list[At]] | None:
        """Wait until a job is due, and return it with those of its targets that are; None after `stop`."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if self._heap and self._heap[0][0] <= now:
                    job = heapq.heappop(self._heap)[2]
                    if job not in self._busy and (due := self._taken(job, now)):
                        self._busy.add(job)
                        return job, due
                else:
                    self._changed.wait(self._heap[0][0] - now if self._heap else None)
            return None

    def done(self, job: Job, again: Mapping[At, float]) -> None:
        """Note that a job's step has ended, and when its targets are due again, unless they are sooner."""
        with self._changed:
            self._busy.discard(job)
            due = self._due[job]
            for at, when in again.items():
                due[at] = min(when, due.get(at, when))
            if due:
                self._push(job, min(due.values()))

    def stop(self) -> None:
        """Let nobody wait any more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _push(self, job: Job, when: float) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), job))
        self._changed.notify()

    def _taken(self, job: Job, now: float) -> list[At]:
        """Take out the targets of a job once one is due, with those that will soon be."""
        due = self._due[job]
        if min(due.values(), default=now + 1) > now:
            return []
        found = [at for at in job.members if due.get(at, math.inf) <= now + SOON_SECONDS]
        for at in found:
            del due[at]
        return found
