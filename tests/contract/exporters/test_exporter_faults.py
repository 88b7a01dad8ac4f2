"""What goes wrong around an exporter: it is killed, logs rotate, a disk is full, a burst comes."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
from pathlib import Path

import redis

from rollguard.exporters.forecast.exporter import Forecast
from rollguard.exporters.forecast.metrics import DATABASE_UP
from rollguard.exporters.runtime.follower import Follower
from tests.contract.exporter_process import Exporter, event, trade, until, write
from tests.servers import PostgresServer, RedisServer
from tests.unit.exporters.forecast.test_exporter import Tables

WON = 'trades_won_total{"route": "canary"}'
MIB = 1 << 20


def read_to(exporter: Exporter) -> int:
    """Return how far the checkpoint's position is in the file."""
    if not exporter.checkpoint.exists():
        return 0
    position = json.loads(exporter.checkpoint.read_bytes())["positions"]["events"]
    return sum(file["offset"] for file in position["files"].values() if file)


def memory(exporter: Exporter) -> int:
    """Return the most bytes that the process ever held."""
    assert exporter.process is not None
    status = Path(f"/proc/{exporter.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return ballast


def test_killed_in_the_middle_of_a_backlog_it_counts_every_line_once(exporter: Exporter) -> None:
    lines = 150_000
    exporter.events.write_bytes(trade() * lines)
    exporter.start()
    until(lambda: read_to(exporter), "the first checkpoint")
    exporter.stop(signal.SIGKILL)
    assert 0 < read_to(exporter) < exporter.events.stat().st_size
    exporter.start()
    until(exporter.scrape, "the end of the backlog")
    assert exporter.scrapes[0][WON] == lines


def test_rotated_and_packed_twice_while_down_no_line_is_lost(exporter: Exporter) -> None:
    old, older = exporter.events.with_name("events.jsonl.1"), exporter.events.with_name("events.jsonl.2.gz")
    exporter.events.write_bytes(trade() * 5)
    exporter.start()
    until(exporter.shows("sample_canary", 5), "what was there at first")
    exporter.stop(signal.SIGKILL)
    with exporter.events.open("ab") as file:
        write(file, trade(), trade())
    exporter.events.rename(old)
    exporter.events.write_bytes(trade() * 30)
    older.write_bytes(gzip.compress(old.read_bytes()))
    os.utime(older, ns=(0, old.stat().st_mtime_ns))  # as gzip does
    old.unlink()
    exporter.events.rename(old)
    exporter.events.write_bytes(trade() * 100)
    exporter.start()
    until(exporter.shows("sample_canary", 137), "the lines of three files")


def test_a_full_disk_of_the_checkpoint_stops_nothing_and_a_kill_costs_nothing(
    exporter: Exporter, small_disk: Path
) -> None:
    exporter.checkpoint = small_disk / "checkpoint"
    with exporter.events.open("ab") as file:
        write(file, trade())
        exporter.start()
        until(exporter.checkpoint.exists, "the first checkpoint")
        ballast = fill(small_disk)
        write(file, *[trade()] * 9)
        until(exporter.shows("sample_canary", 10), "the trades")
        until(lambda: "no checkpoint can be written" in exporter.log.read_text(), "the log to say so")
        before = exporter.checkpoint.read_bytes()
        exporter.stop(signal.SIGKILL)
        assert exporter.checkpoint.read_bytes() == before, "half a checkpoint"
        exporter.start()
        until(exporter.shows("sample_canary", 10), "the trades of before, once")
        ballast.unlink()
        write(file, trade())
        until(exporter.shows("sample_canary", 11), "one more")
        until(lambda: read_to(exporter) == exporter.events.stat().st_size, "a checkpoint once there is room")


def test_a_burst_takes_no_memory_shows_its_lag_and_loses_nothing(exporter: Exporter) -> None:
    sustained = 15_000
    with exporter.events.open("ab") as file:
        exporter.start()
        write(file, trade() * sustained)
        until(exporter.shows("sample_canary", sustained), "the sustained rate")
        held = memory(exporter)
        write(file, trade() * 10 * sustained)
        until(exporter.shows("sample_canary", 11 * sustained), "the burst")
    assert (
        max(scrape['rollguard_exporter_lag_bytes{"source": "events"}'] for scrape in exporter.scrapes) > MIB
    )
    until(exporter.shows("rollguard_exporter_lag_bytes", 0, source="events"), "no lag any more")
    assert memory(exporter) - held < 16 * MIB


def test_a_long_line_and_one_of_no_text_are_counted_and_take_no_memory(exporter: Exporter) -> None:
    with exporter.events.open("ab") as file:
        exporter.start()
        write(file, trade() * 10_000)
        until(exporter.shows("sample_canary", 10_000), "trades")
        held = memory(exporter)
        write(file, b'{"event": "')
        file.truncate(file.tell() + 100 * MIB)
        write(file, b'"}\n', event("trade_closed").replace(b"trade", b"\xff"), trade())
        until(exporter.shows("sample_canary", 10_001), "the line behind them")
    rejected = "rollguard_exporter_events_rejected_total"
    assert exporter.shows(rejected, 1, reason="too_long")()
    assert exporter.shows(rejected, 1, reason="encoding")()
    assert memory(exporter) - held < 16 * MIB


def entries(client: redis.Redis, count: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for _ in range(count):
        pipeline.xadd("events", {"data": trade()})
    pipeline.execute()


def test_killed_again_and_again_every_entry_of_a_stream_counts_once(
    exporter: Exporter, redis_server: RedisServer
) -> None:
    exporter.source = f"{redis_server.url}?stream=events"
    written = 0
    with redis_server.client() as client:
        client.config_set("appendfsync", "no")
        for _ in range(3):
            entries(client, 10_000)
            written += 10_000
            exporter.start()
            until(lambda: client.xinfo_groups("events"), "the first look")
            exporter.stop(signal.SIGKILL)
        exporter.start()
        until(exporter.shows("sample_canary", written), "every entry")
        until(lambda: client.xpending("events", "rollguard")["pending"] == 0, "the acknowledgement of all")
    assert exporter.shows("trades_won_total", written, route="canary")()
    assert exporter.stop(signal.SIGTERM) == 0


def test_a_redis_that_is_restarted_in_the_middle_costs_nothing(
    exporter: Exporter, redis_server: RedisServer
) -> None:
    exporter.source = f"{redis_server.url}?stream=events"
    with redis_server.client() as client:
        entries(client, 1000)
    exporter.start()
    until(exporter.shows("sample_canary", 1000), "the entries")
    redis_server.kill()
    until(exporter.shows("rollguard_exporter_up", 0, source="events"), "the loss to be shown")
    assert exporter.shows("sample_canary", 1000)()
    redis_server.start()
    with redis_server.client() as client:
        entries(client, 1000)
    until(exporter.shows("sample_canary", 2000), "the entries since")
    assert exporter.shows("rollguard_exporter_up", 1, source="events")()


def test_a_database_that_hangs_keeps_no_scrape_waiting_and_one_that_is_gone_is_shown(
    postgres_server: PostgresServer,
) -> None:
    tables = Tables(postgres_server.url())
    tables.window("AAPL", 0.08)
    tables.close()
    follower = Follower(Forecast(postgres_server.url()), None)
    table, *_ = follower.inputs

    def up() -> object:
        return next(one.samples[()] for one in follower.families() if one.metric is DATABASE_UP)

    follower.step(table)
    assert up() == 1
    postgres_server.freeze()
    looking = threading.Thread(target=follower.step, args=(table,))
    looking.start()
    assert up() == 1
    assert looking.is_alive(), "the query did not hang"
    postgres_server.thaw()
    looking.join()
    postgres_server.kill()
    follower.step(table)
    assert up() == 0
    postgres_server.start()
    follower.step(table)
    assert up() == 1
