"""The completeness curve: fits of known curves, their errors, and binomial intervals."""

import numpy as np
import pytest
from scipy.special import expit, ndtr
from scipy.stats import binomtest

from skydelta.efficiency.fit import fit_completeness
from skydelta.report.statistics import wilson_interval

GRID = np.array([3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 10, 14, 20, 30, 50])


def test_known_curve_is_found_again_with_honest_errors():
    """Pulls of the 50 % value over many draws have unit width."""
    rng = np.random.default_rng(11)
    snr = np.tile(GRID, 30)
    fits = [fit_completeness(snr, rng.random(snr.size) < ndtr(snr - 5.1)) for _ in range(60)]
    pulls = np.array([(fit.half - 5.1) / fit.half_error for fit in fits])
    assert abs(pulls.mean()) < 4 / np.sqrt(60)
    assert pulls.std() == pytest.approx(1.0, abs=0.35)
    assert np.mean([fit.width for fit in fits]) == pytest.approx(1.0, abs=0.05)


def test_m50_of_a_logistic_fall():
    rng = np.random.default_rng(12)
    mag = rng.uniform(21, 26, 4000)
    found = rng.random(mag.size) < expit((23.7 - mag) / 0.2)
    fit = fit_completeness(mag, found, falling=True)
    assert fit.half == pytest.approx(23.7, abs=4 * fit.half_error)
    assert fit.half_error < 0.03
    assert fit.width < 0
    assert fit(np.array([20.0, fit.half, 27.0])) == pytest.approx([1.0, 0.5, 0.0], abs=0.01)


def test_plateau_below_one_does_not_move_the_half():
    """The value asked for is where the curve itself crosses one half."""
    rng = np.random.default_rng(13)
    snr = rng.uniform(2, 15, 8000)
    fit = fit_completeness(snr, rng.random(snr.size) < 0.9 * ndtr(snr - 5.0))
    assert fit.plateau == pytest.approx(0.9, abs=0.02)
    crossing = 5.0 + 0.1397  # 0.9 Phi(0.1397) = 0.5
    assert fit.half == pytest.approx(crossing, abs=4 * fit.half_error)
    assert float(fit(fit.half)) == pytest.approx(0.5, abs=1e-6)
    assert np.isnan(fit.level(0.99))


def test_level_is_the_inverse_of_the_curve():
    rng = np.random.default_rng(14)
    snr = rng.uniform(2, 12, 3000)
    fit = fit_completeness(snr, rng.random(snr.size) < ndtr(snr - 5.0))
    assert float(fit(fit.level(0.9))) == pytest.approx(0.9, abs=1e-6)
    assert fit.level(0.5) == pytest.approx(fit.half)
    if fit.plateau == pytest.approx(1.0, abs=1e-4):
        assert fit.level(0.99) == pytest.approx(5 + 2.326, abs=0.35)


@pytest.mark.parametrize(
    "found", [np.zeros(40, bool), np.ones(40, bool), np.arange(40) < 3], ids=["none", "all", "few"]
)
def test_too_little_to_fit_gives_nan(found):
    fit = fit_completeness(np.linspace(3, 10, 40), found)
    assert np.isnan([fit.half, fit.half_error, fit.width, fit.plateau, fit.level(0.5)]).all()


def test_a_step_between_two_values_has_a_half_between_them():
    snr = np.repeat([4.0, 6.0], 50)
    assert 4.0 < fit_completeness(snr, snr > 5).half < 6.0


def test_magnitudes_that_are_not_numbers_are_left_out():
    rng = np.random.default_rng(15)
    snr = rng.uniform(2, 9, 500)
    found = rng.random(500) < ndtr(snr - 5)
    with_gaps = fit_completeness(np.r_[snr, np.nan, np.inf], np.r_[found, True, False])
    assert with_gaps.half == pytest.approx(fit_completeness(snr, found).half)


@pytest.mark.parametrize(("found", "of"), [(0, 7), (3, 7), (7, 7), (250, 300)])
def test_binomial_interval_is_scipys_wilson_interval(found, of):
    inside = ndtr(1) - ndtr(-1)
    expected = binomtest(found, of).proportion_ci(inside, method="wilson")
    assert wilson_interval(found, of) == pytest.approx((expected.low, expected.high), abs=1e-9)
