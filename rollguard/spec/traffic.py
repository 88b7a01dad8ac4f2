"""What a healthy release's traffic looks like: the laws that `simulate` and `check` play a rollout on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from rollguard.spec.fields import Duration, Model
from rollguard.spec.series import Series
from rollguard.yamlfile import Location

_Share: TypeAlias = Annotated[int | float, Field(ge=0, le=1)]
_Positive: TypeAlias = Annotated[int | float, Field(gt=0)]
_Rest: TypeAlias = Annotated[int | float, Field(ge=0)]


def _checked_series(text: str) -> str:
    Series.parse(text)
    return text


MetricText: TypeAlias = Annotated[str, AfterValidator(_checked_series)]

_GAUGE = frozenset({"arm", "window", "least"})
_EVENTS = frozenset(
    {"per_minute", "bad", "median", "p95", "mean", "deviation", "correlation", "memory", "swing"}
)
_ALLOWED: Mapping[str, frozenset[str]] = {
    "like": frozenset({"like"}),
    "good_of": _GAUGE | {"good_of"},
    "bad_of": _GAUGE | {"bad_of"},
    "number_of": _GAUGE | {"number_of"},
    "per_minute": _EVENTS,
    "mean": frozenset({"mean", "deviation", "memory", "swing"}),
}
"""By the key that says what a law is of, the keys that it may have."""


class Law(Model):
    """How a counter, or a gauge, behaves as long as all is well."""

    per_minute: Annotated[int | float, Field(ge=0, le=1e9)] | None = Field(
        None, description="Events a minute, of both variants together; a billion at most."
    )
    bad: _Share | None = Field(None, description="The share of events that are bad, 0-1.")
    median: _Positive | None = Field(None, description="Of latencies, in the histogram's unit.")
    p95: _Positive | None = Field(None, description="The 95th percentile; beside median.")
    mean: int | float | None = Field(None, description="Of values: of events, or alone of a gauge.")
    deviation: _Positive | None = Field(
        None, description="Standard deviation; beside mean; of a gauge, none: it stays."
    )
    correlation: Annotated[int | float, Field(ge=0, lt=1)] = Field(
        0.0, description="What part of the variance all outcomes of a minute share, in both variants, 0-1."
    )
    memory: Duration = Field(
        0.0, description="How long what they share, or the value of a gauge, is much the same."
    )
    swing: _Rest = Field(
        0.0, description="How far the share of bad events, or the mean, moves over a day, +-."
    )
    like: MetricText | None = Field(None, description="Alone: a counter whose events these are, too.")
    good_of: MetricText | None = Field(None, description="A gauge: the share of good events of a counter.")
    bad_of: MetricText | None = Field(None, description="A gauge: the share of bad events of a counter.")
    number_of: MetricText | None = Field(None, description="A gauge: the number of events of a counter.")
    arm: Literal["canary", "baseline"] | None = Field(
        None, description="Of a gauge of events: whose, the new or the old variant's; default: of both."
    )
    window: Duration = Field(0.0, description="Of a gauge of events; default: since the stage began.")
    least: Annotated[int, Field(ge=1)] = Field(
        1, description="Of a gauge of events: under so many it is absent."
    )

    @property
    def source(self) -> str | None:
        """The counter whose events it is made of; None of a law of its own."""
        return self.like or self.good_of or self.bad_of or self.number_of

    @model_validator(mode="after")
    def _of_one_kind(self) -> Law:
        given = self.model_fields_set
        kinds = [key for key in _ALLOWED if key in given and (key != "mean" or "per_minute" not in given)]
        if len(kinds) != 1:
            raise ValueError(f"expected exactly one of {', '.join(_ALLOWED)}")
        if strays := sorted(given - _ALLOWED[kinds[0]]):
            raise ValueError(f"expected no {strays[0]} beside {kinds[0]}")
        for one, other in (("median", "p95"), ("mean", "deviation")):
            if (one in given) != (other in given) and kinds != ["mean"]:
                raise ValueError(f"expected {one} and {other} together")
        if self.median is not None and self.p95 is not None and self.p95 <= self.median:
            raise ValueError("expected p95 above median")
        if len(given & {"bad", "median", "mean"}) > 1:
            raise ValueError("expected one of bad, median and mean")
        return self


def check_sources(traffic: object) -> Iterator[tuple[Location, str, str]]:
    """Yield laws that are made of the events of a counter that has no law, or one of another kind.

    Args:
        traffic: as in the file.
    """
    laws: Mapping[str, Any] = traffic if isinstance(traffic, Mapping) else {}
    events = [name for name, law in laws.items() if isinstance(law, Mapping) and "per_minute" in law]
    for name, law in laws.items():
        for key in ("like", "good_of", "bad_of", "number_of"):
            source = law.get(key) if isinstance(law, Mapping) else None
            if isinstance(source, str) and source not in events:
                near = difflib.get_close_matches(source, events, n=1)
                hint = f"Did you mean {near[0]}?" if near else "Name one that has per_minute."
                known = ", ".join(events) or "none has per_minute"
                yield (name, key), f"is {source}, expected a counter of traffic: {known}.", hint
