"""`rollguard diff`: what a change of the rollouts means, for a review."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import click

from rollguard.cli.options import examples, json_option, print_json, rollouts_option, routing_option, seconds
from rollguard.cli.revision import files_at
from rollguard.errors import FileProblemsError, Problem
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import Routing, load_routing
from rollguard.generators.changes import GuardChange, RolloutChange, Side, changes
from rollguard.generators.tools import amtool
from rollguard.spec.loading import load_each, load_rollouts, rollout_paths
from rollguard.spec.rollout import Rollout

_MARKS = {"added": "+", "removed": "-", "changed": "~"}


@click.command(
    epilog=examples("rollguard diff HEAD", "rollguard diff origin/main --rollouts rollouts --json")
)
@click.argument("revision", metavar="REV")
@rollouts_option
@routing_option
@json_option
def diff(revision: str, rollouts: Path, routing: Path | None, as_json: bool) -> None:
    """Say what the rollouts' changes since the git revision REV change in rules, routes and time.

    Both sides are rendered by this version of Rollguard and its guard library.
    """
    settings = load_routing(routing)
    after = _side(load_rollouts(rollouts), settings)
    with files_at(revision, rollouts) as folder:
        before = _side(_loaded(folder, revision, rollouts), settings)
    found = changes(before, after)
    if as_json:
        print_json([asdict(change) for change in found])
        return
    for change in found:
        click.echo("\n".join(_text(change)))
    if not found:
        click.echo(f"Since {revision} no rollout has changed.")


def _loaded(folder: Path, revision: str, rollouts: Path) -> list[Rollout]:
    """Return the rollouts of a revision; what cannot be read there is named as git names it."""
    if not rollout_paths(folder):
        return []
    found, problems = load_each(folder)
    if problems:
        where = rollouts if rollouts.is_dir() else rollouts.parent
        there = f"{revision}:{where}"
        raise FileProblemsError([_renamed(problem, folder, there) for problem in problems])
    return [rollout for _, rollout in found]


def _renamed(problem: Problem, folder: Path, where: str) -> Problem:
    return replace(
        problem,
        path=Path(str(problem.path).replace(str(folder), where)),
        hint=problem.hint.replace(str(folder), where),
    )


def _side(rollouts: Sequence[Rollout], routing: Routing) -> Side:
    if not rollouts:
        return Side({}, {})
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        output.write(output.configuration(rollouts, routing=routing), Path(folder))
        routes = amtool.receivers_of_guards(Path(folder) / "alertmanager.yml", rollouts)
    return Side({rollout.name: rollout for rollout in rollouts}, routes)


def _text(change: RolloutChange) -> Iterator[str]:
    new = {"added": " (new)", "removed": " (gone)", "changed": ""}
    yield f"{change.rollout}{new[change.kind]}"
    for guard in change.guards:
        yield f"  {_MARKS[guard.kind]} {guard.guard}: {'; '.join([*guard.words, *_figures(guard)])}"
    yield from (f"  ~ {words}" for words in change.others)


def _figures(guard: GuardChange) -> Iterator[str]:
    before, after = guard.worst
    if before is None or after is None:
        only = before if after is None else after
        if only is not None and guard.kind == "added":
            yield f"worst case {seconds(only)}"
    elif before != after:
        yield f"worst case {seconds(before)} → {seconds(after)}"
    else:
        yield "worst case unchanged"
    was, now = (", ".join(receivers) or "nobody" for receivers in guard.receivers)
    if guard.kind == "added":
        yield f"reaches {now}"
    elif guard.kind == "changed":
        yield "routes unchanged" if was == now else f"reached {was}, now {now}"
