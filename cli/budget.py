"""`rollguard budget`: how long from a breach to the flip, by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from rollguard import durations
from rollguard.cli.options import (
    examples,
    json_option,
    own_alertmanager_option,
    print_json,
    rollouts_option,
    seconds,
    table,
)
from rollguard.errors import FileProblemsError
from rollguard.generators.alertmanager.existing_routes import RouteTree
from rollguard.generators.budget import GuardBudget, budget
from rollguard.generators.tools import amtool
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout


@click.command(
    "budget",
    epilog=examples(
        "rollguard budget",
        "rollguard budget --rollouts rollouts/model-canary.yaml --json",
    ),
)
@rollouts_option
@own_alertmanager_option
@json_option
def budget_command(rollouts: Path, own: Path | None, as_json: bool) -> None:
    """Show how long each guard takes from a breach to the flip, and which setting helps most.

    Exits with 1 if a rollback may come later than its rollout's `rollback.within`.
    """
    loaded = load_rollouts(rollouts)
    tree = _tree(own)
    found = {rollout.name: budget(rollout, tree=tree) for rollout in loaded}
    if as_json:
        print_json({name: _plain(guards) for name, guards in found.items()})
    else:
        for rollout in loaded:
            _show(rollout, found[rollout.name])
    late = any(guard.over for guards in found.values() for guard in guards)
    raise click.exceptions.Exit(1 if late else 0)


def _tree(own: Path | None) -> RouteTree | None:
    if own is None:
        return None
    problems = amtool.check_config(own)
    if problems:
        raise FileProblemsError(problems)
    return RouteTree(own)


def _show(rollout: Rollout, guards: Sequence[GuardBudget]) -> None:
    click.echo(f"{rollout.name}: a rollback within {durations.render(guards[0].within)}")
    columns = ("scrape", "evaluation", "for", "notification", "decision", "targets")
    rows: list[tuple[str, ...]] = [
        ("guard", "action", *columns, "median", "worst case", "helps most", "window fills")
    ]
    for guard in guards:
        steps = {step.name: step.worst for step in guard.steps}
        key, taken = guard.helps_most
        rows.append(
            (
                guard.guard,
                guard.action,
                *(_seconds(steps.get(name)) for name in columns),
                _seconds(guard.median),
                f"{_seconds(guard.worst)}{' OVER' if guard.over else ''}",
                f"{key} ({_seconds(taken)})",
                _seconds(guard.window or None),
            )
        )
    click.echo(table(rows))
    for guard in guards:
        if guard.over:
            click.echo(f"{rollout.name}: guard {guard.guard} takes {_seconds(guard.worst)}. {guard.advice}")
    click.echo()


def _seconds(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _plain(guards: Sequence[GuardBudget]) -> Mapping[str, Any]:
    return {
        "guards": [
            {
                **asdict(guard),
                "median": guard.median,
                "worst": guard.worst,
                "over": guard.over,
                "helps_most": guard.helps_most[0],
            }
            for guard in guards
        ],
    }
