from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from rollguard.exporters.measures.distances import Array
from rollguard.exporters.measures.reference import Reference, ReferenceError, ReferenceProblemsError

MADE_AT = 1_700_000_000.0


def fit(**rows: Array) -> Reference:
    return Reference.fit(rows, source="a test", made_at=MADE_AT)


def test_ten_bins_hold_a_tenth_each() -> None:
    bins = fit(spread=np.random.default_rng(1).normal(size=1000)).features["spread"]
    assert len(bins.edges) == 9
    assert bins.counts == [100] * 10


def test_it_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    reference = fit(spread=np.random.default_rng(1).normal(size=1000), flag=np.arange(1000) % 2)
    reference.save(tmp_path / "reference.json")
    assert Reference.load(tmp_path / "reference.json") == reference
    assert Reference.load(tmp_path / "reference.json").digest() == reference.digest()


def test_it_says_where_it_comes_from() -> None:
    reference = fit(spread=np.arange(400.0))
    assert (reference.source, reference.made_at, reference.rows) == ("a test", MADE_AT, 400)


def test_tied_values_share_a_bin_and_leave_one_below_and_one_above() -> None:
    bins = fit(flag=np.repeat([0.0, 1.0], [700, 300])).features["flag"]
    assert bins.edges == [np.nextafter(0, -1), 0.0, 1.0]
    assert bins.counts == [0, 700, 300, 0]


def test_a_constant_feature_shows_any_other_value() -> None:
    bins = fit(constant=np.full(300, 5.0)).features["constant"]
    assert bins.counts == [0, 300, 0]
    assert np.searchsorted(bins.edges, [4.999, 5.0, 5.001]).tolist() == [0, 1, 2]


def test_missing_values_are_left_out() -> None:
    values = np.concatenate([np.arange(400.0), [np.nan, np.inf]])
    reference = fit(spread=values)
    assert reference.rows == 402
    assert sum(reference.features["spread"].counts) == 400


def test_too_few_rows_are_refused_with_the_feature_s_name() -> None:
    with pytest.raises(ReferenceError, match="feature thin has 299 finite values, expected at least 300"):
        fit(thin=np.arange(299.0))


@pytest.mark.parametrize("rows", [{}, {"a": np.ones((300, 2))}, {"a": np.ones(300), "b": np.ones(301)}])
def test_what_is_no_table_is_refused(rows: dict[str, Array]) -> None:
    with pytest.raises(ReferenceError, match="one value per row"):
        fit(**rows)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReferenceError, match=r"gone\.json: cannot be read: No such file"):
        Reference.load(tmp_path / "gone.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": 1}', "[" * 100_000, '{"made_at": "x"}'])
def test_a_file_of_something_else_is_a_problem_with_a_hint(tmp_path: Path, text: str) -> None:
    path = tmp_path / "reference.json"
    path.write_text(text)
    with pytest.raises(ReferenceProblemsError, match=r"reference is not one[\s\S]*baseline save"):
        Reference.load(path)


def test_every_mistake_of_a_file_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    good = fit(a=np.arange(300.0), b=np.arange(300.0), c=np.arange(300.0))
    content = msgspec.json.decode(msgspec.json.encode(good))
    content["version"] = 2
    content["features"]["a"]["edges"][1] = -1.0
    content["features"]["b"]["counts"].pop()
    content["features"]["c"]["counts"][0] = -1
    path.write_bytes(msgspec.json.encode(content))
    with pytest.raises(ReferenceProblemsError) as caught:
        Reference.load(path)
    keys = [problem.key for problem in caught.value.problems]
    assert set(keys) == {"version", "features.a.edges", "features.b.counts", "features.c.counts"}


def test_another_histogram_has_another_digest() -> None:
    assert fit(a=np.arange(300.0)).digest() != fit(a=np.arange(301.0)).digest()
