"""What Prometheus is asked: values, rules. One small client; every question has a time-out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast, get_args

import httpx
import msgspec

from rollguard.durations import render
from rollguard.errors import RollguardError, without_login

TIMEOUT_SECONDS = 5.0

RuleState: TypeAlias = Literal["inactive", "pending", "firing"]


class PrometheusError(RollguardError):
    """Prometheus did not answer, or refused the question."""


class QueryRefusedError(PrometheusError):
    """Prometheus answered, and cannot evaluate the expression."""


class SeveralSeriesError(RollguardError):
    """One value was meant, and there are several: taking any of them would be a guess."""


@dataclass(frozen=True)
class Sample:
    """One sample of an instant query.

    Args:
        labels: of its series, without the name where the query dropped it.
        value: may be NaN or infinite.
    """

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Rule:
    """A rule as Prometheus has it loaded.

    Args:
        name: of the alert or the recorded series.
        query: its expression, as Prometheus writes it.
        labels: those that the rule file gives.
        state: of an alerting rule; `inactive` for a recording rule.
        error: what its last evaluation failed with; empty where it did not.
        evaluated: whether it has been evaluated since it was loaded, and is in a state that we know.
    """

    name: str
    query: str
    labels: Mapping[str, str]
    state: RuleState
    error: str
    evaluated: bool


class _RawRule(msgspec.Struct):
    name: str
    query: str
    labels: dict[str, str] | None = None
    state: str | None = "inactive"
    health: str | None = "unknown"
    lastError: str | None = ""  # noqa: N815 - Prometheus's name


class _Group(msgspec.Struct):
    rules: list[_RawRule] | None


class _Groups(msgspec.Struct):
    groups: list[_Group] | None


class _RawSample(msgspec.Struct):
    value: tuple[float, str]
    metric: dict[str, str] = {}


class Prometheus:
    """Asks a Prometheus; safe to use from several threads.

    Args:
        url: base URL; in the attribute of this name without a login.
        timeout: seconds that an answer may take.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_SECONDS) -> None:
        self._base = url.rstrip("/")
        self.url = without_login(self._base)
        self._timeout = timeout
        self._http = httpx.Client(timeout=timeout, follow_redirects=False, trust_env=False)

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def query(self, expression: str, *, at: float | None = None) -> list[Sample]:
        """Return the samples of an instant query.

        Args:
            expression: PromQL.
            at: the moment, Unix seconds; None for now, by Prometheus's own clock.
        Raises:
            PrometheusError: it does not answer in time, or refuses the expression.
        """
        moment = {} if at is None else {"time": f"{at:.3f}"}
        data = self._ask("query", {"query": expression, "timeout": render(self._timeout), **moment})
        if data.get("resultType") == "scalar":
            return [Sample({}, float(data["result"][1]))]
        found = _converted(data.get("result"), list[_RawSample] | None) or ()
        return [Sample(item.metric, float(item.value[1])) for item in found]

    def value(self, expression: str) -> float | None:
        """Return the one value of an instant query; None where there is none, or it is not a number.

        Raises:
            SeveralSeriesError: there are several.
            PrometheusError: as for `query`.
        """
        return one(self.query(expression), expression)

    def rules(self) -> list[Rule]:
        """Return every rule that is loaded; raises PrometheusError."""
        data = self._ask("rules", {})
        groups = _converted(data, _Groups).groups or ()
        return [_rule(rule) for group in groups for rule in group.rules or ()]

    def _ask(self, what: str, form: Mapping[str, str]) -> dict[str, Any]:
        try:
            # A POST, as a query may be longer than a URL.
            method = "POST" if form else "GET"
            answer = self._http.request(method, f"{self._base}/api/v1/{what}", data=dict(form) or None)
            content = answer.json()
        except httpx.HTTPError as error:
            raise PrometheusError(f"Prometheus at {self.url} does not answer: {error}.") from error
        except ValueError as error:
            text = f"{self.url} answers {answer.status_code} and no JSON: is it a Prometheus?"
            raise PrometheusError(text) from error
        if not isinstance(content, dict) or content.get("status") != "success":
            cause = content.get("error") if isinstance(content, dict) else ""
            text = f"Prometheus at {self.url} refuses: {cause or answer.status_code}."
            raise (QueryRefusedError if answer.status_code in (400, 422) else PrometheusError)(text)
        return cast(dict[str, Any], content["data"])


def _rule(found: _RawRule) -> Rule:
    """Return a rule as it is loaded; Prometheus 3 gives one that was not evaluated the state `unknown`."""
    known = found.state in get_args(RuleState)
    return Rule(
        found.name,
        found.query,
        found.labels or {},
        cast(RuleState, found.state) if known else "inactive",
        (found.lastError or "") if found.health == "err" else "",
        known and found.health in ("ok", "err"),
    )


def one(samples: Sequence[Sample], expression: str) -> float | None:
    """Return the value where there is exactly one sample, and it is a number.

    Args:
        samples: what a query yielded.
        expression: the query, for the error.
    Returns:
        None where there is no sample, or it is NaN: no data.
    Raises:
        SeveralSeriesError: there are several.
    """
    if len(samples) > 1:
        labels = ", ".join(sorted({name for sample in samples for name in sample.labels}))
        raise SeveralSeriesError(
            f"{expression} yields {len(samples)} series, expected one.\n"
            f"  Select one by a label ({labels}), or aggregate them by min, max or sum."
        )
    value = samples[0].value if samples else math.nan
    return None if math.isnan(value) else value


def _converted(data: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(data, kind, strict=False)
    except msgspec.ValidationError as error:
        raise PrometheusError(f"Prometheus answers in an unknown form: {error}.") from error
