"""What is wrong with the targets of a file, said when it is loaded, with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rollguard.errors import FileProblemsError
from rollguard.spec.loading import load_rollout

TEXT = """\
rollout: checkout
title: A shorter checkout
owner: shop
scrape: {job: shop, targets: ["127.0.0.1:8000"]}
flag: {key: checkout, variants: {new: true, old: false}, serve: new, fallback: old}
stages:
  - {name: canary, percent: 10, hold: 4h}
  - {name: full, percent: 100, hold: 1d}
guards:
  - {alert: ErrorsHigh, use: threshold, with: {metric: x, above: 1}, severity: critical, action: rollback}
targets:
"""
LINE = TEXT.count("\n") + 1

Told = Callable[..., list[str]]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return what is wrong with a file of some targets: place and message, without the hints."""

    def of(*targets: str) -> list[str]:
        path = tmp_path / "r.yaml"
        path.write_text(TEXT + "".join(f"  - {target}\n" for target in targets), encoding="utf-8")
        try:
            load_rollout(path)
        except FileProblemsError as error:
            return [str(problem).replace(f"{path}:", "").split("\n")[0] for problem in error.problems]
        return []

    return of


_GOOD = (
    "flagd-file: {path: flags.json}",
    "yaml-file: {path: a.yml, values: {fallback: {a.b: 1}, canary: {a.b: 2}, full: {a.b: 3}}}",
    "env-file: {path: .env, values: {fallback: {A: false}, canary: {A: x y}, full: {A: 0.5}}}",
    "json-file: {path: a.json, values: {fallback: {a.on: false}, canary: {a: {l: [1, null]}}, full: {}}}",
    "model-registry: {root: models}",
    "model-registry: {root: more, slot: live, as: field, candidate: next}",
    "command: {name: legacy, run: {fallback: [sh, back.sh]}, timeout: 5m}",
    "redis-stream: {url: redis://x/0, stream: events, modes: {fallback: off, canary: on, full: on}}",
    'http: {name: x, url: "https://x", secret_headers: {a: {file: t}}, read: {expect: EACH}, send: SEND}',
)


GOOD = tuple(
    target.replace("EACH", "{fallback: {a: 1}, canary: {a: 2}, full: {}}").replace(
        "SEND", "{fallback: [{path: /x, body: {on: [1]}}], canary: [{method: PUT}, {}], full: []}"
    )
    for target in _GOOD
)


def test_every_kind_has_a_form_that_is_right(told: Told) -> None:
    then = 'then: {restart: [systemctl, restart, "x"], timeout: 1m}'
    log = "log: {files: [a.log], line: disabled, states: [fallback], settle: 5s}"
    command = "command: {run: {canary: [true-ly]}, timeout: 1s}"
    http = 'http: {url: "http://x/y", expect: {full: {a.0.b: {c: 1}}}, timeout: 1s}'
    followed = f"{{{GOOD[2].replace('.env', '.env.canary')}, {then}, verify: {{{log}, {command}, {http}}}}}"
    assert told(*GOOD, followed) == []


@pytest.mark.parametrize("kind", ["yaml-file", "env-file", "json-file"])
def test_values_say_what_every_state_means_and_no_other(told: Told, kind: str) -> None:
    key = f"targets[0].{kind}.values"
    found = told(f"{kind}: {{path: x, values: {{fallback: {{a: 1}}, canary: {{a: 2}}, ramp: {{a: 3}}}}}}")
    assert found == [
        f"{LINE}: {key}.full is missing, expected what it means.",
        f"{LINE}: {key}.ramp is not a state, expected one of fallback, canary, full.",
    ]


@pytest.mark.parametrize(
    ("target", "place"),
    [
        ("{command: {name: x, run: {ramp: [a]}}}", "command.run.ramp"),
        ("{GOOD, verify: {command: {run: {ramp: [a]}}}}", "verify.command.run.ramp"),
        ('{GOOD, verify: {http: {url: "http://x", expect: {ramp: {a: 1}}}}}', "verify.http.expect.ramp"),
        (
            "{GOOD, then: {restart: [a]}, verify: {log: {files: [x], line: x, states: [canary, ramp]}}}",
            "verify.log.states[1]",
        ),
    ],
)
def test_nothing_is_said_of_a_state_that_does_not_exist(told: Told, target: str, place: str) -> None:
    (found,) = told(target.replace("GOOD", GOOD[0]))
    assert found == f"{LINE}: targets[0].{place} is not a state, expected one of fallback, canary, full."


@pytest.mark.parametrize("target", GOOD, ids=lambda target: target.split(":")[0])
def test_no_two_targets_are_in_one_place(told: Told, target: str) -> None:
    (found,) = told(target, target)
    assert found.startswith(f"{LINE + 1}: targets[1].{target.split(':', maxsplit=1)[0]}.")
    assert found.endswith(", as in an earlier target.")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{}", "is a mapping, expected exactly one kind: flagd-file, yaml-file, env-file, json-file,"),
        (
            "{flagd-file: {path: x}, command: {name: x, run: {full: [x]}}}",
            "is a mapping, expected exactly one",
        ),
        ("{GOOD, verify: {}}", ".verify is a mapping, expected log, command or http."),
        (
            "{GOOD, verify: {log: {files: [x], line: x, states: [full]}}}",
            "expected `then` beside `verify.log`",
        ),
        ("{GOOD, then: {restart: []}}", ".then.restart is a list, expected at least 1 item"),
        (
            "{GOOD, then: {restart: systemctl restart x}}",
            ".then.restart is systemctl restart x, expected a list",
        ),
        ("{GOOD, then: {restart: [x], timeout: 0s}}", ".then.timeout is 0s, expected more than 0"),
        (
            "redis-stream: {url: 'redis://:pw@x', stream: x, modes: OFF}",
            ".url is redis://…@x, expected an ad",
        ),
        (
            "redis-stream: {url: 'http://x', stream: x, modes: OFF}",
            ".url is http://x, expected an address such",
        ),
        ("command: {name: x, run: {}}", ".command.run is a mapping, expected at least 1 item"),
        ("command: {name: x, run: {full: [sleep, 5]}}", ".command.run.full[1] is 5, expected a string."),
        ("command: {name: A B, run: {full: [x]}}", ".command.name is A B, expected lower-case letters"),
        ("model-registry: {root: x, slot: a/b}", ".slot is a/b, expected a name without slashes"),
        ('{GOOD, verify: {http: {url: "file:///x", expect: {full: {a: 1}}}}}', ".url is file:///x, expected"),
    ],
)
def test_a_mistake_is_one_error(told: Told, target: str, message: str) -> None:
    (found,) = told(target.replace("GOOD", GOOD[0]).replace("OFF", "{fallback: x, canary: y, full: y}"))
    assert message in found


@pytest.mark.parametrize("key", ["a..b", '""', "a.", "'a b'"])
@pytest.mark.parametrize("kind", ["yaml-file", "json-file"])
def test_a_key_is_dotted(told: Told, kind: str, key: str) -> None:
    (found,) = told(f"{kind}: {{path: x, values: {{fallback: {{{key}: 1}}, canary: {{}}, full: {{}}}}}}")
    assert "expected keys joined by dots" in found


def test_a_variable_has_a_name_that_shells_take(told: Told) -> None:
    (found,) = told("env-file: {path: x, values: {fallback: {a-b: 1}, canary: {}, full: {}}}")
    assert "expected a variable's name, such as SETUP_ENGINE_ENABLED" in found


def test_a_value_of_a_variable_is_one_that_all_readers_agree_upon(told: Told) -> None:
    (found,) = told('env-file: {path: x, values: {fallback: {A: "a\\\\b"}, canary: {}, full: {}}}')
    assert "expected one line, without backslashes" in found


def test_a_number_that_json_lacks_is_an_error(told: Told) -> None:
    (found,) = told("json-file: {path: x, values: {fallback: {a: {b: [.nan]}}, canary: {}, full: {}}}")
    assert "expected a finite number" in found


def test_a_value_within_another_is_an_error(told: Told) -> None:
    (found,) = told("json-file: {path: x, values: {fallback: {a: {}, a.b: 1, ab: 2}, canary: {}, full: {}}}")
    key = "targets[0].json-file.values.fallback.a.b"
    assert found == f"{LINE}: {key} lies within a, expected one value for each place."
