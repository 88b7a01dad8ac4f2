"""Guard sets: guards that rollouts share, taken by `set` and overridden by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from rollguard.errors import FileProblemsError, Problem
from rollguard.spec.checks.rollouts import check_guards
from rollguard.spec.fields import Listed, Model, Name, Text
from rollguard.spec.messages import translated
from rollguard.spec.rollout import Guard, Rollout
from rollguard.spec.traffic import Law, MetricText
from rollguard.yamlfile import Document, Location, dotted, read, shown

FOLDER = "sets"
"""Holds guard sets: of the library, and beside rollout files."""

GUARDS = "guards"


class TakenSet(Model):
    """An item of a rollout's guards: in its place stand the guards of a set."""

    set_: Name = Field(alias="set", description="Guard set of the library, or of sets/ beside the file.")


class GuardSet(Model):
    """A guard set's file."""

    set_: Name = Field(alias="set", description="Its name, which is the file's.")
    summary: Text
    guards: Listed[Guard] = Field(min_length=1)
    traffic: dict[MetricText, Law] = Field(
        {}, description="What its guards read, while all is well; the rollout's own laws win."
    )


@dataclass(frozen=True)
class ExpandedDocument(Document):
    """A rollout file in which the guards of its sets stand in place of the sets.

    Args:
        file: as it is written.
        places: what stands elsewhere in the file, by its place here; the longest that fits counts.
        brought: the guards that come from a set, and where in its file they stand.
    """

    file: Document = field(default_factory=lambda: Document(Path(), None))
    places: Mapping[Location, Location] = field(default_factory=dict)
    brought: Mapping[Location, tuple[Document, Location]] = field(default_factory=dict)

    def problem(self, location: Location, message: str, hint: str = "") -> Problem:
        """Return a problem of the file; of a guard that a set brings, where the set is taken."""
        upwards = (location[:length] for length in range(len(location), -1, -1))
        known = next(place for place in upwards if place in self.places)
        rest, here = location[len(known) :], self.places[known]
        if known not in self.brought:
            return self.file.problem((*here, *rest), message, hint)
        document, place = self.brought[known]
        _, index = place
        name = name_of(document.data[GUARDS][index])
        whose = f"whose {dotted(rest)}" if rest else "which"
        line = document.line_of((*place, *rest))
        where = f"It stands in {document.path}:{line}; an item of this name overrides it."
        return self.file.problem(here, f"brings {name}, {whose} {message}", f"{hint} {where}".strip())


def read_rollout(path: Path) -> Document:
    """Return a rollout file with the guards of its sets in their places.

    What is wrong with the sets is among the document's problems, and left out of its data.

    Args:
        path: of the file; sets of the user's own stand in the folder ``sets`` beside it.
    Raises:
        FileProblemsError: the file or the folder of sets cannot be read, or the file is not YAML.
    """
    document = read(path)
    guards = document.data.get(GUARDS) if isinstance(document.data, dict) else None
    if not isinstance(guards, list) or not any(map(_is_set, guards)):
        return document
    return _Expansion(document, guards).document()


class _Expansion:
    """The guards of a rollout file, among which those of its sets take their places one by one."""

    def __init__(self, file: Document, items: Sequence[Any]) -> None:
        self._file, self._items = file, items
        self._problems = list(file.problems)
        self._written = _lines_of_guards(file)
        self._guards: list[Any] = []
        self._lines = {
            place: line for place, line in file.lines.items() if place[:1] != (GUARDS,) or place == (GUARDS,)
        }
        self._places: dict[Location, Location] = {(): ()}
        self._brought: dict[Location, tuple[Document, Location]] = {}
        self._known = known_sets(file.path.parent)
        self._sets = dict(self._taken())
        self._owners = self._owned()
        self._overrides: dict[str, int] = {}
        for number, item in enumerate(items):
            if isinstance(item, dict) and name_of(item) in self._owners:
                self._overrides.setdefault(name_of(item), number)

    def document(self) -> ExpandedDocument:
        """Return the file with all guards, and the problems of its sets."""
        overriding = set(self._overrides.values())
        for number, item in enumerate(self._items):
            if number in self._sets:
                self._take(number)
            elif number in overriding or _is_set(item):
                continue
            elif isinstance(item, dict) and not is_whole(item):
                self._report_unknown(number, item)
            else:
                self._keep(number)
        data = {**self._file.data, GUARDS: self._guards, **self._traffic()}
        problems = tuple(self._problems)
        return ExpandedDocument(
            self._file.path, data, self._lines, problems, self._file, self._places, self._brought
        )

    def _taken(self) -> Iterator[tuple[int, Document]]:
        """Yield the sets that are taken, each with its place among the guards."""
        names: set[str] = set()
        for number, item in enumerate(self._items):
            if not _is_set(item):
                continue
            here, name = (GUARDS, number, "set"), item["set"]
            for key in sorted(item.keys() - {"set"}):
                hint = "To override a guard of the set, add an item of its name."
                self._report((GUARDS, number, key), "is not a known key beside set.", hint)
            if not isinstance(name, str):
                self._report(here, f"is {shown(name)}, expected the name of a guard set.")
            elif name in names:
                self._report(here, f"is {name}, which is taken already.", "Take it once.")
            elif document := self._found(name, here):
                yield number, document
            names.add(str(name))

    def _found(self, name: str, here: Location) -> Document | None:
        if name in self._known:
            try:
                return _checked(self._known[name])
            except FileProblemsError as error:
                self._problems += error.problems
                return None
        near = difflib.get_close_matches(name, self._known, n=1)
        own = self._file.path.parent / FOLDER
        hint = f"Did you mean {near[0]}?" if near else f"Sets of your own stand in {own}."
        self._report(here, f"is {shown(name)}, expected one of {', '.join(self._known)}.", hint)
        return None

    def _owned(self) -> dict[str, str]:
        """Return the set that brings a guard, by the guard's name; of several the first."""
        owners: dict[str, str] = {}
        for number, taken in self._sets.items():
            mine = taken.data["set"]
            names = [name_of(guard) for guard in taken.data[GUARDS]]
            if twice := [name for name in names if name in owners]:
                others = " and ".join(dict.fromkeys(owners[name] for name in twice))
                message = f"is {mine}, which brings {', '.join(twice)} as {others} does."
                hint = "Take one of the two, or name the guard otherwise in one of them."
                self._report((GUARDS, number, "set"), message, hint)
            owners = dict.fromkeys(names, mine) | owners
        return owners

    def _take(self, number: int) -> None:
        """Add the guards of a set: as it has them, or as an item of the file overrides them."""
        taken = self._sets[number]
        lines = _lines_of_guards(taken)
        for index, guard in enumerate(taken.data[GUARDS]):
            override = self._overrides.get(name_of(guard))
            if self._owners[name_of(guard)] != taken.data["set"]:
                continue
            if override is not None and is_whole(self._items[override]):
                self._keep(override)
                continue
            here, written = (GUARDS, len(self._guards)), (GUARDS, number, "set")
            self._lines |= dict.fromkeys(
                ((*here, *rest) for rest in lines[index]), self._file.line_of(written)
            )
            self._places[here], self._brought[here] = written, (taken, (GUARDS, index))
            self._guards.append(guard if override is None else self._merged(here, guard, override))

    def _traffic(self) -> dict[str, Any]:
        """Return the laws of the sets, and in place of those of the same name the file's own."""
        own = self._file.data.get("traffic", {})
        brought = {
            name: law for taken in self._sets.values() for name, law in taken.data.get("traffic", {}).items()
        }
        return {"traffic": {**brought, **own}} if brought and isinstance(own, dict) else {}

    def _keep(self, number: int) -> None:
        """Add a guard of the file's own."""
        self._place((GUARDS, len(self._guards)), number)
        self._guards.append(self._items[number])

    def _merged(self, here: Location, guard: Mapping[str, Any], number: int) -> dict[str, Any]:
        """Return a set's guard with the keys of an item in place of its own, of `with` each parameter."""
        item: dict[str, Any] = dict(self._items[number])
        for key, value in item.items():
            if key == "with" and isinstance(value, dict) and isinstance(guard.get(key), dict):
                item[key] = {**guard[key], **value}
                for name in value:
                    self._place(here, number, (key, name))
            else:
                self._place(here, number, (key,))
        return {**guard, **item}

    def _place(self, here: Location, number: int, keys: Location = ()) -> None:
        """Note where in the file a guard's keys stand, all of them or those below some."""
        for rest, line in self._written[number].items():
            if rest[: len(keys)] == keys:
                self._lines[*here, *rest] = line
        self._places[*here, *keys] = (GUARDS, number, *keys)

    def _report_unknown(self, number: int, item: Mapping[str, Any]) -> None:
        """Report an item that is no whole guard, nor overrides one, unless its set could not be read."""
        if len(self._sets) < sum(map(_is_set, self._items)):
            return
        near = difflib.get_close_matches(name_of(item), self._owners, n=1)
        hint = f"Did you mean {near[0]}?" if near else "A guard of the file's own has use or expr."
        sets = " and ".join(taken.data["set"] for taken in self._sets.values())
        message = f"is {shown(name_of(item))}, expected a guard of the set {sets}, which it would override."
        self._report((GUARDS, number, "name" if "name" in item else "alert"), message, hint)

    def _report(self, location: Location, message: str, hint: str = "") -> None:
        self._problems.append(self._file.problem(location, message, hint))


def _lines_of_guards(document: Document) -> dict[int, dict[Location, int]]:
    """Return the lines of each guard of a file, by the place within it."""
    found: dict[int, dict[Location, int]] = {}
    for place, line in document.lines.items():
        if len(place) > 1 and place[0] == GUARDS and isinstance(place[1], int):
            found.setdefault(place[1], {})[place[2:]] = line
    return found


def _is_set(item: object) -> bool:
    return isinstance(item, dict) and "set" in item


def name_of(guard: Mapping[str, Any]) -> str:
    """Return a guard's name, of what the file has."""
    return str(guard.get("name") or guard.get("alert"))


def is_whole(guard: Mapping[str, Any]) -> bool:
    """Return whether what the file has is a guard of its own, not keys that override some of another's."""
    return "use" in guard or "expr" in guard


def known_sets(folder: Path) -> dict[str, Path]:
    """Return the files of the library's sets and of those in the folder ``sets``, by name; the latter win.

    Args:
        folder: where the rollout file is.
    Raises:
        FileProblemsError: the folder cannot be read.
    """
    return {**_sets_in(shipped_folder()), **_sets_in(folder / FOLDER)}


def shipped_folder() -> Path:
    """Return the folder of the library's sets."""
    return Path(str(resources.files("rollguard.alerts") / "library" / FOLDER))


def _sets_in(folder: Path) -> dict[str, Path]:
    try:
        found = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise FileProblemsError([Problem(folder, 0, "", f"cannot be read: {error.strerror}.")]) from error
    known: dict[str, Path] = {}
    for path in found:
        if path.suffix in {".yaml", ".yml"} and known.setdefault(path.stem, path) != path:
            message = f"is the set {path.stem}, as {known[path.stem].name} is."
            raise FileProblemsError([Problem(path, 0, "", message, "Keep one of the two.")])
    return known


def problems_of_sets(folder: Path) -> Iterator[Problem]:
    """Yield all that is wrong with the sets beside rollout files, whether one is taken or not.

    Args:
        folder: of the rollout files.
    """
    try:
        for path in _sets_in(folder / FOLDER).values():
            try:
                read_set(path)
            except FileProblemsError as error:
                yield from error.problems
    except FileProblemsError as error:
        yield from error.problems


def _checked(path: Path) -> Document:
    return _shipped(path) if path.parent == shipped_folder() else read_set(path)


@cache
def _shipped(path: Path) -> Document:
    return read_set(path)


def read_set(path: Path) -> Document:
    """Return a set's file, of which everything is right that can be told without a rollout.

    Raises:
        FileProblemsError: all that is wrong with it.
    """
    document = read(path)
    problems = [*document.problems, *_nested(document)]
    nested = {problem.key.removesuffix(".set") for problem in problems if problem.key.endswith(".set")}
    try:
        GuardSet.model_validate(document.data, by_alias=True, by_name=False)
    except ValidationError as error:
        found = translated(document, error, GuardSet)
        problems += [problem for problem in found if problem.key.partition(".")[0] not in nested]
    if isinstance(document.data, dict):
        wrong = {problem.key for problem in problems} | {f"{guard}.use" for guard in nested}
        problems += [problem for problem in _set_checks(document) if problem.key not in wrong]
    if problems:
        raise FileProblemsError(problems)
    return document


def _nested(document: Document) -> Iterator[Problem]:
    """Yield the sets that a set takes."""
    guards = document.data.get(GUARDS) if isinstance(document.data, dict) else None
    for index, guard in enumerate(guards if isinstance(guards, list) else ()):
        if isinstance(guard, dict) and "set" in guard:
            message = f"is {shown(guard['set'])}, expected a guard: a set takes no set."
            yield document.problem((GUARDS, index, "set"), message, "Take both in the rollout file.")


def _set_checks(document: Document) -> Iterator[Problem]:
    name = document.data.get("set")
    if isinstance(name, str) and name != document.path.stem:
        yield document.problem(("set",), f"is {name}, expected {document.path.stem}, as the file is called.")
    yield from check_guards(document)


def schema() -> dict[str, Any]:
    """Return the JSON schema of a rollout file, whose guards may be sets, and what overrides their guards."""
    found = Rollout.model_json_schema()
    guard = found["$defs"]["Guard"]
    keys = {key: value for key, value in guard["properties"].items() if key not in ("use", "expr")}
    override = "Overrides some keys of the set's guard of this name."
    found["$defs"]["Override"] = {
        **guard,
        "title": "Override",
        "description": override,
        "properties": keys,
        "required": [],
        "anyOf": [{"required": ["alert"]}, {"required": ["name"]}],
    }
    found["$defs"]["TakenSet"] = TakenSet.model_json_schema()
    items = [{"$ref": f"#/$defs/{name}"} for name in ("Guard", "TakenSet", "Override")]
    found["properties"]["guards"]["items"] = {"anyOf": items}
    return found
