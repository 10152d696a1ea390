"""Figures of merit against what is known in closed form."""

import numpy as np
import pytest
from scenes import make_exposure, star_field, white_noise

from skydelta.mask import Mask
from skydelta.quality import (
    apart_from,
    at_pixels,
    far_from_saturation,
    half_completeness_snr,
    match_events,
    noise_figures,
    source_free,
    spurious,
    star_residual_rms,
)

SHAPE = (400, 400)


def difference(image, variance=1.0, **fields):
    return make_exposure(image, variance, **fields)


def test_white_noise_has_rms_one_and_no_correlation():
    exposure = difference(3 * white_noise(SHAPE, 1), 9.0)
    rms, neighbour = noise_figures(exposure, np.ones(SHAPE, bool))
    # 160 000 px: the errors are 0.0018 and 0.0018.
    assert rms == pytest.approx(1.0, abs=0.006)
    assert neighbour == pytest.approx(0.0, abs=0.006)


def test_correlated_noise_has_the_correlation_of_its_filter():
    """Noise filtered with (a, b) along x has a b / (a^2 + b^2) there, none along y."""
    noise = white_noise((400, 401), 2)
    a, b = 0.8, 0.6
    exposure = difference(a * noise[:, 1:] + b * noise[:, :-1])
    rms, neighbour = noise_figures(exposure, np.ones(SHAPE, bool))
    assert rms == pytest.approx(1.0, abs=0.006)
    assert neighbour == pytest.approx(0.5 * a * b, abs=0.006)


def test_noise_is_that_of_blank_usable_pixels():
    image = white_noise(SHAPE, 3)
    image[:100] = 50.0
    image[100:200] = -50.0
    mask = Mask.empty(SHAPE).with_plane("BAD", np.arange(400)[:, None] * np.ones(400) < 100)
    blank = np.ones(SHAPE, bool)
    blank[100:200] = False
    rms, _ = noise_figures(difference(image, mask=mask), blank)
    assert rms == pytest.approx(1.0, abs=0.01)


def test_noise_of_no_pixel_is_not_a_number():
    assert np.isnan(noise_figures(difference(np.zeros(SHAPE)), np.zeros(SHAPE, bool))).all()


def test_source_free_pixels_are_far_from_the_stars_of_either_image():
    stars = star_field(SHAPE, [100.0], [120.0], [5e3], 2.0)
    other = star_field(SHAPE, [300.0], [250.0], [5e3], 2.0)
    images = [difference(white_noise(SHAPE, k) + s) for k, s in ((4, stars), (5, other))]
    blank = source_free(*images)
    for x, y in ((100, 120), (300, 250)):
        assert not blank[y - 8 : y + 9, x - 8 : x + 9].any()
    assert blank.mean() > 0.9


def test_star_residuals_are_those_within_one_fwhm():
    image = white_noise(SHAPE, 6)
    image[200, 200] += 1e4
    exposure = difference(image)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(20, 390, 15.0), np.arange(20, 390, 15.0)))
    away = np.hypot(x - 200, y - 200) > 6
    assert star_residual_rms(exposure, x[away], y[away], 5.0) == pytest.approx(1.0, abs=0.01)
    assert star_residual_rms(exposure, [202.0], [203.0], 5.0) > 100
    assert np.isnan(star_residual_rms(exposure, [], [], 5.0))


def test_far_from_saturation_is_a_distance():
    mask = Mask.empty((50, 50)).with_plane("SAT", np.eye(50, dtype=bool) & (np.arange(50) == 20))
    flagged = difference(np.zeros((50, 50)), mask=mask)
    clean = difference(np.zeros((50, 50)))
    far = far_from_saturation(clean, flagged)
    assert not far[20, 30]
    assert far[20, 31]
    assert far_from_saturation(clean, clean).all()


def test_positions_apart_and_values_at_them():
    x, y = np.array([0.0, 10.0]), np.array([0.0, 0.0])
    assert apart_from(x, y, [1.0], [0.0], 3.0).tolist() == [False, True]
    assert apart_from(x, y, [], [], 3.0).all()
    plane = np.arange(12).reshape(3, 4)
    assert at_pixels(plane, np.array([1.4, -3.0]), np.array([1.6, 9.0])).tolist() == [9, 8]


def columns(x, y, flux, error=10.0, score=20.0):
    n = len(x)
    return {
        "base_NaiveCentroid_x": np.asarray(x, float),
        "base_NaiveCentroid_y": np.asarray(y, float),
        "base_PsfFlux_instFlux": np.asarray(flux, float),
        "base_PsfFlux_instFluxErr": np.full(n, error),
        "deblend_blended": np.zeros(n, bool),
        "detect_score": np.full(n, score),
    }


def test_events_are_matched_and_their_fluxes_compared():
    truth = {
        "x": np.array([50.0, 100.0, 150.0, 200.0, 250.0]),
        "y": np.full(5, 60.0),
        "flux_nJy": np.full(5, 2000.0),
        "snr_expected": np.array([30.0, 30.0, 30.0, 30.0, 5.0]),
        "masked": np.array([0, 0, 1, 0, 0]),
        "on_host": np.array([0, 1, 0, 0, 0]),
    }
    # 2 nJy per count; the fourth event is not found, the third lies on masked pixels.
    found = columns([50.5, 101.0, 150.0, 204.0], [60.0] * 4, [1010.0, 900.0, 1000.0, 1000.0])
    matches = match_events(truth, found, difference(np.zeros(SHAPE)), 2.0)
    assert matches.found.tolist() == [True, True, False, False, False]
    assert matches.clean.tolist() == [True, False, False, False, False]
    assert matches.completeness(8.0) == pytest.approx(2 / 3)
    bias, _, n = matches.bias(20.0)
    assert (bias, n) == (pytest.approx(0.01), 1)
    assert matches.pulls(8.0) == pytest.approx([1.0])
    assert spurious(found, truth).tolist() == [False, False, False, True]


def test_without_detections_nothing_is_found():
    truth = {name: np.array([60.0]) for name in ("x", "y", "flux_nJy", "snr_expected")}
    matches = match_events(truth, columns([], [], []), difference(np.zeros(SHAPE)), 1.0)
    assert matches.completeness(8.0) == 0.0
    assert np.isnan(matches.bias(8.0)[0])


def test_events_at_the_edge_are_not_expected():
    truth = {name: np.array([60.0]) for name in ("x", "y", "flux_nJy", "snr_expected")}
    edge = Mask.empty(SHAPE).with_plane("EDGE", np.ones(SHAPE, bool))
    matches = match_events(truth, columns([], [], []), difference(np.zeros(SHAPE), mask=edge), 1.0)
    assert not matches.expected(8.0).any()


def test_half_completeness_is_the_threshold_of_a_unit_noise_score():
    rng = np.random.default_rng(7)
    snr = rng.uniform(1, 12, 4000)
    found = snr + rng.normal(size=4000) > 5.3
    assert half_completeness_snr(snr, found) == pytest.approx(5.3, abs=0.1)
    assert np.isnan(half_completeness_snr([5.0, 9.0], [False, True]))
