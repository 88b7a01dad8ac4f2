"""A screener's log and table have known answers; broken lines and rows move nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard.exporters.runtime.follower import Follower
from rollguard.exporters.screener import metrics
from rollguard.exporters.screener.baseline import BaselineError, ScreenerBaseline, screener_baseline
from rollguard.exporters.screener.exporter import Screener
from rollguard.exporters.screener.log import parse
from rollguard.exporters.screener.scans import MAX_ROWS, Scans
from rollguard.exporters.sources.interface import Block, Result
from tests.unit.exporters.conftest import Samples

DATA = Path(__file__).parents[3] / "data"
NOW = 1_771_754_400.0
GOOD = (DATA / "screener.log").read_bytes()
MALFORMED = (DATA / "screener-malformed.log").read_bytes().splitlines(keepends=True)
REJECTED = "rollguard_exporter_events_rejected_total"


def screener(**options: Any) -> Screener:
    return Screener("nowhere.log", clock=lambda: NOW, **options)


def shown(exporter: Screener, samples: Samples) -> dict[str, float]:
    found = samples(exporter.families(NOW))
    return {name: value for name, value in found.items() if not name.startswith(REJECTED)}


# The log


def test_the_recorded_lines_have_known_answers(samples: Samples) -> None:
    exporter = screener(universe=500)
    exporter.feed_log(Block(GOOD))
    found = shown(exporter, samples)
    expected = {
        "se_scans_total": 1,
        "se_scan_symbols": 487,
        'se_scan_score{stat="min"}': 0.0,
        'se_scan_score{stat="max"}': 89.3,
        'se_scan_score{stat="mean"}': 38.2,
        'se_scan_score{stat="median"}': 35.7,
        "se_scan_ready": 42,
        "se_universe_symbols": 500,
        "se_coverage_ratio": 0.974,
        "se_ready_ratio": pytest.approx(42 / 487),
        "se_symbols_total": 3,
        "se_symbol_errors_total": 1,
        "se_symbol_no_data_total": 1,
        "se_worker_crashes_total": 1,
        "se_disabled_starts_total": 1,
        'se_symbol_duration_seconds_count{phase="total"}': 3,
        'se_symbol_duration_seconds_sum{phase="total"}': pytest.approx(2.6115),
        'se_symbol_duration_seconds_bucket{le="0.05",phase="total"}': 1,
        'se_symbol_duration_seconds_bucket{le="2.0",phase="total"}': 2,
        'se_symbol_duration_seconds_bucket{le="3.0",phase="total"}': 3,
        'se_symbol_duration_seconds_sum{phase="detectors"}': pytest.approx(1.3761),
    }
    assert {name: found[name] for name in expected} == expected
    assert samples(exporter.families(NOW))[f'{REJECTED}{{reason="shape"}}'] == 0


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_is_counted_and_moves_nothing(line: bytes, samples: Samples) -> None:
    exporter = screener()
    exporter.feed_log(Block(GOOD))
    before = shown(exporter, samples)
    exporter.feed_log(Block(line))
    assert shown(exporter, samples) == before
    assert samples(exporter.families(NOW))[f'{REJECTED}{{reason="shape"}}'] == 1


@pytest.mark.parametrize("line", MALFORMED)
def test_a_malformed_line_hides_no_other(line: bytes) -> None:
    found = parse(GOOD + line + GOOD)
    assert (len(found.errors), len(found.scans), found.broken) == (6, 2, 1)


def test_a_scan_that_scored_nothing_has_no_scores(samples: Samples) -> None:
    exporter = screener(universe=10)
    line = b"SE score distribution [s]: n=0 min=None max=None mean=None median=None ready=0\n"
    exporter.feed_log(Block(line))
    found = shown(exporter, samples)
    assert (found["se_coverage_ratio"], found["se_scans_total"]) == (0, 1)
    assert 'se_scan_score{stat="mean"}' not in found
    assert "se_ready_ratio" not in found


@given(st.binary(max_size=300))
def test_no_bytes_raise_or_move_a_metric(samples: Samples, noise: bytes) -> None:
    exporter = screener()
    before = shown(exporter, samples)
    exporter.feed_log(Block(noise + b"\n"))
    assert shown(exporter, samples) == before


@given(st.data())
def test_a_line_with_some_bytes_replaced_raises_nothing(samples: Samples, data: st.DataObject) -> None:
    line = bytearray(data.draw(st.sampled_from(GOOD.splitlines())))
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    exporter = screener()
    exporter.feed_log(Block(bytes(line) + b"\n"))
    assert shown(exporter, samples)


def test_lines_that_windows_ended_are_read_too() -> None:
    assert len(parse(GOOD.replace(b"\n", b"\r\n")).errors) == 3


# The table


def details(**engine: Any) -> str:
    others = {"minervini": {"score": 50}, "canslim": {"score": 40}}
    return json.dumps({"details": {"screeners": others | ({"setup_engine": engine} if engine else {})}})


def row(number: int, scan: str, symbol: str, composite: float, text: str) -> tuple[Any, ...]:
    return (number, scan, symbol, composite, text)


class Table:
    """The table scan_results in a file."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self._file = sqlite3.connect(path)
        self._file.execute(
            "CREATE TABLE scan_results (id INTEGER PRIMARY KEY, scan_id TEXT NOT NULL, symbol TEXT NOT NULL,"
            " composite_score REAL, details JSON)"
        )

    def scan(
        self, name: str, composite: Callable[[int], float], symbols: int = 400, *, engine: bool = True
    ) -> None:
        ratings = ["Strong Buy"] * 10 + ["Buy"] * 30 + ["Watch"] * 100 + ["Pass"] * symbols
        for number in range(symbols):
            answer = {
                "rating": ratings[number],
                "setup_score": float(number % 90),
                "details": {
                    "pattern_primary": ("cup_with_handle", "flat_base", None)[number % 3],
                    "failed_checks": ["volume"] if number % 2 else [{"name": "atr"}, {"name": "volume"}],
                    "invalidation_flags": ["stale"] if number < 80 else [],
                },
            }
            self.add(name, f"S{number:03}", composite(number), details(**answer) if engine else details())
        self._file.commit()

    def add(self, scan: str, symbol: str, composite: float, text: str) -> None:
        self._file.execute(
            "INSERT INTO scan_results (scan_id, symbol, composite_score, details) VALUES (?, ?, ?, ?)",
            (scan, symbol, composite, text),
        )

    def commit(self) -> None:
        self._file.commit()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def table(tmp_path: Path) -> Any:
    found = Table(tmp_path / "scans.db")
    yield found
    found.close()


def look(exporter: Screener, times: int = 2) -> None:
    """Read the table; a scan is complete with the look that brings nothing more of it."""
    follower = Follower(exporter, None)
    for _ in range(times):
        follower.step(follower.inputs[1])


def test_a_scan_of_the_table_has_known_answers(table: Table, samples: Samples) -> None:
    table.scan("first", lambda number: 100.0 - number)
    exporter = screener(database=table.url)
    look(exporter)
    found = shown(exporter, samples)
    expected = {
        'se_rating_count{rating="StrongBuy"}': 10,
        'se_rating_count{rating="Buy"}': 30,
        'se_rating_count{rating="Watch"}': 100,
        'se_rating_count{rating="Pass"}': 260,
        'se_gate_failure_ratio{gate="volume"}': pytest.approx(2 / 3),
        'se_gate_failure_ratio{gate="atr"}': pytest.approx(1 / 3),
        "se_flagged_ratio": 0.2,
        "se_pattern_types": 2,
    }
    assert {name: found[name] for name in expected} == expected
    assert "se_top50_overlap_ratio" not in found
    assert "se_top50_shift_points" not in found


@pytest.mark.parametrize(("symbols", "said"), [(49, False), (50, True)])
def test_a_scan_of_a_few_chosen_symbols_is_not_judged(
    table: Table, samples: Samples, symbols: int, said: bool
) -> None:
    table.scan("few", lambda number: 100.0 - number, symbols=symbols)
    exporter = screener(database=table.url)
    look(exporter)
    found = shown(exporter, samples)
    assert ("se_flagged_ratio" in found, "se_pattern_types" in found) == (said, said)
    assert found['se_rating_count{rating="StrongBuy"}'] == 10


def test_a_scan_that_still_grows_is_not_shown(table: Table, samples: Samples) -> None:
    table.scan("first", lambda number: 100.0 - number, symbols=60)
    exporter = screener(database=table.url)
    look(exporter)
    table.scan("second", lambda number: 100.0 - number, symbols=5)
    look(exporter, times=1)
    assert shown(exporter, samples)['se_rating_count{rating="Buy"}'] == 30


def test_overlap_is_of_consecutive_scans_of_the_same_screeners(table: Table, samples: Samples) -> None:
    exporter = screener(database=table.url)
    table.scan("first", lambda number: 1000.0 - number)
    look(exporter)
    table.scan("without", float, engine=False)
    look(exporter)
    table.scan("second", lambda number: 1000.0 - (number + 390) % 400)  # ten others lead
    look(exporter)
    assert shown(exporter, samples)["se_top50_overlap_ratio"] == 0.8


def test_the_shift_is_of_a_pair_in_a_row_and_gone_with_the_next_scan(table: Table, samples: Samples) -> None:
    exporter = screener(database=table.url)
    table.scan("without", lambda number: 1000.0 - number, engine=False)
    look(exporter)
    table.scan("with", lambda number: 1000.0 - number - (6 if number % 2 else 2))
    look(exporter)
    assert shown(exporter, samples)["se_top50_shift_points"] == 4.0
    table.scan("next", lambda number: 1000.0 - number)
    look(exporter)
    assert "se_top50_shift_points" not in shown(exporter, samples)


def test_rows_that_cannot_be_understood_are_counted(table: Table, samples: Samples) -> None:
    table.scan("first", lambda number: 100.0 - number, symbols=50)
    table.add("first", "BAD0", 1.0, details(rating="Strong Buy", invalidation_flags="stale"))
    table.add("first", "BAD1", 1.0, "{not json")
    table.add("first", "BAD2", 1.0, details(rating="Buy", failed_checks="volume"))
    table.add("first", "BAD3", 1.0, details(rating="Buy", setup_score="high"))
    table.commit()
    exporter = screener(database=table.url)
    look(exporter)
    assert samples(exporter.families(NOW))[f'{REJECTED}{{reason="shape"}}'] == 3
    assert shown(exporter, samples)['se_rating_count{rating="StrongBuy"}'] == 10
    assert shown(exporter, samples)['se_rating_count{rating="Buy"}'] == 30


def test_a_restart_goes_on_where_it_was(table: Table, samples: Samples) -> None:
    table.scan("first", lambda number: 100.0 - number)
    first = screener(database=table.url)
    first.feed_log(Block(GOOD))
    look(first)
    second = screener(database=table.url)
    second.restore(first.save())
    assert shown(second, samples) == shown(first, samples)


@pytest.mark.parametrize("state", [b"", b"[]", b'{"tallies": 3}', b'{"scans": [{}]}'])
def test_what_is_no_state_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        screener().restore(state)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=8), inside, max_size=3),
    max_leaves=4,
)
COLUMNS = "id scan_id symbol composite_score rating setup_score pattern_primary failed_checks screeners"


@given(st.lists(st.dictionaries(st.sampled_from(COLUMNS.split()), JSON | JSON.map(json.dumps)), max_size=4))
def test_no_row_raises(rows: list[dict[str, Any]]) -> None:
    exporter = screener(database="sqlite:///nowhere.db")
    exporter.feed_rows((Result("scans", rows, 0.1),))
    exporter.feed_rows((Result("scans", [], 0.1),))
    assert list(exporter.families(NOW))
    exporter.save()


def test_names_of_a_table_do_not_grow_without_end() -> None:
    scans = Scans()
    row = {"scan_id": "s", "screeners": '["setup_engine"]'}
    for number in range(1000):
        gates = json.dumps([f"gate {number}"])
        names = {"symbol": f"S{number}", "rating": f"R{number}", "pattern_primary": f"P{number}"}
        scans.take([row | names | {"id": number, "failed_checks": gates}])
    (scan,) = scans.kept
    assert (len(scan.ratings), len(scan.gates), len(scan.patterns)) == (101, 101, 100)
    assert scan.ratings["other"] == scan.gates["other"] == 900


def test_a_hundred_thousand_symbols_take_no_more_memory_than_a_market() -> None:
    scans = Scans()
    row = {"scan_id": "1", "composite_score": 1.0, "rating": "Buy", "setup_score": 50.0}
    broken = scans.take({"id": number, "symbol": f"S{number}", **row} for number in range(100_000))
    assert broken == 100_000 - MAX_ROWS
    assert len(scans.kept[0].composites) == len(scans.kept[0].scores) == scans.kept[0].judged == MAX_ROWS


def test_no_more_scans_are_kept_than_are_needed() -> None:
    scans = Scans()
    for number in range(50):
        scans.take([{"id": number, "scan_id": f"s{number}", "symbol": "A", "screeners": '["setup_engine"]'}])
    assert [scan.scan_id for scan in scans.kept] == ["s46", "s47", "s48", "s49"]


# The baseline


def test_a_baseline_is_saved_read_and_measured_against(
    table: Table, tmp_path: Path, samples: Samples
) -> None:
    table.scan("scan-abc123", lambda number: 100.0 - number)
    (tmp_path / "celery.log").write_bytes(GOOD)
    made = screener_baseline(str(tmp_path / "celery.log"), table.url, notes="charts checked", made_at=NOW)
    made.save(tmp_path / "baseline.json")
    assert ScreenerBaseline.load(tmp_path / "baseline.json") == made
    assert (made.scan_id, made.n, made.ready, made.notes) == ("scan-abc123", 487, 42, "charts checked")
    assert made.ratings == {"StrongBuy": 10, "Buy": 30, "Watch": 100, "Pass": 260}
    assert sum(made.counts) == 400
    exporter = screener(database=table.url, baseline=made)
    look(exporter)
    assert shown(exporter, samples)["se_score_drift_psi"] == pytest.approx(0.0, abs=1e-12)


def test_a_drift_needs_300_scores() -> None:
    made = ScreenerBaseline("screener", 0.0, "", "s", 1, 1, {}, {}, [50.0], [200, 200])
    assert made.drift(np.zeros(299)) is None
    assert made.drift(np.full(300, 99.0)) == pytest.approx(3.188668572, abs=1e-9)


def test_a_baseline_of_no_scan_is_refused(table: Table, tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="none of the newest"):
        screener_baseline(str(tmp_path / "celery.log"), table.url, notes="", made_at=NOW)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": "other"}'])
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "baseline.json"
    path.write_text(text)
    with pytest.raises(BaselineError, match="no baseline"):
        ScreenerBaseline.load(path)
    with pytest.raises(BaselineError, match="cannot be read"):
        ScreenerBaseline.load(tmp_path / "missing.json")


def test_what_is_served_is_what_is_declared() -> None:
    def own(exporter: Screener) -> list[Any]:
        return [one.metric for one in exporter.families(NOW) if one.metric.name != REJECTED]

    assert set(own(screener(database="sqlite:///nowhere.db"))) == set(metrics.METRICS)
    assert set(own(screener())) == set(metrics.FROM_LOG)
