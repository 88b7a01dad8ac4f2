from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rollguard.exporters.canary.events import Event
from rollguard.exporters.runtime.decoding import REASONS
from rollguard.exporters.runtime.intake import Intake, IntakeState
from rollguard.exporters.sources.interface import Block

if TYPE_CHECKING:
    from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples

WINDOW = 600.0


@pytest.fixture
def intake(clock: Time) -> Intake[Event]:
    return Intake(Event, WINDOW, clock, timer=clock)


def take(intake: Intake[Event], *times: float) -> list[tuple[float, bool]]:
    lines = b"".join(b'{"event":"parity","ts":%.3f,"ok":true}\n' % ts for ts in times)
    return [(event.ts, late) for event, late in intake.take(Block(lines))]


def test_counters_begin_at_zero(intake: Intake[Event], samples: Samples) -> None:
    found = samples(intake.families())
    assert found['rollguard_exporter_events_total{event="parity"}'] == 0
    for reason in REASONS:
        assert found[f'rollguard_exporter_events_rejected_total{{reason="{reason}"}}'] == 0


def test_events_are_counted_by_kind(intake: Intake[Event], clock: Time, samples: Samples) -> None:
    take(intake, clock.now, clock.now - 1)
    found = samples(intake.families())
    assert found['rollguard_exporter_events_total{event="parity"}'] == 2
    assert intake.state.newest == clock.now


def test_a_clock_a_minute_ahead_is_believed_and_one_a_millisecond_more_is_not(
    intake: Intake[Event], clock: Time
) -> None:
    ahead = clock.now + 60
    assert take(intake, ahead, ahead + 0.001) == [(ahead, False)]
    assert intake.state.rejected["future"] == 1
    assert intake.state.newest == ahead


def test_milliseconds_for_seconds_are_guessed(
    intake: Intake[Event], clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    assert take(intake, clock.now * 1000) == []
    assert "is it in milliseconds?" in caplog.text


def test_an_event_is_late_when_no_window_can_hold_it(intake: Intake[Event], clock: Time) -> None:
    edge = clock.now - WINDOW - 60
    assert take(intake, clock.now, edge, edge - 0.001) == [
        (clock.now, False),
        (edge, False),
        (edge - 0.001, True),
    ]
    assert intake.state.rejected["late"] == 1
    assert intake.state.events["parity"] == 3


def test_a_backlog_in_order_is_not_late_however_old(intake: Intake[Event], clock: Time) -> None:
    old = clock.now - 1_000_000
    assert take(intake, old, old + 1) == [(old, False), (old + 1, False)]


def test_what_the_source_passed_over_is_counted_and_logged_once(
    intake: Intake[Event], caplog: pytest.LogCaptureFixture
) -> None:
    list(intake.take(Block(b"{\n", too_long=1)))
    list(intake.take(Block(b"", too_long=1)))
    assert caplog.text.count("passed over (too_long): a line of over 1048576 bytes; more") == 1
    assert intake.state.rejected["too_long"] == 2
    assert intake.state.rejected["syntax"] == 1


def test_a_checkpoint_without_today_s_kinds_begins_them_at_zero(intake: Intake[Event]) -> None:
    intake.restore(IntakeState({"parity": 4}, {"shape": 2}, 9.0))
    assert intake.state.events["parity"] == 4
    assert intake.state.events["score"] == 0
    assert intake.state.rejected["shape"] == 2
    assert intake.state.rejected["late"] == 0


def test_a_clock_that_is_set_back_refuses_nothing(clock: Time, new_clock: type[Time]) -> None:
    steady = new_clock()
    intake: Intake[Event] = Intake(Event, WINDOW, clock, timer=steady)
    begin = clock.now
    clock.now -= 3600
    steady.now += 100
    assert take(intake, begin + 100) == [(begin + 100, False)]


def test_a_clock_that_was_ahead_makes_nothing_late_once_it_is_right(
    clock: Time, new_clock: type[Time]
) -> None:
    intake: Intake[Event] = Intake(Event, WINDOW, clock, timer=new_clock())
    begin = clock.now
    clock.now += 3600
    assert take(intake, begin + 3600) == [(begin + 3600, False)]
    clock.now = begin
    assert take(intake, begin) == [(begin, False)]
    assert intake.state.newest == begin + 60
