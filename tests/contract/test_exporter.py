"""The exporter as its users meet it: a process, a file that grows, and scrapes over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.reference import Reference
from rollguard import binaries

ROOT = Path(__file__).parents[2]
DEADLINE_SECONDS = 20
START = """
import logging, sys
from pathlib import Path
from exporters.canary import canary
from exporters.runner import Settings, run
logging.basicConfig(level=logging.INFO)
events, reference = sys.argv[1:]
settings = Settings(listen="127.0.0.1:0", checkpoint=Path(events + ".rollguard-checkpoint"))
sys.exit(run(canary(events, reference=Path(reference)), settings))
"""


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS} s for {what}"
        time.sleep(0.01)


class Exporter:
    """One exporter's process after another over the same file; `scrapes` holds whatever was ever seen."""

    def __init__(self, folder: Path) -> None:
        self.events = folder / "events.jsonl"
        self.log = folder / "log"
        self.reference = folder / "reference.json"
        self.scrapes: list[dict[str, float]] = []
        self.process: subprocess.Popen[bytes] | None = None
        rows = {"spread": np.arange(1000.0)}
        Reference.fit(rows, source="a test", made_at=0).save(self.reference)

    def start(self) -> None:
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", START, str(self.events), str(self.reference)]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        until(lambda: "serving http" in self.log.read_text(), "the exporter to serve")
        found = re.search(r"serving (http\S+)", self.log.read_text())
        assert found
        self.url = found[1]

    def stop(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def scrape(self) -> dict[str, float] | None:
        """Values by series; None while it answers 503."""
        response = httpx.get(self.url)
        if response.status_code == 503:
            assert "Catching up" in response.text
            return None
        assert response.status_code == 200
        found = {
            sample.name + json.dumps(sample.labels): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
        }
        self.scrapes.append(found)
        return found

    def shows(self, name: str, value: float, **labels: str) -> Callable[[], bool]:
        return lambda: (self.scrape() or {}).get(name + json.dumps(labels)) == value


@pytest.fixture
def exporter(tmp_path: Path) -> Iterator[Exporter]:
    exporter = Exporter(tmp_path)
    yield exporter
    if exporter.process is not None and exporter.process.poll() is None:
        exporter.process.kill()
        exporter.process.wait()


def event(kind: str, **more: Any) -> bytes:
    return json.dumps({"event": kind, "ts": time.time(), **more}).encode() + b"\n"


def trade(won: bool = True) -> bytes:
    return event("trade_closed", route="canary", won=won)


def write(file: IO[bytes], *lines: bytes) -> None:
    file.write(b"".join(lines))
    file.flush()


def counters_never_fall(scrapes: list[dict[str, float]]) -> bool:
    names = [name for name in scrapes[-1] if "_total{" in name and "rejected" not in name]
    return all(before[name] <= after[name] for before, after in pairwise(scrapes) for name in names)


def test_an_event_shows_in_the_metrics_while_the_process_runs(exporter: Exporter) -> None:
    exporter.start()
    until(exporter.shows("sample_canary", 0), "a scrape without a file")
    assert exporter.shows("rollguard_exporter_up", 0, source="events")()
    with exporter.events.open("ab") as file:
        write(file, event("stage", stage="canary"), trade(), trade(won=False))
        until(exporter.shows("winrate_canary", 0.5), "the trades")
        write(file, *[event("score", slot="active", score=0.5, features={"spread": 5})] * 300)
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
    lines = 400_000
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
