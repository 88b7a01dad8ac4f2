from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rollguard.exporters.canary.exporter import CanaryMeasures, canary
from rollguard.exporters.runtime.runner import Settings, SourceError, run
from rollguard.exporters.runtime.server import ListenError
from rollguard.exporters.sources.interface import Block

if TYPE_CHECKING:
    from tests.unit.clock import Time

WON = '{"event":"trade_closed","ts":1000,"route":"paper","won":true}'


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def settings(events: Path, **more: Any) -> Settings:
    return Settings(checkpoint=events.with_name("checkpoint"), **{"listen": "127.0.0.1:0", **more})


def once(clock: Time, events: Path) -> str:
    output = io.StringIO()
    exporter = canary(str(events), clock=clock)
    assert run(exporter, settings(events, once=True), clock=clock, output=output) == 0
    return output.getvalue()


def test_once_prints_the_metrics_as_of_the_newest_event(events: Path, clock: Time) -> None:
    events.write_text(f"{WON}\n" * 20)
    printed = once(clock, events)
    assert 'winrate_rolling{route="paper"} 1.0\n' in printed
    assert 'rollguard_exporter_up{source="events"} 1.0\n' in printed


def test_once_takes_a_last_line_without_line_feed(events: Path, clock: Time) -> None:
    events.write_text(f"{WON}\n{WON}")
    assert 'trades_closed_total{route="paper"} 2.0\n' in once(clock, events)


def test_once_leaves_no_checkpoint(events: Path, clock: Time) -> None:
    events.write_text(WON + "\n")
    once(clock, events)
    assert list(events.parent.iterdir()) == [events]


def test_once_of_an_empty_file_shows_zeros(events: Path, clock: Time) -> None:
    events.touch()
    assert 'trades_closed_total{route="paper"} 0.0\n' in once(clock, events)


def test_once_without_events_says_which(events: Path, clock: Time) -> None:
    with pytest.raises(SourceError, match=r"events\.jsonl: cannot be read"):
        once(clock, events)


def test_a_wrong_address_stops_it_before_anything_is_read(events: Path, clock: Time) -> None:
    events.write_text(WON + "\n")
    with pytest.raises(ListenError):
        run(canary(str(events), clock=clock), settings(events, listen="nowhere"), clock=clock)
    assert list(events.parent.iterdir()) == [events]


class StopsAtTheFirstLine:
    """A feed that takes lines in, and then asks the exporter to stop, or fails."""

    def __init__(self, exporter: CanaryMeasures, failure: Exception | None = None) -> None:
        self.stop = threading.Event()
        self._feed, self._failure = exporter.feed, failure
        exporter.feed = self.feed  # type: ignore[method-assign]

    def feed(self, block: Block) -> None:
        self._feed(block)
        if self._failure:
            raise self._failure
        self.stop.set()


@pytest.mark.parametrize("in_main_thread", [True, False])
def test_stopped_it_ends_well_and_leaves_a_checkpoint(
    events: Path, clock: Time, in_main_thread: bool
) -> None:
    events.write_text(WON + "\n")
    exporter = canary(str(events), clock=clock)
    stop = StopsAtTheFirstLine(exporter).stop
    codes: list[int] = []

    def start() -> None:
        codes.append(run(exporter, settings(events), clock=clock, stop=stop))

    if in_main_thread:
        start()
    else:
        runner = threading.Thread(target=start)
        runner.start()
        runner.join(10)
    assert codes == [0]
    assert b'"trades_closed":{"canary":0,"paper":1,"full":0}' in events.with_name("checkpoint").read_bytes()


def test_what_an_exporter_raises_ends_the_process(events: Path, clock: Time) -> None:
    events.write_text(WON + "\n")
    exporter = canary(str(events), clock=clock)
    StopsAtTheFirstLine(exporter, failure=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run(exporter, settings(events), clock=clock)
