"""Work for all who wait: it is done once, and each gets its result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from rollguard.server.batches import Batches


class Work:
    """Adds up what it is given, once it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.fails = False

    def __call__(self, items: Sequence[int]) -> int:
        self.batches.append(list(items))
        assert self.may_go_on.wait(10)
        if self.fails:
            raise ValueError("no")
        return sum(items)


async def after_the_first(work: Work, batches: Batches[int, int], items: Sequence[int]) -> list[object]:
    """Bring one item, the others while that is worked on, and return what each comes to."""
    first = asyncio.create_task(batches.result(0))
    while not work.batches:
        await asyncio.sleep(0)
    others = [asyncio.create_task(batches.result(item)) for item in items]
    await asyncio.sleep(0)
    work.may_go_on.set()
    return [*await asyncio.gather(first, *others, return_exceptions=True)]


def test_one_alone_gets_its_result() -> None:
    assert asyncio.run(Batches[int, int](sum).result(42)) == 42


def test_all_who_wait_are_worked_on_at_once() -> None:
    work = Work()
    assert asyncio.run(after_the_first(work, Batches(work), range(1, 8))) == [0] + [28] * 7
    assert work.batches == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_all_who_come_together_are_worked_on_at_once() -> None:
    work = Work()
    work.may_go_on.set()
    batches = Batches(work)

    async def together() -> list[int]:
        return [*await asyncio.gather(*(batches.result(item) for item in range(3)))]

    assert asyncio.run(together()) == [3] * 3
    assert work.batches == [[0, 1, 2]]


def test_what_fails_fails_for_each_who_waited_and_for_nobody_later() -> None:
    work = Work()
    work.fails = True
    batches = Batches(work)

    async def then_one_more() -> int:
        for failure in await after_the_first(work, batches, [1, 2]):
            assert isinstance(failure, ValueError)
        work.fails = False
        return await batches.result(1)

    assert asyncio.run(then_one_more()) == 1


def test_who_has_gone_keeps_nobody_from_the_result() -> None:
    work = Work()
    batches = Batches(work)

    async def one_goes() -> int:
        gone, stays = (asyncio.create_task(batches.result(item)) for item in (1, 2))
        while not work.batches:
            await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        work.may_go_on.set()
        return await stays

    assert asyncio.run(one_goes()) == 3
