"""The documentation names what there is: keys, parameters, commands, metrics; its links resolve."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from prometheus_client.core import Metric
from starlette.routing import Mount, Route

from rollguard.cli.main import cli
from rollguard.control.plane import ControlPlane
from rollguard.generators import checks
from rollguard.ledger import Ledger
from rollguard.server.app import Server
from rollguard.server.metrics import Metrics
from rollguard.spec import sets
from rollguard.spec.loading import load_rollout, load_rollouts
from rollguard.spec.sets import shipped_folder
from rollguard.spec.targets import PLACES
from rollguard.spec.templates import Parameter, library
from rollguard.targets.applier import Applier
from rollguard.tokens import Tokens
from rollguard.workers.ledger_probe import LedgerProbe
from rollguard.yamlfile import dump, parse, read
from tests.factories import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
ROLLOUTS = load_rollouts(ROOT / "rollouts")

FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of any level."""
    return re.split(r"^#+ ", text.split(f"\n{heading}", 1)[1], flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Return a table's rows by their first cell, without its backquotes."""
    return {key: [cell.strip() for cell in rest.split("|")] for key, rest in ROW.findall(text)}


# The rollout file


def keys(schema: Mapping[str, Any], definitions: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys that a JSON schema knows."""
    if "$ref" in schema:
        schema = definitions[schema["$ref"].rsplit("/", 1)[1]]
    for option in schema.get("anyOf", ()):
        yield from keys(option, definitions, prefix)
    if schema.get("items"):
        yield from keys(schema["items"], definitions, f"{prefix}[]")
    for name, inside in schema.get("properties", {}).items():
        key = f"{prefix}.{name}".lstrip(".")
        yield key
        yield from keys(inside, definitions, key)


def test_the_page_has_exactly_the_keys_of_the_schema() -> None:
    schema = sets.schema()
    described = rows(section(page("rollout-file.md"), "## Keys"))
    assert list(described) == list(dict.fromkeys(keys(schema, schema["$defs"])))


def test_the_page_has_exactly_the_sets_of_the_library() -> None:
    described = rows(section(page("rollout-file.md"), "## Guard sets"))
    summaries = {path.stem: read(path).data["summary"] for path in shipped_folder().iterdir()}
    assert {name: cells[0] for name, cells in described.items()} == summaries


def test_the_page_of_checks_has_a_section_for_each() -> None:
    headings = re.findall(r"^## (.*)$", page("checks.md"), re.MULTILINE)
    assert headings == [checks.SPEC, *checks.CHECKS]


# The guard library


def default_of(parameter: Parameter) -> str:
    if parameter.optional:
        return "optional"
    if parameter.default is None:
        return ""
    if parameter.default == "":
        return "none"
    return f"`{parameter.default}`" if isinstance(parameter.default, str) else f"{parameter.default}"


@pytest.mark.parametrize("name", library())
def test_the_page_has_exactly_the_parameters_of_a_template(name: str) -> None:
    described = rows(section(page("rollout-file.md"), f"### `{name}`"))
    parameters = {key: one for key, one in library()[name].parameters.items() if not one.filled}
    assert {key: cells[1] for key, cells in described.items()} == {
        key: default_of(parameter) for key, parameter in parameters.items()
    }
    for key, cells in described.items():
        choices = ", ".join(f"`{choice}`" for choice in parameters[key].choices)
        assert cells[0] == (choices or parameters[key].type)


def test_the_page_has_exactly_the_templates() -> None:
    assert set(re.findall(r"^### `([a-z-]+)`", page("rollout-file.md"), re.MULTILINE)) == set(library())


# The control plane


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Server, Metrics]]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    control = ControlPlane(ROLLOUTS, ledger)
    applier = Applier(ROLLOUTS, {}, control.shown)
    probe = LedgerProbe(ledger, control.clock)
    metrics = Metrics(control, applier.statuses, probe)
    yield Server(control, applier, metrics, probe, Tokens([])), metrics
    ledger.close()


def exposed_name(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def test_the_page_has_exactly_the_metrics(server: tuple[Server, Metrics]) -> None:
    described = rows(section(page("control-plane.md"), "## Metrics"))
    assert {name.split("{")[0] for name in described} == {
        exposed_name(family) for family in server[1].registry.collect()
    }


def test_the_page_has_exactly_the_routes(server: tuple[Server, Metrics]) -> None:
    methods = {}
    for listed in server[0].app().routes:
        inside = (
            [(listed.path, route) for route in listed.routes] if isinstance(listed, Mount) else [("", listed)]
        )
        for prefix, route in inside:
            assert isinstance(route, Route)
            methods[prefix + route.path] = "POST" if "POST" in (route.methods or ()) else "GET"
    assert set(rows(section(page("control-plane.md"), "## HTTP"))) == {
        f"{method} {path}" for path, method in methods.items()
    }


# The command line


def test_the_page_has_exactly_the_commands() -> None:
    described = rows(page("command-line.md").split("\n## ", 1)[0])
    assert {call.split()[1] for call in described} == set(cli.list_commands(click.Context(cli)))


# Links


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(FENCED.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        found = path.parent / name if name else path
        assert found.exists(), f"{path.name} links to {target}"
        assert not anchor or anchor in anchors(found), f"{path.name} links to {target}"


# Targets


def examples_of_targets() -> list[str]:
    """Return every worked example of the page, as YAML."""
    blocks = re.findall(r"(?:^    .*\n|^\n)+", page("targets.md"), re.MULTILINE)
    return [textwrap.dedent(block) for block in blocks if block.strip().startswith("targets:")]


@pytest.mark.parametrize("text", examples_of_targets(), ids=lambda text: text.split("- ")[1].split(":")[0])
def test_an_example_of_a_target_loads(tmp_path: Path, text: str) -> None:
    states = [*dict.fromkeys(re.findall(r"\b(shadow|canary|ramp-25|full)\b(?=:)", text)), "end"]
    stages = [{"name": name, "percent": 100} for name in states if name != "end" or len(states) == 1]
    shipped = (ROOT / "rollouts" / "model-canary.yaml").read_text(encoding="utf-8")
    rollout = parse(Path(), shipped).data
    guard = {key: value for key, value in rollout["guards"][1].items() if key != "stages"}
    document = {**rollout, "stages": stages, "guards": [guard], "advance": [], **parse(Path(), text).data}
    (tmp_path / "r.yaml").write_text(dump(document), encoding="utf-8")
    load_rollout(tmp_path / "r.yaml")


def test_every_kind_of_target_has_an_example() -> None:
    written = "".join(examples_of_targets())
    assert [kind for kind in PLACES if f"- {kind}:" not in written] == []
