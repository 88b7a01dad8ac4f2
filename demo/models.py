"""Two real models, fitted on the early years, and their releases: one of them has a real defect."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from demo.features import FEATURES, Table, table
from demo.market import Array, Bars

LIVE_SINCE = date(2007, 1, 1)
"""Models are fitted on the years before and serve the years from here on."""

ACTIVE_FEATURES = ("return_1d", "return_5d")

APPROVED_SHARE = 0.85
"""Each model's `tau_entry` lets this share of the early years' signals pass."""

_RIDGE = 1.0
_NEWTON_STEPS = 12


@dataclass(frozen=True)
class Model:
    """A logistic regression of a trade's win on standardised features.

    Args:
        name: its entry in the registry.
        features: names of its inputs, in the order of training.
        means: of the features in the early years.
        deviations: of the features in the early years.
        weights: per standard deviation of each feature.
        intercept: log-odds of a win where every feature is at its mean.
        tau_entry: scores from here on are approved.
    """

    name: str
    features: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    tau_entry: float

    def score(self, row: Sequence[float]) -> float:
        """Return the probability of a win; the row's values stand in the order of training."""
        logit = self.intercept
        terms = zip(row, self.means, self.deviations, self.weights, strict=True)
        for value, mean, deviation, weight in terms:
            logit += weight * (value - mean) / deviation
        return 1 / (1 + math.exp(-logit))

    def approves(self, score: float) -> bool:
        """Return whether a score is good enough for a trade."""
        return score >= self.tau_entry

    def describe(self) -> str:
        """Return the model in a line, for a person."""
        pairs = zip(self.weights, self.features, strict=True)
        terms = " ".join(f"{weight:+.2f} {feature}" for weight, feature in pairs)
        return f"{self.name}: log-odds {self.intercept:.2f} {terms}, approves from {self.tau_entry:.3f}"


@dataclass(frozen=True)
class Release:
    """A model as it is served.

    The batch path (training, backtest, shadow scoring) takes its columns from the model. The live path keeps
    a list of its own, by position: where the two differ, neither a backtest nor shadow scoring sees it.

    Args:
        model: what is served.
        number: counts the releases of the model's service.
        live_columns: what the live path reads into each position of the model's row.
    """

    model: Model
    number: int
    live_columns: tuple[str, ...]

    def live_row(self, signal: Mapping[str, float]) -> tuple[float, ...]:
        """Return the row that the live path feeds to the model, named by `model.features`."""
        return tuple([signal[column] for column in self.live_columns])

    def batch_row(self, signal: Mapping[str, float]) -> tuple[float, ...]:
        """Return the row that the batch path feeds to the model."""
        return tuple([signal[column] for column in self.model.features])


def active(bars: Bars) -> Release:
    """Return the model in production: it sees returns only."""
    model = fit("active", ACTIVE_FEATURES, early_years(bars))
    return Release(model, 1, model.features)


def candidate(bars: Bars) -> Release:
    """Return the candidate as it should be: it sees volumes too."""
    model = fit("candidate", FEATURES, early_years(bars))
    return Release(model, 1, model.features)


def defective(healthy: Release) -> Release:
    """Return the next release: the same model, but its live path swaps the day's return and volume."""
    swap = {"return_1d": "volume_1d", "volume_1d": "return_1d"}
    columns = tuple(swap.get(column, column) for column in healthy.live_columns)
    return Release(healthy.model, healthy.number + 1, columns)


def early_years(bars: Bars) -> Table:
    """Return the rows that models are fitted on, also the reference for drift: no later day is in them."""
    return table(bars.before(LIVE_SINCE))


def fit(name: str, features: tuple[str, ...], rows: Table) -> Model:
    """Return a model fitted by Newton's method with a slight ridge; the same rows give the same model.

    Args:
        name: of the model.
        features: a selection of FEATURES, in the order that the model's rows will have.
        rows: what it learns from.
    """
    values = rows.features[:, [FEATURES.index(feature) for feature in features]]
    means, deviations = values.mean(axis=0), values.std(axis=0)
    design = np.column_stack([np.ones(len(values)), (values - means) / deviations])
    weights = _newton(design, rows.won.astype(np.float64))
    return Model(
        name=name,
        features=features,
        means=_floats(means),
        deviations=_floats(deviations),
        weights=_floats(weights[1:]),
        intercept=float(weights[0]),
        tau_entry=float(np.quantile(_sigmoid(design @ weights), 1 - APPROVED_SHARE)),
    )


def _newton(design: Array, won: Array) -> Array:
    ridge = _RIDGE * np.eye(design.shape[1])
    ridge[0, 0] = 0
    weights: Array = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        scores = _sigmoid(design @ weights)
        hessian = (design.T * (scores * (1 - scores))) @ design + ridge
        weights = weights + np.linalg.solve(hessian, design.T @ (won - scores) - ridge @ weights)
    return weights


def _sigmoid(logits: Array) -> Array:
    scores: Array = 1 / (1 + np.exp(-logits))
    return scores


def _floats(values: Array) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
