"""What the exporter of a rollout offers: every metric that its guards, criteria and dashboards may read."""

from __future__ import annotations

from pathlib import Path

from rollguard.exporters.canary import metrics as canary_metrics
from rollguard.exporters.canary import operations
from rollguard.exporters.canary.arms import ARM_METRICS
from rollguard.exporters.features.declaration import load_declaration, shipped_declaration
from rollguard.exporters.forecast import metrics as forecast_metrics
from rollguard.exporters.screener import metrics as screener_metrics
from rollguard.exporters.validation import metrics as validation_metrics
from rollguard.metric import Metric
from rollguard.spec.exporter import (
    CanaryExporter,
    Exporter,
    FeaturesExporter,
    ForecastExporter,
    ScreenerExporter,
)
from rollguard.spec.rollout import Rollout


def exported_metrics(rollout: Rollout, root: Path = Path()) -> tuple[Metric, ...]:
    """Return the metrics of a rollout's exporter.

    Args:
        rollout: a checked rollout.
        root: where the relative paths of its exporter start.
    Returns:
        Descriptions without the label rollout, and without the exporter's own health; none where the rollout
        names no exporter, so that nothing is known.
    Raises:
        FileProblemsError: a declaration of metrics that it names is broken.
    """
    exporter = rollout.scrape.exporter
    return () if exporter is None else _offered(exporter, rollout.name, root)


def _offered(exporter: Exporter, rollout: str, root: Path) -> tuple[Metric, ...]:
    match exporter.options:
        case CanaryExporter():
            return canary_metrics.METRICS + operations.OPERATIONS_METRICS + ARM_METRICS
        case FeaturesExporter(metrics=path):
            declaration = load_declaration(root / path) if path else shipped_declaration()
            return tuple(found for one in declaration.of(rollout) for found in one.offered())
        case ScreenerExporter(database=database):
            return screener_metrics.METRICS if database else screener_metrics.FROM_LOG
        case ForecastExporter(log=log):
            return forecast_metrics.METRICS if log else forecast_metrics.METRICS[:-1]
        case _:
            return validation_metrics.METRICS
