"""The alerts that watch Rollguard and its servers, and those of them that act on every rollout."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from rollguard.conventions import PLATFORM
from rollguard.errors import FileProblemsError
from rollguard.spec.fields import LIBRARY, AlertName, Duration, Listed, Model, Text
from rollguard.spec.guards import all_guards
from rollguard.spec.rollout import Action, Guard, Rollout, Severity
from rollguard.spec.rule_tests import Equivalent
from rollguard.spec.templates import GuardError
from rollguard.yamlfile import read

WATCHDOG = "Watchdog"
"""The alert that always fires: a heartbeat."""


class PlatformSeries(Model):
    """One input of a platform alert's test."""

    series: str = Field(description="Jinja.")
    values: str = Field(description="Jinja; a number to hold, or promtool's notation.")


class PlatformTest(Model):
    """A promtool test of a platform alert."""

    case: Literal["fires", "silent", "absent"]
    about: Text
    series: Listed[PlatformSeries] = ()
    starts: str = Field("0", description="Jinja; seconds from which on the condition holds.")
    window: Duration | None = Field(
        None, description="Left out where a time scale leaves `for` shorter than this window."
    )


class PlatformAlert(Model):
    """An alert about the exporters, the servers or the control plane."""

    alert: AlertName
    each_rollout: bool = Field(False, description="Rendered once for every rollout, with its label.")
    always: bool = Field(False, description="It fires whatever happens.")
    for_: Duration = Field(0.0, alias="for")
    severity: Severity
    action: Action
    summary: Text
    description: str
    expr: str
    tests: Listed[PlatformTest] = Field(min_length=1)
    equivalent: Listed[Equivalent] = Field((), description="Mutants that no test can notice.")

    @model_validator(mode="after")
    def _acts_on_a_rollout(self) -> PlatformAlert:
        if self.action != "notify" and not self.each_rollout:
            raise ValueError(f"{self.alert} acts, expected each_rollout: whose it is must be in its labels")
        return self

    @property
    def guard(self) -> Guard:
        """The same as a guard, armed in every stage and in `enabled`."""
        return Guard.model_construct(
            alert=self.alert,
            use=PLATFORM,
            with_={},
            for_=self.for_,
            stages=None,
            severity=self.severity,
            action=self.action,
            no_data="ignore",
            summary=self.summary,
        )


class Platform(Model):
    """The file of the platform's alerts."""

    alerts: Listed[PlatformAlert] = Field(min_length=1)


@cache
def platform_alerts() -> tuple[PlatformAlert, ...]:
    """Return the platform's alerts, in the file's order.

    Raises:
        GuardError: the file is broken.
    """
    return load_platform(Path(str(resources.files("rollguard.alerts") / "platform.yaml")))


def load_platform(path: Path) -> tuple[PlatformAlert, ...]:
    """Return the alerts of a platform file, checked; raises GuardError."""
    try:
        document = read(path)
        if document.problems:
            raise FileProblemsError(document.problems)
        found = Platform.model_validate(document.data, by_alias=True, by_name=False, context=LIBRARY).alerts
    except (FileProblemsError, ValidationError) as error:
        raise GuardError(f"{path}: {error}") from error
    names = [alert.alert for alert in found]
    if len(names) != len(set(names)):
        raise GuardError(f"{path}: two alerts share a name.")
    return found


def is_platform(alert: str) -> bool:
    """Return whether an alert of that name is one of the platform's."""
    return any(found.alert == alert for found in platform_alerts())


@lru_cache(maxsize=10_000)
def acting_guards(rollout: Rollout) -> tuple[Guard, ...]:
    """Return every guard that may act on a rollout: its own, and the platform's that act on each.

    Args:
        rollout: a checked rollout.
    Returns:
        Its guards with those for their missing data, then the platform's holds.
    """
    platform = [alert.guard for alert in platform_alerts() if alert.each_rollout and alert.action != "notify"]
    return (*all_guards(rollout), *platform)
