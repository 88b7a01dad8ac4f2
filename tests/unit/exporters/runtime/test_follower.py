from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rollguard.exporters.exposition.families import Family, single
from rollguard.exporters.measures.accumulators import Counter
from rollguard.exporters.runtime.checkpoint import CheckpointFile
from rollguard.exporters.runtime.follower import Follower, Input
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block
from rollguard.metric import Metric

if TYPE_CHECKING:
    from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples

LINES = Metric("lines_total", "counter", "Lines.")
WORDS = Metric("words_total", "counter", "Words.", ("word",))
ASKED_AT = Metric("asked_at", "gauge", "The window's end.")


class Lines:
    """An exporter that counts lines."""

    name, title, version = "lines", "lines", 1
    newest: float | None = None

    def __init__(self, source: FileSource) -> None:
        self.source = source
        self.count = 0
        self.words = Counter(WORDS, max_labels=2)

    def inputs(self) -> tuple[Input[Block]]:
        return (Input(self.source, self.feed),)

    def feed(self, block: Block) -> None:
        self.count += block.lines.count(b"\n")
        for word in block.lines.decode().split():
            self.words.add(word)

    def families(self, end: float) -> Iterator[Family]:
        yield single(LINES, self.count)
        yield self.words.family(end)
        yield single(ASKED_AT, end)

    def save(self) -> bytes:
        return str(self.count).encode()

    def restore(self, state: bytes) -> None:
        self.count = int(state)


class Process:
    """A follower of `events` whose memory ends with it; `kill` takes it away without a word."""

    def __init__(self, folder: Path, clock: Time) -> None:
        self.source = FileSource(folder / "events", poll_seconds=0)
        self.measures = Lines(self.source)
        self.file = CheckpointFile(folder / "checkpoint", "lines", 1)
        self.follower = Follower(self.measures, self.file, clock=clock, timer=clock)

    def step(self) -> bool:
        return self.follower.step(self.follower.inputs[0])

    def read(self) -> int:
        while self.step():
            pass
        return self.measures.count

    def kill(self) -> None:
        self.source.close()


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "events"


def write(path: Path, lines: int) -> None:
    with path.open("a") as file:
        file.writelines(f"line {number} of some length\n" for number in range(lines))


def start(tmp_path: Path, clock: Time) -> Process:
    return Process(tmp_path, clock)


def test_killed_before_its_checkpoint_it_counts_again_from_the_one_before(
    events: Path, tmp_path: Path, clock: Time
) -> None:
    write(events, 10)
    first = start(tmp_path, clock)
    assert first.read() == 10
    write(events, 5)
    assert first.read() == 15  # no second has passed: this is in no checkpoint
    first.kill()
    second = start(tmp_path, clock)
    assert second.measures.count < 15
    assert second.read() == 15


def test_a_checkpoint_is_written_at_most_once_a_second(events: Path, tmp_path: Path, clock: Time) -> None:
    process = start(tmp_path, clock)
    write(events, 1)
    process.read()
    made = process.file.path.stat().st_mtime_ns, process.file.path.read_bytes()
    write(events, 1)
    process.read()
    assert (process.file.path.stat().st_mtime_ns, process.file.path.read_bytes()) == made
    clock.now += 1
    process.step()
    assert process.file.path.read_bytes() != made[1]


def test_a_rotation_is_saved_at_once(events: Path, tmp_path: Path, clock: Time) -> None:
    process = start(tmp_path, clock)
    write(events, 1)
    process.read()
    events.rename(tmp_path / "events.1")
    write(events, 2)
    process.read()
    process.kill()
    events.rename(tmp_path / "events.2")
    write(events, 4)
    assert start(tmp_path, clock).read() == 7


def test_nothing_new_writes_nothing(events: Path, tmp_path: Path, clock: Time) -> None:
    write(events, 1)
    process = start(tmp_path, clock)
    process.read()
    clock.now += 1
    process.step()
    process.file.path.unlink()
    clock.now += 1
    process.step()
    assert not process.file.path.exists()


def test_a_clean_end_saves_everything(events: Path, tmp_path: Path, clock: Time) -> None:
    write(events, 3)
    first = start(tmp_path, clock)
    first.read()
    write(events, 4)
    first.read()
    first.follower.close()
    assert start(tmp_path, clock).measures.count == 7


def test_until_the_end_of_the_file_is_reached_it_is_behind(events: Path, tmp_path: Path, clock: Time) -> None:
    write(events, 100_000)
    process = start(tmp_path, clock)
    assert str(events) in process.follower.behind()
    assert process.step()
    assert f"{process.source.lag():.0f} bytes to read" in process.follower.behind()
    process.read()
    assert process.follower.behind() == ""
    write(events, 1)
    assert process.follower.behind() == ""


def test_a_file_that_is_not_there_yet_keeps_nobody_waiting(tmp_path: Path, clock: Time) -> None:
    process = start(tmp_path, clock)
    process.read()
    assert process.follower.behind() == ""


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(
    events: Path, tmp_path: Path, clock: Time
) -> None:
    events.mkdir()
    process = start(tmp_path, clock)
    process.read()
    assert process.follower.behind()


def test_a_checkpoint_of_another_form_begins_again(
    events: Path, tmp_path: Path, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    write(events, 3)
    first = start(tmp_path, clock)
    first.read()
    first.file.save(1, {"events": None}, b'"no number"')
    first.kill()
    second = start(tmp_path, clock)
    assert second.read() == 3
    assert "counters start again" in caplog.text


def test_it_shows_how_long_ago_it_read_to_the_end(
    events: Path, tmp_path: Path, clock: Time, samples: Samples
) -> None:
    def lag() -> float:
        return samples(process.follower.families())['rollguard_exporter_lag_seconds{source="events"}']

    process = start(tmp_path, clock)
    process.read()
    clock.now += 5
    assert lag() == 5  # no file: the time since the start
    write(events, 1)
    process.read()
    assert lag() == 0
    clock.now += 40
    assert lag() == 40  # it hangs
    process.read()
    assert lag() == 0  # a quiet file is not stale
    events.unlink()
    process.read()
    clock.now += 7
    process.read()
    assert lag() == 7  # nobody can read what is gone


def test_it_shows_its_own_health(events: Path, tmp_path: Path, clock: Time, samples: Samples) -> None:
    process = start(tmp_path, clock)
    process.read()
    found = samples(process.follower.families())
    assert found['rollguard_exporter_up{source="events"}'] == 0
    assert found["asked_at"] == clock.now
    assert "rollguard_exporter_checkpoint_timestamp_seconds" not in found
    write(events, 2)
    process.read()
    with events.open("a") as file:
        file.write("half a line")
    process.read()
    found = samples(process.follower.families())
    assert found['rollguard_exporter_up{source="events"}'] == 1
    assert found["lines_total"] == 2
    assert found['rollguard_exporter_lag_bytes{source="events"}'] == len("half a line")
    assert found["rollguard_exporter_checkpoint_timestamp_seconds"] == clock.now
    assert 0 <= found["rollguard_exporter_scrape_duration_seconds"] < 1


def test_it_shows_how_much_has_no_series_of_its_own(
    events: Path, tmp_path: Path, clock: Time, samples: Samples
) -> None:
    process = start(tmp_path, clock)
    process.read()
    name = 'rollguard_exporter_label_overflow_total{metric="words_total"}'
    assert samples(process.follower.families())[name] == 0
    write(events, 3)  # line 0 of some length: two words have their own
    process.read()
    found = samples(process.follower.families())
    assert found[name] == 11
    assert found['words_total{word="other"}'] == 11


def test_it_tells_people_how_it_goes(events: Path, tmp_path: Path, clock: Time) -> None:
    process = start(tmp_path, clock)
    process.read()
    told = list(process.follower.status())
    assert told[0].startswith(f"events: {events} cannot be read")
    assert told[1:] == ["newest event: none yet", "checkpoint: none yet"]
    write(events, 1)
    process.measures.newest = clock.now - 7
    process.read()
    clock.now += 1
    told = list(process.follower.status())
    assert told == [
        f"events: {events} is read, 0 bytes behind",
        "newest event: 8 s ago",
        "checkpoint: 1 s ago",
    ]
