"""The events of a validation of signals, one JSON object per line; docs/validation.md explains them.

`python -m rollguard.exporters.validation.events > docs/validation.schema.json` renews the schema.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, Struct

from rollguard.exporters.runtime.event_schema import Time, Word, event_schema

Check: TypeAlias = Literal["condition", "execution"]
CHECKS: tuple[str, ...] = get_args(Check)
Outcome: TypeAlias = Literal["pass", "fail"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
ExecutionResult: TypeAlias = Literal["success", "timeout", "error"]
RESULTS: tuple[str, ...] = get_args(ExecutionResult)

Ratio: TypeAlias = Annotated[float, Meta(ge=-1e6, le=1e6)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e9, description="Seconds.")]


class _Event(Struct, frozen=True, gc=False, tag_field="event", kw_only=True):
    ts: Time


class Decision(_Event, frozen=True, tag="decision"):
    """A signal was judged by one check."""

    signal: Annotated[Word, Meta(description="Its kind: BASE_ENTRY, PYRAMID, EXIT.")]
    check: Annotated[Check, Meta(description="Which check judged it.")]
    result: Outcome
    reason: Annotated[str, Meta(max_length=100, description="Why it failed: a few fixed words.")] = ""
    divergence: Annotated[
        Ratio | None, Meta(description="Price now / price of the signal - 1; either sign.")
    ] = None
    age_seconds: Annotated[Seconds | None, Meta(description="From the signal to this check.")] = None
    processing_seconds: Annotated[Seconds | None, Meta(description="From arrival to decision.")] = None
    risk_increase: Annotated[
        Ratio | None, Meta(description="By which share it would raise the risk: 0.5 is by half.")
    ] = None


class Execution(_Event, frozen=True, tag="execution"):
    """An execution ended."""

    strategy: Annotated[Word, Meta(description="simple_limit or progressive.")]
    result: ExecutionResult
    slippage: Annotated[Ratio | None, Meta(description="Share of the price, > 0 if worse.")] = None
    duration_seconds: Seconds | None = None


class BrokerCall(_Event, frozen=True, tag="broker_call"):
    """The broker's API was called."""

    ok: bool
    duration_seconds: Seconds | None = None


class DatabaseCall(_Event, frozen=True, tag="database_call"):
    """The database was called."""

    duration_seconds: Seconds


class Review(_Event, frozen=True, tag="review"):
    """A rejection was reviewed, by a person or against what the market did."""

    check: Annotated[Check, Meta(description="Which check had rejected the signal.")]
    false_positive: Annotated[bool, Meta(description="Whether it should have passed.")]


class ProcessingError(_Event, frozen=True, tag="processing_error"):
    """A signal could not be judged."""


Event: TypeAlias = Decision | Execution | BrokerCall | DatabaseCall | Review | ProcessingError
KINDS: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))


def schema() -> bytes:
    """Return the JSON schema of an event, as it lies in docs/validation.schema.json."""
    return event_schema(Event, "a validation of signals")


if __name__ == "__main__":
    print(schema().decode(), end="")
