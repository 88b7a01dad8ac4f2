"""The command line: exit codes, messages without a traceback, JSON that parses, help with an example."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from rollguard.cli import main
from rollguard.ledger import Ledger
from rollguard.spec.loading import load_rollout
from rollguard.state import Transition
from tests.factories import ROOT

SHIPPED = ROOT / "rollouts"
NOW = 1_700_000_000.0


class Result(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run the command line in an empty folder, as the console script does."""
    monkeypatch.chdir(tmp_path)

    def of(*arguments: object) -> Result:
        monkeypatch.setattr("sys.argv", ["rollguard", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main.main()
        said = capsys.readouterr()
        return Result(int(exit_.value.code or 0), said.out, said.err)

    return of


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("0123456789abcdef")
    return path


def commands(group: click.Group, *before: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        yield (*before, name)
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *before, name)


COMMANDS = sorted(commands(main.cli))
LEAVES = [command for command in COMMANDS if not any(other[:-1] == command for other in COMMANDS)]


# Start


@pytest.mark.parametrize(
    ("command", "needed", "others"),
    [
        (
            "export",
            "rollguard.exporters.screener.exporter",
            {"rollguard.generators", "starlette", "httpx", "redis"},
        ),
        ("serve", "starlette", {"rollguard.generators", "rollguard.exporters", "numpy"}),
    ],
)
def test_a_command_imports_what_it_needs_and_no_more(command: str, needed: str, others: set[str]) -> None:
    taken = f"from rollguard.cli.main import cli; cli.get_command(None, '{command}')"
    code = f"{taken}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert needed in loaded
    assert not loaded & others


# Help


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(run: Run, command: tuple[str, ...]) -> None:
    found = run(*command, "--help")
    assert found.code == 0
    assert found.out.startswith("Usage: rollguard")


@pytest.mark.parametrize("command", LEAVES, ids=" ".join)
def test_every_help_has_an_example_of_its_command(run: Run, command: tuple[str, ...]) -> None:
    shown = run(*command, "--help").out.partition("Example")[2]
    assert f"rollguard {' '.join(command)}" in shown


def test_the_help_names_every_command(run: Run) -> None:
    shown = run("--help").out
    assert [name for (name, *more) in COMMANDS if not more and f"  {name} " not in shown] == []


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_list_says_of_each_command_the_first_sentence_of_its_help(name: str) -> None:
    command = main.cli.get_command(click.Context(main.cli), name)
    assert command is not None
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    assert paragraph.startswith(main.COMMANDS[name][1])


@pytest.mark.parametrize(
    "arguments", [["--help"], ["rollback", "--help"], ["status", "--help"], ["history", "--help"]]
)
def test_help_imports_no_library_but_click(arguments: list[str]) -> None:
    code = (
        "import sys; from rollguard.cli.main import cli; "
        f"cli.main({arguments}, standalone_mode=False); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "pydantic",
        "sqlalchemy",
        "httpx",
        "numpy",
        "yaml",
        "jinja2",
        "msgspec",
        "starlette",
        "grafanalib",
    }
    assert not set(done.stderr.split()) & heavy


def test_the_help_names_the_exit_codes(run: Run) -> None:
    expected = "Exit codes: 0 all is well, 1 something was found, 2 the command could not run."
    assert expected in " ".join(run("--help").out.split())


def test_the_version_is_shown(run: Run) -> None:
    assert re.fullmatch(r"rollguard, version \d+\.\d+\.\d+\n", run("--version").out)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(run: Run, shell: str) -> None:
    found = run("completion", shell)
    assert found.code == 0
    assert "_ROLLGUARD_COMPLETE" in found.out


def test_the_completion_for_bash_is_bash(run: Run) -> None:
    script = run("completion", "bash").out
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


# Exit codes


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["generate"],
        ["generate", "--out", "x", "--time-scale", "0.5"],
        ["completion", "ksh"],
        ["init", "Not A Name"],
        ["serve", "--poll", "fast"],
        ["rollback", "model-canary"],
        ["history", "--after", "-1"],
        ["verify", "--state", "ledger.db"],
        ["verify", "--state", "sqlite:///none.db"],
        ["verify", "--state", "sqlite:///none.db", "--head", "5"],
        ["status"],
        ["generate", "--rollouts", SHIPPED / "model-canary.yaml", "--out", "/proc/nothing"],
    ],
    ids=str,
)
def test_what_could_not_run_is_2_and_says_why_in_few_words(run: Run, arguments: list[object]) -> None:
    found = run(*arguments)
    assert found.code == 2
    assert found.err.strip()
    assert "Traceback" not in found.err


def test_files_with_mistakes_are_1_and_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("rollout: x\n")
    found = run("check", "--rollouts", "r.yaml")
    assert found.code == 1
    assert found.out.endswith(": 6 errors.\n")


def test_one_mistake_is_one_error(run: Run) -> None:
    assert run("check", "--rollouts", "none").out.endswith(": 1 error.\n")


def test_a_broken_pipe_is_no_traceback(tmp_path: Path) -> None:
    command = f"{ROOT / '.venv/bin/rollguard'} schema | head -1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.stdout == "{\n"
    assert "Traceback" not in found.stderr


# init


def test_a_new_rollout_file_loads_and_only_observes(run: Run, tmp_path: Path) -> None:
    found = run("init", "checkout-redesign")
    assert found.code == 0
    rollout = load_rollout(tmp_path / "rollouts" / "checkout-redesign.yaml")
    assert (rollout.name, rollout.mode) == ("checkout-redesign", "observe")
    assert len((tmp_path / "rollouts" / "checkout-redesign.yaml").read_text().splitlines()) <= 20


@pytest.mark.parametrize("name", ["a", "x1", "on", "no", "y" * 60])
def test_any_name_gives_a_file_that_loads(run: Run, tmp_path: Path, name: str) -> None:
    assert run("init", name).code == 0
    assert load_rollout(tmp_path / "rollouts" / f"{name}.yaml").name == name


@pytest.mark.parametrize("name", ["A", "a b", "a_b", "a\n", "../a", "", "y" * 61, "true", "null"])
def test_a_name_that_would_not_load_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    found = run("init", name)
    assert found.code == 2
    assert "expected lower-case letters, digits and single hyphens" in found.err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_left_alone(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "rollouts" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("my work\n")
    found = run("init", "mine")
    assert (found.code, path.read_text()) == (2, "my work\n")
    assert "exists already; nothing was changed" in found.err


# generate


def test_what_is_generated_is_up_to_date(run: Run) -> None:
    run("init", "checkout", "--out", "few")
    assert run("generate", "--rollouts", "few", "--out", "build").code == 0
    assert run("generate", "--rollouts", "few", "--out", "build", "--check").code == 0


def test_what_is_out_of_date_is_1_and_named(run: Run, tmp_path: Path) -> None:
    run("init", "checkout", "--out", "few")
    run("generate", "--rollouts", "few", "--out", "build")
    (tmp_path / "build" / "alertmanager.yml").unlink()
    found = run("generate", "--rollouts", "few", "--out", "build", "--check")
    assert found.code == 1
    assert "build/alertmanager.yml: is out of date. Run: rollguard generate --out build" in found.err
    assert not (tmp_path / "build" / "alertmanager.yml").exists()


# schema


def problems(  # noqa: PLR0912 - one branch for each keyword
    schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]
) -> Iterator[str]:
    """Yield where a value breaks a schema, as far as the rollout's schema needs it."""
    if "$ref" in schema:
        yield from problems(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], value, root)
    for union in ("anyOf", "oneOf"):
        if union in schema and all(list(problems(option, value, root)) for option in schema[union]):
            yield f"{value!r} is none of {union}"
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    kind = schema.get("type")
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in kinds and not isinstance(value, kinds[kind]):
        yield f"{value!r} is no {kind}"
    if kind in {"number", "integer"} and not (numeric and (kind == "number" or isinstance(value, int))):
        yield f"{value!r} is no {kind}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{value!r} is not one of {schema['enum']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{value!r} is not like {schema['pattern']}"
    if isinstance(value, dict):
        known = schema.get("properties", {})
        yield from (f"{key} is missing" for key in schema.get("required", ()) if key not in value)
        for key, item in value.items():
            extra = schema.get("additionalProperties", True)
            if key in known:
                yield from problems(known[key], item, root)
            elif extra is False:
                yield f"{key} is unknown"
            elif isinstance(extra, dict):
                yield from problems(extra, item, root)
    if isinstance(value, list) and "items" in schema:
        yield from (text for item in value for text in problems(schema["items"], item, root))


@pytest.fixture
def schema(run: Run) -> Any:
    return json.loads(run("schema").out)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_takes_a_shipped_rollout(schema: Any, path: Path) -> None:
    assert list(problems(schema, yaml.safe_load(path.read_text(encoding="utf-8")), schema)) == []


def test_the_schema_takes_the_starter(schema: Any, run: Run, tmp_path: Path) -> None:
    run("init", "new")
    content = yaml.safe_load((tmp_path / "rollouts" / "new.yaml").read_text(encoding="utf-8"))
    assert list(problems(schema, content, schema)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("mode",), "guards"),
        (("title",), None),
        (("extra",), 1),
        (("stages", 0, "hold"), "90"),
        (("stages", 0, "hold"), 90),
        (("guards", 0, "with"), 3),
        (("guards", 0, "alert"), "lower"),
        (("targets", 0, "http"), {}),
    ],
    ids=str,
)
def test_the_schema_refuses_what_loading_refuses(schema: Any, place: tuple[Any, ...], value: Any) -> None:
    content = yaml.safe_load((SHIPPED / "model-canary.yaml").read_text(encoding="utf-8"))
    parent = content
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = value
    assert list(problems(schema, content, schema))


def test_every_key_of_the_schema_that_a_person_may_ask_about_is_described(schema: Any) -> None:
    assert all(definition.get("description") for definition in schema["$defs"].values())


# test


@pytest.mark.parametrize("mode", [[], ["--coverage"], ["--mutate"]], ids=str)
def test_mistakes_in_files_are_json_where_that_is_asked_for(
    run: Run, tmp_path: Path, mode: list[str]
) -> None:
    (tmp_path / "r.yaml").write_text("rollout: x\n")
    found = run("test", "--rollouts", "r.yaml", "--json", *mode)
    assert (found.code, found.err) == (1, "")
    first = json.loads(found.out)["problems"][0]
    assert (first["path"], first["key"]) == ("r.yaml", "flag")


# verify and history on a file


@pytest.fixture
def ledger(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger.open(url)
    start = Transition("model", "start", 1, "ROLLING_OUT", "canary", actor="ann", reason="v2")
    fall = Transition("model", "rollback", 1, "ROLLBACK", guard="Errors", reason="Errors")
    ledger.append([start, fall], NOW)
    ledger.close()
    return url


def test_an_unbroken_ledger_is_0(run: Run, ledger: str) -> None:
    found = run("verify", "--state", ledger)
    assert found.code == 0
    assert re.fullmatch(r"2 entries, the chain is unbroken; head 2:[0-9a-f]{64}\n", found.out)


def test_an_archive_whose_states_are_forged_is_1(run: Run, ledger: str, tmp_path: Path) -> None:
    with closing(Ledger.open(ledger)) as opened:
        opened.append([Transition("other", "start", 1, "ROLLING_OUT", "canary", actor="ann")], NOW + 1)
    archived = run("archive", "--state", ledger, "--keep", "1d", "--to", str(tmp_path / "archive"))
    path = archived.out.removeprefix("Wrote ").removesuffix(".\n")
    assert run("verify", "--state", ledger, "--archive", path).code == 0
    forged = "UPDATE archives SET states = replace(states, 'ROLLBACK', 'ENABLED')"
    tamper(tmp_path, "DROP TRIGGER archives_no_update", forged)
    broken = run("verify", "--state", ledger)
    assert (broken.code, broken.err.splitlines()[0]) == (
        1,
        "entry 2 led to other states than are kept: entry 4 has their digest",
    )
    assert "status 'ENABLED', not 'ROLLBACK'" in run("verify", "--state", ledger, "--archive", path).err


def test_a_head_as_it_is_printed_is_taken_back(run: Run, ledger: str) -> None:
    head = run("verify", "--state", ledger).out.split("head ")[1].strip()
    assert run("verify", "--state", ledger, "--head", head).code == 0


def tamper(tmp_path: Path, *statements: str) -> None:
    connection = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    for text in ("DROP TRIGGER entries_no_update", "DROP TRIGGER entries_no_delete", *statements):
        connection.execute(text)
    connection.close()


def test_a_ledger_that_was_tampered_with_is_1_and_the_entry_named(
    run: Run, ledger: str, tmp_path: Path
) -> None:
    tamper(tmp_path, "UPDATE entries SET reason = 'nothing' WHERE seq = 2")
    found = run("verify", "--state", ledger)
    assert found.code == 1
    assert found.err == "entry 2 was changed: its hash is of another text\n"
    assert "the chain is broken" in found.out


def test_a_tail_that_is_lost_is_found_by_a_head_kept_earlier(run: Run, ledger: str, tmp_path: Path) -> None:
    head = run("verify", "--state", ledger).out.split("head ")[1].strip()
    tamper(tmp_path, "DELETE FROM entries WHERE seq = 2")
    assert run("verify", "--state", ledger).code == 0
    assert run("verify", "--state", ledger, "--head", head).code == 1


def test_a_verdict_is_json_where_that_is_asked_for(run: Run, ledger: str) -> None:
    found = json.loads(run("verify", "--state", ledger, "--json").out)
    assert (found["entries"], found["faults"]) == (2, [])


def test_history_reads_a_ledger_without_a_server(run: Run, ledger: str) -> None:
    found = run("history", "model", "--state", ledger)
    assert found.code == 0
    assert [line.split()[5:7] for line in found.out.splitlines()] == [["1", "start"], ["1", "rollback"]]


def test_history_of_a_rollout_that_a_ledger_does_not_have_is_1(run: Run, ledger: str) -> None:
    found = run("history", "nosuch", "--state", ledger)
    assert (found.code, found.out, found.err) == (1, "", f"nosuch has no entry in {ledger}.\n")


# Calling a control plane that is not there


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            "http://127.0.0.1:1",
            "no control plane answers at http://127.0.0.1:1: [Errno 111] Connection refused.\n",
        ),
        ("http://", "expected a URL such as"),
        ("localhost:9840", "'localhost:9840', expected a URL such as"),
        ("127.0.0.1:1", "'127.0.0.1:1', expected a URL such as"),
        ("http://x:y", "'http://x:y', expected a URL such as"),
    ],
)
def test_a_server_that_does_not_answer_is_named(run: Run, token: Path, server: str, message: str) -> None:
    found = run("status", "--server", server, "--token-file", token)
    assert (found.code, message in found.err) == (2, True)


def test_a_token_file_that_is_missing_is_named_and_where_one_comes_from(run: Run) -> None:
    said = run("status").err
    assert "the token file .rollguard/token cannot be read" in said
    assert "--token-file; `rollguard up` writes one" in said


def test_only_a_server_is_told_to_make_a_token(run: Run, token: Path) -> None:
    token.write_text("short")
    assert "openssl" not in run("status", "--token-file", token).err
    found = run("serve", "--rollouts", SHIPPED, "--listen", "127.0.0.1:0", "--token-file", token)
    assert (found.code, f"openssl rand -hex 32 > {token}" in found.err) == (2, True)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--alertmanager", "foo", "expected a URL such as http://"),
        ("--alertmanager", "localhost:9093", "expected a URL such as http://"),
        ("--root", "/nope", "'/nope' does not exist"),
        ("--listen", "foo", "expected host:port, such as"),
        ("--poll", "0s", "expected at least 100ms"),
        ("--watch", "0s", "expected at least 100ms"),
        ("--allow-origin", "https://app.example/", "without a path"),
        ("--allow-origin", "app.example", "expected one such as https://app.example"),
        ("--memory", "/proc/nope", "Name another folder by --memory"),
    ],
)
def test_an_option_of_serve_that_cannot_be_used_is_named(
    run: Run, token: Path, option: str, value: str, message: str
) -> None:
    found = run("serve", "--rollouts", SHIPPED, "--token-file", token, option, value)
    assert (found.code, message in found.err) == (2, True)


@pytest.mark.parametrize("variable", ["ROLLGUARD_SERVER", "ROLLGUARD_TOKEN_FILE"])
def test_the_help_names_the_environment(run: Run, variable: str) -> None:
    assert variable in run("status", "--help").out


def test_an_address_in_use_is_named(run: Run, token: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        found = run("serve", "--rollouts", SHIPPED, "--listen", place, "--token-file", token)
    assert (found.code, f"cannot listen on {place}" in found.err) == (2, True)


@pytest.mark.parametrize("place", ["nowhere", "127.0.0.1", "127.0.0.1:99999", "host.invalid:80", "[::1"])
def test_an_address_that_is_none_is_named(run: Run, token: Path, place: str) -> None:
    found = run("serve", "--rollouts", SHIPPED, "--listen", place, "--token-file", token)
    assert (found.code, f"cannot listen on {place}" in found.err) == (2, True)
