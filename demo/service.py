"""The guarded service: it scores signals, routes each one by the flag, and logs events as JSON lines."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import FlagEvaluationDetails

from demo.models import Release
from demo.signals import TRADING_DAY_MINUTES, Signal

SIGNALS_PER_SECOND = 400
CLIENT_POLL_SECONDS = 0.1
"""How often the OpenFeature file provider looks at its file."""

_TICK_SECONDS = 0.05
_CHECK_SECONDS = 0.5
"""How often it looks whether its data and its settings are as they should be."""


def flag_client(path: Path) -> OpenFeatureClient:
    """Return a real OpenFeature client that reads flagd definitions from a file."""
    provider = FlagdProvider(
        resolver_type=ResolverType.FILE,
        offline_flag_source_path=str(path),
        deadline_ms=int(CLIENT_POLL_SECONDS * 1000),
    )
    api.set_provider(provider)
    return api.get_client()


@dataclass(frozen=True)
class _Trade:
    closes: float
    opened: float
    percent: object
    route: str
    score: float
    won: bool


@dataclass(frozen=True)
class Files:
    """What the service shares with Rollguard.

    Args:
        events: JSON lines that it writes.
        flags: flagd definitions that it reads.
        config: the application's configuration, whose `rollout` it reads.
    """

    events: Path
    flags: Path
    config: Path


class TradingService(threading.Thread):
    """Works through signals at a steady rate, in a thread.

    Args:
        files: what it shares with Rollguard.
        signals: an endless stream.
        active: the release in production.
        candidate: the release that the flag lets in.
        flag: the flag's key.
        scale: trades last a trading day, divided by this.
        client: evaluates the flag.
    """

    def __init__(
        self,
        files: Files,
        signals: Iterator[Signal],
        *,
        active: Release,
        candidate: Release,
        flag: str,
        scale: float,
        client: OpenFeatureClient,
    ) -> None:
        super().__init__(name="trading service", daemon=True)
        self._files = files
        self._signals = signals
        self._active, self._candidate = active, candidate
        self._flag = flag
        self._trade_seconds = TRADING_DAY_MINUTES * 60 / scale
        self._client = client
        self._open: deque[_Trade] = deque()
        self._checked = 0.0
        self._config_seen: tuple[int, str] = (0, "")
        self._mode = ""
        self._stopping = threading.Event()
        self.error: Exception | None = None

    def deploy(self, release: Release) -> None:
        """Serve another candidate from now on."""
        self._candidate = release

    def promote_candidate(self) -> None:
        """Let the candidate become the active release, as a team does when it is fully on."""
        self._active = self._candidate

    def serves_candidate(self, key: str) -> bool:
        """Return whether the flag gives the candidate to a targeting key."""
        return self._asked(key).value

    def _asked(self, key: str) -> FlagEvaluationDetails[bool]:
        """Return the flag's value for a targeting key, and its metadata: the stage's percent."""
        return self._client.get_boolean_details(self._flag, False, EvaluationContext(key))

    def stop(self) -> None:
        """End after the signal at hand."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Work until stopped."""
        started, done = time.monotonic(), 0
        try:
            with self._files.events.open("a", buffering=1 << 16, encoding="utf-8") as file:
                while not self._stopping.is_set():
                    self._announce_stage(file.write)
                    due = int((time.monotonic() - started) * SIGNALS_PER_SECOND)
                    for _ in range(due - done):
                        self._work(next(self._signals), file.write)
                    done = due
                    self._settle(file.write)
                    self._check(file.write)
                    file.flush()
                    self._stopping.wait(_TICK_SECONDS)
        except Exception as error:  # noqa: BLE001 - the story tells it
            self.error = error

    def _announce_stage(self, write: Callable[[str], object]) -> None:
        """Tell in the events that a stage began, as the configuration that Rollguard writes says so."""
        stat = self._files.config.stat()
        if stat.st_mtime_ns == self._config_seen[0]:
            return
        rollout = yaml.safe_load(self._files.config.read_text(encoding="utf-8"))["rollout"]
        stage = rollout["mode"] if rollout["mode"] != "canary" else f"canary-{rollout['canary_fraction']}"
        if stage != self._config_seen[1]:
            percent = 0 if rollout["mode"] == "disabled" else round(100 * rollout["canary_fraction"], 6)
            write(_line("stage", time.time(), stage=stage, percent=percent))
        self._mode = rollout["mode"]
        self._config_seen = (stat.st_mtime_ns, stage)

    def _work(self, signal: Signal, write: Callable[[str], object]) -> None:
        now = time.time()
        asked = self._asked(signal.id)
        candidate, percent = asked.value, asked.flag_metadata.get("percent")
        release = self._candidate if candidate else self._active
        row = release.live_row(signal.features)
        score = release.model.score(row)
        served = "candidate" if candidate else "active"
        # Named by the model's features: what it takes each position for, not what the live path put there.
        names = dict(zip(release.model.features, row, strict=True))
        shown = {"slot": "active", "score": score, "served": served, "percent": percent}
        write(_line("score", now, **shown, features=names))
        shadow = self._candidate.model.score(self._candidate.batch_row(signal.features))
        write(_line("score", now, slot="shadow", score=shadow))
        if release.model.approves(score):
            route = self._route(candidate)
            self._work_order(signal, route, percent, now, write)
            closes = now + self._trade_seconds
            self._open.append(_Trade(closes, now, percent, route, score, signal.won))

    def _route(self, candidate: bool) -> str:
        if not candidate:
            return "paper"
        return "full" if self._mode == "full" else "canary"

    def _work_order(
        self, signal: Signal, route: str, percent: object, now: float, write: Callable[[str], object]
    ) -> None:
        """Write what becomes of an order, up to the trade that it opens."""
        write(_line("trade_opened", now, route=route, percent=percent))
        write(_line("ladder", now, bucket=signal.execution.ladder))
        for status in ["cancelled"] * signal.execution.cancelled + ["filled"]:
            write(_line("order", now, route=route, status=status))
        for horizon, value in zip((100, 500, 1000), signal.execution.markouts_bps, strict=True):
            drawn = {"opened_ts": now, "percent": percent}
            write(_line("markout", now, route=route, horizon_ms=horizon, value=value, **drawn))
        write(_line("parity", now, ok=True))

    def _settle(self, write: Callable[[str], object]) -> None:
        now = time.time()
        while self._open and self._open[0].closes <= now:
            trade = self._open.popleft()
            drawn = {"opened_ts": trade.opened, "percent": trade.percent}
            write(_line("trade_closed", now, route=trade.route, won=trade.won, score=trade.score, **drawn))

    def _check(self, write: Callable[[str], object]) -> None:
        """Write what a service checks all the time: what serves, at which threshold, and its data."""
        now = time.time()
        if now - self._checked < _CHECK_SECONDS:
            return
        self._checked = now
        active, hourly = self._active.model, SIGNALS_PER_SECOND * 3600
        write(_line("model", now, slot="active", id=active.name, trades_per_hour_p95=hourly))
        write(
            _line("thresholds", now, model=active.name, tau_entry=active.tau_entry, tau_hold=active.tau_entry)
        )
        write(_line("schema_check", now, ok=True))
        write(_line("parquet_scan", now, gap_ms=0))
        write(_line("exchange_check", now, mismatches=0))


def _line(event: str, ts: float, **fields: Any) -> str:
    return json.dumps({"event": event, "ts": round(ts, 6), **fields}) + "\n"
