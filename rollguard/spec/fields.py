"""What every part of the rollout file is made of: the strict base model, names, their patterns in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationInfo,
    WithJsonSchema,
)

from rollguard.durations import _PATTERN, parse, render
from rollguard.errors import RollguardError, without_login

Value: TypeAlias = bool | int | float | str

NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
ALERT_NAME = r"^[A-Z][A-Za-z0-9]{0,33}$"
GUARD_NAME = r"^[A-Z][A-Za-z0-9]{0,33}(-[a-z0-9]+)*$"
PARAMETER = r"^[a-z][a-z0-9_]*$"
FLAG_KEY = r"^[A-Za-z0-9._-]+$"
ADDRESS = r"^[A-Za-z0-9.-]+:[0-9]{1,5}$"
JOB = r"^[A-Za-z0-9._-]+$"
DATABASE_URL = r"^((sqlite|postgresql)(\+[a-z0-9]+)?://.+|\$\{[A-Z][A-Z0-9_]*\})$"
DOTTED_KEY = r"^[^.\s]+(\.[^.\s]+)*$"
ATTRIBUTE = r"^[A-Za-z_][A-Za-z0-9_-]*$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
HTTP_URL = r"^https?://[^@\s]+$"
REDIS_URL = r"^rediss?://[^@\s]+$"
FILE_NAME = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"

PATTERNS_IN_WORDS: Mapping[str, str] = {
    NAME: "lower-case letters, digits and single hyphens, such as model-canary",
    ALERT_NAME: "CamelCase of at most 34 letters and digits, such as DriftDetected",
    GUARD_NAME: "the alert's name, a hyphen and lower-case words, such as RejectionRateHigh-dry-run",
    PARAMETER: "lower-case letters, digits and '_'",
    FLAG_KEY: "letters, digits, '.', '_' and '-'",
    ADDRESS: "host:port, such as 127.0.0.1:9841",
    JOB: "letters, digits, '.', '_' and '-'",
    DATABASE_URL: "a URL of sqlite or postgresql, or ${NAME} of an environment variable",
    DOTTED_KEY: "keys joined by dots, such as rollout.mode",
    ATTRIBUTE: "letters, digits, '_' and '-', such as symbol",
    ENV_NAME: "a variable's name, such as SETUP_ENGINE_ENABLED",
    HTTP_URL: "an address with http:// or https://, and without a password",
    REDIS_URL: "an address such as redis://127.0.0.1:6379/0, without a password (see password_file)",
    FILE_NAME: "a name without slashes, such as active",
}

MAX_NAME = 60
Name: TypeAlias = Annotated[str, Field(pattern=NAME, max_length=MAX_NAME)]
StageName: TypeAlias = Name
AlertName: TypeAlias = Annotated[str, Field(pattern=ALERT_NAME)]


def _one_line(text: str) -> str:
    if "\n" in text or "{{" in text:
        raise ValueError("expected one line of plain text, without {{")
    return text


Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_one_line)]
Path: TypeAlias = Annotated[str, Field(min_length=1)]


LIBRARY: Mapping[str, bool] = {"library": True}
"""Context in which files of Rollguard's own are validated: their Jinja is checked when rendered."""

MAX_EXPRESSION_BYTES = 4096
_MAX_BRACKETS = 50
_JINJA = re.compile(r"<[<%#]")


def _bounded(text: str) -> str:
    if len(text.encode(errors="replace")) > MAX_EXPRESSION_BYTES:
        raise ValueError(f"expected {MAX_EXPRESSION_BYTES // 1024} kB of text at most")
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    if deepest > _MAX_BRACKETS:
        raise ValueError(f"expected brackets that are nested {_MAX_BRACKETS} deep at most")
    return text


def _harmless(text: str, info: ValidationInfo) -> str:
    """Refuse Jinja that a rollout file has no need of; texts of the library are trusted with more."""
    if info.context != LIBRARY and _JINJA.search(_bounded(text)):
        from rollguard.spec import jinja_texts  # noqa: PLC0415 - seldom needed, and slow to import

        return _allowed(text, jinja_texts.text_tree)
    return text


def _harmless_condition(text: str, info: ValidationInfo) -> str:
    if info.context != LIBRARY:
        from rollguard.spec import jinja_texts  # noqa: PLC0415 - as above

        return _allowed(_bounded(text), jinja_texts.condition_tree)
    return text


def _allowed(text: str, tree: Callable[[str], object]) -> str:
    try:
        tree(text)
    except RollguardError as error:
        raise ValueError(f"expected {error}") from error
    return text


PromQLText: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_bounded)]
JinjaText: TypeAlias = Annotated[str, AfterValidator(_harmless)]
"""Text with `<< >>`."""

JinjaCondition: TypeAlias = Annotated[str, AfterValidator(_harmless_condition)]
"""A bare Jinja expression that is true or false."""


def _without_password(url: str) -> str:
    if without_login(url) != url:
        raise ValueError("expected a URL without a password, or ${NAME} of an environment variable")
    return url


DatabaseURL: TypeAlias = Annotated[str, Field(pattern=DATABASE_URL), AfterValidator(_without_password)]

_Item = TypeVar("_Item")
Listed = Annotated[tuple[_Item, ...], Strict(strict=False)]
"""A YAML list, kept as a tuple."""


class Model(BaseModel):
    """A part of the rollout file: immutable, with no unknown keys and no silent conversions."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False
    )


def _coerce(value: object) -> float:
    if isinstance(value, str):
        return parse(value)
    if value == 0 and not isinstance(value, bool):
        return 0.0
    raise ValueError("expected a duration with its unit, such as 15s, 10m, 4h or 1h30m")


Duration = Annotated[
    float,
    BeforeValidator(_coerce),
    PlainSerializer(render, return_type=str),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?:0|(?=[0-9]){_PATTERN})$", "examples": ["15s", "4h", "1h30m"]}
    ),
]
"""A field of the rollout file: text such as ``4h`` in the file, seconds (float) in the model."""
