"""Guard sets: taken and overridden by name, and what is wrong with them or with who takes one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from rollguard.errors import FileProblemsError
from rollguard.generators.mutation.run import subjects
from rollguard.generators.rules.timing import Timing
from rollguard.spec.guards import all_guards
from rollguard.spec.loading import load_each, load_rollout, load_sound
from rollguard.spec.rollout import Rollout
from rollguard.spec.sets import known_sets, read_rollout, schema, shipped_folder
from rollguard.yamlfile import MAX_BYTES, read

SHIPPED = Path(__file__).parents[3] / "rollouts"
ROLLOUT = """\
rollout: checkout
title: A shorter checkout
owner: shop
scrape: {job: shop, targets: ["127.0.0.1:8000"]}
flag: {key: checkout, variants: {new: true, old: false}, serve: new, fallback: old}
stages:
  - {name: canary, percent: 10, hold: 4h}
  - {name: full, percent: 100, hold: 1d}
guards:
  - alert: ErrorsHigh
    use: threshold
    with: {metric: error_ratio, above: 0.05}
    severity: critical
    action: rollback
"""
SET = """\
set: shop
summary: What watches every service of the shop.
guards:
  - alert: PanicSeen
    use: increases
    with: {metric: panics_total, window: 5m}
    severity: critical
    action: rollback
  - alert: Slow
    use: threshold
    with: {metric: latency_seconds, above: 2, unit: " s"}
    stages: [full]
    severity: warning
    action: hold
    no_traffic: notify
"""
TAKEN = "  - set: shop\n"

Load = Callable[..., Rollout]
Told = Callable[..., list[str]]


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Write a rollout whose guards end with some items, and the sets beside it."""

    def write(items: str = TAKEN, text: str = SET, **others: str) -> Path:
        (tmp_path / "sets").mkdir(exist_ok=True)
        for name, content in {"shop": text, **others}.items():
            (tmp_path / "sets" / f"{name}.yaml").write_text(content, encoding="utf-8")
        path = tmp_path / "r.yaml"
        path.write_text(ROLLOUT + items, encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(written: Callable[..., Path]) -> Load:
    return lambda *arguments, **others: load_rollout(written(*arguments, **others))


@pytest.fixture
def told(written: Callable[..., Path], tmp_path: Path) -> Told:
    """Return what is wrong with a rollout and its sets, without the folder."""

    def of(*arguments: str, **others: str) -> list[str]:
        path = written(*arguments, **others)
        with pytest.raises(FileProblemsError) as error:
            load_rollout(path)
        return [str(problem).replace(f"{tmp_path}/", "") for problem in error.value.problems]

    return of


def as_item(**keys: Any) -> str:
    return f"  - {json.dumps(keys)}\n"


# Taking a set


def test_the_guards_of_a_set_stand_in_its_place(load: Load) -> None:
    rollout = load(
        TAKEN
        + as_item(alert="Last", use="absent", **{"with": {"metric": "up"}}, severity="info", action="hold")
    )
    assert [guard.name for guard in rollout.guards] == ["ErrorsHigh", "PanicSeen", "Slow", "Last"]


def test_a_rollout_that_takes_a_set_is_the_one_that_writes_its_guards_out(load: Load, tmp_path: Path) -> None:
    rollout = load()
    whole = tmp_path / "whole" / "r.yaml"
    whole.parent.mkdir()
    whole.write_text(ROLLOUT + SET.partition("guards:\n")[2], encoding="utf-8")
    assert load_rollout(whole) == rollout
    assert load_rollout(whole).digest() == rollout.digest()
    assert "latency_seconds" in rollout.definition()


def test_another_number_in_a_set_is_another_digest(load: Load) -> None:
    assert load().digest() != load(TAKEN, SET.replace("above: 2", "above: 3")).digest()


def test_a_set_beside_the_file_goes_before_one_of_the_library(load: Load) -> None:
    own = SET.replace("set: shop", "set: trading-feature")
    rollout = load("  - set: trading-feature\n", **{"trading-feature": own})
    assert [guard.name for guard in rollout.guards] == ["ErrorsHigh", "PanicSeen", "Slow"]


def test_a_folder_of_rollouts_takes_no_set_for_one(written: Callable[..., Path]) -> None:
    rollouts, problems = load_each(written().parent)
    assert ([path.name for path, _ in rollouts], problems) == (["r.yaml"], [])


# Overriding by name


def slow(rollout: Rollout) -> dict[str, Any]:
    (guard,) = (guard for guard in rollout.guards if guard.name == "Slow")
    return guard.model_dump(mode="json", by_alias=True, exclude_unset=True)


def test_keys_of_the_same_name_replace_those_of_the_set(load: Load) -> None:
    before, after = slow(load()), slow(load(TAKEN + as_item(alert="Slow", action="notify", no_traffic=None)))
    assert after == {**before, "action": "notify", "no_traffic": None}


def test_of_the_parameters_only_those_that_are_given_are_replaced(load: Load) -> None:
    found = slow(load(TAKEN + as_item(alert="Slow", **{"with": {"above": 3}})))
    assert found["with"] == {"metric": "latency_seconds", "above": 3, "unit": " s"}


def test_a_guard_with_a_template_of_its_own_replaces_the_sets_whole(load: Load) -> None:
    whole = {"use": "absent", "with": {"metric": "up"}, "severity": "info", "action": "notify"}
    rollout = load(TAKEN + as_item(alert="Slow", **whole))
    assert slow(rollout) == {"alert": "Slow", **whole}
    assert [guard.name for guard in rollout.guards] == ["ErrorsHigh", "PanicSeen", "Slow"]


def test_an_item_may_override_before_the_set_is_taken(load: Load) -> None:
    item = as_item(alert="Slow", severity="critical")
    assert load(item + TAKEN) == load(TAKEN + item)


def test_guards_of_one_alert_are_overridden_by_name(load: Load) -> None:
    text = SET.replace("alert: PanicSeen", "alert: Slow\n    name: Slow-panic")
    rollout = load(TAKEN + as_item(alert="Slow", name="Slow-panic", severity="info"), text)
    assert [(guard.name, guard.severity) for guard in rollout.guards[1:]] == [
        ("Slow-panic", "info"),
        ("Slow", "warning"),
    ]


# What is wrong, and where


def test_an_unknown_set_is_named_with_the_nearest(told: Told) -> None:
    assert told("  - set: shap\n") == [
        "r.yaml:15: guards[1].set is shap, expected one of "
        f"{', '.join(known_sets(Path()))}, shop.\n  Did you mean shop?"
    ]


@pytest.mark.parametrize(
    "name", ["../r", "../sets/shop", "/etc/passwd", "shop.yaml", "sets/shop", "", "..", "a\0b"]
)
def test_a_name_leads_to_no_other_file(told: Told, name: str) -> None:
    (problem,) = told(as_item(set=name))
    assert problem.startswith("r.yaml:15: guards[1].set is ")
    assert "expected one of" in problem


@pytest.mark.parametrize(
    ("value", "shown"), [("[shop]", "a list"), ("{a: 1}", "a mapping"), ("", "empty"), ("7", "7")]
)
def test_what_is_no_name_is_told(told: Told, value: str, shown: str) -> None:
    assert told(f"  - set: {value}\n") == [
        f"r.yaml:15: guards[1].set is {shown}, expected the name of a guard set."
    ]


def test_a_key_beside_set_is_refused(told: Told) -> None:
    assert told("  - {set: shop, stages: [full]}\n") == [
        "r.yaml:15: guards[1].stages is not a known key beside set.\n"
        "  To override a guard of the set, add an item of its name."
    ]


def test_a_set_that_is_taken_twice_is_told(told: Told) -> None:
    assert told(TAKEN * 2) == ["r.yaml:16: guards[2].set is shop, which is taken already.\n  Take it once."]


def test_two_sets_with_one_guard_are_told(told: Told) -> None:
    other = SET.replace("set: shop", "set: other").replace("PanicSeen", "Panic")
    assert told(TAKEN + "  - set: other\n", other=other) == [
        "r.yaml:16: guards[2].set is other, which brings Slow as shop does.\n"
        "  Take one of the two, or name the guard otherwise in one of them."
    ]


@pytest.mark.parametrize(
    ("item", "hint"),
    [
        ({"alert": "Slo", "severity": "info"}, "Did you mean Slow?"),
        ({"alert": "ErrorsHigh", "severity": "info"}, "A guard of the file's own has use or expr."),
    ],
)
def test_an_override_of_a_guard_that_is_not_in_the_set_is_told(
    told: Told, item: dict[str, str], hint: str
) -> None:
    assert told(TAKEN + as_item(**item)) == [
        f"r.yaml:16: guards[2].alert is {item['alert']}, expected a guard of the set shop, which it would "
        f"override.\n  {hint}"
    ]


def test_a_second_override_of_a_guard_is_told(told: Told) -> None:
    (problem,) = told(TAKEN + as_item(alert="Slow", severity="info") * 2)
    assert problem.startswith("r.yaml:17: guards[3].alert is Slow, ")


def test_a_wrong_key_of_an_override_has_its_line_and_place(told: Told) -> None:
    found = told(TAKEN + "  - alert: Slow\n    severety: info\n    with:\n      abov: 3\n")
    assert found == [
        "r.yaml:17: guards[2].severety is not a known key.\n  Did you mean severity?",
        "r.yaml:19: guards[2].with.abov is not a parameter of threshold.\n  Did you mean above?",
    ]


def test_a_stage_that_the_rollout_lacks_is_told_where_the_set_is_taken(told: Told) -> None:
    (problem,) = told(TAKEN, SET.replace("[full]", "[ful]"))
    assert problem == (
        "r.yaml:15: guards[1].set brings Slow, whose stages[0] is ful, expected one of canary, full, enabled."
        "\n  Did you mean full? It stands in sets/shop.yaml:12; an item of this name overrides it."
    )


def test_stages_of_an_override_go_before_those_of_the_set(load: Load, told: Told) -> None:
    text = SET.replace("[full]", "[other]")
    assert slow(load(TAKEN + as_item(alert="Slow", stages=["canary"]), text))["stages"] == ["canary"]
    (problem,) = told(TAKEN + as_item(alert="Slow", stages=["none"]), text)
    assert problem.startswith("r.yaml:16: guards[2].stages[0] is none, expected one of")


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("- set: shop\n", ["1: the file is a list, expected a mapping of keys."]),
        ("", ["1: the file is empty, expected a mapping of keys."]),
        (f"{SET}note: 1\n", ["16: note is not a known key."]),
        (SET.replace("set: shop", "set: shap"), ["1: set is shap, expected shop, as the file is called."]),
        (SET.replace("above: 2", "abov: 2"), [
            "11: guards[1].with has none of below, at_most, above, at_least, expected at least one.",
            "11: guards[1].with.abov is not a parameter of threshold.",
        ]),
        (SET.replace("severity: warning", "severity: bad"), [
            "13: guards[1].severity is bad, expected 'critical', 'warning' or 'info'."
        ]),
        (f"{SET}{TAKEN}", ["16: guards[2].set is shop, expected a guard: a set takes no set."]),
        (f"{SET}  - set: trading-feature\n", [
            "16: guards[2].set is trading-feature, expected a guard: a set takes no set."
        ]),
        (SET.replace('with: {metric: latency_seconds, above: 2, unit: " s"}', "expr: '<< cycler.x >>'"), [
            "11: guards[1].expr is << cycler.x >>, expected Jinja without attributes (.x)."
        ]),
        (SET.replace("PanicSeen", "Slow"), ["9: guards[1].alert is Slow, as in an earlier guard."]),
        ("set: shop\nsummary: None.\nguards: []\n", ["3: guards is a list, expected at least 1 item."]),
        ("set: [\n", ["2: is not YAML: expected the node content, but found '<stream end>'."]),
        ("a" * (MAX_BYTES + 1), [" is over 1 MiB, too large for a file written by hand."]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_set_has_its_file_and_line(told: Told, text: str, problems: list[str]) -> None:
    items = TAKEN + as_item(alert="Slow", severity="info")  # of which nothing is told: the set is not known
    found = [problem.partition("\n")[0] for problem in told(items, text)]
    assert found == [f"sets/shop.yaml:{problem}" for problem in problems]


def test_two_files_of_one_set_are_told(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written()
    (tmp_path / "sets" / "shop.yml").write_text(SET, encoding="utf-8")
    with pytest.raises(FileProblemsError, match=r"sets/shop\.yml: is the set shop, as shop\.yaml is\."):
        load_rollout(path)


def test_a_file_without_end_is_not_read_to_its_end(told: Told, tmp_path: Path) -> None:
    told(TAKEN, "")
    (tmp_path / "sets" / "shop.yaml").unlink()
    (tmp_path / "sets" / "shop.yaml").symlink_to("/dev/zero")
    with pytest.raises(FileProblemsError, match="is over 1 MiB"):
        load_rollout(tmp_path / "r.yaml")


def test_rollouts_that_take_a_broken_set_are_broken_by_their_own_names(written: Callable[..., Path]) -> None:
    path = written(TAKEN, SET.replace("above: 2", "abov: 2"))
    again = path.with_name("again.yaml")
    again.write_text(path.read_text().replace("checkout", "again"), encoding="utf-8")
    path.with_name("sound.yaml").write_text(ROLLOUT.replace("checkout", "sound"), encoding="utf-8")
    sound, problems, broken = load_sound(path.parent)
    assert [rollout.name for rollout in sound] == ["sound"]
    assert len(problems) == len(set(problems)) == 2
    assert {name: len(texts) for name, texts in broken.items()} == {"again": 2, "checkout": 2}


# What others make of it


def test_a_mutant_of_a_sets_guard_has_the_line_where_it_is_taken(written: Callable[..., Path]) -> None:
    path = written()
    found = {subject.guard: subject.line for subject in subjects(path, load_rollout(path), Timing())}
    assert {name: found[name] for name in ("ErrorsHigh", "PanicSeen", "Slow")} == {
        "ErrorsHigh": 10,
        "PanicSeen": 15,
        "Slow": 15,
    }


def test_six_features_share_their_guards_and_each_shipped_set_is_taken() -> None:
    taken = [
        item["set"] for path in SHIPPED.glob("*.yaml") for item in read(path).data["guards"] if "set" in item
    ]
    assert taken.count("trading-feature") == 6
    assert {path.stem for path in shipped_folder().iterdir()} == set(taken)


def test_the_schema_takes_sets_and_overrides(written: Callable[..., Path]) -> None:
    validator = jsonschema_rs.validator_for(schema())

    def valid(**item: object) -> bool:
        data = read(written()).data
        return bool(validator.is_valid({**data, "guards": [*data["guards"], item]}))

    assert valid(set="shop")
    assert valid(alert="Slow", severity="info")
    assert not valid(set="shop", only=1)
    assert not valid(alert="Slow", severety="info")
    assert not valid(alert="Slow", use="threshold")


def test_the_expanded_file_is_what_the_model_reads(written: Callable[..., Path]) -> None:
    document = read_rollout(written())
    assert Rollout.model_validate(document.data) == load_rollout(document.path)
    assert len(document.data["guards"]) == 3
    assert {guard.source_name for guard in all_guards(load_rollout(document.path))} == {
        "ErrorsHigh",
        "PanicSeen",
        "Slow",
    }


def test_a_set_brings_laws_of_its_traffic_and_the_files_own_win(tmp_path: Path) -> None:
    pages = "requests_total: {per_minute: 5}\n  errors_total: {per_minute: 0}"
    (tmp_path / "sets").mkdir()
    guard = (
        "  - {alert: Fails, use: increases, with: {metric: errors_total}, severity: warning, action: hold}"
    )
    text = f"set: pages\nsummary: Pages.\nguards:\n{guard}\ntraffic:\n  {pages}\n"
    (tmp_path / "sets" / "pages.yaml").write_text(text)
    content = SHOP_TRAFFIC.format(own="traffic: {requests_total: {per_minute: 9}}")
    (tmp_path / "shop.yaml").write_text(content)
    found = load_rollout(tmp_path / "shop.yaml").traffic
    assert {name: law.per_minute for name, law in found.items()} == {"requests_total": 9, "errors_total": 0}
    (tmp_path / "sets" / "pages.yaml").write_text(text.replace("per_minute: 5", "per_minut: 5"))
    with pytest.raises(FileProblemsError, match="per_minut is not a known key"):
        load_rollout(tmp_path / "shop.yaml")


SHOP_TRAFFIC = """rollout: shop
title: Shop
owner: web
scrape: {{job: shop, targets: ["127.0.0.1:9999"]}}
flag: {{key: shop, variants: {{new: true, old: false}}, serve: new, fallback: old}}
stages: [{{name: full, percent: 100}}]
guards: [{{set: pages}}]
{own}
"""
