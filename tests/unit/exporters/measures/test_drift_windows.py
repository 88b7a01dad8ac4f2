from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import entropy

from rollguard.exporters.measures.distances import Array, kolmogorov_smirnov
from rollguard.exporters.measures.drift_windows import SLICES, DriftWindow
from rollguard.exporters.measures.reference import Reference

NOW = 1_700_000_000.0
SECONDS = 600.0


def fill(window: DriftWindow, spread: Array, depth: Array | None = None, seconds: float = 580.0) -> None:
    """Spread the rows evenly over some seconds before NOW."""
    other = np.ones(len(spread)) if depth is None else depth
    times = NOW - seconds + seconds * (np.arange(len(spread)) + 1) / len(spread)
    window.add(times, np.stack([spread, other], axis=1))


def independent(count: int, mean: float = 0.0, seed: int = 8) -> Array:
    return np.random.default_rng(seed).normal(mean, size=count)


def correlated(rows: int, per_minute: float, minutes: float, columns: int, seed: int = 3) -> Array:
    """Return features of mean 0 and deviation 1 whose correlation is 1/e after some minutes."""
    rng = np.random.default_rng(seed)
    kept = np.exp(-1 / per_minute / minutes)
    start = kept * rng.normal(size=(1, columns))
    found: Array = lfilter(
        [np.sqrt(1 - kept**2)], [1, -kept], rng.normal(size=(rows, columns)), axis=0, zi=start
    )[0]
    return found


@pytest.fixture
def window(reference: Reference) -> DriftWindow:
    return DriftWindow(reference, SECONDS, 300)


def test_the_served_distribution_of_the_reference_reads_as_none(window: DriftWindow) -> None:
    fill(window, independent(1000))
    spread = next(window.measure(NOW))
    assert spread.feature == "spread"
    assert spread.psi is not None
    assert spread.psi < 0.03
    assert spread.ks is not None
    assert spread.ks < 0.05


@pytest.mark.parametrize(
    ("mean", "deviation"), [(1.0, 1.0), (-0.8, 1.0), (50.0, 1.0), (1e6, 1e6), (0.0, 9.0)]
)
def test_a_shift_reads_as_drift(window: DriftWindow, mean: float, deviation: float) -> None:
    fill(window, mean + deviation * independent(1000))
    spread = next(window.measure(NOW))
    assert spread.psi is not None
    assert spread.psi > 0.3
    assert spread.ks is not None
    assert spread.ks > 0.2


def test_a_shift_of_independent_rows_is_seen_as_soon_as_the_slices_are_filled(window: DriftWindow) -> None:
    fill(window, independent(600, 1.0), seconds=250.0)
    spread = next(window.measure(NOW))
    assert spread.sample > 300
    assert spread.psi is not None
    assert spread.psi > 0.3


def test_it_is_that_of_the_histograms_by_another_way(window: DriftWindow, reference: Reference) -> None:
    values = independent(700, 0.4)
    fill(window, values)
    bins = reference.features["spread"]
    online, _ = np.histogram(-values, [-np.inf, *(-np.array(bins.edges[::-1])), np.inf])  # (low, high] bins
    p, q = online[::-1] + 0.5, np.array(bins.counts) + 0.5
    assert next(window.measure(NOW)).psi == pytest.approx(entropy(p, q) + entropy(q, p), abs=1e-12)


def test_below_the_minimal_sample_only_the_sample_is_known(reference: Reference) -> None:
    window = DriftWindow(reference, SECONDS, 1)
    fill(window, independent(1000))
    sample = next(window.measure(NOW)).sample
    for least, shown in ((int(sample), True), (int(sample) + 1, False)):
        window = DriftWindow(reference, SECONDS, least)
        fill(window, independent(1000))
        spread = next(window.measure(NOW))
        assert (spread.psi is not None, spread.ks is not None) == (shown, shown)
        assert spread.sample == sample


def test_many_rows_of_a_moment_are_no_sample(window: DriftWindow) -> None:
    fill(window, independent(5000, 1.0), seconds=(SLICES - 2) * SECONDS / 60)
    assert [(drift.sample, drift.psi) for drift in window.measure(NOW)] == [(0.0, None)] * 2


@pytest.mark.parametrize("minutes", [1.0, 15.0, 60.0])
def test_features_that_change_slowly_raise_no_drift(minutes: float) -> None:
    """The reference is the law that they come from: whatever half an hour shows of it is healthy."""
    columns, hours, per_minute = 20, 24, 20
    rng = np.random.default_rng(1)
    names = [f"f{number}" for number in range(columns)]
    reference = Reference.fit(dict.fromkeys(names, rng.normal(size=20_000)), source="", made_at=0)
    window = DriftWindow(reference, 1800.0, 300)
    rows = correlated(hours * 60 * per_minute, per_minute, minutes, columns)
    looks = range(0, len(rows) + 1, 5 * per_minute)
    samples = []
    for start, end in pairwise(looks):
        times = NOW + np.arange(start, end) * 60 / per_minute
        window.add(times, rows[start:end])
        window.forget(times[-1])
        measured = list(window.measure(times[-1]))
        samples += [drift.sample for drift in measured]
        assert not [drift for drift in measured if drift.psi is not None and drift.psi > 0.3]
        assert not [drift for drift in measured if drift.ks is not None and drift.ks > 0.2]
    assert np.median(samples) < 30


def test_features_whose_spread_changes_slowly_are_a_small_sample(window: DriftWindow) -> None:
    calm = np.exp(correlated(1000, 100, 5, 1)[:, 0])
    fill(window, independent(1000) * calm)
    assert next(window.measure(NOW)).sample < 300


def test_a_feature_that_stands_still_is_one_value(window: DriftWindow) -> None:
    fill(window, np.full(1000, 1e9 / 3), independent(1000))
    spread, depth = window.measure(NOW)
    assert (spread.sample, spread.psi, spread.ks) == (1.0, None, None)
    assert depth.psi is not None


@pytest.mark.parametrize("level", [0.0, 100.0])
def test_a_feature_of_two_values_is_measured(window: DriftWindow, level: float) -> None:
    fill(window, level + np.sign(independent(1000)))
    assert next(window.measure(NOW)).sample > 300


def test_a_defect_in_the_midst_of_the_window_waits_until_it_fills_it(window: DriftWindow) -> None:
    fill(window, np.concatenate([independent(500), independent(500, 1.5)]))
    assert next(window.measure(NOW)).psi is None


def test_a_feature_s_missing_values_do_not_count_for_it(window: DriftWindow) -> None:
    spread = independent(900)
    spread[::3] = np.nan
    fill(window, spread, np.abs(independent(900, seed=9)))
    found = {drift.feature: drift.sample for drift in window.measure(NOW)}
    assert found["spread"] <= 600 < found["depth"]
    assert window.sample(NOW) == 900
    fill(window, np.full(900, np.nan), np.abs(independent(900, seed=10)))
    assert next(window.measure(NOW)).sample == found["spread"]


def test_a_feature_without_values_is_left_out(window: DriftWindow) -> None:
    fill(window, np.full(400, np.nan), np.abs(independent(400)))
    assert [drift.feature for drift in window.measure(NOW)] == ["depth"]


def test_rows_leave_the_window(window: DriftWindow) -> None:
    rows = np.zeros((300, 2))
    window.add(np.full(300, NOW), rows)
    window.add(np.full(5, NOW + 500), rows[:5])
    assert window.sample(NOW + 500) == 305
    assert window.sample(NOW + 620) == 5


def test_a_value_on_an_edge_lies_in_the_bin_below(window: DriftWindow, reference: Reference) -> None:
    edges = np.array(reference.features["spread"].edges)
    values = np.concatenate([edges, np.nextafter(edges, np.inf)])
    fill(window, np.tile(values, 40))
    bins = np.searchsorted(edges, values)
    online = np.tile(bins, 40)
    expected = kolmogorov_smirnov(
        np.bincount(online, minlength=len(edges) + 1), np.array(reference.features["spread"].counts)
    )
    assert next(window.measure(NOW)).ks == expected


def test_the_state_of_another_reference_is_refused(window: DriftWindow, reference: Reference) -> None:
    rows = {"spread": np.arange(300.0), "depth": np.arange(300.0)}
    other = DriftWindow(Reference.fit(rows, source="", made_at=0), 600, 300)
    assert not window.restore(other.state())
    assert window.restore(DriftWindow(reference, 600, 300).state())
