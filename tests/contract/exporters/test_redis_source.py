"""A stream as a source, on a real Redis."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import redis

from rollguard.exporters.sources.redis_stream import RedisStreamSource
from tests.servers import RedisServer

STREAM = "events"


class Reader:
    """One process after another that reads the stream; `disk` is its checkpoint."""

    def __init__(self, url: str, consumer: str = "rollguard") -> None:
        self.url = f"{url}?stream={STREAM}&consumer={consumer}"
        self.disk = msgspec.Raw(b"null")
        self.saved: list[bytes] = []
        self.restart()

    def restart(self) -> None:
        """What is not on disk is lost, as by kill -9."""
        self.source = RedisStreamSource(self.url, claim_seconds=0)
        self.source.resume(self.disk)
        self.lines = list(self.saved)

    def read(self) -> list[bytes]:
        """Everything there is."""
        while True:
            reading = self.source.read()
            if reading.records is not None:
                self.lines += reading.records.lines.splitlines()
            self.position = reading.position
            if reading.at_end or not self.source.up:
                return self.lines

    def save(self, *, acknowledge: bool = True) -> None:
        self.disk = msgspec.Raw(msgspec.json.encode(self.position))
        self.saved = list(self.lines)
        if acknowledge and self.position is not None:
            self.source.saved(self.position)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def write(client: redis.Redis, *values: str) -> None:
    for value in values:
        client.xadd(STREAM, {"data": value})


def pending(client: redis.Redis) -> int:
    return sum(group["pending"] for group in client.xinfo_groups(STREAM))


def test_a_stream_that_is_not_there_yet_is_waited_for(redis_url: str, client: redis.Redis) -> None:
    reader = Reader(redis_url)
    assert reader.read() == []
    write(client, "1", "2")
    assert reader.read() == [b"1", b"2"]
    assert reader.source.up


def test_what_was_there_before_the_group_is_read(redis_url: str, client: redis.Redis) -> None:
    write(client, *map(str, range(1000)))
    assert len(Reader(redis_url).read()) == 1000


def test_nothing_is_acknowledged_before_it_is_saved(redis_url: str, client: redis.Redis) -> None:
    write(client, "1", "2")
    reader = Reader(redis_url)
    reader.read()
    assert pending(client) == 2
    write(client, "3")
    reader.save()
    reader.read()
    assert pending(client) == 1  # the third is in no checkpoint
    reader.save()
    assert pending(client) == 0


def test_killed_before_the_checkpoint_it_reads_again(redis_url: str, client: redis.Redis) -> None:
    reader = Reader(redis_url)
    write(client, "1", "2")
    reader.read()
    reader.save()
    write(client, "3", "4")
    reader.read()
    reader.restart()
    write(client, "5")
    assert reader.read() == [b"1", b"2", b"3", b"4", b"5"]


def test_killed_between_checkpoint_and_acknowledgement_it_counts_nothing_twice(
    redis_url: str, client: redis.Redis
) -> None:
    reader = Reader(redis_url)
    write(client, "1", "2")
    reader.read()
    reader.save(acknowledge=False)
    write(client, "3")
    reader.restart()
    assert reader.read() == [b"1", b"2", b"3"]
    reader.save()
    assert pending(client) == 0


def test_killed_at_every_step_each_entry_counts_once(redis_url: str, client: redis.Redis) -> None:
    reader, written = Reader(redis_url), 0
    for number in range(40):
        for _ in range(number % 5):
            write(client, str(written))
            written += 1
        reader.read()
        if number % 3:
            reader.save(acknowledge=number % 3 == 1)
        if number % 2:
            reader.restart()
    assert sorted(map(int, reader.read())) == list(range(written))


def test_entries_of_a_consumer_that_is_gone_are_claimed(redis_url: str, client: redis.Redis) -> None:
    gone, here = Reader(redis_url, "gone"), Reader(redis_url, "here")
    here.read()
    write(client, "1", "2")
    assert gone.read() == [b"1", b"2"]
    write(client, "3")
    here.restart()
    assert sorted(here.read()) == [b"1", b"2", b"3"]
    here.save()
    assert pending(client) == 0


def test_a_connection_that_broke_costs_nothing_and_doubles_nothing(
    redis_url: str, client: redis.Redis
) -> None:
    reader = Reader(redis_url)
    write(client, "1")
    reader.read()
    for kind in ("normal", "normal"):
        client.client_kill_filter(_type=kind, skipme=True)
        write(client, "2")
        reader.read()
        assert reader.source.up or reader.read()
    assert reader.read() == [b"1", b"2", b"2"]


def test_a_redis_that_is_restarted_is_read_on(redis_server: RedisServer) -> None:
    reader = Reader(redis_server.url)
    with redis_server.client() as client:
        write(client, "1")
        assert reader.read() == [b"1"]
    redis_server.kill()
    reader.read()
    assert not reader.source.up
    redis_server.start()
    with redis_server.client() as client:
        write(client, "2")
        assert reader.read() == [b"1", b"2"]
        reader.save()
        assert pending(client) == 0


def test_a_redis_that_forgot_the_stream_is_read_from_its_new_start(
    redis_url: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader(redis_url)
    write(client, "1")
    reader.read()
    reader.save()
    client.flushall()
    client.xadd(STREAM, {"data": "2"}, id="5-0")
    reader.read()
    assert reader.read() == [b"1", b"2"]
    assert "begins anew" in caplog.text


def test_a_group_that_was_destroyed_goes_on_where_it_was(redis_url: str, client: redis.Redis) -> None:
    reader = Reader(redis_url)
    write(client, "1")
    reader.read()
    client.xgroup_destroy(STREAM, "rollguard")
    write(client, "2")
    reader.read()
    assert reader.read() == [b"1", b"2"]


def test_a_redis_that_lost_its_last_writes_doubles_nothing(redis_url: str, client: redis.Redis) -> None:
    reader = Reader(redis_url)
    write(client, "1", "2")
    reader.read()
    reader.save()
    client.xgroup_setid(STREAM, "rollguard", "0")
    write(client, "3")
    assert reader.read() == [b"1", b"2", b"3"]
    reader.save()
    assert pending(client) == 0


def test_what_is_not_read_is_lag(redis_url: str, client: redis.Redis) -> None:
    reader = Reader(redis_url)
    reader.read()
    write(client, *map(str, range(1000)))
    reader.source.read()
    assert reader.source.lag() == 900
    reader.read()
    assert reader.source.lag() == 0


def test_without_a_checkpoint_only_so_much_is_read(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rollguard.exporters.sources.redis_stream.MAX_UNSAVED", 100)
    write(client, *map(str, range(250)))
    reader = Reader(redis_url)
    for _ in range(20):
        reading = reader.source.read()
    assert pending(client) == 100
    assert not reading.at_end
    assert reader.source.lag() == 150
    reader.position = reading.position
    reader.save()
    assert reader.source.read().records is not None


def test_a_value_of_several_lines_is_one_line_and_a_long_one_is_passed_over(
    redis_url: str, client: redis.Redis
) -> None:
    write(client, '{"a":\n1}', "x" * (1 << 20) + "x", "2")
    client.xadd(STREAM, {"other": "3"})
    client.xadd(STREAM, {"other": "3", "data": "4"})
    found = Reader(redis_url)
    records = [record for record in (found.source.read().records for _ in range(5)) if record]
    assert b"".join(record.lines for record in records).splitlines() == [b'{"a": 1}', b"2", b"null", b"4"]
    assert sum(record.too_long for record in records) == 1


@pytest.mark.parametrize("key", ["string", "list"])
def test_what_is_no_stream_is_said_once(
    redis_url: str, client: redis.Redis, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(STREAM, "a") if key == "string" else client.lpush(STREAM, "a")
    reader = Reader(redis_url)
    for _ in range(3):
        reader.read()
    assert not reader.source.up
    assert caplog.text.count("WRONGTYPE") == 1
