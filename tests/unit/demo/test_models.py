from datetime import date
from itertools import islice

import numpy as np
import pytest

from demo import market, models
from demo.features import FEATURES, Table
from demo.market import Bars
from demo.models import Release
from demo.signals import stream
from rollguard.exporters.measures.drift_windows import DriftWindow
from rollguard.exporters.measures.reference import Reference

SIGNAL = {"return_1d": -0.7, "volume_1d": 1.1, "return_5d": 0.4, "volume_5d": 0.9}


@pytest.fixture(scope="module")
def bars() -> Bars:
    return market.load()


@pytest.fixture(scope="module")
def releases(bars: Bars) -> list[Release]:
    return [models.active(bars), models.candidate(bars)]


def scores(release: Release, rows: Table) -> market.Array:
    columns = [FEATURES.index(feature) for feature in release.model.features]
    return np.array([release.model.score(row) for row in rows.features[:, columns].tolist()])


def test_fitting_is_deterministic(bars: Bars, releases: list[Release]) -> None:
    assert [models.active(bars), models.candidate(bars)] == releases


def test_models_know_nothing_of_the_years_they_serve(bars: Bars, releases: list[Release]) -> None:
    early = bars.before(models.LIVE_SINCE)
    assert models.early_years(bars).days[-1] < early.days[-1] < date(2007, 1, 1)
    assert [models.active(early), models.candidate(early)] == releases


def test_models_rank_and_approve_better_than_chance(bars: Bars, releases: list[Release]) -> None:
    rows = models.early_years(bars)
    for release in releases:
        seen = scores(release, rows)
        lost, won = np.sort(seen[~rows.won]), seen[rows.won]
        assert np.searchsorted(lost, won).mean() / len(lost) > 0.55  # the area under the ROC curve
        assert rows.won[seen >= release.model.tau_entry].mean() > rows.won.mean() + 0.005
        assert seen.mean() == pytest.approx(rows.won.mean(), abs=1e-6)


def test_the_threshold_approves_the_stated_share(bars: Bars, releases: list[Release]) -> None:
    for release in releases:
        approved = [release.model.approves(score) for score in scores(release, models.early_years(bars))]
        assert np.mean(approved) == pytest.approx(models.APPROVED_SHARE, abs=0.001)


def test_the_fit_is_where_the_penalised_likelihood_is_flat(bars: Bars) -> None:
    rows = models.early_years(bars)
    model = models.candidate(bars).model
    standardised = (rows.features - rows.features.mean(axis=0)) / rows.features.std(axis=0)
    left = rows.won - scores(models.candidate(bars), rows)
    np.testing.assert_allclose(standardised.T @ left, model.weights, atol=1e-8)


def test_live_and_batch_agree_in_healthy_releases(releases: list[Release]) -> None:
    for release in releases:
        assert release.live_row(SIGNAL) == release.batch_row(SIGNAL)


def test_the_defective_release_swaps_two_columns_where_it_is_live(releases: list[Release]) -> None:
    healthy = releases[1]
    release = models.defective(healthy)
    assert (release.model, release.number) == (healthy.model, 2)
    assert release.live_row(SIGNAL) == (1.1, -0.7, 0.4, 0.9)
    assert release.batch_row(SIGNAL) == healthy.batch_row(SIGNAL) == (-0.7, 1.1, 0.4, 0.9)
    assert release.model.score(release.live_row(SIGNAL)) != healthy.model.score(healthy.live_row(SIGNAL))


def test_a_row_of_another_length_is_refused(releases: list[Release]) -> None:
    with pytest.raises(ValueError, match="zip"):
        releases[0].model.score((0.1, 0.2, 0.3))


def test_a_model_describes_itself(releases: list[Release]) -> None:
    text = releases[0].model.describe()
    assert text == "active: log-odds 2.60 +0.02 return_1d +0.30 return_5d, approves from 0.907"


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("broken", [False, True], ids=["healthy", "defective"])
def test_in_the_days_real_order_the_defect_is_drift_and_health_is_none(
    bars: Bars, seed: int, broken: bool
) -> None:
    rows = models.early_years(bars).features.T
    reference = Reference.fit(dict(zip(FEATURES, rows, strict=True)), source="early years", made_at=0.0)
    healthy = models.candidate(bars)
    release = models.defective(healthy) if broken else healthy
    window = DriftWindow(reference, 30.0, 300)
    columns = [FEATURES.index(name) for name in window.names]
    served = [release.live_row(signal.features) for signal in islice(stream(bars, seed), 0, 16_000, 10)]
    shown = []
    for second in range(40):  # a tenth of 400 signals a second
        window.add(np.full(40, float(second)), np.array(served[40 * second : 40 * second + 40])[:, columns])
        shown += [drift.psi for drift in window.measure(float(second)) if drift.psi is not None]
    assert len(shown) > 40
    assert (max(shown) > 0.3) is broken
