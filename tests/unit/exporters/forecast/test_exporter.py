"""An ensemble's tables have known answers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.exposition.families import Family
from rollguard.exporters.forecast import metrics
from rollguard.exporters.forecast.exporter import Forecast
from rollguard.exporters.forecast.table import Scope, days, newest, totals
from rollguard.exporters.measures.distances import divergence_ratio
from rollguard.exporters.runtime.follower import Follower
from rollguard.exporters.sources.interface import Block, Result
from tests.unit.clock import Time
from tests.unit.exporters.conftest import Samples

SCHEMA = Path(__file__).parents[3] / "data" / "forecast.sql"
ROW = sqlalchemy.text("""
    INSERT INTO ensemble_validation_metrics (symbol, symbol_id, horizon, window_id, validation_date, val_rmse,
        test_rmse, divergence, is_overfitting, model_count, models_used)
    VALUES (:symbol, 'id', :horizon, :window, :at, :val, :test, :divergence, :overfitting, :models, '[]')
""")


class Tables:
    """The tables of a forecast job, on a real database."""

    def __init__(self, url: str, *, make: bool = True) -> None:
        self.url = url
        self._engine = sqlalchemy.create_engine(url)
        for statement in SCHEMA.read_text().split(";"):
            if make and statement.strip():
                self.run(statement)

    def run(self, statement: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(sqlalchemy.text(statement), values)

    def window(self, symbol: str, divergence: float, *, age_days: int = 0, **more: Any) -> None:
        at = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=age_days)
        row = {"horizon": "1D", "window": 0, "val": 0.1, "test": 0.1 * (1 + divergence), "models": 2}
        row |= {"overfitting": divergence > 0.2, "divergence": divergence, "symbol": symbol}
        with self._engine.begin() as connection:
            connection.execute(ROW, row | {"at": at} | more)

    def end(self, table: str, success: bool, symbol: str = "AAPL") -> None:
        self.run(f"INSERT INTO {table} VALUES (:symbol, '1D', :success)", symbol=symbol, success=success)

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'forecasts.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    found = Tables(url)
    yield found
    found.close()


@pytest.fixture
def clock() -> Time:
    return Time(datetime.now(UTC).timestamp())


def look(exporter: Forecast) -> None:
    """Read every input to its end."""
    follower = Follower(exporter, None)
    for one in follower.inputs:
        while follower.step(one):
            pass


def shown(exporter: Forecast, samples: Samples, clock: Time) -> dict[str, float]:
    look(exporter)
    return samples(exporter.families(clock()))


def test_the_day_and_the_newest_windows_are_shown(tables: Tables, samples: Samples, clock: Time) -> None:
    tables.window("AAPL", 0.08)
    tables.window("AAPL", 0.12, window=1)
    tables.window("MSFT", 0.25)
    tables.window("MSFT", 0.9, age_days=3)
    tables.window("AAPL", 0.5, models=4, test=0.2)
    found = shown(Forecast(tables.url, clock=clock), samples, clock)
    expected = {
        'forecast_divergence_ratio{horizon="1D",symbol="AAPL"}': 0.12,
        'forecast_divergence_ratio{horizon="1D",symbol="MSFT"}': 0.25,
        "forecast_divergence_ratio_avg": pytest.approx((0.08 + 0.12 + 0.25) / 3),
        "forecast_divergence_ratio_max": 0.25,
        "forecast_overfitting_detections": 1,
        "forecast_overfitting_days": 1,
        'forecast_rmse{horizon="1D",split="val",symbol="AAPL"}': 0.1,
        'forecast_rmse{horizon="1D",split="test",symbol="AAPL"}': pytest.approx(0.112),
        'forecast_rmse_legacy{horizon="1D",symbol="AAPL"}': 0.2,
        'forecast_rmse_baseline{horizon="1D",symbol="MSFT"}': pytest.approx(0.19),
        "forecast_db_up": 1,
    }
    assert {name: found[name] for name in expected} == expected
    assert found["forecast_db_query_duration_seconds"] > 0


def test_a_divergence_that_was_not_written_is_that_of_the_errors(
    tables: Tables, samples: Samples, clock: Time
) -> None:
    tables.window("AAPL", 0.0, val=0.045, test=0.048)
    tables.window("MSFT", 0.0, val=0.0, test=0.048)
    tables.run("UPDATE ensemble_validation_metrics SET divergence = NULL")
    tables.window("SPY", 0.2)
    found = shown(Forecast(tables.url, clock=clock), samples, clock)
    expected = divergence_ratio(0.045, 0.048)
    assert expected is not None
    series = 'forecast_divergence_ratio{horizon="1D",symbol="%s"}'
    assert found[series % "AAPL"] == pytest.approx(expected, abs=1e-12)
    assert series % "MSFT" not in found
    assert found["forecast_divergence_ratio_avg"] == pytest.approx((expected + 0.2) / 2, abs=1e-12)


def test_overfitting_days_count_back_without_a_gap(tables: Tables, samples: Samples, clock: Time) -> None:
    for age_days, divergence in enumerate((0.3, 0.3, 0.3, 0.1, 0.3)):
        tables.window("AAPL", divergence, age_days=age_days)
    assert shown(Forecast(tables.url, clock=clock), samples, clock)["forecast_overfitting_days"] == 3


def test_a_day_before_yesterday_is_no_longer_the_day(tables: Tables, samples: Samples, clock: Time) -> None:
    tables.window("AAPL", 0.3, age_days=2)
    found = shown(Forecast(tables.url, clock=clock), samples, clock)
    assert 'forecast_divergence_ratio{horizon="1D",symbol="AAPL"}' in found
    assert "forecast_divergence_ratio_avg" not in found
    assert "forecast_overfitting_days" not in found


def test_a_stage_that_covers_more_begins_a_new_baseline(
    tables: Tables, samples: Samples, clock: Time, tmp_path: Path
) -> None:
    env = tmp_path / ".env.canary"
    env.write_text('ENSEMBLE_MODEL_COUNT=2\nCANARY_SYMBOLS="AAPL,MSFT"\nCANARY_HORIZONS=1D\n')
    tables.window("AAPL", 0.0, age_days=2, test=0.10)
    tables.window("AAPL", 0.0, test=0.14)
    tables.window("TSLA", 0.9)
    exporter = Forecast(tables.url, env=env, clock=clock)
    name = 'forecast_rmse_baseline{horizon="1D",symbol="AAPL"}'
    found = shown(exporter, samples, clock)
    assert (found[name], found["forecast_divergence_ratio_max"]) == (0.10, 0.0)
    env.write_text("export CANARY_SYMBOLS=AAPL,MSFT,TSLA\nCANARY_HORIZONS='1D,4h'\n")
    found = shown(exporter, samples, clock)
    assert (found[name], found["forecast_divergence_ratio_max"]) == (0.14, 0.9)


def test_a_baseline_stays_what_it_was_after_a_restart(tables: Tables, samples: Samples, clock: Time) -> None:
    tables.window("AAPL", 0.0, age_days=2, test=0.10)
    first = Forecast(tables.url, clock=clock)
    look(first)
    tables.run("DELETE FROM ensemble_validation_metrics")
    tables.window("AAPL", 0.0, test=0.2)
    second = Forecast(tables.url, clock=clock)
    second.restore(first.save())
    name = 'forecast_rmse_baseline{horizon="1D",symbol="AAPL"}'
    assert shown(second, samples, clock)[name] == 0.10


def test_only_new_forecasts_count_and_a_restart_counts_none_twice(
    tables: Tables, samples: Samples, clock: Time
) -> None:
    tables.end("forecasts", True)
    tables.end("forecasts", False)
    exporter = Forecast(tables.url, clock=clock)
    found = shown(exporter, samples, clock)
    assert (found['forecasts_total{result="success"}'], found['forecasts_total{result="failure"}']) == (0, 0)
    tables.end("forecasts", False)
    tables.end("forecasts", True, symbol="TSLA")
    look(exporter)
    tables.end("forecasts", True)
    again = Forecast(tables.url, clock=clock)
    again.restore(exporter.save())
    found = shown(again, samples, clock)
    assert (found['forecasts_total{result="success"}'], found['forecasts_total{result="failure"}']) == (2, 1)
    assert found['forecast_calibrations_total{result="failure"}'] == 0


def test_forecasts_outside_the_stage_do_not_count(
    tables: Tables, samples: Samples, clock: Time, tmp_path: Path
) -> None:
    env = tmp_path / ".env.canary"
    env.write_text("CANARY_SYMBOLS=AAPL\n")
    exporter = Forecast(tables.url, env=env, clock=clock)
    look(exporter)
    tables.end("calibrations", False, symbol="TSLA")
    tables.end("calibrations", False)
    assert shown(exporter, samples, clock)['forecast_calibrations_total{result="failure"}'] == 1


def test_a_table_that_lacks_a_column_is_a_database_that_is_down(
    tables: Tables, samples: Samples, clock: Time
) -> None:
    tables.window("AAPL", 0.1)
    exporter = Forecast(tables.url, clock=clock)
    look(exporter)
    tables.run("ALTER TABLE ensemble_validation_metrics DROP COLUMN divergence")
    found = shown(exporter, samples, clock)
    assert found["forecast_db_up"] == 0
    looks = {outcome: found[f'forecast_db_looks_total{{outcome="{outcome}"}}'] for outcome in ("ok", "error")}
    assert looks == {"ok": 1, "error": 1}
    other = Forecast(tables.url, clock=clock)
    other.restore(exporter.save())
    assert samples(other.families(clock()))['forecast_db_looks_total{outcome="error"}'] == 1
    assert not [name for name in found if name.startswith("forecast_divergence")]


def test_an_error_below_zero_is_a_database_that_is_corrupt(
    tables: Tables, samples: Samples, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    tables.window("AAPL", 0.1, test=-1.0)
    with caplog.at_level(logging.ERROR):
        assert shown(Forecast(tables.url, clock=clock), samples, clock)["forecast_db_up"] == 0
    assert "AAPL 1D has an error below zero" in caplog.text


def test_twenty_queries_make_the_baseline_of_their_time(
    tmp_path: Path, samples: Samples, clock: Time
) -> None:
    exporter = Forecast(f"sqlite:///{tmp_path / 'none.db'}", clock=clock)
    for number in range(25):
        assert "forecast_db_query_baseline_seconds" not in samples(exporter.families(clock())) or number >= 20
        seconds = (number + 1) / 1000
        exporter.feed_validation((Result("days", [], seconds), Result("newest", [], 0.0)))
    assert samples(exporter.families(clock()))["forecast_db_query_baseline_seconds"] == pytest.approx(0.0105)


def test_critical_lines_of_the_log_are_counted(tmp_path: Path, samples: Samples, clock: Time) -> None:
    exporter = Forecast(f"sqlite:///{tmp_path / 'none.db'}", log="nowhere.log", clock=clock)
    lines = (
        b"2026-01-28 08:00:00 CRITICAL forecast: no model\nINFO a CRITICALITY\nCRITICAL:root:x\n\xff\xfe\n"
    )
    exporter.feed_log(Block(lines))
    assert samples(exporter.families(clock()))["forecast_critical_errors_total"] == 2


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.binary(max_size=4)
NAMES = "symbol horizon model_count day windows divergences divergence_max overfitting test_rmse result total"


@given(st.lists(st.dictionaries(st.sampled_from(NAMES.split()), JSON), max_size=3))
def test_no_row_raises_anything_but_a_value_error(rows: list[dict[str, Any]]) -> None:
    for read in (days, newest, totals):
        try:
            read(rows)
        except ValueError:
            continue


@given(st.lists(st.dictionaries(st.sampled_from(NAMES.split()), JSON), min_size=1, max_size=3))
def test_no_rows_keep_the_metrics_from_being_shown(rows: list[dict[str, Any]]) -> None:
    exporter = Forecast("sqlite:///nowhere.db", clock=lambda: 1e9)
    exporter.feed_validation((Result("days", rows, 0.1), Result("newest", rows, 0.1)))
    exporter.feed_ends(metrics.FORECASTS, Result("forecasts", rows, 0.1))
    assert list(exporter.families(1e9))


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="object"):
        Forecast("sqlite:///nowhere.db").restore(b"[]")


def test_a_scope_without_names_is_all() -> None:
    assert Scope().has("AAPL", "1D")
    assert not Scope(frozenset({"AAPL"})).has("TSLA", "1D")
    assert not Scope(frozenset(), frozenset({"1D"})).has("AAPL", "4h")


def test_what_is_served_is_what_is_declared() -> None:
    families: list[Family] = list(Forecast("sqlite:///nowhere.db", log="l").families(0.0))
    assert {one.metric for one in families} == set(metrics.METRICS)
    assert len(families) == len(metrics.METRICS)
