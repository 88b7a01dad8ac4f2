"""Which metrics there are: of the control plane, the evaluator, Prometheus itself, a saved exposition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rollguard.errors import RollguardError
from rollguard.exporters.evidence.metrics import METRICS as EVIDENCE
from rollguard.metric import Metric, MetricType
from rollguard.server.metric_names import CONTROL_PLANE

MAX_BYTES = 64 << 20

UP = Metric("up", "gauge", "1 where the last scrape succeeded.")
PROMETHEUS = (
    UP,
    Metric("scrape_duration_seconds", "gauge", "How long the last scrape took.", unit="seconds"),
    Metric("scrape_samples_scraped", "gauge", "Samples of the last scrape."),
    Metric("ALERTS", "gauge", "Alerts that are pending or firing.", ("alertname", "alertstate")),
    Metric("ALERTS_FOR_STATE", "gauge", "Since when an alert is active.", ("alertname",), "seconds"),
)
"""What Prometheus adds to every target and rule."""

TARGET_LABELS = frozenset({"rollout", "job", "instance"})
_UNITS = {"_seconds": "seconds", "_ratio": "ratio", "_bytes": "bytes", "_percent": "percent"}


class ExpositionError(RollguardError):
    """A saved exposition cannot be read."""


@dataclass(frozen=True)
class SelectableSeries:
    """A series that can be selected.

    Args:
        metric: what it belongs to.
        labels: all the labels that it may have, those of the target included.
    """

    metric: Metric
    labels: frozenset[str]


def selectable_series(metrics: Iterable[Metric]) -> Mapping[str, SelectableSeries]:
    """Return what a query may select, by the name of its series."""
    found: dict[str, SelectableSeries] = {}
    for metric in metrics:
        for name in metric.series:
            more = {"le"} if name.endswith("_bucket") else set()
            labels = TARGET_LABELS | set(metric.labels) | more
            if name in found:
                labels |= found[name].labels
            found[name] = SelectableSeries(metric, labels)
    return found


def servers() -> tuple[Metric, ...]:
    """Return what the control plane, the evaluator of evidence and Prometheus offer to every rollout."""
    return (*CONTROL_PLANE, *EVIDENCE, *PROMETHEUS)


def exposition(path: Path) -> tuple[Metric, ...]:
    """Return the metrics of a saved exposition, as ``curl host:port/metrics`` writes one.

    Args:
        path: a file in Prometheus's text format.
    Raises:
        ExpositionError: it cannot be read, or has no metric.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExpositionError(f"is over {MAX_BYTES >> 20} MiB")
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ExpositionError(f"cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, IndexError) as error:
        raise ExpositionError(f"is no exposition of metrics: {error}") from error
    found: list[Metric] = []
    for family in families:
        kind: MetricType = "counter" if family.type == "counter" else "gauge"
        labels: dict[str, set[str]] = {}
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
        found += (
            Metric(name, kind, family.documentation, tuple(sorted(names)), unit_by_name(name))
            for name, names in labels.items()
        )
    if not found:
        raise ExpositionError("has no metric")
    return tuple(found)


def unit_by_name(name: str) -> str:
    """Return the unit that a metric's name ends in; empty where it names none."""
    base = name.removesuffix("_total").removesuffix("_bucket").removesuffix("_sum")
    return next((unit for ending, unit in _UNITS.items() if base.endswith(ending)), "")
