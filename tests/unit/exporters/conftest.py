from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rollguard.exporters.exposition.families import Family
from rollguard.exporters.exposition.text import Exposition
from rollguard.exporters.measures.reference import Reference
from tests.unit.clock import NOW, Time

Samples: TypeAlias = Callable[[Iterable[Family]], dict[str, float]]


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture(scope="session")
def new_clock() -> type[Time]:
    return Time


@pytest.fixture(scope="session")
def samples() -> Samples:
    """Values by series, written as Prometheus writes them."""

    def read(families: Iterable[Family]) -> dict[str, float]:
        return {
            sample.name + (f"{{{labels}}}" if (labels := _labels(sample.labels)) else ""): sample.value
            for family in text_string_to_metric_families(Exposition().text(families).decode())
            for sample in family.samples
        }

    return read


@pytest.fixture
def reference() -> Reference:
    rng = np.random.default_rng(7)
    rows = {"spread": rng.normal(size=5000), "depth": rng.exponential(size=5000)}
    return Reference.fit(rows, source="a test", made_at=NOW)


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in labels.items())
