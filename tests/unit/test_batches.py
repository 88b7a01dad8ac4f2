"""Work for all who wait: it is done once, and each gets its result."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from rollguard.batches import Batches


def test_one_alone_gets_its_result() -> None:
    batches: Batches[int, list[int]] = Batches(threading.Lock(), list)
    assert batches.result(42) == [42]


def test_all_who_wait_are_worked_on_at_once() -> None:
    lock, sizes = threading.Lock(), []

    def work(items: Sequence[int]) -> int:
        sizes.append(len(items))
        return sum(items)

    batches = Batches(lock, work)
    with ThreadPoolExecutor(8) as pool:
        with lock:
            results = [pool.submit(batches.result, item) for item in range(8)]
            while len(batches._waiting) < 8:
                pass
        assert [result.result() for result in results] == [28] * 8
    assert sizes == [8]


def test_what_fails_fails_for_each_who_waited_and_for_nobody_later() -> None:
    lock, failing = threading.Lock(), [True]

    def work(items: Sequence[int]) -> int:
        if failing:
            raise ValueError("no")
        return sum(items)

    batches = Batches(lock, work)
    with ThreadPoolExecutor(2) as pool:
        with lock:
            results = [pool.submit(batches.result, item) for item in range(2)]
            while len(batches._waiting) < 2:
                pass
        for result in results:
            with pytest.raises(ValueError, match="no"):
                result.result()
    failing.clear()
    assert batches.result(1) == 1
