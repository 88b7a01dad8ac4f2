"""The feature flag of a rollout: its variants, who gets them whatever the stage, and when it may be on."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field, model_validator

from rollguard.spec import calendars
from rollguard.spec.calendars import Instant
from rollguard.spec.fields import FLAG_KEY, Listed, Model, Value

TargetingKeys: TypeAlias = Listed[Annotated[str, Field(min_length=1)]]


class Users(Model):
    """Targeting keys that are served, or kept out, whatever the stage's share."""

    on: TargetingKeys = Field((), description="Get `serve` while it runs.")
    off: TargetingKeys = Field((), description="Get `fallback`; wins over `on`.")


class Schedule(Model):
    """When the flag may be on at all; a rollback outranks it."""

    enable_at: Instant | None = Field(None, description="Before it, everybody gets `fallback`.")
    disable_at: Instant | None = Field(None, description="From then on, everybody gets `fallback`.")

    @property
    def enable_time(self) -> int | None:
        """`enable_at` in Unix seconds."""
        return calendars.instant_seconds(self.enable_at) if self.enable_at else None

    @property
    def disable_time(self) -> int | None:
        """`disable_at` in Unix seconds."""
        return calendars.instant_seconds(self.disable_at) if self.disable_at else None

    @model_validator(mode="after")
    def _in_order(self) -> Schedule:
        times = (self.enable_time, self.disable_time)
        if times == (None, None):
            raise ValueError("expected enable_at or disable_at")
        if times[0] is not None and times[1] is not None and times[0] >= times[1]:
            raise ValueError("expected enable_at before disable_at")
        return self


class Flag(Model):
    """The feature flag: its variants, the one served to the stage's share, and the one to fall back to."""

    key: Annotated[str, Field(pattern=FLAG_KEY)]
    variants: dict[Annotated[str, Field(pattern=FLAG_KEY)], Value] = Field(min_length=2)
    serve: str = Field(description="Variant that the stage's share of users gets.")
    fallback: str = Field(description="Variant of everybody else, and of everybody after a rollback.")
    salt: str | None = Field(None, description="Seed of the hash that picks users; default: the flag's key.")
    users: Users = Users()
    schedule: Schedule | None = None
