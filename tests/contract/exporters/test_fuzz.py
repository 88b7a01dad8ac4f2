"""No bytes from outside raise what is not foreseen: files, archives, checkpoints, addresses, references."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollguard.errors import RollguardError
from rollguard.exporters.canary.exporter import CanaryMeasures
from rollguard.exporters.exposition.text import Exposition
from rollguard.exporters.features.declaration import load_declaration, shipped_declaration
from rollguard.exporters.features.exporter import Features
from rollguard.exporters.forecast.exporter import Forecast
from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.runtime.checkpoint import CheckpointFile
from rollguard.exporters.screener.baseline import ScreenerBaseline
from rollguard.exporters.screener.exporter import Screener
from rollguard.exporters.sources.file import FileSource
from rollguard.exporters.sources.interface import Block, Source
from rollguard.exporters.sources.lines import LineFile
from rollguard.exporters.sources.redis_stream import RedisStreamSource
from rollguard.exporters.sources.redis_url import StreamAddress
from rollguard.exporters.sources.sql import DatabaseError, Query, SqlSource
from rollguard.exporters.validation.exporter import Validation

DATA = Path(__file__).parents[2] / "data"
NOW = 1763719500.0
NOWHERE = FileSource("nowhere")
STREAM = "redis://127.0.0.1:1/0?stream=events"

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
values = st.recursive(
    scalars,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=10), inside, max_size=3),
    max_leaves=8,
)


# Archives


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
@in_one_folder
@given(data=st.data())
def test_a_damaged_archive_gives_some_of_its_lines_and_the_ones_after_it(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], data: st.DataObject
) -> None:
    path, packed = tmp_path / "events", bytearray(pack(b"line\n" * 200))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place : place + data.draw(st.integers(1, 8))] = data.draw(st.binary(max_size=8))
    for old in tmp_path.iterdir():
        old.unlink()
    path.write_bytes(b"before\n")
    source = LineFile(path)
    lines, at_end = source.read()[0].lines, False
    path.rename(tmp_path / "events.2")
    (tmp_path / f"events.1.{suffix}").write_bytes(packed)
    path.write_bytes(b"after\n")
    while not at_end:
        block, at_end = source.read()
        lines += block.lines
    source.close()
    assert lines.startswith(b"before\n")
    assert lines.endswith(b"after\n")


# Checkpoints


@in_one_folder
@given(content=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_no_content_of_a_checkpoint_raises(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    assert CheckpointFile(path, "canary", 1).load() is None


SOURCES: dict[str, tuple[Callable[[Path], Source[Any]], object]] = {
    "file": (
        lambda folder: FileSource(folder / "events"),
        {"files": {"FILE": {"inode": 0, "offset": 3, "head": "YQpiCg==", "tail": "YQpi", "modified": 7}}},
    ),
    "stream": (
        lambda _: RedisStreamSource(STREAM),
        {"last": [1, 2], "unacknowledged": [[[1, 0], [1, 2]]]},
    ),
    "table": (
        lambda _: SqlSource("sqlite:///nowhere.db", [Query("new", "SELECT 1 AS id", cursor="id")]),
        {"after": {"new": 3}},
    ),
}


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """The same but for one thing in it."""
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return value | {key: draw(changed(value[key]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], draw(changed(value[place])), *value[place + 1 :]]
    return draw(values)


@pytest.mark.parametrize("name", SOURCES)
@in_one_folder
@given(data=st.data())
def test_a_position_is_taken_or_refused(tmp_path: Path, name: str, data: st.DataObject) -> None:
    (tmp_path / "events").write_bytes(b"a\nb\nc\n")
    make, position = SOURCES[name]
    source = make(tmp_path)
    text = json.dumps(data.draw(changed(position))).replace("FILE", str(tmp_path / "events"))
    try:
        source.resume(msgspec.Raw(text.encode()))
    except ValueError:
        return
    source.read()
    source.lag()
    assert source.up == (name == "file")
    source.close()


EXPORTERS: dict[str, Callable[[], Any]] = {
    "canary": lambda: CanaryMeasures(
        NOWHERE, window_seconds=1800.0, reference=None, min_sample=300, clock=lambda: NOW
    ),
    "validation": lambda: Validation(NOWHERE, lambda: NOW),
    "features": lambda: Features(NOWHERE, shipped_declaration(), lambda: NOW),
    "screener": lambda: Screener("nowhere", database="sqlite:///nowhere.db", clock=lambda: NOW),
    "forecast": lambda: Forecast("sqlite:///nowhere.db", log="nowhere", clock=lambda: NOW),
}
SAMPLES = {"canary": "canary.jsonl", "validation": "validation.jsonl", "features": "features.jsonl"}


def fed(name: str) -> Any:
    exporter = EXPORTERS[name]()
    if name in SAMPLES:
        exporter.feed(Block((DATA / SAMPLES[name]).read_bytes()))
    elif name == "screener":
        exporter.feed_log(Block((DATA / "screener.log").read_bytes()))
    return exporter


STATES = {name: json.loads(fed(name).save()) for name in EXPORTERS}


@pytest.mark.parametrize("name", EXPORTERS)
@given(data=st.data())
def test_a_state_is_taken_or_refused_and_what_follows_works(name: str, data: st.DataObject) -> None:
    exporter = EXPORTERS[name]()
    with suppress(ValueError):
        exporter.restore(json.dumps(data.draw(changed(STATES[name]))).encode())
    if name in SAMPLES:
        exporter.feed(Block((DATA / SAMPLES[name]).read_bytes()))
    Exposition().text(exporter.families(NOW))
    exporter.save()


# What people write


OPTIONS = st.sampled_from(
    ["db", "protocol", "socket_timeout", "health_check_interval", "x", "port", "client_name"]
)


@given(
    rest=st.text(max_size=60)
    | st.builds(
        "127.0.0.1:1/{}?stream=events&{}={}".format, st.text(max_size=3), OPTIONS, st.text(max_size=5)
    )
)
def test_an_address_of_a_stream_is_read_or_refused(rest: str) -> None:
    try:
        address = StreamAddress.parse(f"redis://{rest}")
        RedisStreamSource(f"redis://{rest}").close()
    except RollguardError:
        return
    assert str(address).startswith("redis://")


@settings(max_examples=50)
@given(text=st.text(max_size=60) | st.text(max_size=30).map(lambda rest: f"sqlite://{rest}"))
def test_an_address_of_a_database_is_read_or_refused(text: str) -> None:
    with suppress(DatabaseError):
        str(SqlSource(text, []))


LOADERS: dict[str, Callable[[Path], object]] = {
    "reference": Reference.load,
    "baseline": ScreenerBaseline.load,
    "declaration": load_declaration,
}


@pytest.mark.parametrize("name", LOADERS)
@in_one_folder
@given(content=st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()))
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(RollguardError):
        LOADERS[name](path)


REFERENCE = {
    "version": 1,
    "made_at": 0.0,
    "source": "a test",
    "rows": 600,
    "features": {"spread": {"edges": [0.5, 1.0], "counts": [200, 200, 200]}},
    "window": [0.0, 1.0],
}


@in_one_folder
@given(found=changed(REFERENCE))
def test_a_changed_reference_is_refused_or_can_be_measured_against(tmp_path: Path, found: Any) -> None:
    path = tmp_path / "reference.json"
    path.write_text(json.dumps(found))
    try:
        reference = Reference.load(path)
    except RollguardError:
        return
    exporter = CanaryMeasures(
        NOWHERE, window_seconds=1800.0, reference=reference, min_sample=1, clock=lambda: NOW
    )
    exporter.feed(Block((DATA / "canary.jsonl").read_bytes()))
    Exposition().text(exporter.families(NOW))
