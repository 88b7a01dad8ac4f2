"""An endless stream of signals over the years that no model has seen."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from datetime import date
from typing import NamedTuple

from demo.features import FEATURES, table
from demo.market import Bars
from demo.models import LIVE_SINCE

TRADING_DAY_MINUTES = 1
"""A trade lasts one trading day, which is re-stamped as this many minutes of the rollout's clock."""

_FILL_PROBABILITY = 0.55
_LADDER = ("low", "medium", "high")
_MARKOUTS_BPS = ((0.2, 0.5), (0.4, 1.0), (0.6, 1.5))
"""Mean and standard deviation after 100, 500 and 1000 ms."""


class Execution(NamedTuple):
    """How an order was worked. SYNTHETIC: daily bars hold no orders, so all of it is drawn at random.

    An order that is not filled is cancelled and placed again, a step more aggressively; the last step fills.

    Args:
        cancelled: orders withdrawn before the one that was filled.
        ladder: how aggressive the filled one was: low, medium or high.
        markouts_bps: what the fill was worth after 100, 500 and 1000 ms, in basis points.
    """

    cancelled: int
    ladder: str
    markouts_bps: tuple[float, float, float]


class Signal(NamedTuple):
    """An offer to sell a put on an index, at a real close, for one day, with its strike below the close.

    Args:
        id: unique within a stream; the targeting key.
        symbol: the index.
        day: the real trading day.
        features: by name, as known at that day's close.
        won: whether the index really closed above the strike on the next day.
        move: what the index really did until then, in its usual daily standard deviations.
        execution: synthetic.
    """

    id: str
    symbol: str
    day: date
    features: Mapping[str, float]
    won: bool
    move: float
    execution: Execution


def stream(bars: Bars, seed: int) -> Iterator[Signal]:
    """Yield signals forever, the same ones for the same seed.

    Every pass offers each (trading day, symbol) once, day after day as they were: signals that follow each
    other are alike, as a market's are. The seed draws the first day; the last one is followed by the first.
    """
    offers = _offers(bars)
    generator = random.Random(seed)  # noqa: S311 (a demonstration, not a secret)
    first = generator.choice(offers).day
    offers = [offer for offer in offers if offer.day >= first] + [x for x in offers if x.day < first]
    for serial, offer in enumerate(itertools.cycle(offers), start=1):
        yield offer._replace(id=f"{offer.id}-{serial}", execution=_execution(generator))


def _offers(bars: Bars) -> list[Signal]:
    """Return one signal for each day and symbol, still without its serial number and its execution."""
    rows = table(bars, since=LIVE_SINCE)
    facts = zip(
        rows.symbols, rows.days, rows.features.tolist(), rows.won.tolist(), rows.moves.tolist(), strict=True
    )
    unworked = Execution(0, _LADDER[0], (0, 0, 0))
    return [
        Signal(
            f"{symbol}-{day:%Y%m%d}",
            symbol,
            day,
            dict(zip(FEATURES, values, strict=True)),
            won,
            move,
            unworked,
        )
        for symbol, day, values, won, move in facts
    ]


def _execution(generator: random.Random) -> Execution:
    cancelled = 0
    while cancelled + 1 < len(_LADDER) and generator.random() > _FILL_PROBABILITY:
        cancelled += 1
    first, second, third = (generator.gauss(mean, deviation) for mean, deviation in _MARKOUTS_BPS)
    return Execution(cancelled, _LADDER[cancelled], (first, second, third))
