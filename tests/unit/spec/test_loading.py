"""From a file to a rollout: every mistake at once, each with its line and how to mend it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rollguard.errors import FileProblemsError
from rollguard.spec.loading import load_each, load_rollout, load_rollouts
from rollguard.spec.rollout import Rollout

SHIPPED = Path(__file__).parents[3] / "rollouts"
GOOD = """\
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
    for: 1m
    severity: critical
    action: rollback
targets:
  - flagd-file: {path: flags.json}
"""

Told = Callable[..., list[str]]

FAILS = "fail: [{name: a, expr: b > 1"


@pytest.fixture
def told(tmp_path: Path) -> Told:
    """Return what is wrong with GOOD after some replacements, without the folder."""

    def of(*replacements: tuple[str, str], text: str = GOOD) -> list[str]:
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        try:
            load_rollout(path)
        except FileProblemsError as error:
            if not error.problems:
                return ["an error without a problem"]
            return [str(problem).replace(f"{tmp_path}/", "") for problem in error.problems]
        return []

    return of


def test_a_good_file_has_nothing_wrong(told: Told) -> None:
    assert told() == []


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_rollout_loads_and_is_short(path: Path) -> None:
    assert load_rollout(path).name == path.stem
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120


def test_five_mistakes_are_five_errors_each_with_line_key_and_expectation(told: Told) -> None:
    mistakes = [
        ("owner: shop", "onwer: shop"),
        ("hold: 4h", "hold: 90"),
        ("percent: 100", "percent: 110"),
        ("fallback: old", "fallback: older"),
        ("above: 0.05", "above: five"),
    ]
    found = told(*mistakes)
    assert found == [
        "r.yaml:3: onwer is not a known key.\n  Did you mean owner?",
        "r.yaml:5: flag.fallback is older, expected one of new, old.",
        "r.yaml:7: stages[0].hold is 90, expected a duration with its unit, such as 15s, 10m, 4h or 1h30m.\n"
        "  Write 90s, 90m or 90h.",
        "r.yaml:8: stages[1].percent is 110, expected 100 or less.\n"
        "  Write 10 for a tenth, 100 for everybody.",
        "r.yaml:12: guards[0].with.above is five, expected a finite number.",
    ]


def test_a_stage_named_twice_is_named_once_in_other_errors(told: Told) -> None:
    target = "  - yaml-file: {path: app.yml, values: {fallback: {a.b: 1}}}\n"
    found = told(
        ("name: full", "name: canary"),
        ("use: threshold", "use: threshold\n    stages: [ramp]"),
        text=GOOD + target,
    )
    assert [line.partition(": ")[2].splitlines()[0] for line in found] == [
        "stages[1].name is canary, which an earlier stage has.",
        "guards[0].stages[0] is ramp, expected one of canary, enabled.",
        "targets[1].yaml-file.values.canary is missing, expected what it means.",
    ]


def test_a_word_that_is_nearly_right_gets_the_right_one(told: Told) -> None:
    (found,) = told(("severity: critical", "severity: critcal"))
    assert found.endswith("\n  Did you mean critical?")


# One mistake, one error


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rollout: checkout", "rollout: Check_Out", "rollout is Check_Out, expected lower-case letters"),
        ("rollout: checkout", "rollout: 12", "rollout is 12, expected a string.\n  Put it in quotes."),
        ("owner: shop", 'owner: ""', 'owner is "", expected at least 1 character.'),
        ("owner: shop", "owner: '{{ x }}'", "owner is {{ x }}, expected one line of plain text"),
        ("owner: shop", "owner: shop\nmode: guards", "mode is guards, expected 'guard' or 'observe'."),
        ("severity: critical", "severity: critcal", "guards[0].severity is critcal, expected"),
        ("owner: shop", "owner: shop\nblind_after: 0s", "blind_after is 0s, expected more than 0s."),
        ("job: shop", "job: shop, interval: 100ms", "scrape.interval is 100ms, expected 200ms or more."),
        ("job: shop", "job: a b", "scrape.job is a b, expected letters, digits"),
        ("job: shop", "job: rollguard", "scrape.job is rollguard, which is the job of a server itself."),
        ('["127.0.0.1:8000"]', "[]", "scrape.targets is a list, expected at least 1 item."),
        ('["127.0.0.1:8000"]', '["http://x"]', "scrape.targets[0] is http://x, expected host:port"),
        ('["127.0.0.1:8000"]', "localhost:8000", "scrape.targets is localhost:8000, expected a list."),
        ("{new: true, old: false}", "{new: 1, old: false}", "flag.variants mix booleans, numbers"),
        ("{new: true, old: false}", "{new: .nan, old: 1.0}", "flag.variants.new is nan, expected a plain"),
        ("{new: true, old: false}", "{new: [1], old: 1}", "flag.variants.new is a list, expected a plain"),
        ("{new: true, old: false}", "{new: , old: true}", "flag.variants.new is empty, expected a plain"),
        ("serve: new", "serve: newer", "flag.serve is newer, expected one of new, old."),
        ("serve: new", "serve: old", "flag.fallback is old, the same as serve."),
        ("name: full", "name: canary", "stages[1].name is canary, which an earlier stage has."),
        ("name: full", "name: enabled", "stages[1].name is enabled, which names a state."),
        ("name: full", "name: fallback", "stages[1].name is fallback, which names a state."),
        ("percent: 10,", "percent: ten,", "stages[0].percent is ten, expected a number.\n  Write 10"),
        ("percent: 10,", "percent: -1,", "stages[0].percent is -1, expected 0 or more."),
        ("percent: 10,", "percent: true,", "stages[0].percent is true, expected a number."),
        ("percent: 10,", "percent: .nan,", "stages[0].percent is nan, expected"),
        ("hold: 4h", "hold: 1.5", "stages[0].hold is 1.5, expected a duration with its unit"),
        ("hold: 4h", f"hold: {'9' * 400}s", "stages[0].hold is 9999"),
        ("hold: 4h", "hold: 4h, approve: auto", "stages[0].approve is auto, expected 'manual'."),
        ("alert: ErrorsHigh", "alert: errors", "guards[0].alert is errors, expected CamelCase"),
        ("alert: ErrorsHigh", "alert: [ErrorsHigh]", "guards[0].alert is a list, expected a string."),
        ("alert: ErrorsHigh", "alert: ErrorsNoData", "guards[0].alert is ErrorsNoData, expected a name"),
        ("use: threshold", "use: treshold", "guards[0].use is treshold, expected one of absent"),
        ("use: threshold", "use: [threshold]", "guards[0].use is a list, expected a string."),
        ("above: 0.05", "abov: 1, above: 2", "guards[0].with.abov is not a parameter of threshold."),
        ("above: 0.05", f"above: {'9' * 400}", "guards[0].with.above is 9999"),
        ("above: 0.05", "above: true", "guards[0].with.above is true, expected a finite number."),
        ("above: 0.05", "above: .inf", "guards[0].with.above is inf, expected"),
        ("above: 0.05", "unit: s", "guards[0].with has none of below, at_most, above"),
        ("above: 0.05", "above: 1, below: 2", "guards[0].with has below and above the wrong way round."),
        ("above: 0.05", "above: 1, aggregate: average, window: 5", "guards[0].with.window is 5"),
        ("above: 0.05", "above: 1, aggregate: average, window: 0s", "guards[0].with.window is 0s"),
        ("above: 0.05", "above: 1, aggregate: mean, window: 5m", "guards[0].with.aggregate is mean"),
        ("above: 0.05", "above: 1, sample: n, min_sample: 1.5", "guards[0].with.min_sample is 1.5"),
        ("error_ratio,", "a or b,", "guards[0].with.metric is a or b, expected one metric such as"),
        ("metric: error_ratio, ", "", "guards[0].with.metric is missing, expected a value."),
        ("with: {metric: error_ratio, above: 0.05}", "with: []", "guards[0].with is a list, expected at"),
        ("with: {metric: error_ratio, above: 0.05}", "with: 3", "guards[0].with is 3, expected a mapping"),
        ("severity: critical", "severity: high", "guards[0].severity is high, expected 'critical'"),
        ("for: 1m", "stages: [canari]", "guards[0].stages[0] is canari, expected one of canary, full"),
        ("for: 1m", "stages: []", "guards[0].stages is a list, expected at least 1 item."),
        ("for: 1m", "stages: [disabled]", "guards[0].stages[0] is disabled, expected one of"),
        ("for: 1m", "no_data: panic", "guards[0].no_data is panic, expected 'rollback'"),
        ("flagd-file: {path: flags.json}", "ini-file: {path: x}", "targets[0].ini-file is not a known key."),
        ("flagd-file: {path: flags.json}", "{}", "targets[0] is a mapping, expected exactly one kind"),
        ("flagd-file: {path: flags.json}", 'flagd-file: {path: ""}', 'targets[0].flagd-file.path is ""'),
        ("owner: shop", f"owner: shop\n{FAILS}, stages: [canari]}}]", "fail[0].stages[0] is canari"),
        ("owner: shop", f"owner: shop\n{FAILS}, to: back}}]", "fail[0].to is back, expected one of"),
        ("owner: shop", "owner: shop\nfail: [{name: a}]", "fail[0].expr is missing, expected a value."),
        ("owner: shop", "owner: shop\ntraffic: {a: {per_minute: 1.0e+10}}", "traffic.a.per_minute is"),
        ("owner: shop", "owner: &x shop", ""),
        ("owner: shop", "owner: !!python/name:os.x ''", "owner is \"\" with the tag"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_error(told: Told, old: str, new: str, expected: str) -> None:
    found = told((old, new))
    assert [error.split(": ", 1)[1][: len(expected)] for error in found] == ([expected] if expected else [])


def test_a_stage_without_a_hold_has_no_verdict(told: Told) -> None:
    found = told(("hold: 4h", "hold: 0s"), ("owner: shop", f"owner: shop\n{FAILS}, stages: [canary]}}]"))
    expected = "r.yaml:4: fail[0].stages[0] is canary, which has no hold."
    assert found == [f"{expected}\n  It is judged when a hold has passed: give the stage one."]


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ("[2, 1]", "in strictly ascending order"),
        ("[1, 1]", "in strictly ascending order"),
        ("[0, .nan]", "is nan, expected a number"),
        ("[0, .inf]", "is inf, expected a number"),
        ("[]", "r.yaml:4: scrape.exporter.canary.bins.pnl"),
        (str(list(range(13))), "at most 12"),
        ("[a]", "scrape.exporter.canary.bins.pnl[0]"),
    ],
)
def test_edges_of_bins_are_few_and_ascend(told: Told, edges: str, expected: str) -> None:
    def scrape(bins: str) -> tuple[str, str]:
        exporter = f"exporter: {{canary: {{events: e, bins: {{pnl: {bins}}}}}}}"
        return "scrape: {job: shop,", f"scrape: {{{exporter}, job: shop,"

    assert told(scrape("[-1, 0, 0.5]")) == []
    (problem,) = told(scrape(edges))
    assert expected in problem


def test_an_alias_is_one_error(told: Told) -> None:
    found = told(("title: A shorter checkout", "title: &t Checkout"), ("owner: shop", "owner: *t"))
    assert [error.split("\n")[0] for error in found] == [
        "r.yaml:3: owner is an alias, expected the value itself."
    ]


def test_a_key_given_twice_is_an_error(told: Told) -> None:
    assert told(("owner: shop", "owner: shop\nowner: me")) == [
        "r.yaml:4: owner is given twice.\n  Keep one of the two."
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("percent: 10, ", "", "stages[0] is a mapping, expected percent, match or values."),
        ("percent: 10,", "match: {},", "stages[0].match is a mapping, expected at least 1 item."),
        ("percent: 10,", "match: {a: []},", "stages[0].match.a is a list, expected at least 1 item."),
        ("percent: 10,", "match: {a: [1]},", "stages[0].match.a[0] is 1, expected a string."),
        ("percent: 10,", "match: {a.b: [c]},", "stages[0].match.a.b is a list, expected letters, digits"),
        ("percent: 10,", "values: {run: 5},", "stages[0] is a mapping, expected values not to be named run,"),
        ("serve: new,", "serve: new, users: {on: [5]},", "flag.users.on[0] is 5, expected a string."),
        ("serve: new,", "serve: new, schedule: {},", "flag.schedule is a mapping, expected enable_at or"),
        (
            "serve: new,",
            "serve: new, schedule: {enable_at: 2026-01-05},",
            "flag.schedule.enable_at is 2026-01-05, expected a moment with its time zone, such as",
        ),
        (
            "serve: new,",
            'serve: new, schedule: {enable_at: "2026-01-05T00:00:00Z", disable_at: "2026-01-05T00:00:00Z"},',
            "flag.schedule is a mapping, expected enable_at before disable_at.",
        ),
    ],
)
def test_a_mistake_in_who_is_served_is_one_error(told: Told, old: str, new: str, expected: str) -> None:
    (found,) = told((old, new))
    assert found.split(": ", 1)[1].startswith(expected)


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        (["two"], ""),
        (["three"], r"one.yaml:1: requires\[0\] is three, which is no rollout of this folder.\n  Known here"),
        (["twoo"], r"Did you mean two\?"),
        (["one"], "is one, which waits for one in turn"),
    ],
)
def test_rollouts_require_others_of_their_folder(tmp_path: Path, requires: list[str], message: str) -> None:
    for name, more in (("one", f"requires: {requires}\n"), ("two", "")):
        (tmp_path / f"{name}.yaml").write_text(more + GOOD.replace("checkout", name))
    if not message:
        assert [rollout.requires for rollout in load_rollouts(tmp_path)] == [("two",), ()]
        return
    with pytest.raises(FileProblemsError, match=message):
        load_rollouts(tmp_path)


def test_a_circle_of_requirements_is_an_error_in_each(tmp_path: Path) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        text = f"requires: [{other}]\n" + GOOD.replace("checkout", name)
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(FileProblemsError, match=r"one\.yaml.*waits for one in turn(.|\n)*two\.yaml"):
        load_rollouts(tmp_path)


def test_a_rollout_that_comes_after_one_that_waits_for_it_is_an_error_in_each(tmp_path: Path) -> None:
    for name, more in (("one", "after: [two]"), ("two", "requires: [one]"), ("three", "after: [one, thre]")):
        (tmp_path / f"{name}.yaml").write_text(f"{more}\n{GOOD.replace('checkout', name)}")
    with pytest.raises(FileProblemsError) as found:
        load_rollouts(tmp_path)
    said = str(found.value)
    assert "one.yaml:1: after[0] is two, which waits for one in turn." in said
    assert "two.yaml:1: requires[0] is one, which waits for two in turn." in said
    assert (
        "three.yaml:1: after[1] is thre, which is no rollout of this folder.\n  Did you mean three?" in said
    )
    assert "after[0] is one" not in said, "that can start once the others are mended"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("{name: a}", "preflight[0] is a mapping, expected exactly one of run and expr"),
        (
            "{name: a, run: [x], expr: up == 1}",
            "preflight[0] is a mapping, expected exactly one of run and expr",
        ),
        ("{name: a, run: x}", "preflight[0].run is x, expected a list"),
        ("{name: a, run: []}", "preflight[0].run"),
        ("{name: a, run: [x], timeout: 11m}", "preflight[0].timeout is 11m"),
        ("{run: [x]}", "preflight[0].name is missing"),
    ],
)
def test_a_preflight_that_cannot_be_tried_is_refused(told: Told, given: str, expected: str) -> None:
    found = told(("targets:\n", f"preflight: [{given}]\ntargets:\n"))
    assert any(expected in error for error in found), found


def test_one_variant_is_too_few(told: Told) -> None:
    found = told(("variants: {new: true, old: false}", "variants: {new: true}"))
    assert "r.yaml:5: flag.variants is a mapping, expected at least 2 items." in found


def test_a_kind_of_target_that_does_not_exist_is_refused_with_the_nearest_that_does(told: Told) -> None:
    (found,) = told(("flagd-file: {path: flags.json}", "jsonfile: {path: x}"))
    assert "targets[0].jsonfile is not a known key." in found
    assert "Did you mean json-file?" in found


# Hints


@pytest.mark.parametrize(
    ("old", "new", "hint"),
    [
        ("rollout: checkout", "rolout: checkout", "Did you mean rollout?"),
        ("severity: critical", "severty: critical", "Did you mean severity?"),
        ("flagd-file:", "flagd_file:", "Did you mean flagd-file?"),
        ("targets:\n", "rollback: {cooldwn: 5m}\ntargets:\n", "Did you mean cooldown?"),
        ("above: 0.05", "abvoe: 0.05", "Did you mean above?"),
        ("for: 1m", "for_: 1m", "Did you mean for?"),
        ("use: threshold", "use: trails-base", "Did you mean trails-baseline?"),
        ("for: 1m", "stages: [canari]", "Did you mean canary?"),
        ("for: 1m", "qqq: 1", "Known here: action, alert, clear_for, clock, condition"),
    ],
)
def test_the_nearest_known_word_is_suggested(told: Told, old: str, new: str, hint: str) -> None:
    assert any(hint in error for error in told((old, new)))


def test_a_ratio_in_percent_is_told_what_to_write(told: Told) -> None:
    trails = "trails-baseline\n    with: {metric: a, baseline: b, delta_ratio: 5}"
    (found,) = told(("threshold\n    with: {metric: error_ratio, above: 0.05}", trails))
    assert found.endswith("is 5, expected 0\u20131.\n  Write 0.05 for 5 percentage points.")


# Between keys


def test_two_guards_of_one_name_are_an_error(told: Told) -> None:
    guard = GOOD[GOOD.index("  - alert") : GOOD.rindex("targets:")]
    (found,) = told(("targets:\n", f"{guard}targets:\n"))
    assert "guards[1].alert is ErrorsHigh, as in an earlier guard." in found


def test_each_item_of_a_list_of_parameters_is_checked(told: Told) -> None:
    found = told(("with: {metric: error_ratio, above: 0.05}", "with: [{metric: a}, {metric: b c, above: 1}]"))
    assert [error.split(" ")[1] for error in found] == ["guards[0].with[0]", "guards[0].with[1].metric"]


def test_a_criterion_of_an_unknown_stage_is_an_error(told: Told) -> None:
    advance = "advance:\n  - {name: enough, expr: x > 1, stages: [ful]}\ntargets:\n"
    (found,) = told(("targets:\n", advance))
    assert "advance[0].stages[0] is ful, expected one of canary, full." in found


def test_without_stages_nothing_else_is_said_of_stages(told: Told) -> None:
    stages = GOOD[GOOD.index("stages:") : GOOD.index("guards:")]
    found = told((stages, ""), ("for: 1m", "stages: [canary]"))
    assert found == ["r.yaml:1: stages is missing, expected a value.\n  Add the key."]


# Whole files


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- a\n- b\n", "a list"),
        ("hello", "hello"),
        ("3", "3"),
    ],
)
def test_a_file_that_is_no_mapping_is_one_error(told: Told, text: str, shown: str) -> None:
    assert told(text=text) == [f"r.yaml:1: the file is {shown}, expected a mapping of keys."]


def test_a_folder_shows_the_errors_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rollout: [")
    (tmp_path / "b.yml").write_text(GOOD.replace("owner: shop\n", ""))
    (tmp_path / "c.yaml").write_text(GOOD)
    with pytest.raises(FileProblemsError) as error:
        load_rollouts(tmp_path)
    assert [problem.path.name for problem in error.value.problems] == ["a.yaml", "b.yml"]


def test_a_folder_without_rollouts_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(FileProblemsError, match=r"has no rollout file.*\n  Write one with: rollguard init"):
        load_rollouts(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileProblemsError, match="cannot be read: No such file"):
        load_rollouts(tmp_path / "none")


def test_a_folder_is_loaded_in_the_order_of_names(tmp_path: Path) -> None:
    for file, name in (("1.yaml", "zeta"), ("2.yml", "alpha")):
        (tmp_path / file).write_text(GOOD.replace("checkout", name))
    (tmp_path / "notes.txt").write_text("not a rollout")
    assert [rollout.name for rollout in load_rollouts(tmp_path)] == ["alpha", "zeta"]


def test_two_files_of_one_rollout_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("key: checkout", "key: other"))
    with pytest.raises(FileProblemsError, match=r"b\.yaml:1: rollout is checkout, as in .*a\.yaml"):
        load_rollouts(tmp_path)


def test_of_two_files_of_one_rollout_the_first_is_looked_at_further(tmp_path: Path) -> None:
    first = tmp_path / "a.yaml"
    first.write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD)
    rollouts, problems = load_each(tmp_path)
    assert [path for path, _ in rollouts] == [first]
    assert [problem.key for problem in problems] == ["rollout", "flag.key"]


def test_two_rollouts_of_one_flag_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(GOOD)
    (tmp_path / "b.yaml").write_text(GOOD.replace("rollout: checkout", "rollout: other"))
    with pytest.raises(FileProblemsError, match=r"b\.yaml:5: flag\.key is checkout, as in .*a\.yaml"):
        load_rollouts(tmp_path)


# The model


def test_the_digest_is_that_of_the_meaning(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(GOOD)
    head, _, rest = GOOD.partition("owner: shop\n")
    moved = f"# moved\n{head}{rest}owner: shop\nmode: guard\n"  # and a default written out
    two.write_text(moved.replace("hold: 4h", "hold: 240m"))
    assert load_rollout(one).digest() == load_rollout(two).digest()


def test_the_digest_changes_with_a_threshold(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(GOOD)
    two.write_text(GOOD.replace("0.05", "0.06"))
    assert load_rollout(one).digest() != load_rollout(two).digest()


def test_a_rollout_is_the_same_after_being_written_and_read(tmp_path: Path) -> None:
    shipped = load_rollout(SHIPPED / "model-canary.yaml")
    again = Rollout.model_validate(shipped.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert again == shipped


@pytest.mark.parametrize(
    ("stage", "is_armed"),
    [("canary", True), ("full", True), ("enabled", True), ("disabled", False), ("rollback", False)],
)
def test_a_guard_without_stages_is_armed_while_a_run_is_under_way(
    tmp_path: Path, stage: str, is_armed: bool
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    assert load_rollout(path).guards[0].armed_in(stage) is is_armed


# Whatever is written


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, item in items for place in _places(item, (*here, key)))]


_SHIPPED_DATA = yaml.safe_load((SHIPPED / "model-canary.yaml").read_text(encoding="utf-8"))
_ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1h", "0s", "x{a=~\"b.*\"}", "x{a!=\"\"}", "shadow", "a|b", 10**400, "{{", "-", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.sampled_from(_places(_SHIPPED_DATA)[1:]), value=_ODD, drop=st.booleans())
@example(place=("guards", 0, "alert"), value={}, drop=False)
@example(place=("guards", 0, "with"), value=[], drop=False)
@example(place=("stages", 0, "name"), value=[], drop=False)
def test_no_change_of_a_rollout_brings_anything_but_problems(
    tmp_path: Path, place: tuple[Any, ...], value: Any, drop: bool
) -> None:
    changed = copy.deepcopy(_SHIPPED_DATA)
    parent = changed
    for part in place[:-1]:
        parent = parent[part]
    if drop:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
    problems = None
    try:
        load_rollout(path)
    except FileProblemsError as error:
        problems = error.problems
    assert problems != ()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120) | st.text(max_size=120).map(lambda text: f"rollout: {text}".encode()))
def test_no_bytes_bring_anything_but_problems(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(FileProblemsError) as error:
        load_rollout(path)
    assert error.value.problems
