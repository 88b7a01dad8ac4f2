"""What a guard of its own expression is tested with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rollguard.spec.fields import JinjaCondition, JinjaText, Listed, Model, Text


class TestSeries(Model):
    """One input of a test: the series of a metric parameter, and its values."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    of: str = Field(description="A parameter of type metric; left out where the guard does not give it.")
    suffix: Literal["", "_bucket", "_count", "_sum"] = Field("", description="Of a histogram's series.")
    labels: dict[str, JinjaText] = Field({}, description="Labels beside those that the guard selects; Jinja.")
    values: JinjaText = Field(description="Jinja; a number to hold, or promtool's notation.")


class TestCase(Model):
    """A promtool test in terms of the parameters."""

    __test__ = False

    case: Literal["fires", "silent", "absent"]
    about: Text
    given: Listed[str] = Field((), description="Left out where one of these is not given.")
    unless: Listed[str] = Field((), description="Left out where one of these is given.")
    when: JinjaCondition | None = Field(None, description="A Jinja expression; left out where it is false.")
    series: Listed[TestSeries] = ()
    starts: JinjaText = Field("0", description="Jinja; seconds from which on the condition holds.")
    already: bool = Field(False, description="true: it holds before, too, so that `for` is over by then.")
    lasts: JinjaText = Field("0", description="Jinja; seconds that it still holds when the breach is over.")
    needs: JinjaText = Field("0", description="Jinja; seconds of breach, after calm, until it holds.")
    keeps: bool = Field(False, description="true: it goes on firing when one of its series goes.")


class Equivalent(Model):
    """A mutant of a rule that no test can notice, and why."""

    mutation: JinjaText = Field(
        description="Its name as `rollguard test --mutate` shows it; Jinja, may be empty."
    )
    reason: Text
    tolerated: bool = Field(False, description="true: no equivalent, but unnoticed for the reason.")
