"""One piece of work for all who wait for their turn: what makes many commits one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """Works on what the callers of one event loop bring: on all that has come while it was at work before.

    Args:
        work: returns one result for all items; what it raises is raised to each caller. It is called by one
            thread, which does nothing else, so that no other work keeps it waiting.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Result]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, "batches")
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._task: asyncio.Task[None] | None = None

    async def result(self, item: Item) -> Result:
        """Return what the work makes of an item and those that wait with it; raises what it raises."""
        mine: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, mine))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work_on_all())
        return await mine

    async def _work_on_all(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # whatever has arrived by now comes along
            batch, self._waiting = self._waiting, []
            items = [item for item, _ in batch]
            futures = [future for _, future in batch]
            try:
                result = await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)
            except Exception as error:  # noqa: BLE001 - raised to each caller
                for future in _unanswered(futures):
                    future.set_exception(error)
            else:
                for future in _unanswered(futures):
                    future.set_result(result)


def _unanswered(futures: Sequence[asyncio.Future[Result]]) -> list[asyncio.Future[Result]]:
    """Return those that somebody still waits for: a caller may have gone."""
    return [future for future in futures if not future.done()]
