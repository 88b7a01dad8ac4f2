"""Sample input for all five exporters, to try each by hand: `python -m demo.samples FOLDER`.

All is synthetic and healthy, of the last minutes, days or scans before now.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import click

from rollguard.exporters.canary.served import reference_of
from rollguard.exporters.screener.baseline import screener_baseline

Line: TypeAlias = Mapping[str, Any]

SYMBOLS = 500
MINUTE, DAY = 60.0, 86400.0
FEATURES = (
    *("confidence-calibration", "drawdown-kelly", "atr-brackets"),
    *("adaptive-weights", "regime-awareness", "gpu-lifecycle"),
)
_FORECASTS = """
CREATE TABLE ensemble_validation_metrics (
    symbol TEXT NOT NULL, symbol_id TEXT, horizon TEXT NOT NULL, window_id INTEGER,
    validation_date TIMESTAMP NOT NULL, val_rmse DOUBLE PRECISION, test_rmse DOUBLE PRECISION,
    divergence DOUBLE PRECISION, is_overfitting BOOLEAN, model_count INTEGER, models_used TEXT
);
CREATE TABLE forecasts (symbol TEXT, horizon TEXT, success BOOLEAN NOT NULL);
CREATE TABLE calibrations (symbol TEXT, horizon TEXT, success BOOLEAN NOT NULL);
"""
_SCANS = """
CREATE TABLE scan_results (
    id INTEGER PRIMARY KEY, scan_id TEXT NOT NULL, symbol TEXT NOT NULL, composite_score REAL, details JSON
);
"""
_TYPICAL = """
calibration_error 0.06, calibration_trades 120, risk_fraction 0.011, risk_fraction_baseline 0.014,
kelly_scale_factor 0.6, drawdown_ratio 0.02, position_size_ratio 0.85, r_multiple 0.4,
stop_loss_hits_baseline 40, squared_error 0.21, ensemble_weight 0.5, regime_transition_delay_seconds 90,
regime_performance 0.012, regime_performance_baseline 0.01, model_load_duration_seconds 12,
gpu_memory_used_ratio 0.62, inference_duration_seconds 0.8, request_duration_seconds 0.12,
request_duration_baseline_seconds 0.2, data_quality_ratio 0.99, pipeline_duration_seconds 900,
decision_duration_seconds 0.9, market_data_age_seconds 40, api_budget_used_ratio 0.35
"""
"""Measurements of the features, and what they typically are."""

_OFTEN = """
atr_accurate 0.8, bracket_success 0.7, model_correct 0.68, regime_correct 0.88, up 1, run_success 1,
stop_loss_hits 0, requests 1, request_errors 0.01, risk_violations 0, kelly_cap_exceeded 0,
data_contract_violations 0, orders_without_brackets 0
"""
"""Others, and how often they are so."""

_LABELS = {"model": ("gru", "boosted"), "regime": ("calm", "volatile"), "variant": ("exposed", "unexposed")}


def canary(now: float, rng: random.Random) -> Iterator[Line]:
    """Yield the last 25 minutes of a model canary, which took a quarter of the signals."""
    start = now - 25 * MINUTE
    model = {"slot": "active", "id": "lgbm-2", "trades_per_hour_p95": 12_000}
    yield {"event": "stage", "ts": start, "stage": "canary", "percent": 25}
    yield {"event": "executor_start", "ts": start - 100}
    yield {"event": "model", "ts": start, **model}
    yield {"event": "model", "ts": start, "slot": "shadow", "id": "lgbm-3"}
    yield {"event": "thresholds", "ts": start, "model": "lgbm-2", "tau_entry": 0.62, "tau_hold": 0.55}
    yield {"event": "warmup_skip", "ts": start, "symbol": "BTCUSDT"}
    yield {"event": "backpressure", "ts": start, "symbol": "BTCUSDT"}
    yield {"event": "fail_safe_switch", "ts": start, "reason": "control_event"}
    yield {"event": "fail_safe_route", "ts": start, "symbol": "BTCUSDT"}
    for event in ({"event": "schema_check", "ok": True}, {"event": "exchange_check", "mismatches": 0}):
        yield event | {"ts": start}
    yield {"event": "parquet_scan", "ts": start, "gap_ms": 0}
    for number in range(10_500):
        yield from _signal(start + number * 0.14, number, rng)


def _signal(ts: float, number: int, rng: random.Random) -> Iterator[Line]:
    route = "canary" if number % 4 == 0 else "paper"
    score = rng.betavariate(6, 4)
    features = {"spread_bps": rng.gauss(1.5, 0.4), "imbalance": rng.gauss(0, 0.3)}
    served = "active" if route == "paper" else "candidate"
    scored = {"event": "score", "ts": ts, "score": score}
    yield scored | {"slot": "active", "served": served, "features": features}
    yield scored | {"event": "score", "slot": "shadow"}
    yield {"event": "shadow_signal", "ts": ts, "approved": score > 0.62}
    yield {"event": "parity", "ts": ts, "ok": True}
    yield {"event": "ladder", "ts": ts, "bucket": rng.choice(("low", "low", "medium", "high"))}
    yield {
        "event": "order",
        "ts": ts,
        "route": route,
        "status": rng.choice(("filled", "filled", "cancelled")),
    }
    for horizon in (100, 500, 1000):
        yield {
            "event": "markout",
            "ts": ts,
            "route": route,
            "horizon_ms": horizon,
            "value": rng.gauss(0.3, 1),
            "opened_ts": ts,
        }
    yield {"event": "trade_opened", "ts": ts, "route": route}
    closed = {"event": "trade_closed", "ts": ts + 0.9, "route": route, "won": rng.random() < score}
    yield closed | {"opened_ts": ts, "score": score, "pnl": 0.4 if closed["won"] else -0.5}


def validation(now: float, rng: random.Random) -> Iterator[Line]:
    """Yield the last two minutes of a validation of signals."""
    for number in range(240):
        ts = now - 120 + number / 2
        passed = rng.random() < 0.93
        judged = {"event": "decision", "ts": ts, "signal": rng.choice(("BASE_ENTRY", "PYRAMID", "EXIT"))}
        verdict = {"result": "pass"} if passed else {"result": "fail", "reason": "divergence"}
        seconds = {"age_seconds": rng.uniform(0.5, 9), "processing_seconds": rng.uniform(0.01, 0.09)}
        yield judged | verdict | seconds | {"check": "condition", "divergence": rng.gauss(0, 0.004)}
        yield judged | verdict | {"check": "execution", "risk_increase": rng.uniform(0, 0.2)}
        yield {"event": "broker_call", "ts": ts, "ok": True, "duration_seconds": rng.uniform(0.05, 0.4)}
        yield {"event": "database_call", "ts": ts, "duration_seconds": rng.uniform(0.001, 0.01)}
        if passed:
            strategy = rng.choice(("simple_limit", "progressive"))
            ended = {"event": "execution", "ts": ts, "strategy": strategy, "result": "success"}
            yield ended | {"slippage": rng.gauss(0, 5e-4), "duration_seconds": rng.uniform(0.3, 4)}
        else:
            yield {"event": "review", "ts": ts, "check": "condition", "false_positive": False}


def features(now: float, rng: random.Random) -> Iterator[Line]:
    """Yield the last two minutes of the six trading features, each of which measures everything it can."""
    typical, often = _table(_TYPICAL), _table(_OFTEN)
    for number in range(1800):
        for rollout in FEATURES:
            labels = {name: values[number % len(values)] for name, values in _LABELS.items()}
            numbers = {key: round(value * rng.uniform(0.98, 1.0), 6) for key, value in typical.items()}
            happened = {key: int(rng.random() < share) for key, share in often.items()}
            line = {"ts": now - 120 + number / 15, "rollout": rollout, "percent": 50}
            yield line | labels | numbers | happened


def celery_log(now: float, rng: random.Random) -> Iterator[str]:
    """Yield the log of three scans, of which the second went without the engine."""
    for scan in ("scan-1", "scan-3"):
        for number in range(SYMBOLS - 10):
            prefix = f"[{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S},000: INFO/ForkPoolWorker-1] "
            prep, detectors, readiness = rng.uniform(5, 20), rng.uniform(20, 90), rng.uniform(2, 12)
            times = f"prep={prep:.1f}ms detectors={detectors:.1f}ms readiness={readiness:.1f}ms"
            total = f"total={prep + detectors + readiness:.1f}ms score={rng.uniform(5, 85):.1f}"
            yield f"{prefix}SE timing S{number:03}: {times} {total} errors=0 no_data=0"
        numbers = "min=2.0 max=89.3 mean=42.1 median=41.0 ready=48"
        yield f"{prefix}SE score distribution [{scan}]: n={SYMBOLS - 10} {numbers}"


def scan_rows(rng: random.Random) -> Iterator[tuple[str, str, float, str]]:
    """Yield the rows of the three scans: scan, symbol, composite score, details."""
    scores = {f"S{number:03}": rng.uniform(5, 90) for number in range(SYMBOLS)}
    for scan in ("scan-1", "scan-2", "scan-3"):
        for number, (symbol, score) in enumerate(scores.items()):
            screeners: dict[str, Any] = {"minervini": {"score": 50}, "canslim": {"score": 40}}
            if scan != "scan-2":
                screeners["setup_engine"] = _judged(number, rng)
            composite = score + rng.gauss(0, 1)
            yield scan, symbol, composite, json.dumps({"details": {"screeners": screeners}})


def _judged(number: int, rng: random.Random) -> dict[str, Any]:
    rating = "Strong Buy" if number < 10 else "Buy" if number < 40 else "Watch" if number < 140 else "Pass"
    found = {"pattern_primary": rng.choice(("cup_with_handle", "flat_base", "double_bottom"))}
    checks = {"failed_checks": rng.sample(("volume", "atr", "trend"), 1) if rating == "Pass" else []}
    flags = {"invalidation_flags": ["stale"] if rng.random() < 0.2 else []}
    return {"rating": rating, "setup_score": rng.uniform(5, 90), "details": found | checks | flags}


def forecast_rows(now: float, rng: random.Random) -> Iterator[tuple[Any, ...]]:
    """Yield rows of the validation table: a week, three symbols, the new ensemble and the old one."""
    for day in range(7, -1, -1):
        at = datetime.fromtimestamp(now - day * DAY, UTC).strftime("%Y-%m-%d %H:%M:%S")
        for symbol in ("AAPL", "MSFT", "SPY"):
            for models, error in ((2, 0.045), (4, 0.058)):
                val = error * rng.uniform(0.99, 1.01)
                test = val * rng.uniform(1.04, 1.07)
                yield symbol, "1D", 0, at, val, test, (test - val) / val, 0, models, "[]"


def write(folder: Path, now: float, seed: int = 1) -> None:
    """Write all samples.

    Args:
        folder: is made.
        now: Unix seconds, before which everything happened.
        seed: of what is drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("canary", canary), ("validation", validation), ("features", features)):
        _write_lines(folder / f"{name}.jsonl", lines, now, seed)
    reference_of([folder / "canary.jsonl"], variant=None, made_at=now).save(folder / "reference.json")
    log = "".join(f"{line}\n" for line in celery_log(now, _drawn(seed)))
    (folder / "celery.log").write_text(log, encoding="utf-8")
    insert = "INSERT INTO scan_results (scan_id, symbol, composite_score, details) VALUES (?, ?, ?, ?)"
    _write_table(folder / "scans.db", _SCANS, insert, scan_rows(_drawn(seed)))
    made = screener_baseline(
        str(folder / "celery.log"), f"sqlite:///{folder / 'scans.db'}", notes="a sample", made_at=now
    )
    made.save(folder / "screener-baseline.json")
    insert = f"INSERT INTO ensemble_validation_metrics VALUES (?, 'id', {', '.join('?' * 9)})"  # noqa: S608
    _write_table(folder / "forecasts.db", _FORECASTS, insert, forecast_rows(now, _drawn(seed)))
    (folder / "forecast.log").write_text("INFO forecasts of 3 symbols written\n")
    (folder / "env.canary").write_text("CANARY_SYMBOLS=AAPL,MSFT,SPY\nCANARY_HORIZONS=1D\n")


def commands(folder: Path) -> Iterator[str]:
    """Yield the command of each exporter on the samples, but for `rollguard export`."""
    yield f"canary --events {folder}/canary.jsonl --reference {folder}/reference.json"
    baseline = f"--universe {SYMBOLS} --baseline {folder}/screener-baseline.json"
    yield f"screener --log {folder}/celery.log --database sqlite:///{folder}/scans.db {baseline}"
    yield f"validation --events {folder}/validation.jsonl"
    tables = f"--database sqlite:///{folder}/forecasts.db"
    yield f"forecast {tables} --env {folder}/env.canary --log {folder}/forecast.log"
    yield f"features --events {folder}/features.jsonl"


def _table(text: str) -> dict[str, float]:
    words = [pair.split() for pair in text.split(",")]
    return {key: float(value) for key, value in words}


def _drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same samples each time


def _write_lines(
    path: Path, lines: Callable[[float, random.Random], Iterable[Line]], now: float, seed: int
) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines(now, _drawn(seed)))


def _write_table(path: Path, schema: str, insert: str, rows: Iterable[tuple[Any, ...]]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(schema)
        connection.executemany(insert, rows)


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Write the samples, and say how to run each exporter on them."""
    write(folder, time.time())
    for command in commands(folder):
        click.echo(f"rollguard export {command} --once")


if __name__ == "__main__":
    main()
