"""What a rollout file says of its exporter: one model for each kind."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from rollguard.spec.fields import DatabaseURL, Duration, Listed, Model, Path

MAX_BINS = 12


def _ascending(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not all(low < high for low, high in pairwise(edges)):
        raise ValueError("expected numbers in strictly ascending order")
    return edges


Edges: TypeAlias = Annotated[
    Listed[int | float], Field(min_length=1, max_length=MAX_BINS), AfterValidator(_ascending)
]
"""Where bins end; the first and the last bin are open."""


class Bins(Model):
    """Edges of the bins that values are counted in by arm; each has a default."""

    pnl: Edges | None = None
    markout: Edges | None = None
    slippage: Edges | None = None
    squared_error: Edges | None = None


class CanaryExporter(Model):
    """What is measured of a model canary."""

    events: Path = Field(description="JSON lines that the services write.")
    reference: Path | None = Field(None, description="Saved quantile bins of the features; none: no drift.")
    window: Duration = Field(1800.0, gt=0, description="Length of the rolling windows.")
    bins: Bins = Field(Bins(), description="Of outcomes by arm.")


class ScreenerExporter(Model):
    """What is measured of a stock screener."""

    log: Path = Field(description="Log of the Celery workers; a pattern such as celery-*.log names several.")
    database: DatabaseURL | None = Field(None, description="Where the table scan_results is; none: log only.")
    universe: int | None = Field(
        None, gt=0, description="Symbols that a scan should score; none: no coverage."
    )
    baseline: Path | None = Field(None, description="Saved baseline of the scores; none: no drift.")


class ValidationExporter(Model):
    """What is measured of a validation of signals."""

    events: Path = Field(description="JSON lines, one per decision and per execution.")


class ForecastExporter(Model):
    """What is measured of an ensemble of forecasting models."""

    database: DatabaseURL = Field(description="Where the table ensemble_validation_metrics is.")
    env: Path | None = Field(None, description="File with CANARY_SYMBOLS and CANARY_HORIZONS; none: all.")
    log: Path | None = Field(None, description="Log of the forecast job; none: no critical errors.")
    forecasts: str | None = Field(None, description="SQL; none: of the table forecasts.")
    calibrations: str | None = Field(None, description="SQL; none: of the table calibrations.")


class FeaturesExporter(Model):
    """What is measured of features whose measurements name their rollout."""

    events: Path = Field(description="JSON lines, one per measurement.")
    metrics: Path | None = Field(None, description="Declaration of the metrics; none: the shipped one.")


class Exporter(Model):
    """The exporter that `rollguard up` starts. Exactly one kind."""

    canary: CanaryExporter | None = None
    screener: ScreenerExporter | None = None
    validation: ValidationExporter | None = None
    forecast: ForecastExporter | None = None
    features: FeaturesExporter | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Exporter:
        if len(self._kinds) != 1:
            raise ValueError(f"expected exactly one kind: {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Its name, as in `rollguard export KIND`."""
        return self._kinds[0]

    @property
    def options(self) -> Model:
        """What it is started with."""
        found: Model = getattr(self, self.kind)
        return found

    @property
    def _kinds(self) -> list[str]:
        return [kind for kind, options in self if options is not None]
