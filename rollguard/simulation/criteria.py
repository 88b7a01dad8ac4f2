"""Criteria of `advance` and `fail`, for many rollouts at once, as far as they are comparisons, or proofs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from rollguard import durations
from rollguard.simulation.evidence import Bet
from rollguard.simulation.reads import NoLawError, Traffic
from rollguard.simulation.windows import Over, Rows, Truth
from rollguard.spec.falsifiable import COMPARATORS
from rollguard.spec.rollout import Criterion, Failure
from rollguard.spec.series import Series

_NUMBER = r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
_SERIES = r"[a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^{}]*\})?"
_COMPARISON = re.compile(
    rf"(?:sum by \(rollout\) \()?(?:(?P<function>\w+)\()?(?P<series>{_SERIES})(?:\[(?P<window>\w+)\]\))?\)?"
    rf"(?P<limits>(?:\s*(?:==|!=|<=|>=|<|>)\s*{_NUMBER})+)"
)
_LIMIT = re.compile(rf"(==|!=|<=|>=|<|>)\s*({_NUMBER})")
_OVER = {"avg": "average", "max": "maximum", "min": "minimum", "stddev": "deviation"}


class Condition(Protocol):
    """A criterion that is simulated."""

    def look(self) -> None:
        """Take in what was drawn."""

    def holds(self, rows: Rows) -> Truth:
        """Return whether it holds now, of some rollouts by number."""

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""


class _Comparison:
    def __init__(self, text: str, traffic: Traffic) -> None:
        match = _COMPARISON.fullmatch(text.strip())
        if match is None:
            raise NoLawError("no formula for its expression")
        self._limits = [
            (COMPARATORS[sign], float(number)) for sign, number in _LIMIT.findall(match["limits"])
        ]
        series, function = Series.parse(match["series"]), match["function"]
        window = durations.parse(match["window"]) if match["window"] else 0.0
        self._over: Any
        if function == "increase":
            read, self._over = traffic.increase(traffic.counter(series), window)
            self._samples = read.gained
        elif function is None or function.removesuffix("_over_time") in _OVER:
            gauge = traffic.gauge(series)
            fine = traffic.is_fine(window) and gauge.fine
            aggregate = _OVER[function.removesuffix("_over_time")] if function else "last"
            self._over = Over(traffic.rows, aggregate, window, traffic.seconds_of(fine))
            self._samples = lambda: gauge.values if fine else gauge.values[-1:]
        else:
            raise NoLawError(f"no formula for {function}")
        self._value = np.zeros(traffic.rows)

    def look(self) -> None:
        self._value = self._over.add(self._samples())[-1]

    def holds(self, rows: Rows) -> Truth:
        value = self._value[rows]
        found = ~np.isnan(value)
        for compare, limit in self._limits:
            found &= compare(value, limit)
        return np.asarray(found)

    def keep(self, rows: Rows) -> None:
        self._over.keep(rows)
        self._value = self._value[rows]


class _Proof:
    def __init__(self, bet: Bet, margin: float) -> None:
        self._bet, self._margin = bet, margin

    def look(self) -> None:
        """Take in nothing: the guard does."""

    def holds(self, rows: Rows) -> Truth:
        return np.asarray(self._bet.upper(rows) < self._margin)

    def keep(self, rows: Rows) -> None:
        """Forget nothing: the guard does."""


def condition(criterion: Criterion | Failure, traffic: Traffic, bets: Mapping[str, Bet]) -> Condition:
    """Return a criterion as it is simulated; raises NoLawError, which says why it is not."""
    if isinstance(criterion, Failure) or criterion.not_worse is None:
        return _Comparison(criterion.expr, traffic)
    if criterion.not_worse not in bets:
        raise NoLawError(f"{criterion.not_worse} is not simulated")
    return _Proof(bets[criterion.not_worse], float(criterion.margin or 0.0))
