"""From a rollout file to a `Rollout`, or to every mistake in it at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rollguard import durations
from rollguard.conventions import ENABLED, FALLBACK, PLATFORM, PLATFORM_JOBS, PREVIOUS, STATES_WITHOUT_STAGE
from rollguard.errors import FileProblemsError, Problem
from rollguard.spec import guard_checks, guards, target_checks
from rollguard.spec.fields import PATTERNS_IN_WORDS
from rollguard.spec.platform import is_platform
from rollguard.spec.rollout import Rollout, Scrape
from rollguard.spec.series import narrowing_problem
from rollguard.yamlfile import Document, Location, dotted, read, shown

_PLAIN_WORDS: Mapping[str, str] = {
    "a valid dictionary.*": "a mapping of keys",
    "a valid ": "a ",
    "a integer": "a whole number",
    "tuple": "list",
    ".* should have (at .*?)( after validation, not .*)?$": r"\1",
}
"""Pydantic's words (regular expressions), and what a person who writes YAML calls it."""

_MOST_PROBLEMS = 200
"""So many mistakes of one file are translated; the rest shows once these are mended."""

_LIMITS: Mapping[str, str] = {
    "greater_than": "more than {}",
    "greater_than_equal": "{} or more",
    "less_than_equal": "{} or less",
}


def load_rollout(path: Path) -> Rollout:
    """Return the rollout that a file describes.

    Args:
        path: a YAML file.
    Returns:
        The checked rollout.
    Raises:
        FileProblemsError: all that is wrong with the file.
    """
    document = read(path)
    problems = list(document.problems)
    rollout: Rollout | None = None
    try:
        rollout = Rollout.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += translated(document, error, Rollout)
    wrong = {problem.key for problem in problems}
    problems += [problem for problem in _cross_checks(document) if problem.key not in wrong]
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
        rollouts, problems = load_each(folder)
    except OSError as error:
        rollouts, problems = [], [Problem(folder, 0, "", f"cannot be read: {error.strerror}.")]
    broken: dict[str, list[str]] = {}
    for path, found in groupby(sorted(problems), key=lambda problem: problem.path):
        texts = [str(problem).partition("\n")[0].rstrip(".") for problem in found]
        broken.setdefault(_name_in(path), []).extend(texts)
    wrong = {problem.path for problem in problems}
    return [rollout for path, rollout in rollouts if path not in wrong], problems, broken


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
    paths = rollout_paths(folder)
    if not paths:
        hint = "Write one with: rollguard init NAME"
        return [], [Problem(folder, 0, "", "has no rollout file (*.yaml).", hint)]
    problems: list[Problem] = []
    found: dict[tuple[str, str], Path] = {}
    jobs: dict[str, tuple[Path, Scrape]] = {}
    rollouts = []
    unread = 0
    for path in paths:
        try:
            rollout = load_rollout(path)
        except FileProblemsError as error:
            problems += error.problems
            unread += 1
            continue
        repeated = ("rollout", rollout.name) in found  # what it renders to would be called wrong as well
        for key, value in (("rollout", rollout.name), ("flag.key", rollout.flag.key)):
            if (key, value) in found:
                line = read(path).line_of(tuple(key.split(".")))
                hint = "Each rollout has a name and a flag of its own."
                problems.append(Problem(path, line, key, f"is {value}, as in {found[key, value]}.", hint))
            found.setdefault((key, value), path)
        problems += _conflicts(path, rollout, jobs.setdefault(rollout.scrape.job, (path, rollout.scrape)))
        if not repeated:
            rollouts.append((path, rollout))
    if folder.is_dir() and not unread:  # one that could not be loaded may be required
        problems += _check_requirements(rollouts)
    return sorted(rollouts, key=lambda pair: pair[1].name), problems


def _conflicts(path: Path, rollout: Rollout, first: tuple[Path, Scrape]) -> Iterator[Problem]:
    """Yield where a rollout says other things of a shared job than the first that named it."""
    other, scrape = first
    if not (rollout.scrape.labelled or scrape.labelled):
        return
    for key in ("labelled", "targets", "interval", "exporter"):
        if getattr(rollout.scrape, key) != getattr(scrape, key):
            message = f"differs from {other}, which names the job {scrape.job} too."
            hint = "One job has one scrape: say the same under scrape in every rollout that shares it."
            yield read(path).problem(("scrape", key), message, hint)


def _check_requirements(rollouts: Sequence[tuple[Path, Rollout]]) -> Iterator[Problem]:
    """Yield the requirements of rollouts that are not there, and those that lead back to themselves."""
    required = {rollout.name: rollout.requires for _, rollout in rollouts}
    for path, rollout in rollouts:
        for index, other in enumerate(rollout.requires):
            here: Location = ("requires", index)
            document, name = read(path), rollout.name
            if other not in required:
                near = difflib.get_close_matches(other, required, n=1)
                hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(required)}."
                yield document.problem(here, f"is {other}, which is no rollout of this folder.", hint)
            elif _leads_to(name, other, required):
                hint = "Let one of them require nothing."
                yield document.problem(here, f"is {other}, which requires {name} in turn.", hint)


def _leads_to(goal: str, name: str, required: Mapping[str, Sequence[str]]) -> bool:
    """Return whether what a rollout requires, and what that requires in turn, holds another rollout."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current == goal:
            return True
        if current not in seen:
            seen.add(current)
            waiting += required.get(current, ())
    return False


def rollout_paths(folder: Path) -> list[Path]:
    """Return the rollout files of a folder, ordered; a file stands for itself."""
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
    return [folder]


def translated(document: Document, error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """Yield pydantic's errors as problems, one for each place: a union reports each of its members.

    Args:
        document: the file.
        error: what its model says of it.
        model: of the whole file; its keys are what is known.
    """
    found: dict[Location, ErrorDetails] = {}
    kinds: dict[Location, set[str]] = {}
    for details in error.errors():
        if details["type"] == "too_short" and len(details["input"]) >= details["ctx"]["min_length"]:
            continue  # the list has items enough; each that is wrong is reported by itself
        location = _in_file(document, details["loc"])
        kinds.setdefault(location, set()).add(details["type"])
        if location in found:
            plain = "string_type" in kinds[location]
            words = "a plain value: text, a number, true or false" if plain else "a number"
            details["type"], details["msg"] = "union", words
        found[location] = details
    unread = {problem.key for problem in document.problems}
    renamed = _renamed(found)
    for location, details in islice(found.items(), _MOST_PROBLEMS):
        if location in renamed:
            continue  # the wrong key is reported, with this one as its hint
        if details["input"] is None and dotted(location) in unread:
            continue  # an alias or an odd tag, which is reported as such
        yield _translate(document, location, details, model)


def _renamed(found: Mapping[Location, ErrorDetails]) -> set[Location]:
    """Return the missing keys that are there under a name that is nearly right."""
    missing = {location for location, details in found.items() if details["type"] == "missing"}
    renamed: set[Location] = set()
    for location, details in found.items():
        if details["type"] == "extra_forbidden":
            beside = [str(other[-1]) for other in missing if other[:-1] == location[:-1]]
            near = difflib.get_close_matches(str(location[-1]), beside, n=1)
            renamed |= {(*location[:-1], name) for name in near}
    return renamed


def _translate(
    document: Document, location: Location, details: ErrorDetails, model: type[BaseModel]
) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return document.problem(location, "is missing, expected a value.", "Add the key.")
    if kind == "extra_forbidden":
        hint = _nearest(str(location[-1]), location[:-1], model)
        return document.problem(location, "is not a known key.", hint)
    value = _value_at(document, location, details["input"])
    if kind == "string_pattern_mismatch":
        expected = PATTERNS_IN_WORDS.get(context["pattern"], f"text that matches {context['pattern']}")
    elif kind in _LIMITS:
        expected = _limit(value, kind, context)
    else:
        expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should ")
        expected = expected.removeprefix("expected ").removeprefix("be ")
        for words, plain in _PLAIN_WORDS.items():
            expected = re.sub(words, plain, expected)
    hint = _hint(location, value, kind, context)
    return document.problem(location, f"is {shown(value)}, expected {expected}.", hint)


def _hint(location: Location, value: object, kind: str, context: Mapping[str, Any]) -> str:
    """Return how to mend a value, where more can be said than what is expected."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "Put it in quotes."
    if kind == "literal_error":
        near = difflib.get_close_matches(str(value), re.findall(r"'([^']*)'", context["expected"]), n=1)
        return f"Did you mean {near[0]}?" if near else ""
    if kind == "value_error" and number and "a duration with its unit" in str(context.get("error")):
        whole = isinstance(value, int)
        return f"Write {value}s, {value}m or {value}h." if whole else "Write whole units, such as 1h30m."
    return "Write 10 for a tenth, 100 for everybody." if location[-1:] == ("percent",) else ""


def _limit(value: object, kind: str, context: Mapping[str, Any]) -> str:
    ((_, limit),) = context.items()
    return _LIMITS[kind].format(durations.render(limit) if isinstance(value, str) else f"{limit:g}")


def _in_file(document: Document, parts: Sequence[str | int]) -> Location:
    """Drop what pydantic adds to a location: the members of unions, and `[key]` of mappings."""
    location: Location = ()
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if (*location, part) in document.lines or (last and not _is_union_member(part)):
            location = (*location, part)
    return location


def _is_union_member(part: str | int) -> bool:
    text = str(part)
    return text in {"bool", "int", "float", "str", "[key]"} or "[" in text


def _value_at(document: Document, location: Location, default: object) -> object:
    """Return what the file has at a location: a duration as it is written, not in seconds."""
    value = document.data
    for part in location:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return default
    return value


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _nearest(key: str, parent: Location, model: type[BaseModel]) -> str:
    """Return a hint with the known key that is nearest to a wrong one."""
    known = sorted(_known_keys(parent, model))
    near = difflib.get_close_matches(key, known, n=1)
    return f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."


def _known_keys(parent: Location, model: type[BaseModel]) -> Iterable[str]:
    whole = _schema(model)
    schema = _resolved(whole, whole)
    for part in parent:
        inside = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = _resolved(inside or schema.get("additionalProperties") or {}, whole)
    return tuple(schema.get("properties", {}))


def _resolved(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolved(whole["$defs"][schema["$ref"].rsplit("/", 1)[1]], whole)
    for option in schema.get("anyOf", ()):
        found = _resolved(option, whole)
        if found.get("properties") or found.get("items"):
            return found
    return dict(schema)


def _cross_checks(document: Document) -> Iterator[Problem]:
    """Yield what is wrong between keys; looks at raw data, so that one mistake hides no other."""
    data = document.data
    if not isinstance(data, dict):
        return
    stages = [stage.get("name") for stage in _dicts(data.get("stages"))]
    if data.get("rollout") == PLATFORM:
        yield document.problem(("rollout",), f"is {PLATFORM}, which names the platform's own rules.", "")
    yield from _check_stages(document, stages)
    stages = list(dict.fromkeys(name for name in stages if isinstance(name, str)))  # each is said once
    yield from _check_flag(document, data.get("flag"))
    yield from _check_guards(document, data, stages)
    for index, criterion in enumerate(_dicts(data.get("advance"))):
        yield from _unknown_stages(document, ("advance", index, "stages"), criterion.get("stages"), stages)
    yield from _check_rollback(document, data.get("rollback"), stages)
    yield from _check_job(document, data.get("scrape"))
    yield from target_checks.check(document, _dicts(data.get("targets")), stages)


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []


def _check_stages(document: Document, stages: Sequence[Any]) -> Iterator[Problem]:
    seen: set[str] = set()  # as texts, as a wrong one may be a list
    for index, name in enumerate(stages):
        here = ("stages", index, "name")
        if repr(name) in seen:
            yield document.problem(here, f"is {name}, which an earlier stage has.", "Give each its own name.")
        if name in (*STATES_WITHOUT_STAGE, FALLBACK, PREVIOUS):
            yield document.problem(here, f"is {name}, which names a state.", "Call the stage otherwise.")
        seen.add(repr(name))


def _check_flag(document: Document, flag: object) -> Iterator[Problem]:
    variants = flag.get("variants") if isinstance(flag, dict) else None
    if not isinstance(flag, dict) or not isinstance(variants, dict):
        return
    for key in ("serve", "fallback"):
        if isinstance(flag.get(key), str) and flag[key] not in variants:
            expected = f"expected one of {', '.join(map(str, variants))}."
            yield document.problem(("flag", key), f"is {flag[key]}, {expected}")
    if flag.get("serve") is not None and flag.get("serve") == flag.get("fallback"):
        hint = "A rollback would change nothing."
        yield document.problem(("flag", "fallback"), f"is {flag['serve']}, the same as serve.", hint)
    kinds = {_json_type(value) for value in variants.values() if isinstance(value, bool | int | float | str)}
    if len(kinds) > 1:
        found = ", ".join(sorted(kinds))
        yield document.problem(("flag", "variants"), f"mix {found}, expected values of one type.")


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "booleans"
    return "numbers" if isinstance(value, int | float) else "strings"


def _check_rollback(document: Document, rollback: object, stages: Sequence[Any]) -> Iterator[Problem]:
    to = rollback.get("to") if isinstance(rollback, dict) else None
    known = [FALLBACK, PREVIOUS, *stages]
    if isinstance(to, str) and stages and to not in known:
        yield document.problem(("rollback", "to"), f"is {to}, expected one of {', '.join(known)}.")


def _check_job(document: Document, scrape: object) -> Iterator[Problem]:
    job = scrape.get("job") if isinstance(scrape, dict) else None
    if job in PLATFORM_JOBS:
        hint = "Prometheus refuses two jobs of one name."
        yield document.problem(("scrape", "job"), f"is {job}, which is the job of a server itself.", hint)


def _check_guards(document: Document, data: Mapping[str, Any], stages: Sequence[Any]) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, guard in enumerate(_dicts(data.get("guards"))):
        here: Location = ("guards", index)
        alert = guard.get("alert")
        if isinstance(alert, str):
            name = given if isinstance(given := guard.get("name"), str) else alert
            if name in seen:
                key = "name" if "name" in guard else "alert"
                hint = f"Rename one, or give both a name: {alert}-… ."
                yield document.problem((*here, key), f"is {name}, as in an earlier guard.", hint)
            seen.add(name)
            yield from _check_alert(document, (*here, "alert"), alert)
        yield from _unknown_stages(document, (*here, "stages"), guard.get("stages"), [*stages, ENABLED])
        if guard.get("scope") == "stage":
            yield from _check_scope(document, (*here, "scope"), _dicts(data.get("stages")))
        for location, message, hint in guard_checks.check(guard):
            yield document.problem((*here, *location), message, hint)


def _check_scope(
    document: Document, here: Location, stages: Sequence[Mapping[str, Any]]
) -> Iterator[Problem]:
    """Yield what keeps the guard from reading the series that a stage matches."""
    matches = [stage["match"] for stage in stages if isinstance(stage.get("match"), dict)]
    if not matches:
        yield document.problem(here, "is stage, but no stage has a match.", "Add one, or take it out.")
    for match in matches:
        for label, values in match.items():
            if problem := narrowing_problem(label, values):
                hint = "Without scope the guard reads all series."
                yield document.problem(here, f"is stage, but {problem}.", hint)


def _check_alert(document: Document, here: Location, name: str) -> Iterator[Problem]:
    if is_platform(name):
        yield document.problem(here, f"is {name}, which is an alert of the platform.", "Rename it.")
    if name.endswith(guards.NO_DATA):
        hint = "Such names belong to the alerts that see a guard's data go."
        yield document.problem(
            here, f"is {name}, expected a name that does not end in {guards.NO_DATA}.", hint
        )


def _unknown_stages(
    document: Document, here: Location, names: object, known: Sequence[Any]
) -> Iterator[Problem]:
    listed = names if isinstance(names, list) and any(name != ENABLED for name in known) else ()
    for index, name in enumerate(listed):
        if name not in known:
            near = difflib.get_close_matches(str(name), map(str, known), n=1)
            hint = f"Did you mean {near[0]}?" if near else ""
            expected = f"expected one of {', '.join(map(str, known))}."
            yield document.problem((*here, index), f"is {name}, {expected}", hint)
