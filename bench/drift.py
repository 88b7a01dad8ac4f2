"""Drift of many features against a saved reference, beside numpy's and scipy's straightforward way.

PSI: the reference's counts are kept, the online values are counted edge by edge. Beside it, what one writes
by hand: quantiles of the reference, numpy's histogram of both, scipy's relative entropies, at each look. KS:
the reference is sorted once. Beside it scipy.stats.ks_2samp. CPU seconds, the median of seven, in turn.

    python -m bench drift
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import click
import numpy as np
import scipy
from scipy.stats import entropy, ks_2samp

from rollguard.exporters.measures.distances import (
    Array,
    histogram,
    kolmogorov_smirnov_of_values,
    population_stability_index,
)
from rollguard.exporters.measures.reference import Reference

_QUANTILES = np.arange(1, 10) / 10


def _psi_by_hand(online: Array, reference: Array) -> float:
    edges = [-np.inf, *np.quantile(reference, _QUANTILES, method="inverted_cdf"), np.inf]
    p, q = (np.histogram(-values, -np.array(edges[::-1]))[0][::-1] + 0.5 for values in (online, reference))
    return float(entropy(p, q) + entropy(q, p))


def _took(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    begun = time.process_time()
    found = work()
    return time.process_time() - begun, found


def _compare(name: str, peer: str, own: Callable[[], list[float]], by: Callable[[], list[float]]) -> None:
    took = []
    for _ in range(7):
        (mine, found), (theirs, expected) = _took(own), _took(by)
        took.append((mine, theirs))
    apart = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    mine, theirs = (statistics.median(column) for column in zip(*took, strict=True))
    ratio = statistics.median(b / a for a, b in took)
    click.echo(
        f"{name}: {1000 * mine:.1f} ms, {peer} {1000 * theirs:.1f} ms: {ratio:.1f} times; "
        f"largest difference of values {apart:.1e}"
    )


@click.command(help=__doc__)
@click.option("--features", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--samples", type=click.IntRange(min=300), default=100_000, show_default=True)
def drift(features: int, samples: int) -> None:
    """Print CPU milliseconds for all features together, and how far the values are apart."""
    rng = np.random.default_rng(11)
    base = {f"f{number}": rng.normal(size=samples) for number in range(features)}
    online = {name: rng.normal(0.1, 1.05, size=samples) for name in base}
    bins = Reference.fit(base, source="bench", made_at=0.0).features
    edges = {name: np.array(found.edges) for name, found in bins.items()}
    counts = {name: np.array(found.counts) for name, found in bins.items()}
    ordered = {name: np.sort(values) for name, values in base.items()}

    click.echo(
        f"{features} features of {samples:,} samples; Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}"
    )
    _compare(
        "PSI",
        "numpy and scipy",
        lambda: [
            population_stability_index(histogram(online[name], edges[name]), counts[name]) for name in base
        ],
        lambda: [_psi_by_hand(online[name], base[name]) for name in base],
    )
    _compare(
        "KS, exact",
        "scipy.stats.ks_2samp",
        lambda: [kolmogorov_smirnov_of_values(online[name], ordered[name]) for name in base],
        lambda: [float(ks_2samp(online[name], base[name], method="asymp").statistic) for name in base],
    )
