import numpy as np
import pytest

from skydelta.simulate import simulate_pair
from skydelta.simulate.astrometry import positions_on
from skydelta.simulate.observe import TRUTH_COLUMNS

SHAPE = (300, 360)


@pytest.fixture(scope="module")
def pair():
    return simulate_pair(SHAPE, seed=11)


@pytest.fixture(scope="module")
def clean():
    return simulate_pair(
        SHAPE,
        seed=11,
        fwhm_template=0.9,
        same_grid=True,
        variable_psf=False,
        registration_error_mas=0.0,
        gradient=False,
        cosmic_rays=False,
        bad_columns=False,
        n_transients=12,
    )


def psf_flux(image, variance, psf, x, y):
    """Matched-filter flux and its error at a known position."""
    stamps, x0, y0 = psf.images([x], [y])
    box = np.s_[y0[0] : y0[0] + psf.size, x0[0] : x0[0] + psf.size]
    weight = stamps[0] / variance[box]
    norm = (weight * stamps[0]).sum()
    return (weight * image[box]).sum() / norm, 1 / np.sqrt(norm)


def test_same_seed_same_pixels(pair):
    again = simulate_pair(SHAPE, seed=11)
    assert np.array_equal(again.science.image, pair.science.image)
    assert np.array_equal(again.science.mask.array, pair.science.mask.array)
    assert np.array_equal(again.coadds[0][2].image, pair.coadds[0][2].image)
    assert np.array_equal(again.truth["flux_nJy"], pair.truth["flux_nJy"])


def test_other_seed_other_pixels(pair):
    other = simulate_pair(SHAPE, seed=12)
    assert not np.array_equal(other.science.image, pair.science.image)


def test_value_object(pair):
    (tract, patch, coadd), *rest = pair.coadds
    assert (tract, patch, rest) == (4849, (0, 0), [])
    assert pair.science.shape == SHAPE
    assert coadd.photo_calib.zero_point == pytest.approx(27.0)
    assert pair.science.band == coadd.band == "i"
    scale = coadd.photo_calib.scale / pair.science.photo_calib.scale
    assert pair.flux_scale == pytest.approx(scale)
    assert list(pair.truth.columns) == list(TRUTH_COLUMNS)


def test_coadd_covers_the_exposure(pair):
    coadd = pair.coadds[0][2]
    ny, nx = SHAPE
    corners = pair.science.wcs.all_pix2world([0, nx, nx, 0], [0, 0, ny, ny], 0)
    x, y = coadd.wcs.all_world2pix(*corners, 0)
    assert x.min() > 50
    assert y.min() > 50
    assert x.max() < coadd.shape[1] - 50
    assert y.max() < coadd.shape[0] - 50


def test_blank_sky_has_the_variance_it_says(pair):
    for exposure, expected in (
        (pair.science, pair.sky_variance_science),
        (pair.coadds[0][2], pair.sky_variance_template),
    ):
        # Differences of neighbours know nothing of the sources' slow wings.
        change = np.diff(exposure.image, axis=1) / np.sqrt(2)
        sigma = 1.4826 * np.median(np.abs(change))
        blank = np.quantile(exposure.variance, 0.3)
        assert blank == pytest.approx(expected, rel=0.05)
        assert sigma**2 == pytest.approx(expected, rel=0.15)


def test_isolated_stars_have_their_flux_at_their_place(clean):
    """Pulls of PSF fluxes of the brightest unsaturated stars; hosts and neighbours widen them."""
    stars = clean.sky.stars
    index, x, y = positions_on(clean.wcs_true, SHAPE, stars.ra, stars.dec, -25)
    true = stars.flux["i"][index]
    galaxies = clean.sky.galaxies
    _, gx, gy = positions_on(clean.wcs_true, SHAPE, galaxies.ra, galaxies.dec, 0)
    x_all, y_all = np.concatenate([x, gx]), np.concatenate([y, gy])
    ratios = []
    for i in np.argsort(-true)[:12]:
        distance = np.hypot(x_all - x[i], y_all - y[i])
        iy, ix = round(y[i]), round(x[i])
        if np.sum(distance < 12) > 1 or clean.science.mask.any("SAT")[iy, ix]:
            continue
        flux, _ = psf_flux(
            clean.science.image, clean.science.variance, clean.psf_science_true, x[i], y[i]
        )
        ratios.append(flux * clean.science.photo_calib.scale / true[i])
    assert len(ratios) >= 3
    assert np.median(ratios) == pytest.approx(1.0, abs=0.03)


def test_truth_is_what_changed(clean):
    """On one grid with one PSF the plain difference holds the events and noise, no more."""
    template = clean.coadds[0][2]
    kernel_free = clean.science.image - template.image * clean.flux_scale
    variance = clean.science.variance + template.variance * clean.flux_scale**2
    # Same seeing and size, but each image has its own ellipticity: only the events' pulls count.
    pulls = []
    for row in clean.truth[clean.truth["masked"] == 0]:
        if row["template_flux_nJy"] == 0 and row["on_host"] == 0:
            flux, error = psf_flux(
                kernel_free, variance, clean.psf_science_true, row["x"], row["y"]
            )
            scale = clean.science.photo_calib.scale
            pulls.append((flux * scale - row["flux_nJy"]) / (error * scale))
    assert len(pulls) >= 2
    assert np.abs(pulls).max() < 4


def test_truth_agrees_with_the_written_wcs(pair):
    x, y = pair.science.wcs.all_world2pix(pair.truth["ra"], pair.truth["dec"], 0)
    off_mas = 200 * np.hypot(x - pair.truth["x"], y - pair.truth["y"])
    assert 0 < np.sqrt(np.mean(off_mas**2)) < 20


def test_same_grid_needs_no_resampling(clean):
    template = clean.coadds[0][2]
    assert template.shape == clean.science.shape
    assert np.array_equal(template.wcs.wcs.crval, clean.science.wcs.wcs.crval)


def test_psf_grid_matches_the_truth(pair):
    for exposure, psf in (
        (pair.science, pair.psf_science_true),
        (pair.coadds[0][2], pair.psf_template_true),
    ):
        true = psf.stamp(100.0, 170.0)
        assert np.abs(exposure.psf.stamp(100.0, 170.0) - true).max() < 2e-3 * true.max()


def test_without_defects_nothing_is_flagged():
    pair = simulate_pair(
        (200, 200), seed=3, saturated=False, cosmic_rays=False, bad_columns=False, gradient=False
    )
    assert not pair.science.mask.array.any()
    assert not pair.coadds[0][2].mask.array.any()


def test_model_variance_knows_no_noise():
    pair = simulate_pair((200, 200), seed=3, variance_from="model", gradient=False)
    assert pair.science.variance.min() == pytest.approx(pair.sky_variance_science, rel=1e-4)


def test_unknown_variance_is_refused():
    with pytest.raises(ValueError, match="'data' or 'model', got 'magic'"):
        simulate_pair((100, 100), variance_from="magic")
