"""One piece of work for all who wait for their turn: what makes many commits one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class _Waiting(Generic[Item, Result]):
    item: Item
    result: Result | None = None
    error: Exception | None = None
    done: bool = False


class Batches(Generic[Item, Result]):
    """Works on what several threads bring, as soon as the lock is free, on all of it at once.

    Args:
        lock: held while the work is done; others may use it for other work.
        work: returns one result for all items; what it raises is raised to each caller.
    """

    def __init__(self, lock: threading.Lock, work: Callable[[Sequence[Item]], Result]) -> None:
        self._lock = lock
        self._work = work
        self._waiting: deque[_Waiting[Item, Result]] = deque()

    def result(self, item: Item) -> Result:
        """Return what the work makes of an item and those that wait with it; raises what it raises."""
        mine: _Waiting[Item, Result] = _Waiting(item)
        self._waiting.append(mine)
        with self._lock:
            if not mine.done:
                self._work_on_all()
        if mine.error:
            raise mine.error
        return mine.result  # type: ignore[return-value]

    def _work_on_all(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        result, error = None, None
        try:
            result = self._work([one.item for one in batch])
        except Exception as failure:  # noqa: BLE001 - raised to each caller
            error = failure
        for one in batch:
            one.result, one.error, one.done = result, error, True
