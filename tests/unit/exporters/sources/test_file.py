from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rollguard.exporters.sources.file import FileSource


def drain(source: FileSource) -> list[bytes]:
    """Every line that is there; the position's JSON is the checkpoint."""
    lines: list[bytes] = []
    while True:
        reading = source.read()
        if reading.records is not None:
            lines += reading.records.lines.splitlines()
        if reading.at_end:
            return sorted(lines)


def restarted(source: FileSource) -> FileSource:
    position = msgspec.Raw(msgspec.json.encode(source.read().position))
    source.close()
    after = FileSource(str(source))
    after.resume(position)
    return after


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.fixture
def logs(tmp_path: Path) -> FileSource:
    return FileSource(tmp_path / "worker-*.log")


def test_a_pattern_without_files_is_waited_for(logs: FileSource, tmp_path: Path) -> None:
    assert drain(logs) == []
    assert not logs.up
    append(tmp_path / "worker-1.log", "a\n")
    assert drain(logs) == [b"a"]
    assert logs.up


def test_every_file_is_read_and_new_ones_are_taken_up(logs: FileSource, tmp_path: Path) -> None:
    append(tmp_path / "worker-1.log", "a\n")
    append(tmp_path / "worker-2.log", "b\nhalf")
    append(tmp_path / "other.log", "nothing\n")
    assert drain(logs) == [b"a", b"b"]
    append(tmp_path / "worker-3.log", "c\n")
    append(tmp_path / "worker-1.log", "d\n")
    assert logs.lag() == 6
    assert drain(logs) == [b"c", b"d"]


def test_a_restart_goes_on_in_each_of_them(logs: FileSource, tmp_path: Path) -> None:
    for name in "12":
        append(tmp_path / f"worker-{name}.log", "a\n")
    drain(logs)
    after = restarted(logs)
    append(tmp_path / "worker-1.log", "b\n")
    (tmp_path / "worker-2.log").rename(tmp_path / "worker-2.log.1")
    append(tmp_path / "worker-2.log.1", "c\n")
    append(tmp_path / "worker-2.log", "d\n")
    append(tmp_path / "worker-3.log", "e\n")
    assert drain(after) == [b"b", b"c", b"d", b"e"]


def test_what_a_wide_pattern_finds_of_rotated_files_is_not_read_as_files_of_their_own(tmp_path: Path) -> None:
    source = FileSource(tmp_path / "worker*")
    append(tmp_path / "worker.log", "a\n")
    append(tmp_path / "worker.log.1", "before\n")
    append(tmp_path / "worker.log-20261121.gz", "before\n")
    assert drain(source) == [b"a"]


def test_files_that_are_deleted_are_let_go_of(logs: FileSource, tmp_path: Path) -> None:
    for number in range(20):
        path = tmp_path / f"worker-{number}.log"
        append(path, "a\n")
        drain(logs)
        path.unlink()
        drain(logs)
    append(tmp_path / "worker-x.log", "a\n")
    assert drain(logs) == [b"a"]
    assert msgspec.to_builtins(logs.read().position)["files"].keys() == {str(tmp_path / "worker-x.log")}


def test_files_that_grow_at_every_look_are_read_to_their_end_all_the_same(
    logs: FileSource, tmp_path: Path
) -> None:
    found = []
    for _ in range(3):
        for name in ("worker-1.log", "worker-2.log"):
            with (tmp_path / name).open("ab") as file:
                file.write(b"line\n")
        found.append(logs.read().at_end)
    assert found == [False, True, True]


def test_no_file_keeps_another_waiting(logs: FileSource, tmp_path: Path) -> None:
    append(tmp_path / "worker-1.log", "long\n" * 1_000_000)
    append(tmp_path / "worker-2.log", "short\n")
    looks = [logs.read().records for _ in range(2)]
    assert any(look is not None and b"short" in look.lines for look in looks)
    logs.close()


def test_last_lines_without_their_line_feed_are_taken_at_the_very_end(
    logs: FileSource, tmp_path: Path
) -> None:
    for name in "12":
        append(tmp_path / f"worker-{name}.log", f"a\n{name}")
    drain(logs)
    rest = logs.rest()
    assert rest is not None
    assert rest.lines.splitlines() == [b"1", b"2"]
    assert logs.rest() is None
