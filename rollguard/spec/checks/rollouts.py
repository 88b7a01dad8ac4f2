"""What must agree within a rollout file, and between several."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rollguard.conventions import ENABLED, FALLBACK, PLATFORM, PLATFORM_JOBS, PREVIOUS, STATES_WITHOUT_STAGE
from rollguard.errors import Problem
from rollguard.spec import guards, traffic
from rollguard.spec.checks import guards as guard_checks
from rollguard.spec.checks import targets as target_checks
from rollguard.spec.platform import is_platform
from rollguard.spec.rollout import Rollout, Scrape
from rollguard.spec.series import narrowing_problem
from rollguard.yamlfile import Document, Location, read


def conflicts(path: Path, rollout: Rollout, first: tuple[Path, Scrape]) -> Iterator[Problem]:
    """Yield where a rollout says other things of a shared job than the first that named it."""
    other, scrape = first
    if not (rollout.scrape.labelled or scrape.labelled):
        return
    for key in ("labelled", "targets", "interval", "exporter"):
        if getattr(rollout.scrape, key) != getattr(scrape, key):
            message = f"differs from {other}, which names the job {scrape.job} too."
            hint = "One job has one scrape: say the same under scrape in every rollout that shares it."
            yield read(path).problem(("scrape", key), message, hint)


def check_requirements(rollouts: Sequence[tuple[Path, Rollout]]) -> Iterator[Problem]:
    """Yield what rollouts require or follow that is not there, or that waits for themselves in turn."""
    awaited = {rollout.name: (*rollout.requires, *rollout.after) for _, rollout in rollouts}
    for path, rollout in rollouts:
        for key, names in (("requires", rollout.requires), ("after", rollout.after)):
            for index, other in enumerate(names):
                here: Location = (key, index)
                document, name = read(path), rollout.name
                if other not in awaited:
                    near = difflib.get_close_matches(other, awaited, n=1)
                    hint = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(awaited)}."
                    yield document.problem(here, f"is {other}, which is no rollout of this folder.", hint)
                elif _leads_to(name, other, awaited):
                    hint = "Neither could ever start: let one of them wait for nothing."
                    yield document.problem(here, f"is {other}, which waits for {name} in turn.", hint)


def _leads_to(goal: str, name: str, awaited: Mapping[str, Sequence[str]]) -> bool:
    """Return whether what a rollout waits for, and what that waits for in turn, holds another rollout."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current == goal:
            return True
        if current not in seen:
            seen.add(current)
            waiting += awaited.get(current, ())
    return False


def cross_checks(document: Document) -> Iterator[Problem]:
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
    yield from check_guards(document)
    yield from _check_guards_in_stages(document, data, stages)
    for index, criterion in enumerate(_dicts(data.get("advance"))):
        here: Location = ("advance", index)
        yield from _unknown_stages(document, (*here, "stages"), criterion.get("stages"), stages)
        for location, message, hint in guard_checks.check_proof(criterion, _dicts(data.get("guards"))):
            yield document.problem((*here, *location), message, hint)
    yield from _check_failures(document, data, stages)
    yield from _check_to(document, ("rollback",), data.get("rollback"), stages)
    for location, message, hint in guard_checks.check_budget(data, _dicts(data.get("guards"))):
        yield document.problem(location, message, hint)
    yield from _check_job(document, data.get("scrape"))
    for location, message, hint in traffic.check_sources(data.get("traffic")):
        yield document.problem(("traffic", *location), message, hint)
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


def _check_failures(document: Document, data: dict[str, Any], stages: Sequence[Any]) -> Iterator[Problem]:
    lasting = [
        stage.get("name")
        for stage in _dicts(data.get("stages"))
        if re.search("[1-9]", str(stage.get("hold")))
    ]
    for index, failure in enumerate(_dicts(data.get("fail"))):
        here: Location = ("fail", index)
        named = failure.get("stages")
        yield from _unknown_stages(document, (*here, "stages"), named, stages)
        for position, name in enumerate(named if isinstance(named, list) else ()):
            if name in stages and name not in lasting:
                hint = "It is judged when a hold has passed: give the stage one."
                yield document.problem((*here, "stages", position), f"is {name}, which has no hold.", hint)
        yield from _check_to(document, here, failure, stages)


def _check_to(document: Document, here: Location, item: object, stages: Sequence[Any]) -> Iterator[Problem]:
    to = item.get("to") if isinstance(item, dict) else None
    known = [FALLBACK, PREVIOUS, *stages]
    if isinstance(to, str) and stages and to not in known:
        yield document.problem((*here, "to"), f"is {to}, expected one of {', '.join(known)}.")


def _check_job(document: Document, scrape: object) -> Iterator[Problem]:
    job = scrape.get("job") if isinstance(scrape, dict) else None
    if job in PLATFORM_JOBS:
        hint = "Prometheus refuses two jobs of one name."
        yield document.problem(("scrape", "job"), f"is {job}, which is the job of a server itself.", hint)


def check_guards(document: Document) -> Iterator[Problem]:
    """Yield what is wrong with guards whatever the stages are: in a rollout file, or in a guard set."""
    seen: set[str] = set()
    for index, guard in enumerate(_dicts(document.data.get("guards"))):
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
        for location, message, hint in guard_checks.check(guard):
            yield document.problem((*here, *location), message, hint)


def _check_guards_in_stages(
    document: Document, data: Mapping[str, Any], names: Sequence[Any]
) -> Iterator[Problem]:
    stages = _dicts(data.get("stages"))
    for index, guard in enumerate(_dicts(data.get("guards"))):
        here: Location = ("guards", index)
        yield from _unknown_stages(document, (*here, "stages"), guard.get("stages"), [*names, ENABLED])
        if guard.get("scope") == "stage":
            yield from _check_scope(document, (*here, "scope"), stages)
        if guard.get("use") == "compare":
            for location, message, hint in guard_checks.check_stages(guard, stages):
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
