"""The OpenAPI document of the control plane's HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter

import rollguard
from rollguard.monitoring.observation import CriterionObservation
from rollguard.state import Entry, Transition
from rollguard.targets.applier import TargetStatus

VERBS: Mapping[str, str] = {
    "start": "Begin the next run, in its first stage.",
    "dry_start": "Try what `start` would refuse upon, its preflight included; nothing is entered.",
    "approve": "Let the next stage begin by itself, once everything else is met.",
    "promote": "Step to the next stage; after the last, the release is enabled for good.",
    "rollback": "Take the rollout back now, and with it those that require it.",
    "pause": "Leave the rollout where it is: until it is resumed, no guard rolls it back.",
    "resume": "End the pause. What fires counts at once.",
    "acknowledge": "Say that somebody has looked at why the rollout went back.",
    "drill": "Begin a drill: a harmless alert takes the way of a rollback, up to the flag `drill.{name}`.",
    "end_drill": "End a drill, and keep how long its steps took.",
}
"""What a person may do with a rollout: methods of the control plane, and what each does."""


@dataclass(frozen=True)
class Extra:
    """A key of a body beside actor and reason.

    Args:
        verbs: the verbs that have it.
        argument: of their methods.
        type: of its value, in JSON's words.
        meaning: what it says.
    """

    verbs: tuple[str, ...]
    argument: str
    type: Literal["string", "boolean", "number"]
    meaning: str


EXTRAS: Mapping[str, Extra] = {
    "from": Extra(
        ("approve", "promote"), "origin", "string", "the stage that the rollout is believed to be in"
    ),
    "early": Extra(
        ("promote",), "early", "boolean", "true although hold, criteria, data or approval are unmet"
    ),
    "to": Extra(("rollback",), "to", "string", "fallback, previous or an earlier stage"),
    "unguarded": Extra(
        ("start", "dry_start", "promote"), "unguarded", "boolean", "true although guards may not watch"
    ),
    "seen_seconds": Extra(
        ("end_drill",), "seen_seconds", "number", "after the begin, when the flag was seen flipped"
    ),
}

MOST = 1_000_000
"""The largest number that a body may hold."""

PAGE = 1000
"""How many entries of the ledger an answer holds at most."""

_Json = dict[str, Any]

_TEXT: _Json = {"type": "string"}
_NAMES: _Json = {"type": "array", "items": _TEXT}
_SECONDS: _Json = {"type": "number", "minimum": 0}
_WHY: Mapping[int, str] = {
    400: "Not what was expected; the answer says what was.",
    401: "No known token.",
    403: "A token of other roles.",
    404: "No such rollout.",
    408: "The body did not come in time.",
    409: "Refused, with the reason; nothing has changed.",
    413: "The body is too large.",
    429: "Too many calls; come again after `Retry-After` seconds.",
    503: "The ledger cannot be used, or too many calls at a time; nothing has changed: try again.",
}


def document(rollouts: Mapping[str, str]) -> _Json:
    """Return the document, version 3.1.

    Args:
        rollouts: names of rollouts and the keys of their flags, as examples.
    """
    name = _path("name", rollouts)
    key = _path("key", rollouts.values())
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Rollguard",
            "version": rollguard.__version__,
            "description": "The control plane: notifications in, rollouts and their ledger out.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": {**_api(name), **_verbs(name), **_webhook(), **_flags(key), **_health()},
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Rollout": _rollout(),
                "Target": TypeAdapter(TargetStatus).json_schema(),
                "Criterion": TypeAdapter(CriterionObservation).json_schema(),
                "Entry": TypeAdapter(Entry).json_schema(),
                "Step": _step(),
                "Transition": TypeAdapter(Transition).json_schema(),
                "Error": _object({"error": _TEXT}),
                "FlagError": _object({"errorCode": _TEXT, "errorDetails": _TEXT}),
                "Flag": _object({"key": _TEXT, "value": {}, "variant": _TEXT, "reason": _TEXT}),
            },
        },
    }


def _api(name: _Json) -> _Json:
    after = {"type": "integer", "minimum": 0, "maximum": 10**15 - 1, "default": 0}
    limit = {"type": "integer", "minimum": 1, "maximum": PAGE, "default": PAGE}
    head = {"type": "string", "pattern": "^[0-9]{1,15}:[0-9a-f]{64}$"}
    verified = _object({"entries": {"type": "integer"}, "head": _TEXT, "faults": _NAMES, "unproven": _NAMES})
    return {
        "/api/v1/openapi.json": {
            "get": _operation("document", "This document.", _json(200, {"type": "object"}), [], role=None)
        },
        "/api/v1/rollouts": {
            "get": _operation(
                "rollouts", "Where every rollout stands, by name.", _json(200, _list("Rollout")), []
            )
        },
        "/api/v1/rollouts/{name}": {
            "parameters": [name],
            "get": _operation("rollout", "Where one stands.", _json(200, _ref("Rollout")), [404]),
        },
        "/api/v1/history": {
            "get": _operation(
                "history",
                "Entries of the ledger, oldest first.",
                _json(200, _list("Entry")),
                [400, 404],
                parameters=[
                    _query("rollout", _TEXT, "Only of this rollout."),
                    _query("after", after, "Only entries after this number."),
                    _query("limit", limit, "At most so many; the next ones come after the last of these."),
                ],
            )
        },
        "/api/v1/verify": {
            "get": _operation(
                "verify",
                "Walk the ledger's hash chain.",
                _json(200, verified),
                [400],
                parameters=[_query("head", head, "A head kept earlier: finds a lost tail.")],
            )
        },
    }


def _verbs(name: _Json) -> _Json:
    return {
        f"/api/v1/rollouts/{{name}}/{verb}": {
            "parameters": [name],
            "post": _operation(
                verb,
                summary,
                _json(200, _ref("Transition" if verb == "dry_start" else "Step")),
                [400, 404, 408, 409, 413],
                role="operate",
                body=_asked(verb),
            ),
        }
        for verb, summary in VERBS.items()
    }


def _asked(verb: str) -> _Json:
    text = {"type": ["string", "null"]}
    asked: _Json = {
        "actor": {**text, "description": "Who decides; kept in the ledger, 200 characters of it."},
        "reason": {**text, "description": "Why; kept in the ledger, 2,000 characters of it."},
    }
    for key, extra in EXTRAS.items():
        if verb in extra.verbs:
            bounds = {"minimum": 0, "maximum": MOST} if extra.type == "number" else {}
            asked[key] = {"type": [extra.type, "null"], **bounds, "description": extra.meaning}
    return _object(asked, required=[])


def _webhook() -> _Json:
    alerts = {"type": "array", "items": {}, "description": "One that cannot be read hides no other."}
    sent = _object({"version": {"const": "4"}, "alerts": alerts})
    decided = _object({"decided": _list("Entry")})
    summary = "Alertmanager's webhook; answered once what it decides is on disk."
    failures = [400, 408, 413]
    return {
        "/alerts": {
            "post": _operation("alerts", summary, _json(200, decided), failures, role="alerts", body=sent)
        }
    }


def _flags(key: _Json) -> _Json:
    context = {"type": ["object", "null"], "description": "`targetingKey` and attributes."}
    asked = _object({"context": context}, required=[])
    one = {**_json(200, _ref("Flag")), **_json(400, _ref("FlagError")), **_json(404, _ref("FlagError"))}
    listed = _object({"flags": _list("Flag")})
    unchanged = {"304": {"description": "Nothing changed."}}
    every = {**_json(200, listed), **_json(400, _ref("FlagError")), **unchanged}
    return {
        "/ofrep/v1/evaluate/flags/{key}": {
            "parameters": [key],
            "post": _operation("flag", "OFREP: one flag for a context.", one, [], role=None, body=asked),
        },
        "/ofrep/v1/evaluate/flags": {
            "post": _operation("flags", "OFREP: all flags for a context.", every, [], role=None, body=asked)
        },
    }


def _health() -> _Json:
    said = {"content": {"text/plain": {"schema": _TEXT}}}
    good, bad = {"description": "Yes.", **said}, {"description": "No.", **said}
    return {
        "/livez": {"get": _operation("alive", "Does the process answer?", {"200": good}, [], role=None)},
        "/readyz": {
            "get": _operation("ready", "Can the ledger be used?", {"200": good, "503": bad}, [], role=None)
        },
    }


def _operation(
    name: str,
    summary: str,
    answers: _Json,
    failures: list[int],
    *,
    role: str | None = "read",
    parameters: list[_Json] | None = None,
    body: _Json | None = None,
) -> _Json:
    """Return one operation; with a role, it is refused without a token of it."""
    codes = sorted([*failures, 401, 403, 429, 503]) if role else failures
    told = {code: found for status in codes for code, found in _json(status, _ref("Error")).items()}
    found: _Json = {"operationId": name, "summary": summary, "responses": {**told, **answers}}
    if role:
        found |= {"security": [{"bearer": []}], "description": f"For tokens with the role {role}."}
    if parameters:
        found["parameters"] = parameters
    if body:
        needed = "required" in body
        found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": body}}}
    return found


def _json(status: int, schema: _Json) -> _Json:
    description = _WHY.get(status, "Done.")
    return {str(status): {"description": description, "content": {"application/json": {"schema": schema}}}}


def _path(name: str, known: Iterable[str]) -> _Json:
    found = {"name": name, "in": "path", "required": True, "schema": _TEXT}
    examples = {value: {"value": value} for value in known}
    return {**found, "examples": examples} if examples else found


def _query(name: str, schema: _Json, description: str) -> _Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _ref(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> _Json:
    return {"type": "array", "items": _ref(name)}


def _object(properties: _Json, required: list[str] | None = None) -> _Json:
    found = {"type": "object", "properties": properties}
    needed = list(properties) if required is None else required
    return {**found, "required": needed} if needed else found


def _step() -> _Json:
    undo = {**_TEXT, "description": "The command that takes the step back; empty where none does."}
    return {"allOf": [_ref("Entry"), _object({"undo": undo})]}


def _rollout() -> _Json:
    guard = _object(
        {
            "guard": _TEXT,
            "action": _TEXT,
            "armed": {"type": "boolean"},
            "firing": {"type": "boolean"},
            "description": _TEXT,
            "condition": {"enum": ["armed", "waiting", "without data", "breached", "closed", None]},
            "why": _TEXT,
            "armed_share": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
            "silent_seconds": {"type": ["number", "null"], "minimum": 0},
            "clear_seconds": {"type": ["number", "null"], "minimum": 0},
        }
    )
    return _object(
        {
            "rollout": _TEXT,
            "title": _TEXT,
            "owner": _TEXT,
            "mode": {"enum": ["guard", "observe"]},
            "state": {"enum": ["DISABLED", "ROLLING_OUT", "ENABLED", "ROLLBACK"]},
            "stage": {"type": ["string", "null"]},
            "position": _TEXT,
            "percent": {"type": ["number", "null"], "minimum": 0, "maximum": 100},
            "run": {"type": "integer"},
            "file_problems": _NAMES,
            "entry": {"type": "integer"},
            "reason": _TEXT,
            "entered_at": _SECONDS,
            "held_by": _NAMES,
            "paused_by": _TEXT,
            "acknowledged": {"type": "boolean"},
            "approved": _TEXT,
            "overdue": {"type": "boolean"},
            "extended": {"type": "integer", "minimum": 0},
            "waits_for": _NAMES,
            "next": _TEXT,
            "observed_at": {"type": ["number", "null"]},
            "criteria": _list("Criterion"),
            "failures": _list("Criterion"),
            "alerts_unknown": {"type": "boolean"},
            "hold_left_seconds": _SECONDS,
            "cooldown_left_seconds": _SECONDS,
            "noted": _NAMES,
            "guards": {"type": "array", "items": guard},
            "targets": _list("Target"),
        }
    )
