"""`rollguard test --coverage` and `--mutate`: are the tests themselves any good?"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rollguard.cli.options import print_json, table
from rollguard.generators.mutation import run
from rollguard.generators.mutation import subjects as platform_subjects
from rollguard.generators.mutation.outcomes import (
    LARGEST_EQUIVALENT_SHARE,
    LEAST_KILLED_SHARE,
    Figures,
    Outcome,
)
from rollguard.generators.mutation.run import Subject
from rollguard.generators.rule_tests import coverage
from rollguard.generators.rules.timing import Timing
from rollguard.spec.loading import load_rollout, load_rollouts, rollout_paths


def coverage_of(rollouts: Path, scale: float, as_json: bool) -> bool:
    """Show which kinds of test each guard has, and return whether none is missing."""
    loaded = load_rollouts(rollouts)
    found = [
        guard
        for rollout in loaded
        for guard in coverage.coverage(rollout, Timing(scale, rollout.scrape.interval))
    ]
    found += platform_subjects.coverage(loaded, scale)
    share = coverage.share(found)
    if as_json:
        print_json({"share": share, "guards": [asdict(guard) for guard in found]})
    else:
        _show_coverage(found)
        needed = sum(len(guard.needed) for guard in found)
        covered = needed - sum(len(guard.missing) for guard in found)
        click.echo(f"{len(found)} guards, {covered} of {needed} kinds of test: {_percent(share)}.")
    return share == 1


def _show_coverage(found: Sequence[coverage.GuardCoverage]) -> None:
    rows: list[tuple[str, ...]] = [("rollout", "guard", *coverage.KINDS)]
    rows += [
        (guard.rollout, guard.guard, *(_cell(guard, kind) for kind in coverage.KINDS)) for guard in found
    ]
    click.echo(table(rows))
    for guard in found:
        for kind, words in guard.missing.items():
            click.echo(f"{guard.rollout}: guard {guard.guard} has no test of the kind {kind}: {words}.")


def _cell(guard: coverage.GuardCoverage, kind: coverage.Kind) -> str:
    if kind in guard.missing:
        return "MISSING"
    return "yes" if kind in guard.needed else "-"


def mutate(rollouts: Path, scale: float, as_json: bool) -> bool:
    """Show which mutants of the rules no test notices, and return whether there are none."""
    load_rollouts(rollouts)  # what is wrong between files is said first
    loaded = [(path, load_rollout(path)) for path in rollout_paths(rollouts)]
    subjects = [
        subject
        for path, rollout in loaded
        for subject in run.subjects(path, rollout, Timing(scale, rollout.scrape.interval))
    ]
    subjects += platform_subjects.subjects([rollout for _, rollout in loaded], scale)
    every, subjects = len(subjects), run.distinct(subjects)
    found = _run(subjects)
    outcomes = [outcome for subject in subjects for outcome in found[id(subject)]]
    left = [outcome for outcome in outcomes if outcome.status in {"survived", "falsely declared"}]
    figures = Figures.of(outcomes)
    if as_json:
        shares = {
            name: getattr(figures, name)
            for name in ("killed_share", "equivalent_share", "own_equivalent_share")
        }
        guards = {"guards": every, "distinct_guards": len(subjects)}
        plain = [_plain(outcome) for outcome in outcomes]
        print_json({**guards, **asdict(figures), **shares, "mutants": plain})
    else:
        _show_mutants(subjects, found)
        if len(subjects) < every:
            click.echo(
                f"\n{every} guards; {every - len(subjects)} differ from another in the rollout's name only, "
                "and are not mutated again."
            )
        _show_figures(figures)
    return (
        not left
        and figures.own_equivalent_share <= LARGEST_EQUIVALENT_SHARE
        and figures.killed_share >= LEAST_KILLED_SHARE
    )


def _run(subjects: Sequence[Subject]) -> dict[int, list[Outcome]]:
    workers = os.cpu_count() or 2
    found: dict[int, list[Outcome]] = {}
    with click.progressbar(length=len(subjects), label="Mutating guards", file=sys.stderr) as bar:
        for subject, outcomes in run.run(subjects, workers):
            found[id(subject)] = outcomes
            bar.update(1)
    return found


def _show_mutants(subjects: Sequence[Subject], found: dict[int, list[Outcome]]) -> None:
    rows: list[tuple[str, ...]] = [("guard", "mutants", "killed", "equivalent", "survived")]
    for subject in subjects:
        statuses = [outcome.status for outcome in found[id(subject)] if outcome.kind]
        killed, equivalent = statuses.count("killed"), statuses.count("equivalent")
        counts = (len(statuses), killed, equivalent, len(statuses) - killed - equivalent)
        rows.append((subject.guard, *map(str, counts)))
    click.echo(table(rows))
    for subject in subjects:
        for outcome in found[id(subject)]:
            if outcome.status != "killed":
                click.echo(f"\n{outcome.path}:{outcome.line}: {_words(outcome)}")
                click.echo(outcome.diff or f"  declared: {outcome.mutation}")


def _words(outcome: Outcome) -> str:
    guard = f"guard {outcome.guard}: {outcome.mutation}"
    match outcome.status:
        case "equivalent":
            return f"{guard}: declared equivalent and found so. {outcome.reason}"
        case "tolerated":
            return f"{guard}: no test notices, which is tolerated. {outcome.reason}"
        case "falsely declared":
            return f"{guard}: is declared equivalent, but {outcome.reason}."
        case _:
            return f"{guard}: no test notices."


def _show_figures(figures: Figures) -> None:
    click.echo(
        f"\n{figures.total} mutants: {figures.killed} killed, {figures.equivalent} equivalent "
        f"({_percent(figures.equivalent_share)}), {figures.survived} survived; "
        f"{_percent(figures.killed_share)} of those that can be noticed are."
    )
    if figures.killed_share < LEAST_KILLED_SHARE:
        click.echo(f"Expected at least {_percent(LEAST_KILLED_SHARE)}.")
    if figures.own_equivalent_share > LARGEST_EQUIVALENT_SHARE:
        most = _percent(LARGEST_EQUIVALENT_SHARE)
        own = _percent(figures.own_equivalent_share)
        click.echo(f"{own} are declared equivalent by rollout files, expected at most {most}.")


def _percent(share: float) -> str:
    return f"{int(1000 * share) / 10:g} %"  # never rounded up to 100


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "path": str(outcome.path)}
