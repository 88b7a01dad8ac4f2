"""What each run follows: its rollout file, or where that is of no use, what the ledger noted of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from rollguard.spec.flag import Flag
from rollguard.spec.rollout import Rollout, Scrape, Stage
from rollguard.state import State

NO_FILE = "no rollout file"
UNDEFINED = "the ledger notes no definition either: its flag and targets are unknown and cannot be written"


@dataclass(frozen=True)
class Followed:
    """What the control plane follows.

    Args:
        rollouts: by name.
        problems: why a rollout's file is of no use; by name, only where that is so.
        undefined: of these nothing is known but the name.
    """

    rollouts: Mapping[str, Rollout]
    problems: Mapping[str, Sequence[str]]
    undefined: frozenset[str]


def followed(
    files: Iterable[Rollout], problems: Mapping[str, Sequence[str]], states: Mapping[str, State]
) -> Followed:
    """Return what to follow, so that no run ends because its file is gone, renamed or broken.

    A run that was rolled back is followed until that is acknowledged, and as long as a file is broken.

    Args:
        files: rollouts whose files are sound.
        problems: what is wrong with the other files, by the name of the rollout.
        states: by name of rollout.
    """
    rollouts = {rollout.name: rollout for rollout in files}
    found: dict[str, Sequence[str]] = {}
    undefined = set()
    for name, state in states.items():
        if not state.run or not (state.running or not state.acknowledged or problems):
            continue
        loaded, noted = rollouts.get(name), definition(state)
        why = list(_misfits(loaded, noted, state)) if loaded else problems.get(name) or [NO_FILE]
        if not why:
            continue
        if not (noted or loaded):
            undefined.add(name)
            why = [*why, UNDEFINED]
        rollouts[name] = noted or loaded or _undefined(name, state)
        found[name] = why
    taken = {rollouts[name].flag.key: states[name] for name in found if name not in undefined}
    for name, rollout in list(rollouts.items()):
        owner = taken.get(rollout.flag.key)
        if name not in found and owner and not (name in states and states[name].running):
            mend = f"roll that back first, or give the file the name {owner.rollout}"
            key = rollout.flag.key
            found[name] = [f"flag.key is {key}, which run {owner.run} of {owner.rollout} serves: {mend}"]
            del rollouts[name]
    return Followed(dict(sorted(rollouts.items())), {**problems, **found}, frozenset(undefined))


def definition(state: State) -> Rollout | None:
    """Return what the ledger noted of a run; None where that is nothing, or more than this release knows."""
    if not state.definition:
        return None
    try:
        return Rollout.model_validate_json(state.definition, by_alias=True, by_name=False)
    except ValidationError:
        return None


def _misfits(loaded: Rollout, noted: Rollout | None, state: State) -> Iterator[str]:
    """Yield why a file cannot be followed by the run that is under way."""
    if not state.running:
        return
    if state.stage and loaded.stage(state.stage) is None:
        yield f"stages has no {state.stage}, where run {state.run} is"
    if noted and noted.flag.key != loaded.flag.key:
        yield f"flag.key is {loaded.flag.key}, while run {state.run} serves {noted.flag.key}"


def _undefined(name: str, state: State) -> Rollout:
    """Return a rollout of which only the name is known: it serves, writes and watches nothing."""
    return Rollout.model_construct(
        rollout=name,
        title="",
        owner="",
        mode="observe",
        scrape=Scrape.model_construct(job=name, targets=()),
        flag=Flag.model_construct(key=name, variants={}, serve="", fallback=""),
        stages=(Stage.model_construct(name=state.stage or "unknown", percent=0),),
        guards=(),
    )
