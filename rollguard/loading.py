"""From a rollout file to a `Rollout`, or to every mistake in it at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rollguard import guards
from rollguard.conventions import ENABLED, STATES_WITHOUT_STAGE
from rollguard.errors import FileProblemsError, Problem
from rollguard.spec import PATTERNS_IN_WORDS, Rollout
from rollguard.yamlfile import Document, Location, read


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
        rollout = Rollout.model_validate(document.data)
    except ValidationError as error:
        problems += _translate_all(document, error)
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
    paths = rollout_paths(folder)
    if not paths:
        hint = "Write one with: rollguard init NAME"
        raise FileProblemsError([Problem(folder, 0, "", "has no rollout file (*.yaml).", hint)])
    problems: list[Problem] = []
    found: dict[str, Path] = {}
    rollouts = []
    for path in paths:
        try:
            rollout = load_rollout(path)
        except FileProblemsError as error:
            problems += error.problems
            continue
        if rollout.name in found:
            problems.append(Problem(path, 1, "rollout", f"is {rollout.name}, as in {found[rollout.name]}."))
        found[rollout.name] = path
        rollouts.append(rollout)
    if problems:
        raise FileProblemsError(problems)
    return sorted(rollouts, key=lambda rollout: rollout.name)


def rollout_paths(folder: Path) -> list[Path]:
    """Return the rollout files of a folder, ordered; a file stands for itself."""
    if folder.is_dir():
        return sorted(path for path in folder.iterdir() if path.suffix in {".yaml", ".yml"})
    return [folder]


def _translate_all(document: Document, error: ValidationError) -> Iterator[Problem]:
    """Yield pydantic's errors as problems, one for each place: a union reports each of its members."""
    found: dict[Location, ErrorDetails] = {}
    for details in error.errors():
        if details["type"] == "too_short" and details["input"]:
            continue  # the list has items; each that is wrong is reported by itself
        location = _in_file(document, details["loc"])
        if location in found:
            details["type"], details["msg"] = "union", "a plain value: text, a number, true or false"
        found[location] = details
    for location, details in found.items():
        yield _translate(document, location, details)


def _translate(document: Document, location: Location, details: ErrorDetails) -> Problem:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return document.problem(location, "is missing, expected a value.", "Add the key.")
    if kind == "extra_forbidden":
        return document.problem(location, "is not a known key.", _nearest(str(location[-1]), location[:-1]))
    if kind == "string_pattern_mismatch":
        expected = PATTERNS_IN_WORDS[context["pattern"]]
    else:
        expected = details["msg"].removeprefix("Value error, ").removeprefix("Input should ")
        expected = expected.removeprefix("expected ").removeprefix("be ")
        expected = (
            expected.replace("a valid dictionary", "a mapping of keys")
            .replace("a valid ", "a ")
            .replace("a integer", "a whole number")
        )
        expected = expected.replace("tuple", "list")
    return document.problem(location, f"is {_shown(details['input'])}, expected {expected}.")


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


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


@cache
def _schema() -> dict[str, Any]:
    return Rollout.model_json_schema()


def _nearest(key: str, parent: Location) -> str:
    """Return a hint with the known key that is nearest to a wrong one."""
    known = sorted(_known_keys(parent))
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(known)}."


def _known_keys(parent: Location) -> Iterable[str]:
    schema = _resolved(_schema())
    for part in parent:
        inside = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
        schema = _resolved(inside or schema.get("additionalProperties") or {})
    return tuple(schema.get("properties", {}))


def _resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return _resolved(_schema()["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    for option in schema.get("anyOf", ()):
        found = _resolved(option)
        if found.get("properties") or found.get("items"):
            return found
    return dict(schema)


def _cross_checks(document: Document) -> Iterator[Problem]:
    """Yield what is wrong between keys; looks at raw data, so that one mistake hides no other."""
    data = document.data
    if not isinstance(data, dict):
        return
    stages = [stage.get("name") for stage in _dicts(data.get("stages"))]
    yield from _check_stages(document, stages)
    yield from _check_flag(document, data.get("flag"))
    yield from _check_guards(document, data, stages)
    for index, criterion in enumerate(_dicts(data.get("advance"))):
        yield from _unknown_stages(document, ("advance", index, "stages"), criterion.get("stages"), stages)
    for index, target in enumerate(_dicts(data.get("targets"))):
        body = target.get("yaml-file")
        if isinstance(body, dict) and isinstance(body.get("values"), dict):
            yield from _check_values(
                document, ("targets", index, "yaml-file", "values"), body["values"], stages
            )


def _dicts(items: object) -> list[dict[str, Any]]:
    return [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []


def _check_stages(document: Document, stages: Sequence[Any]) -> Iterator[Problem]:
    for index, name in enumerate(stages):
        here = ("stages", index, "name")
        if name in stages[:index]:
            yield document.problem(here, f"is {name}, which an earlier stage has.", "Give each its own name.")
        if name in (*STATES_WITHOUT_STAGE, "fallback"):
            yield document.problem(here, f"is {name}, which names a state.", "Call the stage otherwise.")


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
    kinds = {_json_type(value) for value in variants.values()}
    if len(kinds) > 1:
        found = ", ".join(sorted(kinds))
        yield document.problem(("flag", "variants"), f"mix {found}, expected values of one type.")


def _json_type(value: object) -> str:
    if isinstance(value, bool):
        return "booleans"
    return "numbers" if isinstance(value, int | float) else "strings"


def _check_guards(document: Document, data: Mapping[str, Any], stages: Sequence[Any]) -> Iterator[Problem]:
    rollout = str(data.get("rollout"))
    seen: set[object] = set()
    for index, guard in enumerate(_dicts(data.get("guards"))):
        here: Location = ("guards", index)
        name = guard.get("alert")
        if name is not None and name in seen:
            yield document.problem(
                (*here, "alert"), f"is {name}, as in an earlier guard.", "Rename one of them."
            )
        seen.add(name)
        yield from _unknown_stages(document, (*here, "stages"), guard.get("stages"), [*stages, ENABLED])
        for location, message, hint in guards.check(guard.get("use"), guard.get("with"), rollout):
            yield document.problem((*here, *location), message, hint)


def _unknown_stages(
    document: Document, here: Location, names: object, known: Sequence[Any]
) -> Iterator[Problem]:
    for index, name in enumerate(names if isinstance(names, list) else ()):
        if name not in known:
            near = difflib.get_close_matches(str(name), map(str, known), n=1)
            hint = f"Did you mean {near[0]}?" if near else ""
            expected = f"expected one of {', '.join(map(str, known))}."
            yield document.problem((*here, index), f"is {name}, {expected}", hint)


def _check_values(
    document: Document, here: Location, values: Mapping[str, Any], stages: Sequence[Any]
) -> Iterator[Problem]:
    states = ["fallback", *map(str, stages)]
    for state in states:
        if state not in values:
            hint = "A target says what every stage and the fallback mean."
            yield document.problem((*here, state), "is missing, expected its keys and values.", hint)
    for state in values:
        if state not in states:
            expected = f"expected one of {', '.join(states)}."
            yield document.problem((*here, state), f"is not a state, {expected}")
