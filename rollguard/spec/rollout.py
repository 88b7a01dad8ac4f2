"""The rollout file: one flag, its stages, the guards that watch it and what a rollback writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from rollguard.conventions import (
    DISABLED,
    EFFECT_METRIC,
    ENABLED,
    EVIDENCE_METRIC,
    FALLBACK,
    GUARD_LABEL,
    ROLLBACK,
)
from rollguard.spec.calendars import Freeze, Window
from rollguard.spec.exporter import Exporter
from rollguard.spec.fields import (
    ADDRESS,
    ATTRIBUTE,
    GUARD_NAME,
    JOB,
    PARAMETER,
    AlertName,
    Duration,
    JinjaText,
    Listed,
    Model,
    Name,
    Path,
    PromQLText,
    StageName,
    Text,
    Value,
)
from rollguard.spec.flag import Flag, TargetingKeys
from rollguard.spec.rule_tests import Equivalent, TestCase
from rollguard.spec.targets import Arguments, Target
from rollguard.spec.traffic import Law, MetricText

Severity: TypeAlias = Literal["critical", "warning", "info"]
Action: TypeAlias = Literal["rollback", "hold", "notify"]
Attribute: TypeAlias = Annotated[str, Field(pattern=ATTRIBUTE)]
Span: TypeAlias = tuple[float, float]

_NO_RULES: Any = {"traffic"}
"""Keys from which nothing follows that is rendered or decided: only a simulation reads them."""

METADATA = ("rollout", "position", "stage", "run", "seq", "percent", "assignment", "reason")
"""What a flag's metadata says of its rollout; a stage's own values have other names."""


class Scrape(Model):
    """Where Prometheus finds the series; each gets the label `rollout`, unless it comes with one."""

    job: Annotated[str, Field(pattern=JOB)]
    targets: Listed[Annotated[str, Field(pattern=ADDRESS)]] = Field(min_length=1)
    interval: Duration = Field(15.0, ge=0.2, description="Scrape and evaluation interval.")
    offers: Path | None = Field(None, description="Saved exposition of the metrics; relative to this file.")
    rule_group: Name | None = Field(None, description="Name of the group of rules; default: the rollout's.")
    labelled: bool = Field(
        False, description="The series come with their label rollout: rollouts share the job and its targets."
    )
    exporter: Exporter | None = None


class Deadline(Model):
    """What happens to a stage that does not end."""

    after: Duration = Field(gt=0, description="Since the stage was entered, waiting and pauses included.")
    action: Action = Field("notify", description="notify: it is noted, and shown; once in a stage.")


class Stage(Model):
    """One step of the rollout: a share of everybody, or of the contexts that match."""

    name: StageName
    percent: Annotated[int | float, Field(ge=0, le=100)] | None = Field(
        None, description="Share of targeting keys that get `serve`, in %."
    )
    match: dict[Attribute, Annotated[TargetingKeys, Field(min_length=1)]] | None = Field(
        None,
        min_length=1,
        description="Whom the share is taken of: attributes of the context and their values.",
    )
    values: dict[Attribute, Value] = Field({}, description="What clients find in the flag's metadata.")
    hold: Duration = Field(0.0, description="How long the stage lasts at least.")
    approve: Literal["manual"] | None = Field(None, description="manual: a person must let the stage begin.")
    deadline: Deadline | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Stage:
        if self.percent is None and self.match is None and not self.values:
            raise ValueError("expected percent, match or values")
        if taken := [name for name in self.values if name in METADATA]:
            raise ValueError(f"expected values not to be named {taken[0]}, which says where the rollout is")
        return self

    @property
    def share(self) -> float:
        """How much gets `serve`, in %: all of it where none is given."""
        return 100 if self.percent is None else self.percent


BY_EVIDENCE = ("compare", "limit")
"""Templates whose guards look at the evidence that is gathered for them, a series of each guard's own."""


class Guard(Model):
    """An alert that watches the rollout: by a template of the library, or by an expression of its own."""

    alert: AlertName
    alias: Annotated[str, Field(pattern=GUARD_NAME)] | None = Field(
        None, alias="name", description="Where several guards share an alert: what tells them apart."
    )
    use: Name | None = Field(None, description="Template of the guard library.")
    with_: Annotated[
        Annotated[dict[str, Value], Tag("[mapping]")]
        | Annotated[Listed[dict[str, Value]], Field(min_length=1), Tag("[list]")],
        Discriminator(lambda given: "[list]" if isinstance(given, list | tuple) else "[mapping]"),
    ] = Field(
        {},
        alias="with",
        description="The template's parameters; a list fires when any of its items does.",
    )
    expr: JinjaText | None = Field(
        None, description="Instead of `use`: PromQL, with << >> around names of metrics."
    )
    metrics: dict[Annotated[str, Field(pattern=PARAMETER)], str] = Field(
        {}, description="The series that `expr` and `tests` name."
    )
    window: str | None = Field(None, description="How far back `expr` looks; it may name << window >>.")
    condition: JinjaText | None = Field(None, description="What `expr` says, in words; Jinja.")
    raw: Listed[str] = Field((), description="The metrics of `expr` whose absence is no data.")
    let: dict[Annotated[str, Field(pattern=PARAMETER)], JinjaText] = Field(
        {}, description="Numbers that `tests` name: Jinja, in order."
    )
    tests: Listed[TestCase] = Field((), description="promtool's tests of `expr`; the last one is healthy.")
    equivalent: Listed[Equivalent] = Field((), description="Mutants that no test can notice.")
    for_: Duration = Field(0.0, alias="for", description="How long the condition must last.")
    clear_for: Duration | None = Field(
        None,
        description="How long it must be false, with data, before its hold ends; default: its window.",
    )
    stages: Annotated[Listed[StageName], Field(min_length=1)] | None = Field(
        None, description="Where it is armed; default: every stage and `enabled`."
    )
    clock: Window | None = Field(
        None, description="When it is armed; default: the rollout's clock, or always."
    )
    scope: Literal["stage"] | None = Field(
        None, description="stage: in each stage it reads only what the stage's `match` reaches."
    )
    severity: Severity
    action: Action
    no_data: Literal["rollback", "hold", "notify", "ignore"] = Field(
        "hold", description="What a vanished series does while armed."
    )
    no_traffic: Literal["rollback", "hold", "notify", "ignore"] | None = Field(
        None, description="What a counter that stands still does while armed; default: as no_data."
    )
    summary: Text | None = Field(None, description="Replaces the template's summary.")

    @property
    def name(self) -> str:
        """Its name within the rollout: the label `guard`, and the reason of a rollback."""
        return self.alias or self.alert

    @property
    def source_name(self) -> str:
        """The name of the guard in the file that it comes from: its own, unless it is derived."""
        return self.name

    @property
    def bindings(self) -> Sequence[Mapping[str, Value]]:
        """The parameters of each condition, in order; of a guard with its own `expr`, its series."""
        if self.expr is not None:
            return ({**self.metrics, **({} if self.window is None else {"window": self.window})},)
        given = (self.with_,) if isinstance(self.with_, dict) else self.with_
        if self.use not in BY_EVIDENCE:
            return given
        evidence = f'{EVIDENCE_METRIC}{{{GUARD_LABEL}="{self.name}"}}'
        return tuple({**values, "evidence": evidence} for values in given)

    def armed_in(self, stage: str) -> bool:
        """Return whether it may act in a stage, or in `enabled` after the last one."""
        return stage in self.stages if self.stages is not None else stage not in (DISABLED, ROLLBACK)


def _expr_or_proof(schema: dict[str, Any]) -> None:
    """Say in a criterion's schema that not_worse and margin stand in place of expr."""
    schema["required"] = ["name"]
    schema["anyOf"] = [{"required": ["expr"]}, {"required": ["not_worse", "margin"]}]


class Criterion(Model):
    """What must hold before a stage may end."""

    model_config = ConfigDict(json_schema_extra=_expr_or_proof)

    name: Text
    expr: PromQLText = Field(description="PromQL that compares; true where it yields a sample.")
    not_worse: Annotated[str, Field(pattern=GUARD_NAME)] | None = Field(
        None,
        description="Instead of expr: a guard by `compare`; the new variant is proved not to be worse.",
    )
    margin: Annotated[int | float, Field(gt=0)] | None = Field(
        None, description="With not_worse: by how much it may be worse; of a rate 0-1."
    )
    stages: Annotated[Listed[StageName], Field(min_length=1)] | None = None
    when: Literal["end", "throughout"] = "end"

    @model_validator(mode="before")
    @classmethod
    def _expr_of_proof(cls, data: Any) -> Any:
        """Write the expression of a proof: the bound of the effect, which holds at every look, is low."""
        if not isinstance(data, dict) or not {"not_worse", "margin"} & data.keys():
            return data
        if "expr" not in data and not {"not_worse", "margin"} <= data.keys():
            raise ValueError("expected not_worse and margin together")
        upper = f'{EFFECT_METRIC}{{{GUARD_LABEL}="{data["not_worse"]}",bound="upper"}}'
        expr = f"{upper} < {data['margin']}"
        if data.get("expr", expr) != expr:
            raise ValueError("expected expr, or not_worse and margin")
        return {**data, "expr": expr}


class Failure(Model):
    """What fails a stage, where it is so when the stage's hold has passed."""

    name: Text
    expr: PromQLText = Field(description="PromQL that compares; it is so where it yields a sample.")
    stages: Annotated[Listed[StageName], Field(min_length=1)] | None = None
    to: StageName = Field(FALLBACK, description="fallback, previous, or an earlier stage: where it leads.")


class Preflight(Model):
    """What must hold before a run starts: a command ends with 0, or an expression yields a sample."""

    name: Text
    run: Arguments | None = Field(None, description="Program and arguments, on the control plane's machine.")
    timeout: Duration = Field(
        60.0, gt=0, le=600, description="After it the command is killed, and has failed."
    )
    expr: PromQLText | None = Field(None, description="PromQL that compares, as of a criterion.")

    @model_validator(mode="after")
    def _one_kind(self) -> Preflight:
        if (self.run is None) == (self.expr is None):
            raise ValueError("expected exactly one of run and expr")
        return self


class Rollback(Model):
    """What a rollback does, and how soon."""

    to: StageName = Field(
        FALLBACK, description="fallback, previous, or an earlier stage: where a guard's first breach leads."
    )
    cooldown: Duration = Field(900.0, description="Delays the next start or promotion; never a rollback.")
    within: Duration = Field(60.0, gt=0, description="From breach to flag off, at most.")
    false_budget: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="How likely guards may roll a healthy run back until it is enabled, together."
    )
    enabled_budget: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.01, description="How likely they may in a week after that, together."
    )


class Rollout(Model):
    """A rollout file, checked."""

    rollout: Name
    title: Text
    owner: Text
    mode: Literal["guard", "observe"] = Field(
        "guard", description="observe: decides and records, but flips nothing."
    )
    scrape: Scrape
    flag: Flag
    stages: Listed[Stage] = Field(min_length=1)
    guards: Listed[Guard] = Field(min_length=1)
    advance: Listed[Criterion] = ()
    fail: Listed[Failure] = Field((), description="What fails a stage; judged when its hold has passed.")
    clock: Window | None = Field(
        None,
        description="When time counts: outside of it the stage's clock stands still, and no guard is armed.",
    )
    advance_in: Window | None = Field(None, description="When stages end by themselves; none: at any time.")
    freezes: Listed[Freeze] = ()
    rollback: Rollback = Rollback()
    blind_after: Duration = Field(120.0, gt=0, description="Silence of the monitoring that counts as blind.")
    blind: Literal["hold", "rollback"] = Field("hold", description="What blindness does.")
    requires: Listed[Name] = Field((), description="Rollouts that must serve a user before this one does.")
    after: Listed[Name] = Field((), description="Rollouts that must be enabled before this one starts.")
    preflight: Listed[Preflight] = Field((), description="What must hold before a run starts; in order.")
    targets: Listed[Target] = ()
    traffic: dict[MetricText, Law] = Field(
        {}, description="How metrics behave while all is well, by name: what `simulate` plays."
    )

    def __hash__(self) -> int:
        """Return a hash by name, so that what follows from a file need not be worked out again each time."""
        return hash(self.rollout)

    @property
    def name(self) -> str:
        """The rollout's name: the label `rollout` of everything that belongs to it."""
        return self.rollout

    @property
    def by_evidence(self) -> bool:
        """Whether a guard of it looks at evidence, which must be gathered then."""
        return any(guard.use in BY_EVIDENCE for guard in self.guards)

    @property
    def observed(self) -> bool:
        """Whether it only decides and records."""
        return self.mode == "observe"

    def clock_of(self, guard: Guard) -> Window | None:
        """Return the calendar by which a guard is armed; None where it always is."""
        return guard.clock or self.clock

    def counted(self, spans: Sequence[Span], scale: float) -> list[Span]:
        """Return the parts of times, Unix seconds, in which its clock runs; a scaled time has no calendar."""
        if self.clock is None or scale != 1.0:
            return list(spans)
        return [part for begin, end in spans for part in self.clock.open_within(begin, end)]

    def guard(self, name: str) -> Guard | None:
        """Return a guard by its name."""
        return next((guard for guard in self.guards if guard.name == name), None)

    def stage_after(self, name: str) -> Stage | None:
        """Return the stage that follows one, or nothing after the last (or after what is no stage)."""
        names = [stage.name for stage in self.stages]
        following = names.index(name) + 1 if name in names else len(names)
        return self.stages[following] if following < len(names) else None

    def stage(self, name: str | None) -> Stage | None:
        """Return a stage by its name, or nothing."""
        return next((stage for stage in self.stages if stage.name == name), None)

    def freeze_at(self, now: float) -> Freeze | None:
        """Return the freeze that covers a moment, Unix seconds."""
        return next((freeze for freeze in self.freezes if freeze.covers(now)), None)

    def stages_before(self, name: str | None) -> tuple[str, ...]:
        """Return the stages that a run has behind it: all when ENABLED (None), none in what is no stage."""
        names = [stage.name for stage in self.stages]
        if name is None:
            return tuple(names)
        return tuple(names[: names.index(name)] if name in names else ())

    def armed_stages(self, guard: Guard) -> tuple[str, ...]:
        """Return where a guard may act, in the rollout's order."""
        names = (*(stage.name for stage in self.stages), ENABLED)
        return tuple(name for name in names if guard.armed_in(name))

    def definition(self) -> str:
        """Return the file's meaning as JSON, which the model reads back: what a ledger notes of a run."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True, exclude=_NO_RULES)

    def digest(self) -> str:
        """Return the fingerprint of the file's meaning: comments, order of keys and defaults do not count."""
        return hashlib.sha256(self.definition().encode()).hexdigest()[:16]
