"""What guards and criteria read of the traffic: counters by arm and outcome, gauges, by their laws."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from rollguard.conventions import VARIANT_LABEL
from rollguard.exporters.measures.betting import Array
from rollguard.simulation.laws import Gauge, Moment, NormalGauge, Stream
from rollguard.simulation.likelihoods import greater_share, more_events
from rollguard.simulation.windows import Increase, Rows
from rollguard.spec.rollout import Rollout
from rollguard.spec.series import Series
from rollguard.spec.templates import library
from rollguard.spec.traffic import Law

Outcome: TypeAlias = Literal["all", "bad", "good"]
Arms: TypeAlias = tuple[int, ...]
"""Whose events: 0 is the old variant, 1 the new one."""

BOTH: Arms = (0, 1)
_BY_NAME: dict[str, Arms] = {"canary": (1,), "baseline": (0,)}
_FINE_SECONDS = 1800.0
"""What counts for longer, or since the stage began, is looked at once a look, which changes little."""


class NoLawError(Exception):
    """Why something is not simulated, in few words."""


@dataclass(frozen=True)
class Read:
    """A counter as a guard selects it.

    Args:
        stream: its events.
        arms: whose.
        outcome: which.
        fine: whether each sample counts, rather than one a look.
    """

    stream: Stream
    arms: Arms = BOTH
    outcome: Outcome = "all"
    fine: bool = False

    def means(self, share: float, seconds: float) -> tuple[float, float]:
        """Return how many bad and how many other events there are in so much time, on average."""
        arms = sum((1 - share, share)[arm] for arm in self.arms)
        every, bad = self.stream.per_minute / 60 * seconds * arms, self.stream.chance_of_last
        return every * bad, every * (1 - bad)

    def gained(self) -> Array:
        """Return the events since the sample before, shape (samples, rows)."""
        counts = self.stream.counts[:, self.arms[0] : self.arms[-1] + 1]
        if self.outcome != "all":
            last = self.stream.categories - 1
            counts = counts[:, :, last:] if self.outcome == "bad" else counts[:, :, :last]
        found = np.asarray(counts.sum(axis=(1, 2)))
        return found if self.fine or len(found) == 1 else found.sum(axis=0, keepdims=True)


class Traffic:
    """All that is drawn for one rollout file.

    Args:
        rollout: its file.
        rows: how many rollouts are played.
        rng: chance.
        step: seconds between two samples.
        parts: samples in a look.
    """

    def __init__(
        self, rollout: Rollout, rows: int, rng: np.random.Generator, step: float, parts: int
    ) -> None:
        self.rows, self.parts, self.step = rows, parts, step
        self._rng, self._laws = rng, rollout.traffic
        self._pairs = [*_declared_arms(rollout), (_variant("exposed"), _variant("unexposed"))]
        self._streams: dict[tuple[str, tuple[float, ...] | None, bool], Stream] = {}
        self._gauges: dict[str, Gauge] = {}
        self._means: set[str] = set()
        self.share_matters = False

    @property
    def used(self) -> dict[str, Law]:
        """The laws that something reads, by their keys."""
        keys = {*(key for key, *_ in self._streams), *self._gauges, *self._means}
        return {key: law for key, law in self._laws.items() if key in keys}

    def seconds_of(self, fine: bool) -> float:
        """Return the seconds between two samples of what is read finely, or once a look."""
        return self.step if fine else self.step * self.parts

    def is_fine(self, window: float) -> bool:
        """Return whether each sample of a window counts, rather than one a look."""
        return 0 < window < _FINE_SECONDS

    def stream(
        self, series: Series, edges: tuple[float, ...] | None = None, *, higher_is_worse: bool = False
    ) -> Stream:
        """Return the events of a counter; raises NoLawError."""
        key, law = self._law(series)
        if law.like is not None:
            key, law = law.like, self._laws[law.like]
        if law.per_minute is None:
            raise NoLawError(f"traffic gives {key} as a gauge")
        return self._stream_of(key, edges, higher_is_worse)

    def streams_of(self, key: str) -> list[Stream]:
        """Return what is drawn by a law: for each set of edges, its own."""
        return [stream for (name, *_), stream in self._streams.items() if name == key]

    def pair(self, part: Series, total: Series, *, bad: bool) -> tuple[Read, Read]:
        """Return a part of a counter's events, the bad or the good ones, and all; raises NoLawError.

        A law of the part, if there is one, stands before one of the whole.
        """
        own = str(replace(part, matchers=part.own_matchers))
        stream = self.stream(part if own in self._laws else total)
        if stream.law.bad is None:
            raise NoLawError(f"no share of bad events in the law for {total.name}")
        outcome: Outcome = "bad" if bad else "good"
        return Read(stream, self.arms(part), outcome), Read(stream, self.arms(total))

    def counter(self, series: Series) -> Read:
        """Return the events of a counter; raises NoLawError.

        Where only the whole counter has a law, a matcher of anything but an arm means the bad ones.
        """
        stream, own = self.stream(series), str(replace(series, matchers=series.own_matchers))
        of_arms = {matcher[0] for pair in self._pairs for one in pair for matcher in one.matchers}
        part = stream.law.bad is not None and own not in self._laws
        bad = part and any(label not in of_arms for label, _, _ in series.own_matchers)
        return Read(stream, self.arms(series), "bad" if bad else "all")

    def gauge(self, series: Series) -> Gauge:
        """Return a gauge; raises NoLawError."""
        key, law = self._law(series)
        if key not in self._gauges:
            self._gauges[key] = self._new_gauge(key, law)
        return self._gauges[key]

    def mean(self, series: Series) -> float:
        """Return the mean of a gauge, which a limit is a multiple of; raises NoLawError."""
        key, law = self._law(series)
        if law.mean is None:
            raise NoLawError(f"no mean in the law for {key}")
        self._means.add(key)
        return float(law.mean)

    def finely(self, read: Read, window: float) -> Read:
        """Return a counter as it is read for a window: each sample of a short one."""
        fine = self.is_fine(window)
        read.stream.beside = False
        read.stream.fine = read.stream.fine or fine
        return replace(read, fine=fine)

    def increase(self, read: Read, window: float) -> tuple[Read, Increase]:
        """Return a counter as it is read for a window, and its increase over that."""
        found = self.finely(read, window)
        return found, Increase(self.rows, window, self.seconds_of(found.fine))

    def arms(self, series: Series) -> Arms:
        """Return whose events a series counts, by its matchers."""
        labels = {label: value for label, op, value in series.matchers if op == "="}
        for new, old in self._pairs:
            selected = new.selects(labels), old.selects(labels)
            if selected in ((True, False), (False, True)):
                self.share_matters = True
                return (1,) if selected[0] else (0,)
        return BOTH

    def draw(self, moment: Moment) -> None:
        """Draw what happens in a look."""
        for stream in self._streams.values():
            stream.draw(moment)
        for gauge in self._gauges.values():
            gauge.draw(moment)

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self.rows = int(rows.sum())
        for stream in self._streams.values():
            stream.keep(rows)
        for gauge in self._gauges.values():
            gauge.keep(rows)

    def excess(self, moment: Moment) -> Array:
        """Return the bad events that a worse variant adds in a look, on average, shape (rows,)."""
        rate = sum(law.per_minute or 0.0 for law in self._laws.values() if law.bad is not None)
        return np.asarray(rate / 60 * moment.seconds * moment.share * moment.worse)

    def _law(self, series: Series) -> tuple[str, Law]:
        own = replace(series, matchers=series.own_matchers)
        for text in (str(own), own.name, own.name.removesuffix("_bucket").removesuffix("_count")):
            for key, law in self._laws.items():
                if str(Series.parse(key)) == text:
                    return key, law
        raise NoLawError(f"no law for {own.name}")

    def _stream_of(self, key: str, edges: tuple[float, ...] | None = None, higher: bool = False) -> Stream:
        found = self._streams.get((key, edges, higher))
        if found is None:
            found = Stream(self._laws[key], self.rows, self._rng, edges, higher_is_worse=higher)
            self._streams[key, edges, higher] = found
        return found

    def _new_gauge(self, key: str, law: Law) -> Gauge:
        if law.source is None or law.like is not None:
            if law.mean is None or law.per_minute is not None:
                raise NoLawError(f"traffic gives {key} as a counter")
            return NormalGauge(law, self.rows, self._rng)
        stream = self._stream_of(law.source)
        if stream.law.bad is None and law.number_of is None:
            raise NoLawError(f"no share of bad events in the law for {law.source}")
        arms = _BY_NAME[law.arm] if law.arm else self.arms(Series.parse(key))
        self.share_matters = self.share_matters or arms != BOTH
        return _CountedGauge(law, self, Read(stream, arms))


class _CountedGauge:
    """A gauge that counts events: since the stage began, or of a window."""

    def __init__(self, law: Law, traffic: Traffic, every: Read) -> None:
        self.law = law
        every = traffic.finely(every, law.window)
        self.fine = every.fine
        part: Outcome = "bad" if law.bad_of is not None else "good" if law.good_of is not None else "all"
        self._reads = (every, replace(every, outcome=part))
        step = traffic.seconds_of(every.fine)
        self._windows = [Increase(traffic.rows, law.window, step) for _ in self._reads] if law.window else []
        self._since = np.zeros((2, traffic.rows))
        self.values = np.full((1, traffic.rows), np.nan)

    def draw(self, moment: Moment) -> None:
        """Draw the samples since the look before."""
        gained = [read.gained() for read in self._reads]
        if self._windows:
            every, part = (one.add(more) for one, more in zip(self._windows, gained, strict=True))
        else:
            self._since[:, moment.entered] = 0.0
            every, part = (
                since + more.cumsum(axis=0) for since, more in zip(self._since, gained, strict=True)
            )
            self._since = np.stack([every[-1], part[-1]])
        share = part if self.law.number_of else part / np.where(every > 0, every, np.nan)
        self.values = share if self.law.least <= 1 else np.where(every >= self.law.least, share, np.nan)

    def keep(self, rows: Rows) -> None:
        """Forget the other rollouts."""
        self._since, self.values = self._since[:, rows], self.values[:, rows]
        for window in self._windows:
            window.keep(rows)

    def likelihood(self, limit: float, above: bool, share: float) -> float | None:
        """Return how likely a value is beyond a limit; share: of the new variant."""
        every, part = self._reads
        if not self._windows or not every.stream.is_independent:
            return None
        bad, good = every.means(share, self.law.window)
        counted, others = (bad, good) if part.outcome == "bad" else (good, bad)
        if self.law.number_of is not None:
            return more_events(bad + good, limit - 1e-9) if above else None
        if above:
            return greater_share(counted, others, limit, self.law.least)
        return greater_share(others, counted, 1 - limit, self.law.least)


def _variant(value: str) -> Series:
    return Series("any", ((VARIANT_LABEL, "=", value),), True)


def _declared_arms(rollout: Rollout) -> list[tuple[Series, Series]]:
    """Return what selects the new and the old variant's series: as the comparisons say, and by default."""
    template = library()["compare"]
    given = [guard.bindings[0] for guard in rollout.guards if guard.use == "compare"]
    found = [template.bind(values) for values in (*given, {})]
    return [(values["canary"], values["baseline"]) for values in found]
