"""What a rollout file says of its targets: one model for each kind."""

from __future__ import annotations

import math
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, WithJsonSchema, model_validator

from rollguard.spec.fields import (
    DOTTED_KEY,
    ENV_NAME,
    FILE_NAME,
    HTTP_URL,
    REDIS_URL,
    Duration,
    Listed,
    Model,
    Name,
    Path,
    Value,
)

DottedKey: TypeAlias = Annotated[str, Field(pattern=DOTTED_KEY)]
Arguments: TypeAlias = Annotated[Listed[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
"""A program and its arguments; no shell reads them."""


def _env_value(value: Value) -> Value:
    text = str(value)
    if not text.isprintable() or "\\" in text or ("'" in text and set(text) & set('"$`')):
        raise ValueError("expected one line, without backslashes, and without ' beside \", $ or `")
    return value


def _json(value: JsonValue) -> JsonValue:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("expected a finite number, as JSON knows no other")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _json(item)
    return value


EnvValue: TypeAlias = Annotated[Value, AfterValidator(_env_value)]
Json: TypeAlias = Annotated[
    JsonValue, AfterValidator(_json), WithJsonSchema({"description": "Any JSON value."})
]


HttpUrl: TypeAlias = Annotated[str, Field(pattern=HTTP_URL)]


class FlagdFile(Model):
    """A file of flagd definitions, for OpenFeature clients that read files; other flags in it are kept."""

    path: Path


class YamlFile(Model):
    """A YAML file of the application, whose values are replaced in place, comments kept."""

    path: Path
    values: dict[str, dict[DottedKey, Value]] = Field(
        description="For the fallback and for each stage: dotted keys and their values."
    )


class EnvFile(Model):
    """A file of environment variables, whose values are replaced in place, comments kept."""

    path: Path
    values: dict[str, dict[Annotated[str, Field(pattern=ENV_NAME)], EnvValue]] = Field(
        description="For the fallback and for each stage: variables and their values."
    )


class JsonFile(Model):
    """A JSON file of the application, whose values, whole objects among them, are replaced in place."""

    path: Path
    values: dict[str, dict[DottedKey, Json]] = Field(
        description="For the fallback and for each stage: dotted keys and their values, objects among them."
    )


class ModelRegistry(Model):
    """A folder of models, of which one is active: the candidate in the last stage, else the one before."""

    root: Path = Field(description="Holds manifest.json and a folder for each entry.")
    slot: Annotated[str, Field(pattern=FILE_NAME)] = Field(
        "active", description="Link to the active entry, or the key of manifest.json that names it."
    )
    as_: Literal["link", "field"] = Field(
        "link", alias="as", description="field: manifest.json is {active: id, models: [...]}."
    )
    candidate: Annotated[str, Field(pattern=FILE_NAME)] = Field(
        "shadow",
        description="Link to the candidate when a run starts; if missing, the manifest's last entry.",
    )


class Command(Model):
    """A command that brings something along; run once for each state that names one."""

    name: Name
    run: dict[str, Arguments] = Field(
        min_length=1, description="State to program and arguments; a state without one runs nothing."
    )
    timeout: Duration = Field(60.0, gt=0, description="After it the command is killed, and tried again.")


class RedisStream(Model):
    """A Redis stream that is told of each switch between modes; urgently after a critical guard."""

    url: Annotated[str, Field(pattern=REDIS_URL)] = Field(
        description="Without a password, such as redis://127.0.0.1:6379/0."
    )
    password_file: Path | None = Field(None, description="Holds the password, on one line.")
    stream: Annotated[str, Field(min_length=1)]
    modes: dict[str, Annotated[str, Field(min_length=1)]] = Field(
        description="For the fallback and for each stage: what consumers call it."
    )


class HttpRequest(Model):
    """One request of several that together bring a service to a state."""

    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    path: str = Field("", description="Added to `url`.")
    headers: dict[str, str] = Field({}, description="Of this request.")
    body: Json = Field(None, description="Sent as JSON; none: no body.")


class HttpRead(Model):
    """How to read a service's state back."""

    method: Literal["GET", "POST"] = "GET"
    path: str = Field("", description="Added to `url`.")
    body: Json = Field(None, description="Sent as JSON with a POST.")
    expect: dict[str, dict[DottedKey, Json]] = Field(
        description="For the fallback and for each stage: dotted keys of the answer and their values."
    )


class SecretHeader(Model):
    """A header whose value is kept in a file."""

    file: Path = Field(description="Holds the value, on one line; read for every request.")
    prefix: str = Field("", description="What stands before it, such as `Bearer `.")


class Http(Model):
    """A service with an HTTP API, such as a flag vendor's."""

    name: Name
    url: HttpUrl = Field(description="What the paths are added to.")
    headers: dict[str, str] = Field({}, description="Of every request.")
    secret_headers: dict[str, SecretHeader] = Field({}, description="Of every request, kept in files.")
    send: dict[str, Listed[HttpRequest]] = Field(
        description="For the fallback and for each stage: requests, sent in order."
    )
    read: HttpRead
    timeout: Duration = Field(5.0, gt=0, description="Of each request, in whole.")


class Then(Model):
    """What must happen after a change for it to be seen."""

    restart: Arguments = Field(description="Restarts the processes that read the target.")
    timeout: Duration = Field(120.0, gt=0, description="After it the command is killed, and tried again.")


class LogLine(Model):
    """A line that the restarted processes write in some states and not in the others."""

    files: Listed[Path] = Field(min_length=1, description="A log of each process.")
    line: str = Field(min_length=1, description="Text that is part of the line.")
    states: Listed[str] = Field(
        min_length=1, description="Where every log must show it since the restart; elsewhere none may."
    )
    settle: Duration = Field(10.0, description="How long after the restart its absence counts.")


class VerifyCommand(Model):
    """A command that ends with 0 where the target is as it should be."""

    run: dict[str, Arguments] = Field(min_length=1, description="State to program and arguments.")
    timeout: Duration = Field(30.0, gt=0)


class VerifyHttp(Model):
    """A JSON answer that shows what is really in effect."""

    url: HttpUrl
    expect: dict[str, dict[DottedKey, Json]] = Field(
        min_length=1, description="State to dotted keys and their values."
    )
    timeout: Duration = Field(5.0, gt=0)


class Verify(Model):
    """How to see that a change is in effect, beyond the target itself."""

    log: LogLine | None = None
    command: VerifyCommand | None = None
    http: VerifyHttp | None = None

    @model_validator(mode="after")
    def _any(self) -> Verify:
        if not (self.log or self.command or self.http):
            raise ValueError("expected log, command or http")
        return self


class Target(Model):
    """Something outside that follows the flag's state. Exactly one kind."""

    flagd_file: FlagdFile | None = Field(None, alias="flagd-file")
    yaml_file: YamlFile | None = Field(None, alias="yaml-file")
    env_file: EnvFile | None = Field(None, alias="env-file")
    json_file: JsonFile | None = Field(None, alias="json-file")
    model_registry: ModelRegistry | None = Field(None, alias="model-registry")
    command: Command | None = None
    redis_stream: RedisStream | None = Field(None, alias="redis-stream")
    http: Http | None = None
    then: Then | None = None
    verify: Verify | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Target:
        given = [kind for kind in PLACES if getattr(self, kind.replace("-", "_")) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one kind: {', '.join(PLACES)}")
        if self.verify and self.verify.log and not self.then:
            raise ValueError("expected `then` beside `verify.log`: the log counts since the restart")
        return self

    @property
    def kind(self) -> str:
        """The kind, as the file calls it."""
        return next(kind for kind in PLACES if getattr(self, kind.replace("-", "_")) is not None)

    @property
    def name(self) -> str:
        """Kind and place, as status and metrics show it."""
        body = getattr(self, self.kind.replace("-", "_"))
        return f"{self.kind}:{getattr(body, PLACES[self.kind])}"


PLACES = {
    "flagd-file": "path",
    "yaml-file": "path",
    "env-file": "path",
    "json-file": "path",
    "model-registry": "root",
    "command": "name",
    "redis-stream": "stream",
    "http": "name",
}
"""Every kind of target, and the key that says where it is; no two of a rollout may be in one place."""
