"""The threads that step targets: few of them, and apart by what a step may wait for."""

from __future__ import annotations

import heapq
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import count

from rollguard.applier import Applier, At, Job
from rollguard.targets.interface import Lane

THREADS: Mapping[Lane, int] = {"files": 4, "network": 16, "commands": 8}
"""At most, for each kind of target: services and commands that hang keep no file waiting."""

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
        self._threads: list[threading.Thread] = []
        self._queues: dict[Lane, _Queue] = {}
        jobs = applier.jobs
        for lane, most in THREADS.items():
            mine = [job for job in jobs if job.lane == lane]
            queue = self._queues[lane] = _Queue()
            self._homes |= {at: (queue, job) for job in mine for at in job.members}
            self._threads += [
                threading.Thread(
                    target=self._work, args=(queue,), name=f"targets, {lane} {number}", daemon=True
                )
                for number in range(min(most, len(mine)))
            ]
        for at in sorted(self._homes):
            self._of.setdefault(at[0], []).append(at)

    def start(self) -> None:
        """Start the threads; each target is looked at at once."""
        for rollout in self._of:
            self.wake(rollout)
        for thread in self._threads:
            thread.start()

    def wake(self, rollout: str) -> None:
        """Have a rollout's targets looked at, after those that were due before."""
        now = time.monotonic()
        for at in self._of.get(rollout, ()):
            self._put(at, now)

    def stop(self, timeout: float = 5.0) -> None:
        """End the threads; one whose target hangs is left behind after a while, and ends with the process."""
        for queue in self._queues.values():
            queue.stop()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _put(self, at: At, when: float) -> None:
        queue, job = self._homes[at]
        queue.put(job, at, when)

    def _work(self, queue: _Queue) -> None:
        while taken := queue.take():
            job, due = taken
            delays = self._step(due)
            queue.done(job, {at: time.monotonic() + seconds for at, seconds in delays.items()})

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
