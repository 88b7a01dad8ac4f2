from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, ks_2samp

from rollguard.exporters.canary import metrics, operations, outcomes
from rollguard.exporters.measures import reference
from rollguard.exporters.measures.distances import (
    Array,
    divergence_ratio,
    histogram,
    kolmogorov_smirnov,
    kolmogorov_smirnov_of_values,
    population_stability_index,
)
from rollguard.exporters.screener import baseline, exporter

counts = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(
        *[st.lists(st.integers(0, 400), min_size=bins, max_size=bins).filter(any).map(np.array)] * 2
    )
)


@given(counts)
def test_psi_is_both_relative_entropies_of_the_smoothed_shares(pair: tuple[Array, Array]) -> None:
    online, reference = pair
    p, q = (x + 0.5 for x in pair)
    expected = entropy(p, q) + entropy(q, p)  # scipy divides by the sums itself
    assert population_stability_index(online, reference) == pytest.approx(expected, abs=1e-12)


@given(counts)
def test_ks_is_that_of_samples_which_lie_on_their_bins(pair: tuple[Array, Array]) -> None:
    online, reference = pair
    samples = [np.repeat(np.arange(len(x)), x) for x in pair]
    assert kolmogorov_smirnov(online, reference) == pytest.approx(ks_2samp(*samples).statistic, abs=1e-12)


@given(counts)
def test_distances_do_not_depend_on_the_order_of_the_two(pair: tuple[Array, Array]) -> None:
    online, reference = pair
    for distance in (population_stability_index, kolmogorov_smirnov):
        assert distance(online, reference) == pytest.approx(distance(reference, online), abs=1e-12)
        assert distance(online, reference) >= 0


@pytest.mark.parametrize("distance", [population_stability_index, kolmogorov_smirnov])
def test_an_empty_histogram_has_no_distance(distance: type) -> None:
    nothing, something = np.zeros(3), np.array([1.0, 2.0, 3.0])
    assert math.isnan(distance(nothing, something))
    assert math.isnan(distance(something, nothing))


@pytest.mark.parametrize("distance", [population_stability_index, kolmogorov_smirnov])
@pytest.mark.parametrize(
    "wrong", [np.ones(2), np.ones((3, 1)), np.array([1, -1, 2]), np.array([1, np.nan, 2])]
)
def test_what_is_no_histogram_is_refused(distance: type, wrong: Array) -> None:
    with pytest.raises(ValueError, match=r"histograms|counts"):
        distance(wrong, np.ones(3))


def test_a_shift_of_one_deviation_reads_as_the_literature_says() -> None:
    rng = np.random.default_rng(3)
    edges = np.quantile(rng.normal(size=100_000), np.arange(1, 10) / 10)
    base, moved = (np.bincount(np.searchsorted(edges, rng.normal(m, size=100_000))) for m in (0, 1))
    assert population_stability_index(moved, base) == pytest.approx(0.93, abs=0.03)
    assert kolmogorov_smirnov(moved, base) == pytest.approx(0.383, abs=0.01)


# The page


@pytest.mark.parametrize(
    ("statistic", "minimum"),
    [
        ("win rate", f"{outcomes.MIN_SAMPLE} trades, {metrics.MIN_TRADES} for"),
        ("fill rate", f"{metrics.MIN_ORDERS} ended orders"),
        ("cancel to fill", f"{outcomes.MIN_SAMPLE} ended orders"),
        ("markout", f"{outcomes.MIN_SAMPLE} fills"),
        ("Brier score", f"{operations.MIN_OUTCOMES} trades"),
        ("expected calibration error", f"{operations.MIN_CALIBRATED} trades"),
        ("PSI", f"{reference.MIN_ROWS} values"),
        ("PSI", f"{baseline.MIN_SAMPLE} values"),
        ("gate dominance", f"{exporter.MIN_FAILURES} failures"),
        ("share of flags, pattern types", f"{exporter.MIN_RATED} rated symbols"),
    ],
)
def test_the_page_names_the_minimal_sample(statistic: str, minimum: str) -> None:
    page = (Path(__file__).parents[4] / "docs" / "statistics.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {statistic} |")]
    assert minimum in row.split(" | ")[3]


# Of the values themselves

numbers = st.floats(-1e6, 1e6) | st.integers(-3, 3).map(float)
values = st.lists(numbers, min_size=1, max_size=60).map(np.array)


@given(values, values.filter(lambda found: len(found) > 1))
def test_ks_of_values_is_scipys_to_the_bit_with_ties_too(online: Array, reference: Array) -> None:
    expected = ks_2samp(online, reference, method="asymp").statistic
    assert kolmogorov_smirnov_of_values(online, np.sort(reference)) == expected


def test_ks_of_values_that_do_not_overlap_is_one_and_of_nothing_unknown() -> None:
    low, high, nothing = np.arange(3.0), np.arange(3.0) + 9, np.array([])
    assert kolmogorov_smirnov_of_values(low, high) == kolmogorov_smirnov_of_values(high, low) == 1
    assert math.isnan(kolmogorov_smirnov_of_values(nothing, high))
    assert math.isnan(kolmogorov_smirnov_of_values(low, nothing))


@given(values, st.lists(numbers, min_size=1, max_size=12, unique=True).map(sorted).map(np.array))
def test_a_histogram_counts_like_a_search_for_each_value(found: Array, edges: Array) -> None:
    expected = np.bincount(np.searchsorted(edges, found), minlength=len(edges) + 1)
    assert histogram(found, edges).tolist() == expected.tolist()


def test_a_value_on_an_edge_lies_in_the_bin_below_it() -> None:
    assert histogram(np.array([0.0, 10.0, 10.1, 25.0]), np.array([10.0, 20.0])).tolist() == [2, 1, 1]
    assert histogram(np.array([]), np.array([10.0])).tolist() == [0, 0]


def test_binned_ks_reads_hardly_below_that_of_the_values() -> None:
    rng = np.random.default_rng(5)
    reference, online = rng.normal(size=20_000), rng.normal(0.3, 1.1, size=20_000)
    edges = np.quantile(reference, np.arange(1, 10) / 10)
    exact = kolmogorov_smirnov_of_values(online, np.sort(reference))
    assert 0 <= exact - kolmogorov_smirnov(histogram(online, edges), histogram(reference, edges)) < 0.006


def test_a_divergence_is_relative_to_the_validation() -> None:
    assert divergence_ratio(0.045, 0.048) == pytest.approx(1 / 15, abs=1e-12)
    assert divergence_ratio(0.05, 0.04) == pytest.approx(-0.2, abs=1e-12)
    assert divergence_ratio(0.0, 0.1) is None
