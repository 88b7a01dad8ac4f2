"""`rollguard check`: everything that can be said of rollouts without running them, in one pass."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click

from rollguard.cli.options import (
    count,
    examples,
    json_option,
    own_alertmanager_option,
    print_json,
    rollouts_option,
    routing_option,
    table,
)
from rollguard.errors import FileProblemsError, Problem
from rollguard.exporters.exported_metrics import exported_metrics
from rollguard.generators import checks
from rollguard.generators.alertmanager.receivers import Routing, load_routing
from rollguard.generators.checks import false_rates, metrics, routes, rules
from rollguard.generators.checks.context import CheckContext, Finding, LoadedRollout
from rollguard.generators.tools import amtool
from rollguard.metric import Metric
from rollguard.spec.loading import load_each
from rollguard.spec.rollout import Rollout
from rollguard.spec.sets import problems_of_sets, read_rollout

_ROLLOUTS, _GENERATED = Path("rollouts"), Path("alerts/generated")


@dataclass
class _Result:
    """What one pass gives."""

    findings: list[Finding] = field(default_factory=list)
    rollouts: list[Rollout] = field(default_factory=list)
    routes: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    measured: Sequence[Rollout] = ()

    def add(self, check: str, problems: Iterable[Problem]) -> None:
        self.findings += (Finding(check, "error", problem) for problem in sorted(problems))

    def number_of(self, severity: str) -> int:
        return sum(finding.severity == severity for finding in self.findings)


@click.command(
    epilog=examples(
        "rollguard check",
        "rollguard check --rollouts rollouts/model-canary.yaml --json",
        "rollguard check --lines",
        "rollguard check --verbose --alertmanager-config /etc/alertmanager/alertmanager.yml",
    )
)
@rollouts_option
@routing_option
@own_alertmanager_option
@click.option(
    "--generated",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of rules that must be up to date. Default: alerts/generated, for the folder rollouts.",
)
@click.option(
    "--runbooks",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/runbooks"),
    show_default=True,
    help="Folder with a page for each alert.",
)
@click.option("--verbose", is_flag=True, help="Also show notes, and which receivers each alert reaches.")
@click.option("--lines", is_flag=True, help="One line for each finding, as editors and CI read them.")
@json_option
def check(
    rollouts: Path,
    routing: Path | None,
    own: Path | None,
    generated: Path | None,
    runbooks: Path,
    verbose: bool,
    lines: bool,
    as_json: bool,
) -> None:
    """Check rollout files and what they render to: every mistake at once, with file, line and key.

    Exits with 1 if there is an error; warnings and notes do not count. docs/checks.md describes each check.
    """
    if generated is None and rollouts == _ROLLOUTS and _GENERATED.is_dir():
        generated = _GENERATED
    result = _Result()
    settings = _routing(routing, result)

    def context(checked: Sequence[LoadedRollout], folder: Path) -> CheckContext:
        # What a broken file would render to is not known, so nothing is called left over.
        fresh = None if result.findings else generated
        return CheckContext(checked, folder, settings, own, fresh, runbooks)

    _run(rollouts, context, result)
    if as_json:
        print_json(_plain(result))
    elif lines:
        for finding in result.findings:
            click.echo(_line(finding))
    else:
        _show(result, verbose=verbose)
    raise click.exceptions.Exit(1 if result.number_of("error") else 0)


def _routing(path: Path | None, result: _Result) -> Routing:
    try:
        return load_routing(path)
    except FileProblemsError as error:
        result.add(routes.NAME, error.problems)
        return Routing()


def _run(
    rollouts: Path, context: Callable[[Sequence[LoadedRollout], Path], CheckContext], result: _Result
) -> None:
    loaded, problems = load_each(rollouts)
    if rollouts.is_dir():  # a set that is taken by no rollout yet is looked at, too
        problems += [problem for problem in problems_of_sets(rollouts) if problem not in problems]
    result.add(checks.SPEC, problems)
    result.rollouts = [rollout for _, rollout in loaded]
    if not loaded:
        return
    offering = [
        LoadedRollout(rollout, read_rollout(path), _offered(rollout, result)) for path, rollout in loaded
    ]
    checked = _renderable(offering, result)
    if not checked:
        return
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        found = context(checked, Path(folder))
        try:
            result.findings += checks.run(found)
            result.measured = found.rollouts
        except FileProblemsError as error:  # of a file of Alertmanager that cannot be read
            result.add(routes.NAME, error.problems)
        if not any(
            finding.check == routes.NAME and finding.severity == "error" for finding in result.findings
        ):
            where = found.own_alertmanager or routes.config(found)
            result.routes = amtool.receivers_of_guards(where, found.rollouts)


def _renderable(checked: Sequence[LoadedRollout], result: _Result) -> list[LoadedRollout]:
    """Return the rollouts that can be rendered; of the others, every guard that cannot is a finding."""
    found = []
    for item in checked:
        problems = set(rules.rendering_problems(item))
        result.add(rules.NAME, problems)
        if not problems:
            found.append(item)
    return found


def _offered(rollout: Rollout, result: _Result) -> tuple[Metric, ...] | None:
    try:
        return None if rollout.scrape.exporter is None else exported_metrics(rollout)
    except FileProblemsError as error:
        result.add(metrics.NAME, error.problems)
        return None


def _show(result: _Result, *, verbose: bool) -> None:
    if verbose and result.routes:
        rows = [
            (rollout, guard, ", ".join(receivers))
            for rollout, guards in result.routes.items()
            for guard, receivers in guards.items()
        ]
        click.echo(table([("rollout", "alert", "receivers"), *rows]))
    for finding in result.findings:
        if finding.severity != "note" or verbose:
            click.echo(_text(finding), err=True)
    guards = sum(len(rollout.guards) for rollout in result.rollouts)
    errors, warnings, notes = map(result.number_of, ("error", "warning", "note"))
    verdict = count(errors, "error") if errors else "no errors"
    verdict += f", {count(warnings, 'warning')}" if warnings else ""
    verdict += f", {count(notes, 'note')} (--verbose)" if notes and not verbose else ""
    click.echo(f"{count(len(result.rollouts), 'rollout')}, {count(guards, 'guard')}: {verdict}.")


def _text(finding: Finding) -> str:
    first, *rest = str(finding.problem).split("\n")
    severity = "" if finding.severity == "error" else f"{finding.severity}: "
    return "\n".join([f"{severity}{first} [{finding.check}]", *rest])


def _line(finding: Finding) -> str:
    """Return a finding in the form that compilers use."""
    problem = finding.problem
    words = " ".join(f"{problem.key} {problem.message} {problem.hint}".split())
    return f"{problem.path}:{problem.line or 1}: {finding.severity}: {words} [{finding.check}]"


def _plain(result: _Result) -> dict[str, Any]:
    return {
        "rollouts": len(result.rollouts),
        "guards": sum(len(rollout.guards) for rollout in result.rollouts),
        "errors": result.number_of("error"),
        "warnings": result.number_of("warning"),
        "findings": [
            {
                "check": finding.check,
                "severity": finding.severity,
                **asdict(finding.problem),
                "path": str(finding.problem.path),
            }
            for finding in result.findings
        ],
        "routes": result.routes,
        "false_rates": {one.name: false_rates.as_data(one) for one in result.measured},
    }
