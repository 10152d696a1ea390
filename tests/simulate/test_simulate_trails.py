import numpy as np
import pytest
from scipy.special import gamma

from skydelta.simulate import simulate_pair
from skydelta.simulate.optics import MoffatField
from skydelta.simulate.trails import draw_trail, draw_trails, trail_fwhm

SHAPE = (200, 260)
FWHM, BETA = 4.0, 3.5


def trail_flux_per_px(peak, fwhm, beta):
    """Counts per px of length of a trail whose middle line has `peak` counts per px."""
    scale = 0.5 * fwhm / np.sqrt(2 ** (1 / beta) - 1)
    return peak * scale * np.sqrt(np.pi) * gamma(beta - 1) / gamma(beta - 0.5)


def test_flux_per_length_is_that_of_the_integrated_profile():
    """A vertical trail: each row holds the flux per px of length."""
    image = np.zeros(SHAPE)
    draw_trail(image, 120.3, 50.0, np.pi / 2, 10.0, FWHM, BETA)
    assert image.sum(axis=1) == pytest.approx(trail_flux_per_px(10.0, FWHM, BETA), rel=5e-3)
    assert image[:, 120].max() == pytest.approx(10.0, rel=0.03)


def test_profile_is_that_of_a_moving_star():
    """The sum of PSFs along a line, a tenth of a px apart."""
    psf = MoffatField(
        (130.0, 100.0), (130.0, 100.0), BETA, *np.eye(6)[[0, 0, 0]] * [[FWHM], [0], [0]]
    )
    stars = np.zeros(41)
    for dy in np.arange(-20, 20, 0.5):
        stars += psf.images([100.0], [100.0 + dy])[0][0].sum(axis=0) / 80
    image = np.zeros(SHAPE)
    draw_trail(image, 100.0, 0.0, np.pi / 2, 1.0, FWHM, BETA)
    row = image[100, 80:121]
    half = trail_fwhm(FWHM, BETA) / 2
    assert np.interp(half, np.arange(5), row[20:25] / row[20]) == pytest.approx(0.5, abs=0.02)
    # Pixel integration widens the core of the PSF, a line is sampled.
    assert np.abs(stars / stars.sum() - row / row.sum()).max() < 0.03 * (row / row.sum()).max()


def test_truth_ends_at_the_edges_and_lies_on_the_light():
    image = np.zeros(SHAPE, np.float32)
    psf = MoffatField(
        (130.0, 100.0), (130.0, 100.0), BETA, *np.eye(6)[[0, 0, 0]] * [[FWHM], [0], [0]]
    )
    (row,) = draw_trails(image, 1, psf, 2.0, np.random.default_rng(4), snr=(5.0, 5.0))
    assert row["peak"] == pytest.approx(10.0)
    t = np.linspace(0.05, 0.95, 50)
    x, y = row["x0"] + t * (row["x1"] - row["x0"]), row["y0"] + t * (row["y1"] - row["y0"])
    assert image[np.rint(y).astype(int), np.rint(x).astype(int)].min() > 8.5
    for x, y in ((row["x0"], row["y0"]), (row["x1"], row["y1"])):
        assert min(abs(x), abs(x - 259), abs(y), abs(y - 199)) < 1e-6


def test_options_of_a_pair_change_nothing_else():
    """Other random streams stay: the same noise, and the same hits whether they are masked."""
    plain = simulate_pair(SHAPE, seed=3)
    other = simulate_pair(SHAPE, seed=3, cosmic_rays="unmasked")
    assert plain.cosmic_rays.any()
    assert np.array_equal(plain.science.image, other.science.image)
    assert np.array_equal(plain.science.mask.any("CR"), plain.cosmic_rays)
    assert np.array_equal(plain.cosmic_rays, other.cosmic_rays)
    assert not other.science.mask.any("CR").any()
    assert np.array_equal(plain.truth["masked"], other.truth["masked"])
    assert len(plain.trails) == 0
    trailed = simulate_pair(SHAPE, seed=3, trails=2, trail_snr=(3.0, 5.0))
    assert len(trailed.trails) == 2
    assert np.array_equal(trailed.coadds[0][2].image, plain.coadds[0][2].image)
