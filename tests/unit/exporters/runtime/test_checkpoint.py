from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from rollguard.exporters.runtime.checkpoint import CheckpointFile
from rollguard.exporters.sources.lines import Position

POSITION = Position(2, 300, b"\xff\x00head", skipping=True)


@pytest.fixture
def file(tmp_path: Path) -> CheckpointFile:
    return CheckpointFile(tmp_path / "events.rollguard-checkpoint", "canary", 3)


@pytest.mark.parametrize("position", [POSITION, None])
def test_it_comes_back_as_it_was(file: CheckpointFile, position: Position | None) -> None:
    assert file.save(12.5, {"events": position}, b'{"a":[1]}')
    found = file.load()
    assert found is not None
    assert found.made_at == 12.5
    assert msgspec.json.decode(found.positions["events"], type=Position | None) == position
    assert msgspec.json.decode(found.state) == {"a": [1]}


def test_a_later_one_replaces_it_and_leaves_nothing_beside_it(file: CheckpointFile) -> None:
    file.save(1, {}, b"1")
    file.save(2, {}, b"2")
    found = file.load()
    assert found is not None
    assert found.made_at == 2
    assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]


def test_none_there_is_no_warning(file: CheckpointFile, caplog: pytest.LogCaptureFixture) -> None:
    assert file.load() is None
    assert not caplog.records


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff", b'{"exporter":"canary","version":3}'])
def test_a_broken_one_is_not_used_and_said(
    file: CheckpointFile, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.path.write_bytes(text)
    assert file.load() is None
    assert "checkpoint not used" in caplog.text


@pytest.mark.parametrize(("exporter", "version"), [("canary", 2), ("canary", 4), ("other", 3)])
def test_another_version_s_or_another_exporter_s_is_not_used(
    file: CheckpointFile, exporter: str, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    CheckpointFile(file.path, exporter, version).save(1, {}, b"1")
    assert file.load() is None
    assert f"{exporter}'s, version {version}" in caplog.text


def test_one_that_cannot_be_written_is_said_once_and_the_last_one_stands(
    file: CheckpointFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.save(1, {}, b"1")
    file.path.with_name(file.path.name + ".tmp").mkdir()
    assert not file.save(2, {}, b"2")
    assert not file.save(3, {}, b"3")
    assert caplog.text.count("no checkpoint can be written") == 1
    found = file.load()
    assert found is not None
    assert found.made_at == 1
