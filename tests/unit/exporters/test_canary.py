from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from exporters.canary import EventsError, Options, run
from exporters.reference import Reference, ReferenceError
from exporters.serving import ListenError

if TYPE_CHECKING:
    from tests.unit.exporters.conftest import Clock

WON = '{"event":"trade_closed","ts":1000,"route":"paper","won":true}'


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def once(clock: Clock, events: Path, reference: Path | None = None) -> str:
    output = io.StringIO()
    options = Options(events=events, reference=reference, once=True)
    assert run(options, clock=clock, output=output) == 0
    return output.getvalue()


def test_once_prints_the_metrics_as_of_the_newest_event(events: Path, clock: Clock) -> None:
    events.write_text(WON + "\n")
    printed = once(clock, events)
    assert 'winrate_rolling{route="paper"} 1.0\n' in printed
    assert "rollguard_exporter_up 1.0\n" in printed


def test_once_takes_a_last_line_without_line_feed(events: Path, clock: Clock) -> None:
    events.write_text(f"{WON}\n{WON}")
    assert 'trades_closed_total{route="paper"} 2.0\n' in once(clock, events)


def test_once_leaves_no_checkpoint(events: Path, clock: Clock) -> None:
    events.write_text(WON + "\n")
    once(clock, events)
    assert list(events.parent.iterdir()) == [events]


def test_once_of_an_empty_file_shows_zeros(events: Path, clock: Clock) -> None:
    events.touch()
    assert 'trades_closed_total{route="paper"} 0.0\n' in once(clock, events)


def test_once_without_events_says_which(events: Path, clock: Clock) -> None:
    with pytest.raises(EventsError, match=r"events\.jsonl: cannot be read"):
        once(clock, events)


def test_once_reads_the_reference(events: Path, clock: Clock, reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / "reference.json")
    line = '{"event":"score","ts":1000,"slot":"active","score":1,"features":{"spread":0}}\n'
    events.write_text(line * 300)
    assert 'psi_feature{feature="spread"}' in once(clock, events, tmp_path / "reference.json")


def test_a_reference_that_is_missing_stops_it_at_once(events: Path, clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(ReferenceError, match=r"gone\.json"):
        run(Options(events=events, reference=tmp_path / "gone.json"), clock=clock)


def test_a_wrong_address_stops_it_before_anything_is_read(events: Path, clock: Clock) -> None:
    events.write_text(WON + "\n")
    with pytest.raises(ListenError):
        run(Options(events=events, listen="nowhere"), clock=clock)
    assert list(events.parent.iterdir()) == [events]


@pytest.mark.parametrize("thread", [False, True])
def test_stopped_it_ends_well_and_leaves_a_checkpoint(events: Path, clock: Clock, thread: bool) -> None:
    events.write_text(WON + "\n")
    stop = _StopAfter(looks=3)
    options = Options(events=events, listen="127.0.0.1:0", poll_seconds=0)
    codes: list[int] = []

    def start() -> None:
        codes.append(run(options, clock=clock, stop=stop))

    if thread:
        runner = threading.Thread(target=start)
        runner.start()
        runner.join(10)
    else:
        start()
    assert codes == [0]
    assert events.with_name("events.jsonl.rollguard-checkpoint").exists()


class _StopAfter(threading.Event):
    """Set after it was asked a few times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0 or super().is_set()
