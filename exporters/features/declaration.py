"""The declaration of the metrics that the exporter `features` makes of measurements: a YAML file."""

from __future__ import annotations

from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, ValidationError, model_validator

from rollguard.errors import FileProblemsError
from rollguard.exporters.measures.arm_counters import ALONE, ERROR, OK, ArmCounter, ArmOutcomes, Binned, Heads
from rollguard.metric import Metric, MetricType
from rollguard.spec.fields import Duration, Listed, Model, Name, Text
from rollguard.spec.messages import translated
from rollguard.yamlfile import read

Aggregate: TypeAlias = Literal[
    "last",
    "mean",
    "deviation",
    "sum",
    "max",
    "min",
    "quantile",
    "ratio",
    "counter",
    "histogram",
    "tally",
    "assigned",
    "outcomes",
]
MetricName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
LabelName: TypeAlias = Annotated[str, Field(pattern=r"^[a-zA-Z][a-zA-Z0-9_]*$")]
_NEEDS = {"of": "ratio", "quantile": "quantile", "buckets": "histogram"}
_MAY_HAVE = {"of": "outcomes", "buckets": "outcomes"}
_ENDINGS = {
    "counter": "_total",
    "tally": "_total",
    "assigned": "_assigned_total",
    "outcomes": "_outcomes_total",
}
MAX_OUTCOMES = 20
_RESERVED = ("rollout", "le", "job", "instance", "ts")


class DeclaredMetric(Model):
    """One metric: which field of a measurement it comes from, and what is made of its values."""

    name: MetricName
    help: Text
    rollouts: Annotated[Listed[Name], Field(min_length=1)] | None = Field(
        None, description="Whose it is; default: every one of the file."
    )
    field: str | None = Field(None, description="Key of the measurement; default: the metric's name.")
    of: str | None = Field(
        None,
        description="For ratio: the key whose sum the field's sum is divided by; for outcomes: how many.",
    )
    aggregate: Aggregate = "last"
    window: Duration = Field(3600.0, gt=0, description="In event time; counters and histograms have none.")
    quantile: float | None = Field(None, gt=0, lt=1)
    buckets: Listed[int | float] = Field((), description="Upper bounds, ascending.")
    min_sample: int = Field(1, ge=1, description="Values in the window below which nothing is shown.")
    unit: str = ""
    labels: dict[LabelName, Listed[str]] = Field(
        {}, description="Label → its values; none listed: any. Without it, the first value is meant."
    )

    @model_validator(mode="after")
    def _fits_its_aggregate(self) -> DeclaredMetric:
        for key, aggregate in _NEEDS.items():
            given, may = bool(getattr(self, key)), self.aggregate == _MAY_HAVE.get(key)
            if given != (self.aggregate == aggregate) and not may:
                raise ValueError(f"{key} goes with aggregate {aggregate}, and only with it")
        if self.of and self.buckets:
            raise ValueError("outcomes have either of or buckets")
        if self.min_sample > 1 and self.type != "gauge":
            raise ValueError(f"min_sample goes with a window, and a {self.aggregate} has none")
        if self.by_arm and len(self.buckets) > MAX_OUTCOMES:
            raise ValueError(f"expected at most {MAX_OUTCOMES} buckets of outcomes")
        if not all(low < high for low, high in pairwise(self.buckets)):
            raise ValueError("expected buckets in strictly ascending order")
        return self

    @model_validator(mode="after")
    def _is_named_as_what_it_is(self) -> DeclaredMetric:
        ending = _ENDINGS.get(self.aggregate)
        if bool(ending) != self.name.endswith("_total"):
            raise ValueError("the name of a counter ends in _total, and no other's")
        if ending and not self.name.endswith(ending):
            raise ValueError(f"a name with aggregate {self.aggregate} ends in {ending}")
        if self.by_arm and self.labels:
            raise ValueError(f"labels do not go with aggregate {self.aggregate}, which has its own")
        own = (*_RESERVED, "outcome") if self.aggregate == "tally" else _RESERVED
        if reserved := sorted(set(self.labels) & set(own)):
            raise ValueError(f"the label {reserved[0]} is not a metric's own")
        return self

    @property
    def key(self) -> str:
        """The key of a measurement that it comes from."""
        return self.field or self.name

    @property
    def type(self) -> MetricType:
        """How Prometheus knows it."""
        if self.aggregate in _ENDINGS:
            return "counter"
        return "histogram" if self.aggregate == "histogram" else "gauge"

    @property
    def by_arm(self) -> bool:
        """Whether it is counted by arm and assigned percent."""
        return self.aggregate in {"assigned", "outcomes"}

    def counted(self, heads: Heads = ALONE) -> ArmCounter | ArmOutcomes:
        """Return its counters by arm, with some labels before the arm."""
        what, about = self.name.removesuffix(_ENDINGS[self.aggregate]), self.help.removesuffix(".")
        if self.aggregate == "assigned":
            return ArmCounter(self.name, f"{about}; a unit once a run.", heads=heads)
        if self.buckets:
            return Binned(what, about, self.buckets, heads)
        return ArmOutcomes(what, about, [(OK,), (ERROR,)], heads=heads)

    def described(self) -> Metric:
        """Return its description, without the label rollout, as it is offered to a rollout."""
        if self.by_arm:
            return self.counted().metric
        labels = (*self.labels, "outcome") if self.aggregate == "tally" else tuple(self.labels)
        return Metric(self.name, self.type, self.help, labels, self.unit)

    def offered(self) -> tuple[Metric, ...]:
        """Return its description, and those of what is shown beside it: a sample, or outcomes by window."""
        if self.by_arm:
            return self.counted().metrics
        return (self.described(), *((self.sampled(),) if self.min_sample > 1 else ()))

    def sampled(self) -> Metric:
        """Return the description of how many values it rests on."""
        about = f"Values in the window of {self.name}, which is shown from {self.min_sample} on."
        return Metric(f"{self.name}_samples", "gauge", about, tuple(self.labels))


class Declaration(Model):
    """A file of them, and the rollouts whose measurements are taken in."""

    rollouts: Listed[Name] = Field(min_length=1)
    metrics: Listed[DeclaredMetric] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Declaration:
        names = [found.name for metric in self.metrics for found in metric.offered()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two metrics are called {twice[0]}")
        for metric in self.metrics:
            if unknown := sorted(set(metric.rollouts or ()) - set(self.rollouts)):
                raise ValueError(f"{metric.name} names {unknown[0]}, which is not among the file's rollouts")
        return self

    def of(self, rollout: str) -> tuple[DeclaredMetric, ...]:
        """Return the metrics of a rollout; none of one that the file does not list."""
        if rollout not in self.rollouts:
            return ()
        return tuple(one for one in self.metrics if one.rollouts is None or rollout in one.rollouts)


def load_declaration(path: Path) -> Declaration:
    """Return the declaration in a file.

    Raises:
        FileProblemsError: all that is wrong with it.
    """
    document = read(path)
    problems = list(document.problems)
    try:
        found = Declaration.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += translated(document, error, Declaration)
    if problems:
        raise FileProblemsError(problems)
    return found


@cache
def shipped_declaration() -> Declaration:
    """Return the declaration of the six trading features."""
    return load_declaration(Path(str(resources.files("rollguard.exporters") / "features.yaml")))
