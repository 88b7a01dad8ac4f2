from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy, ks_2samp

from exporters.statistics import Array, kolmogorov_smirnov, population_stability_index

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
