"""Sky level and noise maps."""

import numpy as np
import pytest
from astropy.stats import SigmaClip
from scipy.ndimage import gaussian_filter

from skydelta.background import estimate_background, noise_correlation
from skydelta.errors import BadImageError
from skydelta.parallel import threads

SIGMA = 5.0


def noise(shape, seed=0):
    return np.random.default_rng(seed).normal(0.0, SIGMA, shape)


def add_stars(image, n, seed=1, peak=200.0, sigma=2.0):
    rng = np.random.default_rng(seed)
    ny, nx = image.shape
    stars = np.zeros_like(image)
    np.add.at(
        stars,
        (rng.integers(0, ny, n), rng.integers(0, nx, n)),
        peak * rng.pareto(1.5, n).clip(0, 50),
    )
    return image + gaussian_filter(stars, sigma) * 2 * np.pi * sigma**2


def test_gradient_under_stars():
    yy, xx = np.mgrid[:700, :800] / 800
    sky = 300 + 40 * xx - 25 * yy**2
    image = add_stars(noise((700, 800)) + sky, 400)
    background = estimate_background(image)
    error = background.level - sky
    assert abs(error.mean()) < 0.1 * SIGMA
    assert np.abs(error).max() < 0.4 * SIGMA
    assert np.median(background.rms) == pytest.approx(SIGMA, rel=0.02)
    assert not background.subtracted


def test_noise_map_follows_the_noise():
    image = noise((512, 512))
    image[:, 256:] *= 3
    rms = estimate_background(image).rms
    assert np.median(rms[:, :150]) == pytest.approx(SIGMA, rel=0.03)
    assert np.median(rms[:, -150:]) == pytest.approx(3 * SIGMA, rel=0.03)


def test_big_galaxy_on_a_small_image():
    yy, xx = np.mgrid[:250, :250] - 125.0
    galaxy = 4000 * np.exp(-(np.hypot(xx, 0.8 * yy) / 12.0))
    image = noise((250, 250)) + galaxy + 10
    background = estimate_background(image)
    assert np.abs(background.level - 10).max() < 2 * SIGMA
    # The halo that no threshold finds adds a little to the noise of the cells it lies in.
    assert np.median(background.rms) == pytest.approx(SIGMA, rel=0.08)
    assert not background.blank[110:140, 110:140].any()


def test_masked_and_missing_pixels():
    image = noise((256, 256)) + 50
    image[:, :100] = np.nan
    excluded = np.zeros(image.shape, bool)
    excluded[:120, 100:] = True
    image[:120, 100:] = 1e4
    background = estimate_background(image, excluded)
    assert np.isfinite(background.level).all()
    assert np.abs(background.level - 50).max() < SIGMA
    assert not background.blank[:, :100].any()


def test_nothing_left():
    with pytest.raises(BadImageError, match="sky cannot be measured"):
        estimate_background(noise((64, 64)), np.ones((64, 64), bool))


@pytest.mark.parametrize("shape", [(40, 40), (33, 1000), (129, 257)])
def test_any_shape(shape):
    background = estimate_background(noise(shape))
    assert background.level.shape == background.rms.shape == background.blank.shape == shape
    assert background.subtracted


def test_correlated_noise_is_measured():
    white = noise((400, 400))
    assert abs(noise_correlation(white, estimate_background(white))) < 0.01
    smooth = gaussian_filter(white, 1.0)
    expected = np.exp(-0.25)  # of a white field smoothed by a Gaussian of sigma 1
    measured = noise_correlation(smooth, estimate_background(smooth))
    assert measured == pytest.approx(expected, abs=0.03)


def test_agrees_with_photutils():
    from photutils.background import Background2D, MedianBackground

    image = add_stars(noise((512, 512)) + 100, 200)
    theirs = Background2D(
        image, 64, filter_size=3, sigma_clip=SigmaClip(3.0), bkg_estimator=MedianBackground()
    )
    ours = estimate_background(image)
    assert np.std(ours.level - theirs.background) < 0.3 * SIGMA
    # Ours masks the sources, so it lies nearer to the truth.
    assert abs(np.mean(ours.level) - 100) <= abs(np.mean(theirs.background) - 100) + 0.01 * SIGMA


def test_bad_pixels_in_every_block():
    image = noise((128, 128))
    image[::4, ::4] = np.nan
    assert np.median(estimate_background(image).rms) == pytest.approx(SIGMA, rel=0.05)


def test_rows_are_those_of_the_maps():
    image = add_stars(noise((300, 210)), 50) + 20
    image[40:60, 30] = np.nan
    background = estimate_background(image)
    assert np.array_equal(background.level_of(70, 140), background.level[70:140])
    rows = np.arange(3, 300, 7)
    assert np.array_equal(background.blank_rows(rows), background.blank[rows])
    assert not background.blank[40:60, 30].any()


def test_threads_change_nothing():
    image = add_stars(noise((700, 300)), 100)
    one = estimate_background(image)
    with threads(2):
        two = estimate_background(image)
    assert np.array_equal(one.level, two.level)
    assert np.array_equal(one.blank, two.blank)
