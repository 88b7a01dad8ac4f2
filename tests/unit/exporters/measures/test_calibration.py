from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from rollguard.exporters.measures.calibration import (
    BINS,
    brier_score,
    calibration_bin,
    calibration_noise,
    expected_calibration_error,
)
from rollguard.exporters.measures.distances import Array

pairs = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=300)


def binned(probabilities: Array, outcomes: Array) -> tuple[Array, Array, Array]:
    bins = np.array([calibration_bin(probability) for probability in probabilities])
    return (
        np.bincount(bins, minlength=BINS),
        np.bincount(bins, probabilities, minlength=BINS),
        np.bincount(bins, outcomes, minlength=BINS),
    )


@given(pairs)
def test_brier_is_that_of_scikit_learn(found: list[tuple[float, bool]]) -> None:
    probabilities, outcomes = np.array([p for p, _ in found]), np.array([float(y) for _, y in found])
    expected = brier_score_loss(outcomes, probabilities, pos_label=1)
    counts, _, _ = binned(probabilities, outcomes)
    bins = [calibration_bin(probability) for probability in probabilities]
    squares = np.bincount(bins, (probabilities - outcomes) ** 2, minlength=BINS)
    assert brier_score(counts, squares) == pytest.approx(expected, abs=1e-12)


@given(pairs)
def test_the_calibration_error_is_the_weighted_curve_of_scikit_learn(found: list[tuple[float, bool]]) -> None:
    # scikit-learn counts a probability on an edge to the bin below it
    inside = [(p, y) for p, y in found if abs(10 * p - round(10 * p)) > 1e-9] or [(0.05, True)]
    probabilities, outcomes = np.array([p for p, _ in inside]), np.array([float(y) for _, y in inside])
    counts, scores, won = binned(probabilities, outcomes)
    frequency, mean = calibration_curve(outcomes, probabilities, n_bins=BINS)
    expected = np.sum(counts[counts > 0] * np.abs(frequency - mean)) / len(probabilities)
    assert expected_calibration_error(counts, scores, won) == pytest.approx(expected, abs=1e-12)


def test_an_edge_belongs_to_the_bin_above_it_and_one_to_the_last() -> None:
    assert [calibration_bin(p) for p in (0.0, 0.0999, 0.1, 0.95, 1.0)] == [0, 0, 1, 9, 9]


def test_the_noise_is_what_calibrated_models_show() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.uniform(size=500)
    errors = []
    for _ in range(400):
        counts, scores, won = binned(probabilities, rng.uniform(size=500) < probabilities)
        errors.append(expected_calibration_error(counts, scores, won))
    counts, scores, _ = binned(probabilities, probabilities)
    assert calibration_noise(counts, scores) == pytest.approx(np.mean(errors), rel=0.05)


def test_nothing_is_known_of_nothing() -> None:
    nothing = np.zeros(BINS)
    assert math.isnan(brier_score(nothing, nothing))
    assert math.isnan(expected_calibration_error(nothing, nothing, nothing))
    assert math.isnan(calibration_noise(nothing, nothing))
