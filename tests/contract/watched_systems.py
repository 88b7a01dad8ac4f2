"""What the five watched systems write while all is well: logs, events, tables, once and then on and on."""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rollguard.exporters.measures.reference import Reference
from rollguard.exporters.screener.baseline import screener_baseline
from tests.unit.exporters.forecast.test_exporter import Tables
from tests.unit.exporters.screener.test_exporter import Table

ROUTES = ("canary", "paper", "full")
FEATURES = ("spread_bps", "imbalance")
DRAWN = {"percent": 200 / 3}
"""Of each trade and score, as there are two of the candidate's for one of the active model's."""

VARIANTS = ("exposed", "unexposed")
SYMBOLS = ("AAPL", "MSFT", "SPY")
BACKLOG = 150
TRADES = 20
MEASUREMENTS = 6
"""Rounds that are there at the start, and trades and measurements in each: more than any minimal sample."""

_BACKLOG_SECONDS = 900.0
"""How far back they lie: drift compares parts of its window."""

_ROUND_SECONDS = 0.3
_SCANS = ("first", "without", "second")


class WatchedSystems:
    """Writes the input of all five exporters below a folder; within `with` it goes on in a thread.

    Args:
        folder: the root that rollout files name their paths from.
    """

    def __init__(self, folder: Path) -> None:
        self.var = folder / "var"
        self.var.mkdir(parents=True)
        self.forecast_url = f"sqlite:///{self.var / 'forecasts.db'}"
        self._random = random.Random(7)
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go_on)
        self._prepare()
        now = time.time()
        for age in reversed(range(BACKLOG)):
            self._round(now - age / BACKLOG * _BACKLOG_SECONDS)

    def __enter__(self) -> WatchedSystems:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def break_parity(self) -> None:
        """Let the exported model disagree with its original: the guard OnnxParityFailure."""
        self._append("events.jsonl", time.time(), [{"event": "parity", "ok": False}])

    def _go_on(self) -> None:
        tables = Tables(self.forecast_url, make=False)
        while not self._stop.wait(_ROUND_SECONDS):
            self._round(time.time())
            for name in ("forecasts", "calibrations"):
                tables.end(name, success=True)
        tables.close()

    def _prepare(self) -> None:
        normal = np.random.default_rng(7).normal(size=(len(FEATURES), 3000))
        rows = dict(zip(FEATURES, normal, strict=True))
        Reference.fit(rows, source="test", made_at=time.time()).save(self.var / "reference.json")
        self._append("events.jsonl", time.time() - _BACKLOG_SECONDS, [{"event": "stage", "stage": "canary"}])
        scans = Table(self.var / "scans.db")
        for name in _SCANS:
            scans.scan(name, lambda number: 90.0 - number / 8, engine=name != "without")
            line = f"SE score distribution [{name}]: n=480 min=0.0 max=89.3 mean=42.0 median=40.0 ready=42\n"
            self._write("celery-1.log", line)
        scans.close()
        url = f"sqlite:///{self.var / 'scans.db'}"
        found = screener_baseline(str(self.var / "celery-1.log"), url, notes="", made_at=time.time())
        found.save(self.var / "screener-baseline.json")
        tables = Tables(self.forecast_url)
        for symbol in SYMBOLS:
            tables.window(symbol, 0.05)
            tables.window(symbol, 0.09, models=4, test=0.12)
        tables.end("forecasts", success=True)
        tables.end("forecasts", success=False)
        tables.end("calibrations", success=True)
        tables.close()
        (self.var / "forecast.log").write_text("INFO started\n")

    def _round(self, now: float) -> None:
        number = next(self._numbers)
        self._append("events.jsonl", now, self._canary(now, number))
        self._append("validation.jsonl", now, self._validation(number))
        self._append("features.jsonl", now, self._features(number))
        self._write(
            "celery-1.log",
            f"SE timing S{number}: prep=1.0ms detectors=5.0ms readiness=1.0ms total=7.0ms score=40.0 errors=0"
            " no_data=0\n",
        )

    def _canary(self, now: float, number: int) -> Iterator[dict[str, Any]]:
        won, score = number % 5 < 3, 0.6
        for route in ROUTES:
            for _ in range(TRADES):
                yield {"event": "trade_opened", "route": route, **DRAWN}
                yield {"event": "trade_closed", "route": route, "won": won, "score": score, **DRAWN}
            yield {"event": "order", "route": route, "status": "filled" if number % 3 else "cancelled"}
            for horizon in (100, 500, 1000):
                yield {"event": "markout", "route": route, "horizon_ms": horizon, "value": 0.4, **DRAWN}
        for served in ("candidate", "active", "candidate"):
            features = {name: self._random.gauss(0, 1) for name in FEATURES}
            line = {"event": "score", "slot": "active", "score": self._random.random(), "features": features}
            yield line | {"served": served, **DRAWN}
        yield {"event": "score", "slot": "shadow", "score": self._random.random()}
        yield {"event": "parity", "ok": True}
        for bucket in ("low", "low", "medium", "high"):
            yield {"event": "ladder", "bucket": bucket}
        yield {"event": "thresholds", "model": "m2", "tau_entry": 0.62, "tau_hold": 0.55}
        yield {"event": "model", "slot": "active", "id": "m1", "trades_per_hour_p95": 9000}
        yield {"event": "model", "slot": "shadow", "id": "m2"}
        yield {"event": "shadow_signal", "approved": bool(number % 2)}
        yield {"event": "schema_check", "ok": True}
        yield {"event": "parquet_scan", "gap_ms": 0}
        yield {"event": "exchange_check", "mismatches": 0}
        for event in ("warmup_skip", "backpressure", "fail_safe_route"):
            yield {"event": event, "symbol": "BTCUSDT"}
        yield {"event": "fail_safe_switch", "reason": "control_event"}

    def _validation(self, number: int) -> Iterator[dict[str, Any]]:
        measured = {"age_seconds": 4.0, "processing_seconds": 0.01, "divergence": 0.004}
        for signal, check in itertools.product(("BASE_ENTRY", "PYRAMID"), ("condition", "execution")):
            failed = number % 20 == 0
            result = {"result": "fail", "reason": "stale"} if failed else {"result": "pass"}
            yield {"event": "decision", "signal": signal, "check": check, **result, **measured}
        for strategy in ("simple_limit", "progressive"):
            done = {"slippage": 0.0004, "duration_seconds": 2.0}
            yield {"event": "execution", "strategy": strategy, "result": "success", **done}
        yield {"event": "broker_call", "ok": True, "duration_seconds": 0.2}
        yield {"event": "database_call", "duration_seconds": 0.004}

    def _features(self, number: int) -> Iterator[dict[str, Any]]:
        shared = {
            **{"up": True, "request_duration_baseline_seconds": 0.1, "data_quality_ratio": 0.99},
            **{
                "pipeline_duration_seconds": 900,
                "decision_duration_seconds": 0.4,
                "market_data_age_seconds": 20,
            },
            **{"run_success": True, "api_budget_used_ratio": 0.4},
        }
        weights = {"model": "gru", "model_correct": number % 5 > 0, "ensemble_weight": 0.5}
        regime = {"regime": "calm", "regime_correct": number % 9 > 0, "regime_transition_delay_seconds": 60}
        hits = {"stop_loss_hits": int(number % 20 == 0), "stop_loss_hits_baseline": 50, "r_multiple": 1.2}
        memory = {"gpu_memory_used_ratio": 0.5}
        risk = {"risk_fraction": 0.01, "risk_fraction_baseline": 0.02}
        own: dict[str, dict[str, Any]] = {
            "confidence-calibration": {"calibration_error": 0.05, "calibration_trades": 80, **risk},
            "drawdown-kelly": {"kelly_scale_factor": 0.6, "drawdown_ratio": 0.02, "position_size_ratio": 0.9},
            "atr-brackets": {"atr_accurate": number % 5 > 0, "bracket_success": number % 4 > 0, **hits},
            "adaptive-weights": {**weights, "squared_error": 0.1},
            "regime-awareness": {**regime, "regime_performance": 1.2, "regime_performance_baseline": 1.0},
            "gpu-lifecycle": {"model_load_duration_seconds": 9, "inference_duration_seconds": 0.5, **memory},
        }
        for rollout, measured in own.items():
            for variant in VARIANTS:
                requests = {"requests": 1, "request_errors": 0, "request_duration_seconds": 0.08}
                yield {"rollout": rollout, "variant": variant, "percent": 50, **requests}
            for _ in range(MEASUREMENTS):
                yield {
                    "rollout": rollout,
                    "variant": VARIANTS[number % 2],
                    "percent": 50,
                    **shared,
                    **measured,
                }

    def _append(self, name: str, now: float, events: Iterable[dict[str, Any]]) -> None:
        self._write(name, "".join(json.dumps({"ts": now, **event}) + "\n" for event in events))

    def _write(self, name: str, text: str) -> None:
        with (self.var / name).open("a", encoding="utf-8") as file:
            file.write(text)
