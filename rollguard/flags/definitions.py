"""What a rollout's state means as a flag: flagd definitions, and their evaluation inside this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from rollguard.errors import RollguardError
from rollguard.flags import targeting
from rollguard.spec.fields import Value
from rollguard.spec.rollout import Rollout
from rollguard.state import State

_ABSENT = object()


class FlagError(RollguardError):
    """A flag cannot be evaluated; ``code`` is OFREP's word for why."""

    def __init__(self, message: str, code: str = "GENERAL") -> None:
        self.code = code
        super().__init__(message)


class FlagNotFoundError(FlagError):
    """No rollout has a flag of this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is no flag of a rollout.", "FLAG_NOT_FOUND")


def definitions(
    rollouts: Iterable[Rollout], states: Mapping[str, State], among: Mapping[str, Rollout] | None = None
) -> dict[str, Any]:
    """Return the flagd document of the rollouts that are not merely observed.

    Args:
        rollouts: any number; their flag keys differ.
        states: by name of rollout; DISABLED where one is absent.
        among: the rollouts that these may require, by name; None: these themselves.
    Returns:
        ``{"flags": {key: definition}}``.
    """
    listed = list(rollouts)
    known = among or {rollout.name: rollout for rollout in listed}
    return {
        "flags": {
            rollout.flag.key: definition(
                rollout, states.get(rollout.name, State(rollout.name)), known, states
            )
            for rollout in listed
            if not rollout.observed
        }
    }


def definition(
    rollout: Rollout,
    state: State,
    rollouts: Mapping[str, Rollout] | None = None,
    states: Mapping[str, State] | None = None,
) -> dict[str, Any]:
    """Return the flagd definition of a rollout's flag.

    A flag that is off is ENABLED with the fallback as its default and without targeting: flagd's DISABLED
    hands out the caller's default, and a default beside targeting does nothing. Extras go into ``metadata``
    as scalars, as one unknown key makes a provider refuse the whole file.

    Args:
        rollout: its file.
        state: its state; a stage that the file no longer has serves the fallback.
        rollouts: all of them by name, for those that this one requires.
        states: of all of them by name.
    Returns:
        A definition that holds nothing but keys known to flagd.
    Source: https://flagd.dev/reference/flag-definitions/
    """
    flag = rollout.flag
    found = targeting.variant(rollout, state, rollouts or {}, states or {})
    return {
        "state": "ENABLED",
        "variants": dict(flag.variants),
        "defaultVariant": found if isinstance(found, str) else flag.fallback,
        "targeting": {} if isinstance(found, str) else found,
        "metadata": _metadata(rollout, state, found),
    }


def percent_of(rollout: Rollout, state: State) -> float:
    """Return the share that gets ``serve`` in a state, in %, of all keys or of those that match."""
    stage = targeting.stage_of(rollout, state)
    return stage.share if stage else 0


def _metadata(rollout: Rollout, state: State, logic: targeting.Logic) -> dict[str, Value]:
    stage = targeting.stage_of(rollout, state)
    known = {
        **(stage.values if stage else {}),
        "rollout": state.rollout,
        "position": state.position,
        "stage": state.stage,
        "run": state.run,
        "seq": state.seq,
        "percent": percent_of(rollout, state),
        "assignment": targeting.SPLIT if targeting.is_split(logic) else None,  # else it depends on the user
        "reason": state.guard,  # anybody may read flags, so people's words stay out
    }
    return {key: value for key, value in known.items() if value is not None and value != ""}


@dataclass(frozen=True)
class Evaluation:
    """What a flag is for one context.

    Args:
        key: the flag's key.
        value: the variant's value.
        variant: its name.
        reason: STATIC, TARGETING_MATCH or DEFAULT.
        metadata: rollout, position, run, seq, percent, assignment (of this context), and stage and reason (a
            guard's name) where there are any.
    """

    key: str
    value: Value | None
    variant: str
    reason: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class _Flag:
    """A definition, and what evaluates it: a change of one flag leaves the others as they are."""

    definition: Mapping[str, Any]
    core: FlagdCore


class FlagEvaluator:
    """Evaluates flagd definitions as flagd does; definitions may be replaced while others evaluate."""

    def __init__(self) -> None:
        self._flags: Mapping[str, _Flag] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called after definitions were replaced, by the thread that did it."""

    def set_flags(self, document: Mapping[str, Any]) -> None:
        """Replace all definitions at once; an evaluation sees the old ones or the new, never some of each.

        Args:
            document: as `definitions` returns it; only what differs from the last one is compiled.
        Raises:
            FlagError: flagd refuses them; the old ones stay.
        """
        before = self._flags
        try:
            self._flags = {
                key: _compiled(key, wanted, before.get(key)) for key, wanted in document["flags"].items()
            }
        except OpenFeatureError as error:
            cause = error.error_message or error.__cause__
            raise FlagError(f"flagd refuses the flags: {cause}.", "PARSE_ERROR") from error
        self.on_change()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all flags, in the order of the definitions."""
        return tuple(self._flags)

    def evaluate(self, key: str, context: Mapping[str, Any]) -> Evaluation:
        """Return what a flag is for a context.

        Args:
            key: the flag's key.
            context: attributes, among them ``targetingKey``, which may be absent.
        Raises:
            FlagNotFoundError: there is no such flag.
            FlagError: the context's targeting key is no text, or the definition is broken.
        """
        return _evaluate(self._flags, key, _context(context))

    def evaluate_all(self, context: Mapping[str, Any]) -> Iterator[Evaluation]:
        """Yield what every flag of one set of definitions is for a context; raises as `evaluate` does."""
        known, prepared = self._flags, _context(context)
        for key in known:
            yield _evaluate(known, key, prepared)


def _context(context: Mapping[str, Any]) -> EvaluationContext:
    targeting_key = context.get("targetingKey")
    if targeting_key is not None and not isinstance(targeting_key, str):
        raise FlagError(f"targetingKey is {targeting_key!r}, expected text.", "INVALID_CONTEXT")
    try:
        (targeting_key or "").encode()
    except UnicodeEncodeError as error:  # half a character, as JSON can hold it: mmh3 crashes the process
        raise FlagError("targetingKey is no Unicode text.", "INVALID_CONTEXT") from error
    return EvaluationContext(
        targeting_key, {name: value for name, value in context.items() if name != "targetingKey"}
    )


def _compiled(key: str, wanted: Mapping[str, Any], before: _Flag | None) -> _Flag:
    """Return a definition with an evaluator of its own; the one that is there where nothing differs."""
    if before and before.definition == wanted:
        return before
    core = FlagdCore()
    core.set_flags(json.dumps({"flags": {key: wanted}}))
    return _Flag(wanted, core)


def _evaluate(known: Mapping[str, _Flag], key: str, context: EvaluationContext) -> Evaluation:
    """Call the one method of flagd-core that takes a flag of any type; it is not public, hence only here."""
    if key not in known:
        raise FlagNotFoundError(key)
    try:
        details = known[key].core._resolve(key, _ABSENT, context, None)
    except OpenFeatureError as error:
        raise FlagError(f"{key}: {error.error_message}.", error.error_code.value) from error
    value = None if details.value is _ABSENT else cast(Value, details.value)
    reason = str(getattr(details.reason, "value", details.reason))
    chosen = targeting.assignment(known[key].definition.get("targeting"), context)
    metadata = {**details.flag_metadata, "assignment": chosen}
    return Evaluation(key, value, details.variant or "", reason, metadata)
