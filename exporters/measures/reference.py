"""The saved reference of a model's features: ten quantile bins each, and where they come from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np

from rollguard.errors import FileProblemsError, Problem, RollguardError
from rollguard.exporters.measures.distances import Array, histogram

MIN_ROWS = 300
"""Fewer rows make the reference's own noise as large as the drift it is to show."""

_QUANTILES = np.arange(1, 10) / 10
_VERSION = 1
_HINT = "Make the file with `rollguard baseline save`; it is not meant to be written by hand."


class ReferenceError(RollguardError):
    """A reference cannot be made of these rows, or its file cannot be read."""


class ReferenceProblemsError(FileProblemsError, ReferenceError):
    """Every mistake that was found in a reference's file."""


class FeatureBins(msgspec.Struct, frozen=True):
    """A feature's histogram.

    Args:
        edges: strictly ascending; a value on an edge lies in the bin below it, like Prometheus's `le`.
        counts: rows per bin, one more than edges: the first and the last bin are open.
    """

    edges: list[float]
    counts: list[int]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Histograms of the rows that a model was trained or approved on.

    Args:
        made_at: Unix seconds.
        source: where the rows come from, for people.
        rows: how many there were.
        features: histogram per feature, ten bins or, where values are tied, as many as there are.
        window: Unix seconds of the first and the last row, where they are known.
        version: of the file's form.
    """

    made_at: float
    source: str
    rows: int
    features: dict[str, FeatureBins]
    window: tuple[float, float] | None = None
    version: int = _VERSION

    @classmethod
    def fit(
        cls,
        rows: Mapping[str, Array],
        *,
        source: str,
        made_at: float,
        window: tuple[float, float] | None = None,
    ) -> Reference:
        """Return the reference of some rows.

        Args:
            rows: values per feature, shape (rows,) each; what is not finite counts as missing.
            source: where the rows come from, for people.
            made_at: Unix seconds.
            window: Unix seconds of the first and the last row.
        Returns:
            Ten quantile bins per feature; equal quantiles are merged.
        Raises:
            ReferenceError: no feature, lengths that differ, or fewer than 300 finite values of one.
        """
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in rows.items()}
        shapes = {column.shape for column in columns.values()}
        if len(shapes) != 1 or len(shape := shapes.pop()) != 1:
            raise ReferenceError("a reference needs features, each with one value per row")
        features = {name: _bins(name, column) for name, column in columns.items()}
        return cls(made_at=made_at, source=source, rows=shape[0], features=features, window=window)

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Return the reference that was saved in a file.

        Args:
            path: JSON, as `save` writes it.
        Raises:
            ReferenceError: the file cannot be read.
            ReferenceProblemsError: it holds something else; every mistake is listed.
        """
        try:
            reference = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise ReferenceError(f"{path}: cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            problem = Problem(path, 0, "reference", f"is not one: {error}", _HINT)
            raise ReferenceProblemsError([problem]) from error
        problems = [Problem(path, 0, key, message, _HINT) for key, message in _problems(reference)]
        if problems:
            raise ReferenceProblemsError(problems)
        return reference

    def save(self, path: Path) -> None:
        """Write the reference to a file, readable by people."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    def digest(self) -> str:
        """Return a short name of the bins, which changes when they do."""
        return hashlib.sha256(msgspec.json.encode(self.features)).hexdigest()[:16]


def _bins(name: str, column: Array) -> FeatureBins:
    values = column[np.isfinite(column)]
    if len(values) < MIN_ROWS:
        raise ReferenceError(
            f"feature {name} has {len(values)} finite values, expected at least {MIN_ROWS}\n"
            "  Take the reference from more rows, or leave the feature out."
        )
    edges = np.unique(np.quantile(values, _QUANTILES, method="inverted_cdf"))  # values themselves
    if edges[0] == values.min():  # a tie at the bottom would hide whatever falls below it
        edges = np.concatenate([[np.nextafter(edges[0], -np.inf)], edges])
    return FeatureBins(edges=edges.tolist(), counts=histogram(values, edges).tolist())


def _problems(reference: Reference) -> list[tuple[str, str]]:
    found = []
    if reference.version != _VERSION:
        found.append(("version", f"is {reference.version}, expected {_VERSION}"))
    if not reference.features:
        found.append(("features", "is empty, expected at least one feature"))
    for name, bins in reference.features.items():
        ascending = all(low < high for low, high in pairwise(bins.edges))
        if not bins.edges or not ascending or not all(map(math.isfinite, bins.edges)):
            found.append((f"features.{name}.edges", "expected finite numbers in strictly ascending order"))
        if len(bins.counts) != len(bins.edges) + 1:
            found.append((f"features.{name}.counts", "expected one more than there are edges"))
        if any(count < 0 for count in bins.counts) or sum(bins.counts) < MIN_ROWS:
            found.append((f"features.{name}.counts", f"expected counts >= 0, at least {MIN_ROWS} together"))
    return found
