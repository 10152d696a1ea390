"""Statistics of the report: noise, blank sky, limits, intervals."""

import numpy as np
import pytest

from skydelta.report.statistics import (
    LAGS,
    autocorrelation,
    blank_sky,
    limiting_magnitude,
    noise_of,
    normalised,
    wilson_interval,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_pure_noise_has_unit_rms_and_no_correlation(rng):
    values = rng.normal(size=(300, 280))
    noise = noise_of(values, np.ones(values.shape, bool))
    assert noise.count == values.size
    assert noise.rms == pytest.approx(1, abs=0.01)
    assert noise.mean == pytest.approx(0, abs=0.015)
    assert noise.neighbour == pytest.approx(0, abs=0.012)
    assert noise.autocorrelation[LAGS, LAGS] == pytest.approx(1)


def test_smoothed_noise_shows_its_correlation_at_the_right_lag(rng):
    white = rng.normal(size=(300, 280))
    along_x = (white + np.roll(white, 1, axis=1)) / np.sqrt(2)
    correlation = autocorrelation(along_x, np.ones(white.shape, bool))
    assert correlation[LAGS, LAGS + 1] == pytest.approx(0.5, abs=0.02)
    assert correlation[LAGS + 1, LAGS] == pytest.approx(0, abs=0.02)
    assert correlation[LAGS, LAGS + 2] == pytest.approx(0, abs=0.02)


def test_pixels_outside_blank_sky_do_not_count(rng):
    values = rng.normal(size=(200, 200))
    blank = np.ones(values.shape, bool)
    blank[80:120, 60:140] = False
    values[~blank] = 1e3
    noise = noise_of(values, blank)
    assert noise.rms == pytest.approx(1, abs=0.02)
    assert noise.neighbour == pytest.approx(0, abs=0.02)


def test_no_blank_pixel_gives_no_numbers():
    noise = noise_of(np.ones((8, 8)), np.zeros((8, 8), bool))
    assert noise.count == 0
    assert np.isnan([noise.rms, noise.mean, noise.neighbour]).all()


def test_blank_sky_leaves_out_sources_detections_and_unusable_pixels(rng):
    shape = (256, 256)
    y, x = np.indices(shape)
    star = 200 * np.exp(-0.5 * ((x - 60) ** 2 + (y - 90) ** 2) / 2.0**2)
    sky = 0.1 * x  # a gradient is no source
    science, template = (rng.normal(size=shape) * s + star + sky for s in (1.0, 0.3))
    unusable, detected = np.zeros(shape, bool), np.zeros(shape, bool)
    unusable[:, 200], detected[30:34, 150:154] = True, True
    blank = blank_sky(science, template, unusable, detected, fwhm=4.0)
    assert not blank[90, 60]
    assert not blank[90, 66]
    assert not blank[32, 156]
    assert not blank[:, 200].any()
    assert blank[:, 201].any()
    assert blank.mean() > 0.6


def test_blank_sky_does_not_select_on_the_noise_of_the_difference(rng):
    shape = (400, 400)
    science, template = rng.normal(size=shape) * 1.0, rng.normal(size=shape) * 0.7
    nothing = np.zeros(shape, bool)
    # A low threshold would make a selection by the science image alone plain to see.
    blank = blank_sky(science, template, nothing, nothing, fwhm=1.0, threshold=1.5)
    difference = (science - template)[blank] / np.hypot(1.0, 0.7)
    assert 0.1 < blank.mean() < 0.9
    assert difference.mean() == pytest.approx(0, abs=0.015)
    assert difference.std() == pytest.approx(1, abs=0.015)


def test_blank_sky_of_nothing_usable():
    image, all_bad = np.zeros((64, 64)), np.ones((64, 64), bool)
    assert not blank_sky(image, image, all_bad, ~all_bad).any()


def test_normalised_is_zero_where_variance_is_not_positive():
    image = np.array([[2.0, 3.0, 4.0]], np.float32)
    variance = np.array([[4.0, 0.0, np.nan]], np.float32)
    out = normalised(image, variance, np.zeros((1, 3), bool))
    np.testing.assert_allclose(out, [[1.0, 0.0, 0.0]])


def test_limiting_magnitude_of_known_flux():
    # 5 sigma of 2 counts of 10 nJy and a score that scatters by 1.1: 110 nJy.
    assert limiting_magnitude(2.0, 1.1, 10.0) == pytest.approx(31.4 - 2.5 * np.log10(110))
    assert np.isnan(limiting_magnitude(np.inf, 1.0, 1.0))


def test_wilson_interval_known_values():
    low, high = wilson_interval([0, 5, 10], [10, 10, 10], z=1.96)
    np.testing.assert_allclose(low, [0.0, 0.2366, 0.7225], atol=2e-4)
    np.testing.assert_allclose(high, [0.2775, 0.7634, 1.0], atol=2e-4)


def test_wilson_interval_without_trials_is_nan():
    assert np.isnan(wilson_interval(0, 0)).all()
