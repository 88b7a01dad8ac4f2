"""Reading YAML 1.2: plain data, the line of every key, and an error in place of a surprise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollguard import yamlfile
from rollguard.errors import FileProblemsError
from rollguard.yamlfile import MAX_BYTES, Document, dotted, dump, parse, read
from tests.factories import ROOT

PATH = Path("a.yaml")


def data(text: str) -> object:
    return parse(PATH, text).data


def told(document: Document) -> list[str]:
    return [str(problem) for problem in document.problems]


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "On", "YES", "y", "n"])
def test_words_that_yaml_1_1_takes_for_booleans_are_text(word: str) -> None:
    assert data(f"{word}: {word}") == {word: word}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("010", 10),
        ("-7", -7),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("0x1F", "0x1F"),
        ("0o14", "0o14"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-01-02", "2026-01-02"),
        ("=", "="),
        ("'1'", "1"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert data(f"key: {text}") == {"key": value}


@pytest.mark.parametrize("key", ["true", "null", "1", "1.50"])
def test_keys_are_text_as_written(key: str) -> None:
    assert data(f"{key}: x") == {key: "x"}


def test_every_key_and_item_has_its_line() -> None:
    document = parse(PATH, "a:\n  - b: 1\n    c: 2\n  - d\n")
    lines = [document.line_of(place) for place in [("a",), ("a", 0, "c"), ("a", 1)]]
    assert lines == [1, 3, 4]


def test_a_place_that_the_file_lacks_has_the_line_of_its_parent() -> None:
    assert parse(PATH, "a: 1\nb:\n  c: 1\n").line_of(("b", "missing", 0)) == 2


def test_a_place_is_written_as_people_write_it() -> None:
    assert dotted(("guards", 0, "with", "delta_ratio")) == "guards[0].with.delta_ratio"


def test_a_key_given_twice_is_named_with_the_line_of_the_second() -> None:
    assert told(parse(PATH, "a: 1\nb: 2\na: 3\n")) == ["a.yaml:3: a is given twice.\n  Keep one of the two."]


def test_an_alias_is_named() -> None:
    assert told(parse(PATH, "a: &x 1\nb: *x\n")) == [
        "a.yaml:2: b is an alias, expected the value itself.\n  Write it out; rollouts stay short."
    ]


def test_aliases_of_aliases_do_not_grow() -> None:
    levels = "\n".join(f"l{n + 1}: &l{n + 1} [{', '.join([f'*l{n}'] * 9)}]" for n in range(9))
    assert len(parse(PATH, f"l0: &l0 x\n{levels}").problems) == 81


@pytest.mark.parametrize(
    "scalar",
    [
        "!!bool maybe",
        "!!int x",
        "!!float x",
        "!!timestamp x",
        "!!timestamp 2026-01-02",
        "!!binary aGk=",
        "!!python/name:os.system ''",
        "!own x",
    ],
)
def test_an_odd_tag_is_named_and_builds_nothing(scalar: str) -> None:
    document = parse(PATH, f"key: {scalar}")
    assert document.data == {"key": None}
    assert "expected a plain value" in told(document)[0]


def test_a_number_of_five_thousand_digits_is_named() -> None:
    assert "expected a plain value" in told(parse(PATH, "key: " + "1" * 5000))[0]


def test_a_number_that_no_other_program_would_take_is_named() -> None:
    document = parse(PATH, "small: 18446744073709551615\nlarge: " + "1" * 4000)
    assert document.data == {"small": 2**64 - 1, "large": None}
    assert "expected a number that fits into 64 bits" in told(document)[0]


def test_aliases_that_would_grow_without_end_are_refused() -> None:
    laughs = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    assert len(parse(PATH, f"a0: &a0 [x, x]\n{laughs}").problems) == 118


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: c: d\n", 2, "mapping values are not allowed"),
        ("a: [1\n", 2, "is not YAML"),
        ("a: 1\nb: \x07\n", 2, "the character U\\+0007"),
        ("a: 1\n---\nb: 2\n", 2, "is not YAML"),
        ("a: *nobody", 1, "undefined alias"),
        ('a: "\\UFFFFFFFF"', 0, "an escape in it names no character"),
        ("a: 1\nb: " + "[" * 5000, 2, "nested over 100 deep"),
        ("a:\n" + "- 1\n" * 60_000, 49_999, "over 50,000 keys and values"),
    ],
)
def test_what_is_not_yaml_is_named_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(FileProblemsError, match=message) as error:
        parse(PATH, text)
    assert [problem.line for problem in error.value.problems] == [line]


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  - b\n\t- c\n"])
def test_a_tab_is_to_be_spaces(text: str) -> None:
    with pytest.raises(FileProblemsError, match=r"is not YAML: .*'\\t'.*\n  Indent with spaces\.$"):
        parse(PATH, text)


@given(st.text(alphabet=st.sampled_from("ab01:-?!&*[]{},|>'\"%@`#~.<= \n\t\\UxFe\u00e9"), max_size=60))
def test_no_text_brings_anything_but_a_document_or_problems(text: str) -> None:
    problems = None
    try:
        parse(PATH, text)
    except FileProblemsError as error:
        problems = error.problems
    assert problems != ()


@given(
    st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc"]))
    | st.sampled_from(
        ["08", "1e5", "-.5", "on", "yes", "null", "~", "1_000", "12:30", "0o7", "2026-01-02", "="]
    )
    | st.from_regex(r"[-+.0-9eEx_:]{1,6}", fullmatch=True)
    | st.floats(allow_nan=False)
    | st.integers(-(2**64) + 1, 2**64 - 1)
    | st.booleans()
    | st.none()
)
def test_what_was_dumped_is_read_back_the_same(value: object) -> None:
    document = parse(PATH, dump({"key": value, "list": [value, {"again": value}]}))
    assert document.data == {"key": value, "list": [value, {"again": value}]}
    assert type(document.data["key"]) is type(value)
    assert document.problems == ()


def test_an_empty_file_is_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.touch()
    assert read(path).data is None


def test_a_file_over_a_mebibyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(FileProblemsError, match="is over 1 MiB"):
        read(path)


def test_a_file_of_a_mebibyte_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"#" * (MAX_BYTES - 6) + b"\na: 1\n")
    assert read(path).data == {"a": 1}


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("title: é".encode("latin-1"))
    with pytest.raises(FileProblemsError, match=r"latin\.yaml: is not UTF-8 text\."):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblemsError, match=r"none\.yaml: cannot be read: No such file"):
        read(tmp_path / "none.yaml")


def test_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileProblemsError, match="cannot be read: Is a directory"):
        read(tmp_path)


# libyaml and PyYAML's own parser

SHIPPED = [*(ROOT / "rollouts").glob("*.yaml"), *(ROOT / "alerts").rglob("*.yaml")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_libyaml_reads_the_same_data_and_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = path.read_text(encoding="utf-8")
    fast = yamlfile.parse(path, text)
    monkeypatch.setattr(yamlfile, "_FastLoader", yamlfile._Loader)
    slow = yamlfile.parse(path, text)
    assert (fast.data, fast.lines) == (slow.data, slow.lines)


def test_a_nesting_that_would_end_libyaml_is_said() -> None:
    depth = 400_000
    with pytest.raises(FileProblemsError, match="nested over 100 deep"):
        yamlfile.parse(Path("a.yaml"), "[" * depth + "]" * depth)
