"""Outcomes by arm: what the series of a guard gained, as counts by assigned share and outcome."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from rollguard.exporters.evidence.counters import Gained
from rollguard.exporters.evidence.judged import ASSIGNED, BUCKET, OUTCOME, Judged
from rollguard.exporters.measures.betting import Array

RATE = (0.0, 1.0)
"""Categories of a rate: good, bad."""

ALONE = "0"
"""The share of what a limit judges: it has no other arm, whatever was assigned."""

MAX_SHARES = 20
MAX_EACH = 50

Counts = dict[str, dict[str, Array]]
"""By the label of `each` and by the assigned share in %, as text: counts by arm (old, new) and outcome."""


class OutcomeError(Exception):
    """The counters of a guard do not go together; the text says how."""


def categories(judged: Judged, gained: Sequence[Gained], known: Sequence[float]) -> list[float]:
    """Return the categories of a guard's outcomes, the upper edges of its buckets or bins.

    Args:
        judged: the guard.
        gained: of the counter `outcomes`; of a rate, whatever.
        known: from the looks before; none at the first.
    Raises:
        OutcomeError: an edge is no number, the arms have different ones, or they are others than before.
    """
    if judged.kind == "rate":
        return list(RATE)
    by_arm: dict[int, set[float]] = {}
    for labels, _ in gained:
        arm = judged.arm(labels)
        if arm is not None:
            by_arm.setdefault(arm, set()).add(_edge(judged, labels))
    found = sorted(set().union(*by_arm.values()))
    if any(edges != set(found) for edges in by_arm.values()):
        raise OutcomeError("the arms have different buckets")
    if known and found != list(known):
        raise OutcomeError("the buckets are others than at the start of the run")
    if len(found) < 2 or not math.isinf(found[-1]):
        raise OutcomeError("expected two buckets at least, the last one +Inf")
    return found


def counts(judged: Judged, gained: Mapping[str, Sequence[Gained]], edges: Sequence[float]) -> Counts:
    """Return the outcomes since the look before.

    Args:
        judged: the guard.
        gained: by the role of the counter.
        edges: the categories.
    Raises:
        OutcomeError: more outcomes are bad than there are, a bucket counts less than a smaller one, or there
            are too many labels.
    """
    raw: Counts = {}
    if judged.kind == "rate":
        for column, role in enumerate(("total", judged.marked)):
            _add(raw, judged, gained[role], partial(_always, column), len(edges))
    else:
        column_of = {edge: index for index, edge in enumerate(edges)}
        _add(raw, judged, gained["outcomes"], lambda labels: column_of[_edge(judged, labels)], len(edges))
    found = {
        each: {share: _by_outcome(judged, counted) for share, counted in shares.items()}
        for each, shares in raw.items()
    }
    if any((counted < 0).any() for shares in found.values() for counted in shares.values()):
        raise OutcomeError(
            "a bucket counts less than a smaller one"
            if judged.cumulative
            else f"`{judged.marked}` counts more than `total`"
        )
    return found


def assignments(judged: Judged, gained: Sequence[Gained]) -> dict[str, Array]:
    """Return the assignments since the look before by assigned share, in %; shape (2, 1), old and new.

    Raises:
        OutcomeError: a series does not say at which share it was assigned.
    """
    found: Counts = {}
    _add(found, replace(judged, each=""), gained, partial(_always, 0), 1)
    shares = found.get("", {})
    if "" in shares:
        raise OutcomeError(f"assignments lack the label {ASSIGNED}")
    return shares


def _by_outcome(judged: Judged, raw: Array) -> Array:
    """Return what each outcome counts, of what each column of the counters does."""
    if judged.kind == "rate":
        total, marked = raw[:, 0], raw[:, 1]
        rest = total - marked
        return np.stack([rest, marked] if judged.marked == "bad" else [marked, rest], axis=1)
    return np.diff(raw, axis=1, prepend=0.0) if judged.cumulative else raw


def _add(
    counts: Counts,
    judged: Judged,
    gained: Sequence[Gained],
    column: Callable[[Mapping[str, str]], int],
    columns: int,
) -> None:
    for labels, more in gained:
        arm, share = judged.arm(labels), ALONE if judged.arms is None else _share(labels)
        if arm is None or share is None:
            continue
        shares = counts.setdefault(labels.get(judged.each, ""), {})
        if share not in shares:
            shares[share] = np.zeros((2, columns))
        if len(shares) > MAX_SHARES or len(counts) > MAX_EACH:
            raise OutcomeError(
                f"expected at most {MAX_SHARES} values of {ASSIGNED} and {MAX_EACH} of {judged.each}"
            )
        shares[share][arm, column(labels)] += more


def _always(column: int, _: Mapping[str, str]) -> int:
    return column


def _share(labels: Mapping[str, str]) -> str | None:
    """Return the percent at assignment as text, empty where nobody knows; None where there was no draw."""
    text = labels.get(ASSIGNED, "")
    try:
        percent = float(text or "nan")
    except ValueError:
        raise OutcomeError(f'{ASSIGNED}="{text}" is no percent') from None
    if math.isnan(percent):
        return ""
    return f"{percent:.12g}" if 0 < percent < 100 else None


def share(text: str) -> float:
    """Return the canary's share, 0-1, NaN where nobody knows."""
    return float(text) / 100 if text else math.nan


def _edge(judged: Judged, labels: Mapping[str, str]) -> float:
    label = BUCKET if judged.cumulative else OUTCOME
    try:
        edge = float(labels.get(label, ""))
    except ValueError:
        edge = math.nan
    if math.isnan(edge):
        raise OutcomeError(f'{label}="{labels.get(label, "")}" is no edge of a bucket')
    return edge
