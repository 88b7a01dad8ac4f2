"""`rollguard simulate`: what would become of a rollout whose release is healthy, or worse."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import numpy as np

from rollguard import durations
from rollguard.cli.options import DurationType, count, examples, json_option, print_json, seconds, table
from rollguard.errors import FileProblemsError, RollguardError
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.simulation.chart import named, svg
from rollguard.simulation.play import Play
from rollguard.simulation.results import Summary, plan_seconds, summary
from rollguard.simulation.runs import Run, Scenario
from rollguard.spec.loading import load_rollout, load_sound
from rollguard.spec.rollout import Rollout

_CHUNK = 2500
_WORSE_SHARE = 0.05
_LEAST_WORSE = 100
_FEW_SECONDS = 100 * 86_400.0
"""What is played for less in all is played here: to start processes takes seconds, too."""
_LONGEST_SECONDS = 14 * 86_400.0
_SHORTEST_SECONDS = 3600.0

_Labelled = frozenset[str]
_Job = tuple[Rollout, Mapping[str, tuple[Rollout, _Labelled]], Sequence[Scenario], int, float]
"""A rollout, all that there are by name, each with its counters by percent; releases, seed, seconds."""


@click.command(
    epilog=examples(
        "rollguard simulate model-canary",
        "rollguard simulate model-canary --rollouts 5000 --hours 36 --svg canary.svg",
        "rollguard simulate rollouts/atr-brackets.yaml --worse 5 --begins 0s --begins 6h --json",
        "rollguard simulate model-canary --healthy --seed 7",
    )
)
@click.argument("rollout")
@click.option(
    "--rollouts", "number", type=click.IntRange(min=1), default=1000, show_default=True,
    help="How many healthy ones are played; of each worse one a twentieth, 100 at least.",
)  # fmt: skip
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True),
    help="How long each is played. Default: twice as long as the stages before the last, 14 days at most.",
)  # fmt: skip
@click.option(
    "--worse", type=click.FloatRange(min=0, max=100, min_open=True), multiple=True, metavar="POINTS",
    help="Also a release with so many percentage points more bad outcomes, so many percent longer latencies, "
    "values so many hundredths of a standard deviation worse. Repeatable. Default: 2, 5, 10 and 20.",
)  # fmt: skip
@click.option(
    "--begins", type=DurationType(), multiple=True, metavar="DURATION",
    help="When it turns worse, since the new variant first serves. Repeatable. Default: at once, and half "
    "way to the last stage.",
)  # fmt: skip
@click.option("--healthy", "only_healthy", is_flag=True, help="Play healthy ones alone.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of chance.")
@click.option(
    "--svg",
    "chart",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also draw a chart into this file.",
)
@json_option
def simulate(
    rollout: str,
    number: int,
    hours: float | None,
    worse: tuple[float, ...],
    begins: tuple[float, ...],
    only_healthy: bool,
    seed: int,
    chart: Path | None,
    as_json: bool,
) -> None:
    """Play ROLLOUT many times on made-up traffic: how often is it rolled back, held, in full?

    ROLLOUT is a file, or a name in the folder rollouts. Its `traffic` says what is normal; what has no law
    there is named, and taken as healthy. Decisions are made as `rollguard serve` makes them. docs/evidence.md
    says more.
    """
    if only_healthy and (worse or begins):
        raise click.UsageError("--healthy leaves no room for --worse or --begins.")
    loaded, known = _load(rollout)
    played = hours * 3600 if hours else _usual_seconds(loaded)
    scenarios = [Scenario()]
    if not only_healthy:
        starts = begins or tuple(dict.fromkeys((0.0, _half_way(loaded))))
        scenarios += [
            Scenario(points / 100, at) for at in starts for points in worse or (2.0, 5.0, 10.0, 20.0)
        ]
    found = _played(loaded, known, scenarios, number, seed, played)
    missing = _missing(loaded, known, seed)
    title = f"{loaded.name}: {count(number, 'rollout')} of {durations.render(round(played))}"
    if chart is not None:
        chart.write_text(svg(title, found), encoding="utf-8")
    if as_json:
        print_json(
            {
                "rollout": loaded.name, "seed": seed, "plan_seconds": plan_seconds(loaded),
                "scenarios": [_plain(one) for one in found], "not_simulated": missing,
            }
        )  # fmt: skip
        return
    _show(title, found, missing)


def _load(rollout: str) -> tuple[Rollout, Mapping[str, tuple[Rollout, _Labelled]]]:
    """Return a rollout, and all of its folder by name."""
    path, folder = Path(rollout), Path("rollouts")
    if path.is_file():
        loaded, folder = load_rollout(path), path.parent
    sound, problems, _ = load_sound(folder) if folder.is_dir() else ([], [], {})
    found = {one.name: one for one in sound}
    if not path.is_file():
        if rollout not in found and problems:
            raise FileProblemsError(problems)
        if rollout not in found:
            known = ", ".join(found) or "there is no folder rollouts here"
            raise RollguardError(f"{rollout} is no file, and no rollout of the folder rollouts: {known}.")
        loaded = found[rollout]
    found[loaded.name] = loaded
    return loaded, {
        name: (one, frozenset(metric.name for metric in exported_metrics(one) if "assigned" in metric.labels))
        for name, one in found.items()
        if name == loaded.name or name in _required(loaded, found)
    }


def _required(rollout: Rollout, found: Mapping[str, Rollout]) -> set[str]:
    """Return the rollouts that one requires, and those that these do."""
    direct = {name for name in rollout.requires if name in found}
    return direct.union(*(_required(found[name], found) for name in direct))


def _usual_seconds(rollout: Rollout) -> float:
    plan = plan_seconds(rollout) or rollout.stages[-1].hold
    return min(max(2 * plan, _SHORTEST_SECONDS), _LONGEST_SECONDS)


def _half_way(rollout: Rollout) -> float:
    """Return half of the time from the new variant's first serving to the last stage."""
    serving = [stage.hold for stage in rollout.stages[:-1] if stage.share > 0]
    return sum(serving) / 2


def _rows(scenarios: Sequence[Scenario], number: int) -> list[Scenario]:
    """Return the release of each rollout."""
    few = min(number, max(_LEAST_WORSE, round(number * _WORSE_SHARE)))
    return [one for one in scenarios for _ in range(few if one.worse else number)]


_SHARED: dict[str, Any] = {}
"""What a process that plays was given: where it says how far it is."""


def _share(done: Any) -> None:
    _SHARED["done"] = done


def _play(job: _Job) -> list[Run]:
    rollout, known, scenarios, seed, played = job
    told = 0.0

    def progress(share: float) -> None:
        nonlocal told
        if "done" not in _SHARED:
            return
        with _SHARED["done"].get_lock():
            _SHARED["done"].value += len(scenarios) * (share - told)
        told = share

    falls = _falls(rollout, known, len(scenarios), seed, played)
    return Play(rollout, scenarios, seed, known[rollout.name][1], falls=falls).play(played, progress)


def _falls(
    rollout: Rollout, known: Mapping[str, tuple[Rollout, _Labelled]], rows: int, seed: int, played: float
) -> dict[str, Any]:
    """Return when the rollouts fall that one requires; they are enabled, and healthy."""
    found = {}
    for name in rollout.requires:
        if name in known:
            other, labelled = known[name]
            own = _falls(other, known, rows, seed, played)
            play = Play(other, [Scenario()] * rows, seed + 500, labelled, enabled=True, falls=own)
            found[name] = np.array([np.nan_to_num(run.rolled_back, nan=np.inf) for run in play.play(played)])
    return found


def _played(
    rollout: Rollout,
    known: Mapping[str, tuple[Rollout, _Labelled]],
    scenarios: Sequence[Scenario],
    number: int,
    seed: int,
    played: float,
) -> list[Summary]:
    """Play all releases; what is drawn does not depend on the number of processes."""
    rows = _rows(scenarios, number)
    few = len(rows) * played < _FEW_SECONDS
    chunks = 1 if few else 2 * math.ceil(len(rows) / (2 * _CHUNK))
    jobs: list[_Job] = [
        (rollout, known, some, seed * 1000 + chunk, played)
        for chunk in range(chunks)
        if (some := rows[chunk::chunks])
    ]
    results = [_play(job) for job in jobs] if few else _in_processes(jobs, len(rows))
    found: dict[Scenario, list[Run]] = {one: [] for one in scenarios}
    for runs, job in zip(results, jobs, strict=True):
        for scenario, run in zip(job[2], runs, strict=True):
            found[scenario].append(run)
    plan = plan_seconds(rollout)
    return [summary(scenario, found[scenario], played, plan) for scenario in scenarios]


def _in_processes(jobs: Sequence[_Job], rows: int) -> list[list[Run]]:
    """Play in as many processes as there are cores, and show on a terminal how far they are."""
    context = get_context("forkserver")
    done = context.Value("d", 0.0)
    with ProcessPoolExecutor(min(len(jobs), len(os.sched_getaffinity(0))), context, _share, (done,)) as pool:
        futures = [pool.submit(_play, job) for job in jobs]
        while wait(futures, 0.5).not_done:
            _tell(f"Playing: {done.value / rows:.0%}")
    _tell("")
    return [future.result() for future in futures]


def _tell(text: str) -> None:
    """Show how far it is, on a terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r{text:<20}" if text else f"\r{'':<20}\r", nl=False, err=True)


def _missing(rollout: Rollout, known: Mapping[str, Any], seed: int) -> Mapping[str, str]:
    lacking = {name: "it has no file in this folder" for name in rollout.requires if name not in known}
    return {**Play(rollout, [Scenario()], seed).not_simulated, **lacking}


def _show(title: str, found: Sequence[Summary], missing: Mapping[str, str]) -> None:
    click.echo(title)
    rows: list[tuple[str, ...]] = [
        ("release", "played", "rolled back", "found in", "held", "in full", "in full after",
         "within 2 x plan", "enabled", "messages", "excess bad")
    ]  # fmt: skip
    for one in found:
        rows.append(
            (
                named(one.scenario),
                str(one.rollouts),
                _percent(one.rolled_back),
                _time(one.found_median),
                _percent(one.held),
                _percent(one.full),
                _time(one.full_median),
                _percent(one.full_in_time),
                _percent(one.enabled),
                f"{one.messages:.1f}",
                f"{one.excess_bad:,.0f}" if one.scenario.worse else "-",
            )
        )
    click.echo(table(rows))
    for one in found:
        if one.guards:
            told = ", ".join(f"{guard} {times / one.rollouts:.1%}" for guard, times in one.guards.items())
            click.echo(f"{named(one.scenario)}, rolled back by: {told}")
    for name, why in missing.items():
        click.echo(f"{name} is not simulated: {why}; taken as healthy.")


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _time(value: float | None) -> str:
    return "-" if value is None else seconds(round(value))


def _plain(one: Summary) -> dict[str, Any]:
    """Return everything but when what happened to each."""
    named_fields = [
        field.name for field in fields(one) if field.name not in ("scenario", "back_at", "full_at")
    ]
    return {
        "release": named(one.scenario),
        "worse": one.scenario.worse,
        "begins_seconds": one.scenario.begins,
        **{name: getattr(one, name) for name in named_fields},
    }
