"""What happens after a guard fired: it resolves, loses scrapes and series, and hears of no stage any more."""

from __future__ import annotations

from collections.abc import Iterator

from rollguard import durations
from rollguard.conventions import STAGE_METRIC
from rollguard.generators.promql import syntax
from rollguard.generators.rule_tests.cases import FIRES, RESOLVES, RenderedCase, Watched
from rollguard.generators.rule_tests.notation import STALE, Sample, expanded, shortened
from rollguard.generators.rules.alerting import Condition, Silence
from rollguard.generators.rules.timing import LOOKBACK_INTERVALS
from rollguard.spec.rule_tests import TestCase

_SCRAPES_BETWEEN_FAILURES = 15
_FAILED_IN_A_ROW = LOOKBACK_INTERVALS - 1
_PARTS_OF_A_WINDOW = 10
"""To a tenth it is known when calm has left a window: one sample more in it moves a deviation."""
_UNTOLD = f"{FIRES} without the control plane"
_COUNTER_FUNCTIONS = ("rate", "increase", "irate")


class Following:
    """What happens to a guard after it fired."""

    def __init__(self, watched: Watched, part: Condition, case: TestCase, fires: RenderedCase) -> None:
        self.watched, self.part, self.case, self.fires = watched, part, case, fires
        self.at = fires.expected[0][0]
        self.parsed = syntax.parse(part.expr)
        self.interval = watched.timing.interval

    def resolves(self, healthy: TestCase) -> Iterator[RenderedCase]:
        """The values return to those of the silent twin; the alert ends with the window at the latest."""
        lasts = self._steps(self.case.lasts)
        after = lasts or self._longest()
        before, then = self._both(healthy, after + 2)
        expected = [(self.at, True)]
        if lasts > 1:
            expected.append((self.at + lasts - 1, True))
        expected.append((self.at + after + 1, False))
        series = {
            name: shortened(self._joined(name, before.get(name, []), then.get(name, []), self.at + 1))
            for name in {**before, **then}
        }
        yield self.fires.varied(RESOLVES, self.fires.about, series, *expected)

    def begins_late(self, healthy: TestCase) -> Iterator[RenderedCase]:
        """Where a breach must last before it counts, as for a minimum over time: it has not lasted yet."""
        needs = self._steps(self.case.needs)
        if needs < 2:
            return
        about = max(1, needs // _PARTS_OF_A_WINDOW)
        breach, calm = self._both(healthy, 2 * needs + 1 + about)
        series = {name: shortened(self._joined(name, calm[name], breach[name], needs + 1)) for name in breach}
        begins = needs + self.watched.waits
        yield self.fires.varied(
            f"{FIRES} once the calm has left the window", self.fires.about, series,
            (begins + needs - about, False), (begins + needs + about, True),
        )  # fmt: skip

    def loses_scrapes(self) -> Iterator[RenderedCase]:
        """One failed scrape every few minutes, the last of them just when one looks."""
        first = self.watched.begins(self.part, self.case) + 1
        lines = self._lines(2)
        for line in lines.values():
            for step in range(self.at + 1, first - 1, -_SCRAPES_BETWEEN_FAILURES):
                line[step : step + 1] = [STALE]
        if lines:
            series = {name: shortened(line) for name, line in lines.items()}
            yield self.fires.varied(
                f"{FIRES} through failed scrapes", self.fires.about, series,
                (self.at, True), (self.at + 1, True),
            )  # fmt: skip

    def loses_series(self) -> Iterator[RenderedCase]:
        """One series goes: a few failed scrapes in a row change nothing, after its window nothing is left."""
        for name in self.fires.series:
            reads = [item for item in self.parsed.selectors if item.metric == metric_of(name)]
            if not reads:
                continue
            window = self._longest(reads)
            lines = self._lines(window + 2)
            if all(sample in {STALE, None} for sample in lines[name][max(0, self.at - window) : self.at + 1]):
                continue  # it is gone already
            lines[name][self.at + 1 :] = [STALE]
            counted = any(item.function in _COUNTER_FUNCTIONS for item in reads)
            expected = []
            if window > _FAILED_IN_A_ROW and not (counted and len(lines) > 1):
                expected.append((self.at + _FAILED_IN_A_ROW, True))
            expected.append((self.at + window + 1, self.case.keeps))
            series = {other: shortened(line) for other, line in lines.items()}
            about = f"{self.fires.about}, then without {metric_of(name)}"
            yield self.fires.varied("silent without a series", about, series, *expected)

    def silence_fades(self, silence: Silence) -> Iterator[RenderedCase]:
        """The control plane said what silences the guard, and then says nothing any more, or the contrary."""
        lookback = self.watched.timing.steps(silence.seconds)
        begins = self.watched.begins(self.part, self.case)
        last_word = max(0, begins - lookback + 2)
        shift = last_word + lookback - 2 - begins
        series = {name: shortened([None] * shift + line) for name, line in self._lines(lookback + 2).items()}
        looks = last_word + lookback + self.watched.waits
        then: list[Sample] = (
            [float(not silence.value)] * (looks - last_word + 1) if silence.since else [STALE]
        )
        said = next(iter(silence.series))
        series[said] = shortened([float(silence.value)] * (last_word + 1) + then)
        kind = f"{FIRES} a window later than {silence.series[said]}" if silence.since else _UNTOLD
        yield self.fires.varied(
            kind, self.fires.about, series,
            (looks - 1, False), (looks + 1, True),
        )  # fmt: skip

    def _steps(self, seconds: str) -> int:
        return max(0, self.watched.timing.steps(self.watched.number(self.part, seconds)))

    def _lines(self, longer: int) -> dict[str, list[Sample]]:
        series = self.watched.series(self.part, self.case, longer)
        return {name: expanded(values) for name, values in series.items()}

    def _both(
        self, healthy: TestCase, longer: int
    ) -> tuple[dict[str, list[Sample]], dict[str, list[Sample]]]:
        enough = self.at + longer
        calm = self.watched.series(self.part, healthy, enough)
        return self._lines(enough), {name: expanded(values) for name, values in calm.items()}

    def _joined(self, name: str, first: list[Sample], then: list[Sample], at: int) -> list[Sample]:
        """Return one series' samples up to a step and another's from there on; a counter goes on counting."""
        first = [*first[:at], *[None] * (at - len(first))]
        before, after = first[-1], then[at - 1] if at <= len(then) else None
        offset = 0.0
        if self._counts(name) and isinstance(before, float) and isinstance(after, float):
            offset = before - after
        return first + [value + offset if isinstance(value, float) else value for value in then[at:]]

    def _counts(self, name: str) -> bool:
        metric = metric_of(name)
        return any(
            item.metric == metric and item.function in _COUNTER_FUNCTIONS for item in self.parsed.selectors
        )

    def _longest(self, reads: list[syntax.Selector] | None = None) -> int:
        """Return the steps of the longest window, of all or of some; of subqueries, all windows' sum."""
        found = [token.text for token in self.parsed.tokens if token.kind == "duration"]
        seconds = [durations.parse(text) for text in found]
        if any(token.text == ":" for token in self.parsed.tokens):
            return self.watched.timing.steps(sum(seconds))
        if reads:
            seconds = [durations.parse(item.window) if item.window else 0.0 for item in reads]
        return self.watched.timing.steps(max(seconds, default=0.0))


def silence_fades(watched: Watched, silence: Silence) -> Iterator[RenderedCase]:
    """Yield the case that a guard fires when nobody says any more what silenced it."""
    part = watched.parts[0]
    case, fires = next(
        pair for pair in watched.written(part) if pair[1].kind == FIRES and not pair[0].already
    )
    yield from Following(watched, part, case, fires).silence_fades(silence)


def stage_series(rollout: str, stage: str) -> str:
    """Return the series by which the control plane says the stage."""
    return f'{STAGE_METRIC}{{rollout="{rollout}",{STAGE_METRIC}="{stage}"}}'


def metric_of(series: str) -> str:
    """Return the name of a series' metric."""
    return series.partition("{")[0]
