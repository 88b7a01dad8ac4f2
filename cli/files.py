"""Commands on files: init, check, generate, test, schema."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path

import click

from rollguard.cli import testing
from rollguard.cli.options import (
    broken_files_as_json,
    count,
    examples,
    json_option,
    print_json,
    problems_as_data,
    rollouts_option,
    routing_option,
    scale_option,
)
from rollguard.conventions import PLATFORM
from rollguard.errors import Problem
from rollguard.generators import output
from rollguard.generators.alertmanager.receivers import load_routing
from rollguard.generators.scrape import Addresses
from rollguard.generators.tools import promtool, test_runs
from rollguard.spec import sets
from rollguard.spec.fields import MAX_NAME, NAME, PATTERNS_IN_WORDS
from rollguard.spec.loading import load_rollouts
from rollguard.spec.rollout import Rollout

_YAML_WORDS = ("true", "false", "null")


@click.command(
    epilog=examples("rollguard init checkout-redesign", "rollguard init search --out config/rollouts")
)
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("rollouts"),
    show_default=True,
    help="Folder to write to.",
)
def init(name: str, out: Path) -> None:
    """Write a commented rollout file that passes `rollguard check`, in mode observe."""
    if not re.fullmatch(NAME, name) or len(name) > MAX_NAME or name in _YAML_WORDS:
        raise click.BadParameter(f"{name!r}, expected {PATTERNS_IN_WORDS[NAME]}.", param_hint="NAME")
    path = out / f"{name}.yaml"
    text = (resources.files("rollguard") / "starter.yaml").read_text(encoding="utf-8")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text.replace("NAME", name))
    except FileExistsError:
        raise click.ClickException(f"{path} exists already; nothing was changed.") from None
    click.echo(f"Wrote {path}. Next: edit it, then run: rollguard check --rollouts {out}")


@click.command(
    epilog=examples(
        "rollguard generate --out build",
        "rollguard generate --out build --time-scale 60",
        "rollguard generate --out alerts/generated --check",
        "rollguard generate --out fragments --fragments",
    )
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder to write to."
)
@rollouts_option
@routing_option
@scale_option
@click.option("--fragments", is_flag=True, help="Only what servers of your own need beside what they have.")
@click.option("--check", "only_check", is_flag=True, help="Write nothing; exit 1 if a file is out of date.")
@click.option("--prometheus", default=Addresses.prometheus, show_default=True, help="host:port.")
@click.option("--alertmanager", default=Addresses.alertmanager, show_default=True, help="host:port.")
@click.option("--control-plane", default=Addresses.control_plane, show_default=True, help="host:port.")
@click.option(
    "--token-file",
    default=Addresses.token_file,
    show_default=True,
    help="As Alertmanager sees it; relative to its configuration file.",
)
def generate(
    out: Path,
    rollouts: Path,
    routing: Path | None,
    scale: float,
    fragments: bool,
    only_check: bool,
    prometheus: str,
    alertmanager: str,
    control_plane: str,
    token_file: str,
) -> None:
    """Render rules, their tests, and the configuration of Prometheus and Alertmanager."""
    addresses = Addresses(prometheus, alertmanager, control_plane, token_file)
    settings = load_routing(routing)
    files = output.generate(load_rollouts(rollouts), scale, addresses, routing=settings, fragments=fragments)
    if only_check:
        stale = output.outdated(files, out)
        for path in stale:
            click.echo(f"{path}: is out of date. Run: rollguard generate --out {out}", err=True)
        raise click.exceptions.Exit(1 if stale else 0)
    changed = output.write(files, out)
    click.echo(f"{count(len(files), 'file')} in {out}, {len(changed)} changed.")


@click.command(
    epilog=examples(
        "rollguard test",
        "rollguard test --coverage",
        "rollguard test --mutate --rollouts rollouts/model-canary.yaml",
        "rollguard test alerts/generated/tests/*.test.yml --json",
    )
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@rollouts_option
@scale_option
@click.option("--coverage", is_flag=True, help="Instead, show which kinds of test each guard has.")
@click.option("--mutate", is_flag=True, help="Instead, break each rule on purpose: do its tests notice?")
@json_option
def test(
    files: tuple[Path, ...], rollouts: Path, scale: float, coverage: bool, mutate: bool, as_json: bool
) -> None:
    """Run promtool's tests of every guard, and refuse tests that only look green.

    Without FILES the rollouts are rendered and tested; with FILES those test files are run. Exits with 1 if
    a test fails, if a kind of test is missing (--coverage), or if no test notices a mutant (--mutate).
    """
    if coverage or mutate:
        if files or (coverage and mutate):
            raise click.UsageError("--coverage and --mutate are about the rollouts, one of them at a time.")
        judge = testing.coverage_of if coverage else testing.mutate
        with broken_files_as_json(as_json):
            content = judge(rollouts, scale, as_json)
        raise click.exceptions.Exit(0 if content else 1)
    with broken_files_as_json(as_json):
        problems, results = _test(files) if files else _test_rollouts(load_rollouts(rollouts), scale)
    failed = [result for result in results if not result.passed]
    if as_json:
        print_json(
            {
                "problems": problems_as_data(problems),
                "tests": [asdict(result) for result in results],
            }
        )
    else:
        _show_tests(problems, results)
    raise click.exceptions.Exit(1 if failed or problems else 0)


def _test_rollouts(
    loaded: Sequence[Rollout], scale: float
) -> tuple[list[Problem], list[test_runs.TestResult]]:
    with tempfile.TemporaryDirectory(prefix="rollguard-") as folder:
        output.write(output.generate(loaded, scale), Path(folder))
        names = (*(rollout.name for rollout in loaded), PLATFORM)
        tests = Path(folder) / "tests"
        problems, results = _test(path for name in names for path in sorted(tests.glob(f"{name}.*test.yml")))
    return [replace(problem, path=Path(problem.path.name)) for problem in problems], results


def _test(paths: Iterable[Path]) -> tuple[list[Problem], list[test_runs.TestResult]]:
    tests = list(paths)
    files = dict.fromkeys(file.resolve() for path in tests for file in promtool.rule_files(path))
    problems = [problem for file in files for problem in promtool.check_rules(file)]
    problems += promtool.falsely_green(tests)
    quiet = not sys.stderr.isatty()
    with click.progressbar(length=1, label="Running tests", file=sys.stderr, hidden=quiet) as bar:

        def progress(run: int, total: int) -> None:
            bar.length = total
            bar.update(run)

        return problems, test_runs.run_tests(tests, progress)


def _show_tests(problems: Sequence[Problem], results: Sequence[test_runs.TestResult]) -> None:
    passed: dict[str, list[bool]] = {}
    for result in results:
        for alert in result.alerts or ("(no alert)",):
            passed.setdefault(alert, []).append(result.passed)
    width = max(map(len, passed), default=0)
    for alert, outcomes in passed.items():
        mark = "ok  " if all(outcomes) else "FAIL"
        click.echo(f"{mark} {alert.ljust(width)}  {sum(outcomes)} of {count(len(outcomes), 'test')} passed")
    for result in results:
        if not result.passed:
            click.echo(f"\n{result.title}\n{result.output}")
    _show(problems)
    total = sum(result.passed for result in results)
    click.echo(f"{count(len(passed), 'alert')}, {total} of {count(len(results), 'test')} passed.")


@click.command(
    epilog=examples("rollguard schema > rollout.schema.json", "rollguard schema --set > set.schema.json")
)
@click.option("--set", "of_set", is_flag=True, help="Instead, of a guard set's file.")
def schema(of_set: bool) -> None:
    """Print the JSON schema of a rollout file, for editors."""
    found = sets.GuardSet.model_json_schema() if of_set else sets.schema()
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _show(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem), err=True)
