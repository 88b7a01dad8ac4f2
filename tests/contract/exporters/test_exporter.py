"""The exporter as its users meet it: a process, a file that grows, and scrapes over HTTP."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx

from rollguard.generators.tools import binaries
from tests.contract.exporter_process import (
    DEADLINE_SECONDS,
    Exporter,
    counters_never_fall,
    event,
    trade,
    until,
    write,
)


def test_an_event_shows_in_the_metrics_while_the_process_runs(exporter: Exporter) -> None:
    exporter.start()
    until(exporter.shows("sample_canary", 0), "a scrape without a file")
    assert exporter.shows("rollguard_exporter_up", 0, source="events")()
    with exporter.events.open("ab") as file:
        now = time.time()
        write(file, event("stage", stage="canary", ts=now - 1200), trade(), trade(won=False))
        until(exporter.shows("winrate_canary", 0.5), "the trades")
        scored = {"slot": "active", "score": 0.5}
        spreads = {now - ago: 5 + ago * 7 % 100 / 1000 for ago in range(1200)}  # over a third of the window
        write(
            file,
            *(event("score", ts=at, features={"spread": spread}, **scored) for at, spread in spreads.items()),
        )
        until(exporter.shows("ks_feature", 0.9, feature="spread"), "drift")
    assert exporter.shows("rollguard_exporter_up", 1, source="events")()
    assert exporter.stop(signal.SIGTERM) == 0


def test_killed_again_and_again_no_counter_moves_twice_or_back(exporter: Exporter) -> None:
    written = 0
    with exporter.events.open("ab") as file:
        for _ in range(4):
            exporter.start()
            for _ in range(15):
                write(file, *[trade()] * 40, b"broken\n")
                written += 40
                exporter.scrape()
            until(exporter.shows("trades_won_total", written, route="canary"), "every trade")
            write(file, *[trade()] * 40)
            written += 40
            assert exporter.stop(signal.SIGKILL) == -signal.SIGKILL
        exporter.start()
        until(exporter.shows("trades_won_total", written, route="canary"), "every trade")
    assert exporter.shows("sample_canary", written)()
    assert exporter.shows("rollguard_exporter_events_rejected_total", 60, reason="syntax")()
    assert counters_never_fall(exporter.scrapes)


def test_stopped_cleanly_it_goes_on_without_reading_again(exporter: Exporter) -> None:
    with exporter.events.open("ab") as file:
        write(file, *[trade()] * 10)
        exporter.start()
        until(exporter.shows("sample_canary", 10), "the trades")
        assert exporter.stop(signal.SIGINT) == 0
        os.truncate(exporter.events, 0)  # were it read again, nothing would be there
        exporter.start()
        until(exporter.shows("sample_canary", 10), "the trades of before")
        write(file, trade())
        until(exporter.shows("sample_canary", 11), "one more")


def test_a_signal_that_another_thread_takes_ends_it_too(exporter: Exporter) -> None:
    exporter.start()
    assert exporter.process is not None
    pid = exporter.process.pid
    other = next(int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid))
    assert ctypes.CDLL(None).tgkill(pid, other, signal.SIGTERM) == 0
    assert exporter.process.wait(DEADLINE_SECONDS) == 0


def test_rotated_while_it_runs_and_while_it_is_down_no_line_is_lost(exporter: Exporter) -> None:
    exporter.start()
    for number, down in enumerate([False, True, False], start=1):
        with exporter.events.open("ab") as file:
            write(file, *[trade()] * 5)
            until(exporter.shows("sample_canary", number * 10 - 5), "the first half")
            if down:
                exporter.stop(signal.SIGKILL)
            write(file, *[trade()] * 5)
        exporter.events.rename(f"{exporter.events}.{number}")
        if down:
            exporter.start()
        until(exporter.shows("sample_canary", number * 10), "the second half")
    assert counters_never_fall(exporter.scrapes)


def test_a_long_backlog_answers_503_and_then_all_of_it(exporter: Exporter) -> None:
    lines = 150_000
    exporter.events.write_bytes(trade() * lines)
    exporter.start()
    assert exporter.scrape() is None
    until(exporter.scrape, "the end of the backlog")
    assert [scrape['trades_won_total{"route": "canary"}'] for scrape in exporter.scrapes] == [lines]


def test_promtool_reads_the_exposition(
    exporter: Exporter, need_binary: Callable[[binaries.Binary], str]
) -> None:
    promtool = need_binary(binaries.PROMTOOL)
    exporter.events.write_bytes(trade())
    exporter.start()
    until(exporter.shows("sample_canary", 1), "the trade")
    text = httpx.get(exporter.url).content
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    complaints = {line.split(" ", 1)[1] for line in checked.stderr.decode().splitlines()}
    assert complaints <= {"metric names should not contain abbreviated units"}, complaints
