from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from exporters.drift import DriftWindow
from exporters.reference import Reference
from exporters.statistics import kolmogorov_smirnov

NOW = 1_700_000_000.0


def fill(window: DriftWindow, spread: list[float | None], at: float = NOW) -> None:
    rows = np.array([(value, 1.0) for value in spread], dtype=np.float64)
    window.add(np.full(len(rows), at), rows)


@pytest.fixture
def window(reference: Reference) -> DriftWindow:
    return DriftWindow(reference, 600, 300)


def test_the_served_distribution_of_the_reference_reads_as_none(window: DriftWindow) -> None:
    fill(window, np.random.default_rng(8).normal(size=1000).tolist())
    spread = next(window.measure(NOW))
    assert spread.feature == "spread"
    assert spread.psi < 0.03
    assert spread.ks < 0.05


def test_a_shift_reads_as_drift(window: DriftWindow) -> None:
    fill(window, np.random.default_rng(8).normal(0.8, size=1000).tolist())
    spread = next(window.measure(NOW))
    assert spread.psi > 0.3
    assert spread.ks > 0.2


def test_it_is_that_of_the_histograms_by_another_way(window: DriftWindow, reference: Reference) -> None:
    values = np.random.default_rng(8).normal(0.4, size=700)
    fill(window, values.tolist())
    bins = reference.features["spread"]
    online, _ = np.histogram(-values, [-np.inf, *(-np.array(bins.edges[::-1])), np.inf])  # (low, high] bins
    p, q = online[::-1] + 0.5, np.array(bins.counts) + 0.5
    assert next(window.measure(NOW)).psi == pytest.approx(entropy(p, q) + entropy(q, p), abs=1e-12)


def test_one_value_below_the_minimal_sample_is_silence(window: DriftWindow) -> None:
    fill(window, [0.0] * 299)
    assert list(window.measure(NOW)) == []
    fill(window, [0.0])
    assert [drift.feature for drift in window.measure(NOW)] == ["spread", "depth"]


def test_a_feature_s_missing_values_do_not_count_for_it(window: DriftWindow) -> None:
    fill(window, [None] * 100 + [0.0] * 200)
    assert [drift.feature for drift in window.measure(NOW)] == ["depth"]
    assert window.sample(NOW) == 300


def test_rows_leave_the_window(window: DriftWindow) -> None:
    fill(window, [0.0] * 300)
    fill(window, [0.0] * 5, NOW + 500)
    assert window.sample(NOW + 500) == 305
    assert window.sample(NOW + 620) == 5


def test_a_value_on_an_edge_lies_in_the_bin_below(window: DriftWindow, reference: Reference) -> None:
    edges = np.array(reference.features["spread"].edges)
    values = np.concatenate([edges, np.nextafter(edges, np.inf)])
    fill(window, np.repeat(values, 20).tolist())
    bins = np.searchsorted(edges, values)
    online = np.repeat(bins, 20)
    expected = kolmogorov_smirnov(
        np.bincount(online, minlength=len(edges) + 1), np.array(reference.features["spread"].counts)
    )
    assert next(window.measure(NOW)).ks == expected


def test_the_state_of_another_reference_is_refused(window: DriftWindow, reference: Reference) -> None:
    rows = {"spread": np.arange(300.0), "depth": np.arange(300.0)}
    other = DriftWindow(Reference.fit(rows, source="", made_at=0), 600, 300)
    assert not window.restore(other.state())
    assert window.restore(DriftWindow(reference, 600, 300).state())
