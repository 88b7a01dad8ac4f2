"""What checks look at: the rollouts with their files' lines, and what they render to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rollguard.errors import Problem
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import Routing
from rollguard.generators.rule_tests import files
from rollguard.generators.rule_tests.cases import RenderedCase
from rollguard.generators.rules.alerting import alerting_rule
from rollguard.generators.rules.timing import Timing
from rollguard.metric import Metric
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Guard, Rollout
from rollguard.yamlfile import Document, Location

Severity: TypeAlias = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One mistake, doubt or remark.

    Args:
        check: the check's name, as docs/checks.md has it.
        severity: an error must be mended, a warning looked at; a note says what was not checked.
        problem: where it is, what it is and how to mend it.
    """

    check: str
    severity: Severity
    problem: Problem


@dataclass(frozen=True)
class LoadedRollout:
    """A rollout and its file.

    Args:
        rollout: as loaded.
        document: its file, with the line of every key.
        offered: what its exporter offers; None where it has none of Rollguard's.
    """

    rollout: Rollout
    document: Document
    offered: tuple[Metric, ...] | None = None
    _cases: dict[str, list[RenderedCase]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def timing(self) -> Timing:
        """The rollout's own interval, unscaled."""
        return Timing(1.0, self.rollout.scrape.interval)

    def cases(self, guard: Guard) -> Sequence[RenderedCase]:
        """Return every test case of a guard, rendered once.

        Raises:
            RenderingError: a case cannot be rendered.
            PromQLError: the guard's expression is none.
        """
        if guard.name not in self._cases:
            self._cases[guard.name] = list(files.cases(self.rollout, guard, self.timing))
        return self._cases[guard.name]

    @cached_property
    def rules(self) -> list[tuple[Guard, Mapping[str, Any]]]:
        """Every guard, derived ones included, with its alerting rule."""
        return [
            (guard, alerting_rule(self.rollout, guard, self.timing)) for guard in all_guards(self.rollout)
        ]

    def expressions(self) -> Iterator[tuple[Location, str]]:
        """Yield every expression and where it stands: of each guard, derived ones too, and each criterion."""
        for guard, rule in self.rules:
            yield self.location(guard), str(rule["expr"])
        yield from self.criteria()

    def criteria(self) -> Iterator[tuple[Location, str]]:
        """Yield the expression of every criterion, those of the preflight too, and where it stands."""
        for index, criterion in enumerate(self.rollout.advance):
            yield ("advance", index, "not_worse" if criterion.not_worse else "expr"), criterion.expr
        for index, failure in enumerate(self.rollout.fail):
            yield ("fail", index, "expr"), failure.expr
        for index, item in enumerate(self.rollout.preflight):
            if item.expr is not None:
                yield ("preflight", index, "expr"), item.expr

    def location(self, guard: Guard) -> Location:
        """Return where a guard stands in the file; a derived one stands where it was derived from."""
        names = [item.name for item in self.rollout.guards]
        return ("guards", names.index(guard.source_name))

    def holding(self, location: Location, word: str | float) -> Location:
        """Return the place below a location whose value holds a word or is a number."""
        value = self.document.data
        for part in location:
            value = value[part]
        return next(_holding(value, location, word), location)

    def problem(self, location: Location, message: str, hint: str = "") -> Problem:
        """Return a problem at a location of the file."""
        return self.document.problem(location, message, hint)


def _holding(value: Any, here: Location, word: str | float) -> Iterator[Location]:
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _holding(inside, (*here, key), word)
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from _holding(inside, (*here, index), word)
    elif isinstance(word, str):
        if isinstance(value, str) and word in value:
            yield here
    elif not isinstance(value, bool) and isinstance(value, int | float) and float(value) == word:
        yield here


@dataclass(frozen=True)
class CheckContext:
    """All that is checked in one pass.

    Args:
        checked: the rollouts; never none.
        folder: an empty one, to render to.
        routing: who is told beside the control plane.
        own_alertmanager: a configuration of the user's own.
        generated: a folder of generated files that should be up to date.
        runbooks: the folder of the alerts' pages.
    """

    checked: Sequence[LoadedRollout]
    folder: Path
    routing: Routing | None = None
    own_alertmanager: Path | None = None
    generated: Path | None = None
    runbooks: Path = field(default=Path("docs/runbooks"))

    @property
    def rollouts(self) -> list[Rollout]:
        """The rollouts."""
        return [item.rollout for item in self.checked]

    def cases(self, rollout: Rollout, guard: Guard, _: Timing) -> Sequence[RenderedCase]:
        """Return the test cases of one of the rollouts' guards, rendered once."""
        return next(item for item in self.checked if item.rollout is rollout).cases(guard)

    @cached_property
    def files(self) -> dict[str, str]:
        """The rules and the configuration of the servers, which are also written to the folder."""
        found = output.rules(self.rollouts) | output.configuration(self.rollouts, routing=self.routing)
        output.write(found, self.folder)
        return found
