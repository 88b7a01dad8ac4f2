"""`rollguard budget`: how long from a breach to the flip, by configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from rollguard.generators.alertmanager.route_tree import RouteTree
from rollguard.generators.budget import GuardBudget, budget
from rollguard.generators.rules import phase
from rollguard.generators.rules.phase import Phase
from rollguard.generators.tools import amtool
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout


@click.command(
    "budget",
    epilog=examples(
        "rollguard budget",
        "rollguard budget --rollouts rollouts/model-canary.yaml --json",
        "rollguard budget --prometheus http://127.0.0.1:9090 --pick-phase",
    ),
)
@rollouts_option
@own_alertmanager_option
@click.option(
    "--prometheus",
    "url",
    metavar="URL",
    help="A running Prometheus: ask it when it scrapes and evaluates, in place of the worst that may be.",
)
@click.option(
    "--pick-phase", is_flag=True, help="With --prometheus: name the rule groups that are evaluated soonest."
)
@json_option
def budget_command(
    rollouts: Path, own: Path | None, url: str | None, pick_phase: bool, as_json: bool
) -> None:
    """Show how long each guard takes from a breach to the flip, and which setting helps most.

    Exits with 1 if a rollback may come later than its rollout's `rollback.within`.
    """
    if pick_phase and not url:
        raise click.UsageError("--pick-phase needs --prometheus: only a server knows when it scrapes.")
    loaded = load_rollouts(rollouts)
    tree = _tree(own)
    phases = phase.measured(url, {rollout.name: rollout.scrape.job for rollout in loaded}) if url else {}
    found = {rollout.name: budget(rollout, tree=tree, phase=phases.get(rollout.name)) for rollout in loaded}
    picked = (
        {name: phase.best_name(measured, name) for name, measured in phases.items()} if pick_phase else {}
    )
    if as_json:
        print_json(
            {name: _plain(guards, phases.get(name), picked.get(name)) for name, guards in found.items()}
        )
    else:
        for rollout in loaded:
            _show(rollout, found[rollout.name], phases.get(rollout.name))
            _show_phase(rollout.name, phases.get(rollout.name), picked.get(rollout.name), asked=bool(url))
    late = any(guard.over for guards in found.values() for guard in guards)
    raise click.exceptions.Exit(1 if late else 0)


def _tree(own: Path | None) -> RouteTree | None:
    if own is None:
        return None
    problems = amtool.check_config(own)
    if problems:
        raise FileProblemsError(problems)
    return RouteTree(own)


def _show(rollout: Rollout, guards: Sequence[GuardBudget], measured: Phase | None) -> None:
    within = durations.render(guards[0].within)
    click.echo(f"{rollout.name}: a rollback within {within}{', phase as measured' if measured else ''}")
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


def _show_phase(name: str, measured: Phase | None, picked: tuple[str, float] | None, *, asked: bool) -> None:
    for text in _phase_words(measured, picked, asked=asked):
        click.echo(f"{name}: {text}")
    click.echo()


def _phase_words(measured: Phase | None, picked: tuple[str, float] | None, *, asked: bool) -> Iterator[str]:
    if measured is None:
        if asked:
            yield "Prometheus has not scraped and evaluated it yet; the worst phase is taken."
        return
    yield f"evaluated up to {_seconds(measured.wait)} after a scrape."
    if picked is not None and picked[1] < measured.wait:
        yield (
            f"write scrape.rule_group: {picked[0]} for {_seconds(picked[1])}; it holds for this server and "
            "for this path of the rule file."
        )
    elif picked is not None:
        yield "no other name of the group is better."


def _seconds(value: float | None) -> str:
    return "-" if value is None else seconds(value)


def _plain(
    guards: Sequence[GuardBudget], measured: Phase | None, picked: tuple[str, float] | None
) -> Mapping[str, Any]:
    return {
        "phase": None if measured is None else {"wait_seconds": measured.wait},
        "rule_group": None if picked is None else {"name": picked[0], "wait_seconds": picked[1]},
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
