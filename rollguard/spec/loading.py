"""From a rollout file to a `Rollout`, or to every mistake in it at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from rollguard.errors import FileProblemsError, Problem
from rollguard.spec.checks.rollouts import check_requirements, conflicts, cross_checks
from rollguard.spec.messages import translated
from rollguard.spec.rollout import Rollout, Scrape
from rollguard.spec.sets import read_rollout
from rollguard.yamlfile import read


def load_rollout(path: Path) -> Rollout:
    """Return the rollout that a file describes.

    Args:
        path: a YAML file.
    Returns:
        The checked rollout.
    Raises:
        FileProblemsError: all that is wrong with the file.
    """
    document = read_rollout(path)
    problems = list(document.problems)
    rollout: Rollout | None = None
    try:
        rollout = Rollout.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        found = translated(document, error, Rollout)  # guards may be too few where a set is wrong
        problems += [problem for problem in found if problem.key != "guards" or not document.problems]
    wrong = {(problem.path, problem.key) for problem in problems}
    problems += [problem for problem in cross_checks(document) if (problem.path, problem.key) not in wrong]
    if problems or rollout is None:
        raise FileProblemsError(problems)
    return rollout


def load_rollouts(folder: Path) -> list[Rollout]:
    """Return every rollout of a folder (or of one file), ordered by name.

    Args:
        folder: a folder with ``*.yaml`` or ``*.yml`` files, or one such file.
    Returns:
        The rollouts; never none.
    Raises:
        FileProblemsError: all that is wrong with all the files.
    """
    rollouts, problems = load_each(folder)
    if problems:
        raise FileProblemsError(problems)
    return [rollout for _, rollout in rollouts]


def load_sound(folder: Path) -> tuple[list[Rollout], list[Problem], dict[str, list[str]]]:
    """Return the rollouts whose files are without mistake, and the mistakes of the others.

    Args:
        folder: as for `load_rollouts`.
    Returns:
        Rollouts by name; all mistakes; the same in words, by the name of the rollout, or of the file that
        cannot be read.
    """
    try:
        rollouts, wrong = _load_each(folder)
    except OSError as error:
        rollouts, wrong = [], {folder: [Problem(folder, 0, "", f"cannot be read: {error.strerror}.")]}
    broken: dict[str, list[str]] = {}
    for path, found in sorted(wrong.items()):
        texts = [str(problem).partition("\n")[0].rstrip(".") for problem in sorted(found)]
        broken.setdefault(_name_in(path), []).extend(texts)
    sound = [rollout for path, rollout in rollouts if path not in wrong]
    return sound, _flat(wrong), broken


def _name_in(path: Path) -> str:
    try:
        data = read(path).data
    except FileProblemsError:
        return path.stem
    name = data.get("rollout") if isinstance(data, dict) else None
    return name if isinstance(name, str) else path.stem


def load_each(folder: Path) -> tuple[list[tuple[Path, Rollout]], list[Problem]]:
    """Return the rollouts that can be loaded, by name, each with its file; and what is wrong with the others.

    Of several of one name only the first is returned.

    Args:
        folder: as for `load_rollouts`.
    """
    rollouts, wrong = _load_each(folder)
    return rollouts, _flat(wrong)


def _flat(wrong: Mapping[Path, Sequence[Problem]]) -> list[Problem]:
    """Return every problem once: what is wrong with a guard set is so for each rollout that takes it."""
    return list(dict.fromkeys(problem for problems in wrong.values() for problem in problems))


def _load_each(folder: Path) -> tuple[list[tuple[Path, Rollout]], dict[Path, list[Problem]]]:
    """Return rollouts as `load_each` does, and what is wrong by the rollout file that it is wrong with."""
    paths = rollout_paths(folder)
    if not paths:
        hint = "Write one with: rollguard init NAME"
        return [], {folder: [Problem(folder, 0, "", "has no rollout file (*.yaml).", hint)]}
    problems: list[Problem] = []
    wrong: dict[Path, list[Problem]] = {}
    found: dict[tuple[str, str], Path] = {}
    jobs: dict[str, tuple[Path, Scrape]] = {}
    rollouts = []
    for path in paths:
        try:
            rollout = load_rollout(path)
        except FileProblemsError as error:
            wrong[path] = [*error.problems]
            continue
        repeated = ("rollout", rollout.name) in found  # what it renders to would be called wrong as well
        for key, value in (("rollout", rollout.name), ("flag.key", rollout.flag.key)):
            if (key, value) in found:
                line = read(path).line_of(tuple(key.split(".")))
                hint = "Each rollout has a name and a flag of its own."
                problems.append(Problem(path, line, key, f"is {value}, as in {found[key, value]}.", hint))
            found.setdefault((key, value), path)
        problems += conflicts(path, rollout, jobs.setdefault(rollout.scrape.job, (path, rollout.scrape)))
        if not repeated:
            rollouts.append((path, rollout))
    if folder.is_dir() and not wrong:  # one that could not be loaded may be required
        problems += check_requirements(rollouts)
    for problem in problems:
        wrong.setdefault(problem.path, []).append(problem)
    return sorted(rollouts, key=lambda pair: pair[1].name), wrong


def rollout_paths(folder: Path) -> list[Path]:
    """Return the rollout files of a folder, ordered; a file stands for itself."""
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
    return [folder]
