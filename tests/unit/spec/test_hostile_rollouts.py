"""A rollout file of a stranger is data: checking it runs nothing, reads nothing and ends soon."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from rollguard.cli.local import exporters
from rollguard.spec.loading import load_rollout
from rollguard.spec.rollout import Scrape
from rollguard.yamlfile import dotted, dump, read

SECONDS = 120
"""Far more than all the files take on a busy machine; a single one that gets through takes longer."""

SECRET = "do-not-show"

PLAIN: dict[str, Any] = {
    "rollout": "evil",
    "title": "A harmless rollout",
    "owner": "mallory",
    "scrape": {"job": "evil", "targets": ["127.0.0.1:9841"]},
    "flag": {
        "key": "evil",
        "variants": {"candidate": True, "active": False},
        "serve": "candidate",
        "fallback": "active",
    },
    "stages": [{"name": "canary", "percent": 10}],
    "guards": [
        {
            "alert": "Evil",
            "metrics": {"m": "up_metric"},
            "expr": "<< m | now >> > 1",
            "condition": "<< m | words >> is above 1",
            "let": {"n": "1.005"},
            "tests": [
                {
                    "case": "fires", "about": "above", "when": "1 > 0",
                    "starts": "0", "lasts": "0", "needs": "0",
                    "series": [{"of": "m", "values": "<< n >>", "labels": {"a": "b"}}],
                },
                {
                    "case": "silent", "about": "at the limit",
                    "series": [{"of": "m", "values": "1", "labels": {"a": "b"}}],
                },
            ],
            "equivalent": [{"mutation": "< becomes <=", "reason": "It is one."}],
            "severity": "critical",
            "action": "rollback",
        }
    ],
}  # fmt: skip

TEST = ("guards", 0, "tests", 0)
KEYS: Mapping[str, tuple[str | int, ...]] = {
    "expr": ("guards", 0, "expr"),
    "for": ("guards", 0, "for"),
    "condition": ("guards", 0, "condition"),
    "let": ("guards", 0, "let", "n"),
    "when": (*TEST, "when"),
    "starts": (*TEST, "starts"),
    "lasts": (*TEST, "lasts"),
    "needs": (*TEST, "needs"),
    "values": (*TEST, "series", 0, "values"),
    "labels": (*TEST, "series", 0, "labels", "a"),
    "mutation": ("guards", 0, "equivalent", 0, "mutation"),
}
RUN = "__init__.__globals__.os.popen('touch PWNED').read()"
EXPRESSIONS = (
    f"cycler.{RUN}",
    f"lipsum.{RUN.removeprefix('__init__.')}",
    "lipsum.__globals__['os'].environ['SECRET']",
    "joiner.__init__.__globals__['__builtins__'].open('/etc/passwd').read()",
    "self.__init__.__globals__",
    "namespace(a=1)",
    "dict(a=1)",
    "''.__class__.__mro__[1].__subclasses__()",
    "m['__class__']",
    "m.name",
    "m | attr('__class__')",
    "m.parse('x')",
    "scaled.__globals__['time']",
    "[m] | map(attribute='name') | list",
    "'{0.__class__.__init__.__globals__}'.format(1)",
    "refuse('{0.__class__.__init__.__globals__}', 1)",
    "refuse('{:999999999}', 1)",
    "'a' * 10**8",
    "'a' * 100000000",
    "100000000 * 'a'",
    "[1] * 100000000",
    "'%0999999999d' % 1",
    "9**9**9",
    "'a' ~ 'a'",
    "'a' + 'a'",
    "'a' | center(99999999)",
    "'a' | indent(99999999)",
    "'aaaa' | replace('a', 'aaaaaaaaaaaaaaaaaa')",
    "'%099999999d' | format(1)",
    "range(99999999) | list",
    "1.5 | round(999999999, 'floor')",
    "scaled(*[1])",
    "m is callable",
    "(" * 1500 + "1" + ")" * 1500,
    "[" * 1500 + "]" * 1500,
    "1+" * 1500 + "1",
    "-" * 3000 + "1",
    "not " * 900 + "1",
    "1" * 5000,
)
STATEMENTS = (
    "<% for a in range(99999) %><% for b in range(99999) %>x<% endfor %><% endfor %>",
    "<% set a = 1 %>",
    "<% set a %>x<% endset %>",
    "<% macro a() %>x<% endmacro %>",
    "<% call a() %>x<% endcall %>",
    "<% filter center(99999999) %>x<% endfilter %>",
    "<% with a = 1 %>x<% endwith %>",
    "<% block a %>x<% endblock %>",
    "<% include '/etc/passwd' %>",
    "<% import '/etc/passwd' as a %>",
    "<% from '/etc/passwd' import a %>",
    "<% extends '/etc/passwd' %>",
    "<% autoescape true %>x<% endautoescape %>",
    "<% if 1 %>" * 60 + "<% endif %>" * 60,
    "<< 1",
)
RENDERED = {
    "1 / 0": "division by zero",
    "1e999": "finite",
    "1e308 * 10": "finite",
    "9" * 1000 + " * " + "9" * 1000: "more than 64 bits",
    "m * 2": "unsupported operand",
    "scaled | promql": "no PromQL",
    "scaled": "does not belong",
    "scaled('" + "9" * 100 + "y')": "292 years",
    "[m] | max(attribute='__class__')": "attribute",
}
"""Refused where their values are known."""

SERIES = {
    ("values", "1x99999999999"): "samples, expected",
    ("values", "_x99999999999"): "samples, expected",
    ("values", "1+1x" + "9" * 4000): "samples, expected",
    ("values", "x"): "notation",
    ("starts", "1e18"): "intervals at most",
    ("starts", "<< 1e15 >>"): "intervals at most",
    ("lasts", "1e18"): "intervals at most",
    ("needs", "nan"): "intervals at most",
    ("for", "200y"): "intervals at most",
}

CASES: list[tuple[str, str, str]] = [
    *(("expr", f"up > << {one} >>", "expected") for one in EXPRESSIONS),
    *(("expr", f"up > {one}", "expected") for one in STATEMENTS),
    *(
        (key, one if key == "when" else f"<< {one} >>", "expected")
        for key in KEYS
        if key != "for"
        for one in (f"cycler.{RUN}", "'a' * 100000000", "'%0999999999d' % 1", "-" * 3000 + "1", "9**9**9")
    ),
    *(("expr", f"up > << {one} >>", words) for one, words in RENDERED.items()),
    *((key, text, words) for (key, text), words in SERIES.items()),
]


def written(folder: Path, number: int) -> tuple[Path, tuple[str | int, ...]]:
    key, text, _ = CASES[number]
    data = deepcopy(PLAIN)
    data["rollout"] = data["flag"]["key"] = f"evil-{number}"
    *before, last = KEYS[key]
    place: Any = data
    for part in before:
        place = place[part]
    place[last] = text
    path = folder / f"evil-{number}.yaml"
    path.write_text(dump(data), encoding="utf-8")
    return path, KEYS[key]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def said(folder: Path) -> str:
    """Return what one check of all the files says, a line each."""
    for number in range(len(CASES)):
        written(folder, number)
    command = [*exporters.ROLLGUARD, "check", "--rollouts", ".", "--lines"]
    environment = {**os.environ, "SECRET": SECRET}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout


def test_the_file_without_a_payload_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(dump(PLAIN), encoding="utf-8")
    assert load_rollout(tmp_path / "plain.yaml").name == "evil"


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{key}-{text[:40]}" for key, text, _ in CASES])
def test_what_is_no_plain_expression_is_refused_with_its_line(said: str, folder: Path, number: int) -> None:
    path, location = written(folder, number)
    document = read(path)
    lines = {document.line_of(location[:depth]) for depth in (3, len(location))}
    found = re.findall(rf"^{path.name}:(\d+): error: (.*)$", said, re.MULTILINE)
    assert len(found) == 1
    assert int(found[0][0]) in lines
    assert dotted(location[:3]) in found[0][1]
    assert CASES[number][2] in found[0][1]


def test_nothing_was_run_or_read(said: str, folder: Path) -> None:
    assert not (folder / "PWNED").exists()
    assert SECRET not in said
    assert "root:" not in said


def test_a_pattern_that_would_backtrack_without_end_is_no_delay(folder: Path) -> None:
    """In a child, as nothing in Python interrupts a regular expression."""
    data = deepcopy(PLAIN)
    data["guards"][0]["metrics"]["m"] = 'up{x="' + "a" * 60 + '!",x!~"(a+)+"}'
    (folder / "pattern").mkdir()
    (folder / "pattern" / "evil.yaml").write_text(dump(data), encoding="utf-8")
    code = (
        "import pathlib; from rollguard.spec import loading; loading.load_rollout(pathlib.Path('evil.yaml'))"
    )
    command = [exporters.ROLLGUARD[0], "-c", code]
    subprocess.run(command, cwd=folder / "pattern", timeout=SECONDS, check=True)


def test_a_child_imports_nothing_from_the_working_directory(tmp_path: Path) -> None:
    """Else a folder `exporters` there would run."""
    for name in ("exporters", "rollguard"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("open('PWNED', 'w')", encoding="utf-8")
    scrape = Scrape.model_validate(
        {"job": "a", "targets": ["127.0.0.1:1"], "exporter": {"canary": {"events": "e"}}}
    )
    begin = exporters.command(scrape, tmp_path, float, print)
    subprocess.run([*begin, "--help"], cwd=tmp_path, check=True, timeout=SECONDS, capture_output=True)
    assert not (tmp_path / "PWNED").exists()
