"""The events of a model canary, one JSON object per line; docs/events.md explains them to who writes them.

`python -m rollguard.exporters.canary.events > docs/events.schema.json` renews the schema.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

from msgspec import Meta, Struct

from rollguard.exporters.runtime.event_schema import NAME, NUMBER, Time, Word, event_schema, lenient

Route: TypeAlias = Literal["canary", "paper", "full"]
ROUTES: tuple[str, ...] = get_args(Route)
Slot: TypeAlias = Literal["active", "shadow"]
SLOTS: tuple[str, ...] = get_args(Slot)

HorizonMs: TypeAlias = Literal[100, 500, 1000]
HORIZONS_MS: tuple[int, ...] = get_args(HorizonMs)

Probability: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Rate: TypeAlias = Annotated[float, Meta(ge=0, le=1e9)]
Number: TypeAlias = Annotated[float, Meta(ge=-1e15, le=1e15)]
Percent: TypeAlias = Annotated[
    Any, lenient("Of the stage, when it was assigned.", type=NUMBER, minimum=0, maximum=100)
]
OpenedTs: TypeAlias = Annotated[Any, lenient("When it was assigned, in Unix seconds.", type=NUMBER)]
Amount: TypeAlias = Annotated[Any, lenient("In the producer's unit.", type=NUMBER)]
_On: TypeAlias = Annotated[Route, Meta(description="Where it was executed: paper is the active model's.")]


class _Event(Struct, frozen=True, gc=False, tag_field="event", kw_only=True):
    ts: Time


class _Drawn(_Event, frozen=True):
    """What an event says of its assignment; where a key is odd, the event is only left out of evidence."""

    percent: Percent = None
    assignment: Annotated[
        Any, lenient("How its arm was chosen; default: split.", enum=["split", "listed", "match", None])
    ] = None
    unit: Annotated[
        Any,
        lenient("Whom the split assigns as a whole, such as an account.", type=NAME),
    ] = None


class Stage(_Event, frozen=True, tag="stage"):
    """The executor entered a stage: the cohort of trades and the drift windows start afresh."""

    stage: Annotated[str, Meta(min_length=1, max_length=200, description="Its name, for people.")]
    percent: Percent = None
    run: Annotated[Any, lenient("The rollout's run, as the flag's metadata name it.", type=NAME)] = None


class ExecutorStart(_Event, frozen=True, tag="executor_start"):
    """An executor started: for 90 s what is traded and scored is judged by no guard."""


class TradeOpened(_Drawn, frozen=True, kw_only=True, tag="trade_opened"):
    """A trade was opened."""

    route: _On


class TradeClosed(_Drawn, frozen=True, kw_only=True, tag="trade_closed"):
    """A trade was closed."""

    route: _On
    won: Annotated[bool, Meta(description="Whether it earned money after fees.")]
    opened_ts: Annotated[
        Time | None,
        Meta(description="When it was opened; the cohort has only trades opened in its stage. Default: ts."),
    ] = None
    score: Annotated[
        Probability | None, Meta(description="Of the model that decided, when the trade was opened.")
    ] = None
    pnl: Amount = None
    slippage: Amount = None


class Order(_Event, frozen=True, tag="order"):
    """An order came to its end."""

    route: _On
    status: Literal["filled", "cancelled"]


class Markout(_Drawn, frozen=True, kw_only=True, tag="markout"):
    """The price has moved since a fill, in the trade's favour where positive."""

    route: _On
    horizon_ms: Annotated[HorizonMs, Meta(description="Milliseconds since the fill.")]
    value: Annotated[Number, Meta(description="In the producer's unit, such as basis points.")]
    opened_ts: OpenedTs = None


class Scored(_Drawn, frozen=True, kw_only=True):
    """What every score has, but for its features."""

    slot: Annotated[Slot, Meta(description="active: its score decided; shadow: it was only recorded.")]
    score: Annotated[float, Meta(ge=0, le=1, description="Probability.")]
    served: Annotated[
        Literal["candidate", "active"] | None,
        Meta(description="Which variant decided; drift ignores the lines of the active one."),
    ] = None


class Score(Scored, frozen=True, kw_only=True, tag="score"):
    """A model scored a signal."""

    features: Annotated[
        dict[str, Number | None],
        Meta(description="What the model saw; null or absent is missing. Measured for slot active only."),
    ] = {}


class Parity(_Event, frozen=True, tag="parity"):
    """The exported model was compared with the one it was exported from."""

    ok: Annotated[bool, Meta(description="Whether they agreed.")]


class Ladder(_Event, frozen=True, tag="ladder"):
    """A rung of an execution ladder was placed."""

    bucket: Annotated[Word, Meta(description="How aggressive: low, medium, high.")]


class Thresholds(_Event, frozen=True, tag="thresholds"):
    """A model's thresholds, at the start and whenever one changes."""

    model: Annotated[Word, Meta(description="Its id.")]
    tau_entry: Annotated[Probability, Meta(description="To enter.")]
    tau_hold: Annotated[Probability, Meta(description="To hold.")]


class Model(_Event, frozen=True, tag="model"):
    """A slot of the registry holds a model, at the start and whenever it changes."""

    slot: Slot
    id: Annotated[Word, Meta(description="As in the registry's manifest.")]
    trades_per_hour_p95: Annotated[
        Rate | None, Meta(description="Of the release before, where it was not watched.")
    ] = None


class ShadowSignal(_Event, frozen=True, tag="shadow_signal"):
    """The shadow model judged a signal."""

    approved: bool


class SchemaCheck(_Event, frozen=True, tag="schema_check"):
    """A Parquet file's schema was compared with the model's."""

    ok: Annotated[bool, Meta(description="Whether the versions are equal.")]


class ParquetScan(_Event, frozen=True, tag="parquet_scan"):
    """The archive was searched for gaps."""

    gap_ms: Annotated[float, Meta(ge=0, le=1e15, description="Widest gap in milliseconds; 0 for none.")]


class ExchangeCheck(_Event, frozen=True, tag="exchange_check"):
    """Settings were compared with the exchange's reference."""

    mismatches: Annotated[int, Meta(ge=0, le=1_000_000)]


class WarmupSkip(_Event, frozen=True, tag="warmup_skip"):
    """A ladder was not placed, as the executor warms up."""

    symbol: Word


class Backpressure(_Event, frozen=True, tag="backpressure"):
    """A candidate was skipped for a backlog."""

    symbol: Word


class FailSafeSwitch(_Event, frozen=True, tag="fail_safe_switch"):
    """All executions go to paper from now on, for a while."""

    reason: Word


class FailSafeRoute(_Event, frozen=True, tag="fail_safe_route"):
    """An execution was sent to paper for it."""

    symbol: Word


Event: TypeAlias = (
    Stage
    | ExecutorStart
    | TradeOpened
    | TradeClosed
    | Order
    | Markout
    | Score
    | Parity
    | Ladder
    | Thresholds
    | Model
    | ShadowSignal
    | SchemaCheck
    | ParquetScan
    | ExchangeCheck
    | WarmupSkip
    | Backpressure
    | FailSafeSwitch
    | FailSafeRoute
)
KINDS: tuple[str, ...] = tuple(str(kind.__struct_config__.tag) for kind in get_args(Event))


def schema() -> bytes:
    """Return the JSON schema of an event, as it lies in docs/events.schema.json."""
    return event_schema(Event, "a model canary")


if __name__ == "__main__":
    print(schema().decode(), end="")
