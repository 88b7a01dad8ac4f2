"""What the guards by evidence of a rollout ask: which counters, what is bet on, at which chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from rollguard.exporters.measures import bets
from rollguard.exporters.measures.betting import Bet
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import BY_EVIDENCE, Guard, Rollout
from rollguard.spec.series import Series
from rollguard.spec.templates import template_of

Kind: TypeAlias = Literal["rate", "latency", "value", "feature"]
"""What is judged of outcomes: how many are bad, how many are slow, their mean, or their distribution."""

ASSIGNMENTS = "assigned"
"""The role of a counter of assignments."""

ASSIGNED, OUTCOME, BUCKET = "assigned", "outcome", "le"
"""Labels of counters by arm: the percent at assignment, the outcome or bin, a histogram's bucket."""


@dataclass(frozen=True)
class Judged:
    """One guard by evidence.

    Args:
        guard: its name.
        sticky: whether the greatest evidence of the run counts, as for a rollback, rather than that of now.
        kind: of outcomes.
        counters: by role: `total` and `bad` or `good`; or `outcomes`, by bucket or bin.
        arms: matchers of each arm, as series of no name; of a limit, None: everything is judged alone.
        assigned: counter of assignments by arm, which the split is judged on; None where there is none.
        each: label by whose values there are bets side by side; empty where there is one.
        worse: lower or higher, of values.
        limit: the greatest share of bad outcomes, of a limit.
        times: by what factor the new variant may be worse; None: not at all.
        horizon: seconds from an assignment until its outcome counts.
    """

    guard: str
    sticky: bool
    kind: Kind
    counters: dict[str, Series]
    arms: tuple[Series, Series] | None = None
    assigned: Series | None = None
    each: str = ""
    worse: str = "lower"
    limit: float = 0.0
    times: float | None = None
    horizon: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher mean is the better one."""
        return self.kind == "value" and self.worse == "lower"

    @property
    def cumulative(self) -> bool:
        """Whether a bucket counts what is in the smaller ones, too, as a histogram's do."""
        return self.kind == "latency" and self.counters["outcomes"].name.endswith("_bucket")

    @property
    def marked(self) -> str:
        """The role of the counter beside `total`: bad or good."""
        return "good" if "good" in self.counters else "bad"

    @property
    def selected(self) -> dict[str, Series]:
        """Everything that is read of Prometheus, by its role."""
        return self.counters if self.assigned is None else {**self.counters, ASSIGNMENTS: self.assigned}

    def arm(self, labels: Mapping[str, str]) -> int | None:
        """Return 1 for the new variant's series, 0 for the old one's, None for others'."""
        if self.arms is None:
            return 1
        new, old = (arm.selects(labels) for arm in self.arms)
        return None if new == old else int(new)

    def bet(self, categories: Sequence[float]) -> Bet:
        """Return what is bet on.

        Args:
            categories: upper edges of buckets or bins, ascending, the last one infinite; of rates: 0, 1.
        """
        match self.kind:
            case "rate" if self.arms is None:
                return bets.limit(self.limit)
            case "rate":
                return bets.proportion() if self.times is None else bets.more_than(self.times)
            case "latency":
                return bets.slower(len(categories))
            case "value":
                return bets.mean(middles(categories), worse=self.worse)
            case "feature":
                return bets.moved(len(categories))

    def values(self, categories: Sequence[float]) -> Sequence[float]:
        """Return what each category counts in a mean: 0 or 1, the bin's middle, or a feature's rank, 0-1."""
        if self.kind == "rate":
            return (0.0, 1.0)
        if self.kind == "feature":
            return [rank / max(1, len(categories) - 1) for rank in range(len(categories))]
        found = middles(categories)
        return [categories[0] / 2, *found[1:]] if self.kind == "latency" else found


def middles(edges: Sequence[float]) -> list[float]:
    """Return the middle of each bin; an open one's is half a neighbour's width beyond its edge.

    Args:
        edges: upper ones, ascending, the last one infinite; at least two.
    """
    finite = list(edges[:-1])
    widths = [right - left for left, right in pairwise(finite)] or [abs(finite[0])]
    inner = [left + width / 2 for left, width in zip(finite, widths, strict=False)][: len(finite) - 1]
    return [finite[0] - widths[0] / 2, *inner, finite[-1] + widths[-1] / 2]


def judged(rollout: Rollout) -> list[Judged]:
    """Return the guards by evidence of a checked rollout."""
    return [_judged(rollout, guard) for guard in all_guards(rollout) if guard.use in BY_EVIDENCE]


def _judged(rollout: Rollout, guard: Guard) -> Judged:
    given = template_of(guard).bind(guard.bindings[0])

    def series(name: str, suffix: str = "") -> Series:
        return given[name].suffixed(suffix).within(rollout.name)  # type: ignore[no-any-return]

    common: dict[str, Any] = {"guard": guard.name, "sticky": guard.action == "rollback"}
    if guard.use == "limit":
        return _limited(common, given, series)
    kind, counters = _outcomes(given, series)
    return Judged(
        **common,
        kind=kind,
        counters=counters,
        arms=(given["canary"], given["baseline"]),
        assigned=None if given["assigned"] is None else series("assigned"),
        each=given["each"][0] if given["each"] else "",
        worse=given["worse"],
        times=given["times"],
        horizon=given["horizon"] or 0.0,
    )


def _limited(common: dict[str, Any], given: dict[str, Any], series: Callable[..., Series]) -> Judged:
    role, limit = ("bad", given["above"]) if given["bad"] is not None else ("good", 1 - given["below"])
    counters = {role: series(role), "total": series("total")}
    return Judged(**common, kind="rate", counters=counters, limit=limit)


def _outcomes(given: dict[str, Any], series: Callable[..., Series]) -> tuple[Kind, dict[str, Series]]:
    if given["bad"] is not None:
        return "rate", {"bad": series("bad"), "total": series("total")}
    if given["histogram"] is not None:
        return "latency", {"outcomes": series("histogram", "_bucket")}
    kinds: dict[str, Kind] = {"moved": "feature", "slower": "latency"}
    return kinds.get(given["worse"], "value"), {"outcomes": series("values")}
