from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollguard.exporters.sources.interface import Block
from rollguard.exporters.sources.lines import LineFile, Position


def drain(source: LineFile) -> tuple[list[bytes], int]:
    """Everything there is, and how many lines were too long; ends where two looks bring nothing."""
    lines: list[bytes] = []
    too_long = 0
    while True:
        before = source.position
        block, _ = source.read()
        lines += block.lines.splitlines()
        too_long += block.too_long
        if source.position == before:
            return lines, too_long


def append(path: Path, text: bytes) -> None:
    with path.open("ab") as file:
        file.write(text)


def restarted(source: LineFile) -> LineFile:
    """The source of a new process that was given the checkpoint's position, by way of its JSON."""
    source.close()
    position = msgspec.json.decode(msgspec.json.encode(source.position), type=Position | None)
    return LineFile(source.path, position)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def source(path: Path) -> LineFile:
    return LineFile(path)


def test_a_missing_file_is_waited_for(source: LineFile, path: Path) -> None:
    assert drain(source) == ([], 0)
    assert not source.present
    append(path, b"a\n")
    assert drain(source) == ([b"a"], 0)
    assert source.present


def test_lines_come_once(source: LineFile, path: Path) -> None:
    append(path, b"a\nb\n")
    assert drain(source) == ([b"a", b"b"], 0)
    append(path, b"c\n")
    assert drain(source) == ([b"c"], 0)


def test_a_partial_line_waits_for_its_end(source: LineFile, path: Path) -> None:
    append(path, b"a\nhalf")
    assert drain(source) == ([b"a"], 0)
    assert source.lag_bytes() == 4
    append(path, b" and half\n")
    assert drain(source) == ([b"half and half"], 0)
    assert source.lag_bytes() == 0


def test_a_file_that_grows_at_every_look_is_read_to_its_end_all_the_same(path: Path) -> None:
    append(path, b"line\n" * 200_000)
    source = LineFile(path)
    assert [source.read()[1] for _ in range(2)] == [False, True]
    for _ in range(3):
        append(path, b"new\n")
        assert source.read() == (Block(b"new\n"), True)


def test_a_renamed_file_is_finished_before_the_new_one(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    append(path, b"b\n")
    path.rename(path.with_name("events.jsonl.1"))
    append(path, b"c\n")
    assert drain(source) == ([b"b", b"c"], 0)


def test_the_old_file_is_followed_until_the_new_one_has_lines(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    old = path.rename(path.with_name("events.jsonl.1"))
    path.touch()
    append(old, b"written before the writer reopened\n")
    assert drain(source) == ([b"written before the writer reopened"], 0)
    append(old, b"and one more\n")
    append(path, b"b\n")
    assert drain(source) == ([b"and one more", b"b"], 0)


def test_a_rotated_file_s_last_line_needs_no_line_feed(source: LineFile, path: Path) -> None:
    append(path, b"a\nb")
    drain(source)
    path.rename(path.with_name("events.jsonl.1"))
    append(path, b"c\n")
    assert drain(source) == ([b"b", b"c"], 0)


def test_a_truncated_file_is_read_from_its_start(source: LineFile, path: Path) -> None:
    append(path, b"first\nsecond\n")
    drain(source)
    path.write_bytes(b"third\n")
    assert drain(source) == ([b"third"], 0)


def test_a_truncated_file_that_outgrew_the_old_one_is_noticed_by_its_text(
    source: LineFile, path: Path
) -> None:
    append(path, b"first\n")
    drain(source)
    path.write_bytes(b"second\nthird\n")
    assert drain(source) == ([b"second", b"third"], 0)


def test_lag_counts_the_new_file_too(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    assert source.lag_bytes() == 2
    drain(source)
    append(path, b"b\n")
    path.rename(path.with_name("events.jsonl.1"))
    append(path, b"ccc\n")
    assert source.lag_bytes() == 6


@pytest.mark.parametrize("length", [10, 11, 12, 25, 100])
def test_a_line_that_is_too_long_is_counted_once_and_passed_over(path: Path, length: int) -> None:
    source = LineFile(path, max_line_bytes=10)
    append(path, b"a\n" + b"x" * length + b"\nb\n")
    kept = [b"x" * length] if length <= 10 else []
    assert drain(source) == ([b"a", *kept, b"b"], length > 10)


def test_a_restart_in_the_middle_of_a_long_line_does_not_take_its_tail_for_a_line(path: Path) -> None:
    source = LineFile(path, max_line_bytes=10)
    append(path, b"a\n" + b"x" * 30)
    assert drain(source) == ([b"a"], 1)
    source = restarted(source)
    append(path, b"tail\nb\n")
    assert drain(source) == ([b"b"], 0)


def test_a_giant_line_is_not_held_in_memory(source: LineFile, path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(100 << 20)
    append(path, b"\nb\n")
    tracemalloc.start()
    assert drain(source) == ([b"b"], 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_restart_goes_on_where_it_was(source: LineFile, path: Path) -> None:
    append(path, b"a\nb\n")
    drain(source)
    append(path, b"c\n")
    assert drain(restarted(source)) == ([b"c"], 0)


def test_a_restart_finds_the_file_that_was_rotated_meanwhile(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    source.close()
    append(path, b"b\n")
    path.rename(path.with_name("events.jsonl-20261121"))
    path.with_name("events.jsonl.old").write_bytes(b"not this one\n")
    append(path, b"c\n")
    assert drain(restarted(source)) == ([b"b", b"c"], 0)


def test_a_restart_between_two_files_begins_with_the_new_one_wherever_it_went(
    source: LineFile, path: Path
) -> None:
    append(path, b"a\n")
    drain(source)
    path.rename(path.with_name("events.jsonl.1"))
    append(path, b"b\n")
    assert source.read() == ((b"", 0), False)
    source.close()
    path.rename(path.with_name("events.jsonl.2"))
    append(path, b"c\n")
    assert drain(restarted(source)) == ([b"b", b"c"], 0)


def test_a_restart_after_truncation_begins_at_the_start_and_says_what_is_lost(
    source: LineFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(path, b"first\n")
    drain(source)
    source.close()
    path.write_bytes(b"b\n")
    assert drain(restarted(source)) == ([b"b"], 0)
    assert "gone or changed" in caplog.text


def test_a_restart_finds_the_copy_of_a_file_that_was_truncated_meanwhile(
    source: LineFile, path: Path
) -> None:
    append(path, b"first\n")
    drain(source)
    source.close()
    append(path, b"second\n")
    path.with_name("events.jsonl.1").write_bytes(path.read_bytes())
    path.with_name("events.jsonl.d").mkdir()
    path.write_bytes(b"third, and more than there was\n")
    assert drain(restarted(source)) == ([b"second", b"third, and more than there was"], 0)


def test_a_file_system_that_renumbers_its_files_repeats_no_line(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    source.close()
    path.write_bytes((old := path.rename(path.with_name("aside"))).read_bytes() + b"b\n")
    assert path.stat().st_ino != old.stat().st_ino
    assert drain(restarted(source)) == ([b"b"], 0)


def test_a_file_that_cannot_be_read_for_a_while_after_a_restart_is_not_given_up(
    source: LineFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, b"a\n")
    drain(source)
    append(path, b"b\n")
    after = restarted(source)
    with monkeypatch.context() as trouble:
        trouble.setattr("rollguard.exporters.sources.lines.os.open", _refuse)
        assert not after.read()[1]
    assert drain(after) == ([b"b"], 0)


def test_an_inode_used_again_by_another_file_is_not_taken_for_the_old_one(
    source: LineFile, path: Path
) -> None:
    append(path, b"first\n")
    drain(source)
    source.close()
    with path.open("r+b") as file:  # the same inode, other content, no shorter
        file.write(b"other\nlines\n")
    assert drain(restarted(source)) == ([b"other", b"lines"], 0)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_said_once_and_tried_again(
    source: LineFile, path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    for _ in range(3):
        assert not source.read()[1]
    assert not source.present
    assert caplog.text.count("cannot be read") == 1
    path.rmdir() if kind == "folder" else path.unlink()
    append(path, b"a\n")
    assert drain(source) == ([b"a"], 0)


def test_trouble_on_the_way_loses_no_position(
    source: LineFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(path, b"a\n")
    drain(source)
    append(path, b"b\n")
    with monkeypatch.context() as trouble:
        trouble.setattr("rollguard.exporters.sources.lines.os.pread", _refuse)
        assert source.read() == ((b"", 0), False)
        assert not source.present
    assert drain(source) == ([b"b"], 0)


def test_a_file_that_was_deleted_is_no_longer_present(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    path.unlink()
    drain(source)
    assert not source.present


def rotate(path: Path, pack: str = "") -> None:
    """Rename as logrotate does: the newest is always .1."""
    rotated = {int(name.name.split(".")[2]): name for name in path.parent.glob("events.jsonl.*")}
    for number in sorted(rotated, reverse=True):
        rotated[number].rename(f"{path}.{number + 1}{''.join(rotated[number].suffixes[2:])}")
    path.rename(f"{path}.1")
    if pack:
        packed(path.with_name("events.jsonl.1"), pack)


def packed(path: Path, suffix: str, *, keep_time: bool = True) -> Path:
    """Compress a file, and keep its time as every such tool does."""
    status = path.stat()
    into = path.with_name(path.name + suffix)
    pack: Any = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[suffix]
    into.write_bytes(pack(path.read_bytes()))
    if keep_time:
        os.utime(into, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return into


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz"])
@pytest.mark.parametrize("down", [True, False])
def test_rotated_twice_between_two_looks_it_reads_both(
    source: LineFile, path: Path, suffix: str, down: bool
) -> None:
    append(path, b"a\n")
    drain(source)
    append(path, b"b\n")
    if down:
        source.close()
    for line in (b"c\n", b"d\nhalf", b"e\n"):
        rotate(path, suffix)
        append(path, line)
    assert source.lag_bytes() >= (2 if down else 5)
    assert drain(restarted(source) if down else source) == ([b"b", b"c", b"d", b"half", b"e"], 0)


def test_dated_names_are_in_order_too(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    os.utime(path, ns=(0, 10**18))
    drain(source)
    for number in (1, 2, 3):
        path.rename(f"{path}-2026112{number}")
        append(path, b"%d\n" % number)
        os.utime(path, ns=(0, 10**18))
    assert drain(restarted(source)) == ([b"1", b"2", b"3"], 0)


def test_what_was_rotated_before_the_first_look_is_not_read(source: LineFile, path: Path) -> None:
    append(path, b"old\n")
    rotate(path)
    append(path, b"a\n")
    assert drain(source) == ([b"a"], 0)


def test_where_the_file_read_last_is_gone_the_later_ones_are_read_and_it_is_said(
    source: LineFile, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    append(path, b"a\n")
    drain(source)
    source.close()
    status = path.stat()
    rotate(path)
    path.with_name("events.jsonl.1").unlink()
    for line in (b"b\n", b"c\n"):
        append(path, line)
        os.utime(path, ns=(0, status.st_mtime_ns + 10**9))
        if line == b"b\n":
            rotate(path)
    assert drain(restarted(source)) == ([b"b", b"c"], 0)
    assert "what it held since is lost" in caplog.text


def test_what_was_written_before_a_truncation_is_read_from_the_copy(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    append(path, b"b\n")
    path.with_name("events.jsonl.1").write_bytes(path.read_bytes())
    path.write_bytes(b"c\n")
    assert drain(source) == ([b"b", b"c"], 0)


@pytest.mark.parametrize("keep_time", [True, False])
def test_a_file_that_is_packed_while_it_is_open_is_not_read_twice(
    source: LineFile, path: Path, keep_time: bool
) -> None:
    append(path, b"a\nb\n")
    drain(source)
    rotate(path)
    into = packed(path.with_name("events.jsonl.1"), ".gz", keep_time=keep_time)
    if not keep_time:
        os.utime(into, ns=(0, 10**19))
    assert drain(source) == ([], 0)
    append(path, b"c\n")
    assert drain(source) == ([b"c"], 0)


def test_a_broken_archive_ends_where_it_breaks(source: LineFile, path: Path) -> None:
    append(path, b"a\n")
    drain(source)
    rotate(path)
    append(path, b"".join(b"line %d %d\n" % (number, number * 7919) for number in range(100_000)))
    rotate(path, ".gz")
    archive = path.with_name("events.jsonl.1.gz")
    archive.write_bytes(archive.read_bytes()[:-1000])
    append(path, b"z\n")
    lines, _ = drain(source)
    assert lines[0] == b"line 0 0"
    assert 50_000 < len(lines) < 100_000
    assert lines[-1] == b"z"


def test_files_that_begin_alike_are_told_apart(source: LineFile, path: Path) -> None:
    banner = b"#" * 300 + b"\n"
    append(path, banner + b"a\n")
    drain(source)
    source.close()
    append(path, b"b\n")
    rotate(path, ".gz")
    append(path, banner + b"c\n")
    rotate(path, ".gz")
    append(path, banner + b"d\n")
    assert drain(restarted(source)) == ([b"b", banner[:-1], b"c", banner[:-1], b"d"], 0)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 5)),
        st.tuples(st.sampled_from(["look", "rotate", "pack", "half", "restart"]), st.just(0)),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_whatever_happens_every_line_comes_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    path = tmp_path_factory.mktemp("source") / "events.jsonl"
    append(path, b"line 0\n")  # of a file that was seen without a line, nothing tells it from another
    source, written, half = LineFile(path), 1, b""
    seen = source.read()[0].lines.splitlines()
    for step, number in [*steps, ("write", 1)]:
        if step == "write":
            append(path, b"".join(b"line %d\n" % (written + i) for i in range(number))[len(half) :])
            written, half = written + number, b""
        elif step == "half" and not half:
            half = b"line %d" % written
            append(path, half)
        elif step == "rotate" and path.exists() and path.stat().st_size and not half:
            rotate(path)
        elif step == "pack" and (last := path.with_name("events.jsonl.1")).exists():
            packed(last, ".gz")
        elif step == "restart":
            source = restarted(source)
        elif step == "look":
            seen += source.read()[0].lines.splitlines()
    seen += drain(source)[0]
    source.close()
    assert seen == [b"line %d" % i for i in range(written)]


def _refuse(*_: object) -> bytes:
    raise OSError(5, "Input/output error")
