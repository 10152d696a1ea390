import logging

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import make_exposure, star_field, white_noise

from skydelta.catalogue_stars import stars_at
from skydelta.errors import NoWcsError
from skydelta.io.star_catalogue import StarCatalogue, read_star_catalogue
from skydelta.stars import STAR_DTYPE, find_stars

SHAPE = (1000, 1200)
SCALE = 0.2
CENTRES = [(150.0, 2.0), (0.0, -30.0), (359.999, 10.0), (77.0, 90.0), (200.0, -90.0), (10.0, 89.98)]


def make_wcs(ra=150.0, dec=2.0, rotation=30.0, shift=(0.0, 0.0), ctype=("RA---TAN", "DEC--TAN")):
    """TAN, the reference at the middle of the image but for a shift in arcsec (east, north)."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ctype
    wcs.wcs.crval = (ra, dec) if ctype[0][:2] == "RA" else (dec, ra)
    angle = np.radians(rotation)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    cd = SCALE / 3600 * np.diag([-1, 1]) @ turn
    if ctype[0][:2] != "RA":
        cd = cd[::-1]
    wcs.wcs.cd = cd
    ny, nx = SHAPE
    step = np.linalg.solve(np.diag([-1, 1]) @ turn * SCALE, np.asarray(shift, float))
    wcs.wcs.crpix = (nx + 1) / 2 - step[0], (ny + 1) / 2 - step[1]
    wcs.wcs.set()
    return wcs


def sources(x, y):
    found = np.zeros(len(x), STAR_DTYPE)
    found["x"], found["y"] = x, y
    return found


def scattered(n, seed=0, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, shape[1] - 1, n), rng.uniform(0, shape[0] - 1, n)


def catalogue_at(wcs, x, y, is_star=None):
    ra, dec = wcs.all_pix2world(x, y, 0, ra_dec_order=True)
    return StarCatalogue(ra, dec, np.ones(len(ra)), is_star, "test")


@pytest.mark.parametrize("centre", CENTRES)
def test_half_of_the_sources_are_in_the_catalogue(centre):
    wcs = make_wcs(*centre)
    x, y = scattered(200)
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(wcs, x[::2], y[::2]))
    assert match.selected.dtype == bool
    np.testing.assert_array_equal(match.selected, np.arange(200) % 2 == 0)
    assert match.n_on_image == 100
    np.testing.assert_allclose(match.offset, 0, atol=1e-6)


@pytest.mark.parametrize("centre", CENTRES)
@pytest.mark.parametrize("shift", [(0.3, -0.2), (2.0, 1.8), (-2.7, 0.0)])
def test_known_shift(centre, shift):
    """The offset is that of the catalogue from the image's WCS, also beyond the radius."""
    x, y = scattered(150)
    wcs = make_wcs(*centre)
    truth = make_wcs(*centre, shift=shift)
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(truth, x, y))
    assert match.selected.all()
    if centre[1] == 90 or centre[1] == -90:
        # At a pole itself east is a matter of convention.
        assert np.hypot(*match.offset) == pytest.approx(np.hypot(*shift), abs=1e-3)
    else:
        np.testing.assert_allclose(match.offset, shift, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    ra=st.floats(0, 360),
    dec=st.floats(-89.9, 89.9),
    rotation=st.floats(0, 360),
    size=st.floats(0, 2.8),
    direction=st.floats(0, 2 * np.pi),
)
def test_any_shift_anywhere(ra, dec, rotation, size, direction):
    shift = size * np.cos(direction), size * np.sin(direction)
    x, y = scattered(100, seed=3)
    truth = make_wcs(ra, dec, rotation, shift=shift)
    wcs = make_wcs(ra, dec, rotation)
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(truth, x[:60], y[:60]))
    np.testing.assert_allclose(match.offset, shift, atol=2e-3)
    assert match.selected[:60].all()
    assert match.selected[60:].sum() == 0


def test_shift_with_centroid_noise_and_strangers():
    """Stars of 0.1 arcsec scatter, as many sources that are none, as many stars not seen."""
    rng = np.random.default_rng(8)
    x, y = scattered(600)
    noise = rng.normal(0, 0.1 / SCALE, (2, 400))
    truth = make_wcs(shift=(1.5, -0.8))
    catalogue = catalogue_at(truth, x[:400] + noise[0], y[:400] + noise[1])
    seen = np.r_[:200, 400:600]
    match = stars_at(sources(x[seen], y[seen]), SHAPE, make_wcs(), catalogue)
    # The median of 200 pairs is known to 0.1 * 1.25 / sqrt(200) arcsec.
    np.testing.assert_allclose(match.offset, (1.5, -0.8), atol=5 * 0.009)
    assert match.selected[:200].mean() > 0.98
    assert match.selected[200:].mean() < 0.05


def test_shift_in_a_crowded_field():
    """Two strangers for every true pair within the wider radius."""
    x, y = scattered(3400, seed=2)
    wcs = make_wcs()
    truth = make_wcs(shift=(-1.9, 1.1))
    match = stars_at(sources(x[:1000], y[:1000]), SHAPE, wcs, catalogue_at(truth, x, y))
    np.testing.assert_allclose(match.offset, (-1.9, 1.1), atol=5e-3)
    assert match.selected.mean() > 0.9


def test_shift_beyond_the_wider_radius():
    x, y = scattered(100)
    truth = make_wcs(shift=(5.0, 0.0))
    match = stars_at(sources(x, y), SHAPE, make_wcs(), catalogue_at(truth, x, y))
    assert match.offset == (0.0, 0.0)
    assert match.selected.sum() < 3
    wider = stars_at(sources(x, y), SHAPE, make_wcs(), catalogue_at(truth, x, y), radius=2.0)
    assert wider.selected.all()


@pytest.mark.parametrize(("n_found", "n_objects"), [(30, 1000), (500, 1000), (500, 100)])
def test_unrelated_catalogue_gives_no_offset(n_found, n_objects):
    wcs = make_wcs()
    selected = []
    for seed in range(20):
        x, y = scattered(n_found + n_objects, seed)
        found = sources(x[:n_found], y[:n_found])
        match = stars_at(found, SHAPE, wcs, catalogue_at(wcs, x[n_found:], y[n_found:]))
        assert match.offset == (0.0, 0.0)
        selected.append(match.selected.mean())
    # At most the share of the image that lies within 1 arcsec of an object.
    assert np.mean(selected) < n_objects * np.pi / (240 * 200) + 0.03


def test_few_pairs_give_no_offset():
    x, y = scattered(4)
    truth = make_wcs(shift=(0.5, 0.0))
    match = stars_at(sources(x, y), SHAPE, make_wcs(), catalogue_at(truth, x, y))
    assert match.offset == (0.0, 0.0)
    assert match.selected.all()


@pytest.mark.parametrize(("distance", "expected"), [(0.98, True), (1.02, False)])
def test_radius(distance, expected):
    wcs = make_wcs()
    x, y = scattered(50)
    moved = x + np.r_[distance / SCALE, np.zeros(49)]
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(wcs, moved, y))
    assert match.selected[0] == expected
    assert match.selected[1:].all()


def test_one_source_a_star():
    wcs = make_wcs()
    x, y = np.array([500.0, 502.0, 800.0]), np.array([500.0, 500.0, 300.0])
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(wcs, [500.5, 800.0], [500.0, 300.0]))
    assert match.selected.tolist() == [True, False, True]


def test_what_is_no_star_is_not_selected():
    wcs = make_wcs()
    x, y = scattered(100)
    is_star = np.arange(100) % 3 == 0
    match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(wcs, x, y, is_star))
    np.testing.assert_array_equal(match.selected, is_star)
    assert match.n_on_image == is_star.sum()


def test_galaxy_is_not_taken_for_the_star_beside_it():
    wcs = make_wcs()
    catalogue = catalogue_at(wcs, [500.0, 503.0], [500.0, 500.0], [False, True])
    assert not stars_at(sources([500.2], [500.0]), SHAPE, wcs, catalogue).selected.any()
    both = stars_at(sources([500.2, 502.9], [500.0, 500.0]), SHAPE, wcs, catalogue)
    assert both.selected.tolist() == [False, True]


def test_positions_that_are_not_finite():
    wcs = make_wcs()
    x, y = scattered(60)
    whole = catalogue_at(wcs, x, y)
    bad = [np.nan, np.inf, -np.inf, 10.0]
    ra = np.r_[whole.ra, bad]
    dec = np.r_[whole.dec, [5.0, np.nan, 3.0, np.nan]]
    found = sources(np.r_[np.nan, x, 3.0], np.r_[2.0, y, np.inf])
    match = stars_at(found, SHAPE, wcs, StarCatalogue(ra, dec, np.ones(64)))
    np.testing.assert_array_equal(match.selected, np.r_[False, np.ones(60, bool), False])
    assert match.n_on_image == 60


@pytest.mark.parametrize("centre", CENTRES)
def test_number_on_the_image(centre):
    """From a catalogue of the whole sky and of what is around the image."""
    wcs = make_wcs(*centre)
    rng = np.random.default_rng(5)
    ny, nx = SHAPE
    x, y = rng.uniform(-nx, 2 * nx, 3000), rng.uniform(-ny, 2 * ny, 3000)
    near = catalogue_at(wcs, x, y)
    ra = np.r_[near.ra, rng.uniform(0, 360, 2000), (centre[0] + 180) % 360]
    dec = np.r_[near.dec, np.degrees(np.arcsin(rng.uniform(-1, 1, 2000))), -centre[1]]
    on = (x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)
    match = stars_at(sources([], []), SHAPE, wcs, StarCatalogue(ra, dec, np.ones(len(ra))))
    assert match.n_on_image == on.sum()
    assert match.selected.shape == (0,)


def test_catalogue_of_another_field():
    x, y = scattered(10)
    far = catalogue_at(make_wcs(151.0), x, y)
    match = stars_at(sources(x, y), SHAPE, make_wcs(), far)
    assert not match.selected.any()
    assert (match.n_on_image, match.offset) == (0, (0.0, 0.0))


def test_arrays_of_the_caller_stay():
    wcs = make_wcs()
    x, y = scattered(20)
    found, catalogue = sources(x, y), catalogue_at(make_wcs(shift=(1.0, 0)), x, y)
    before = found.copy(), catalogue.ra.copy(), catalogue.dec.copy()
    stars_at(found, SHAPE, wcs, catalogue)
    for now, then in zip((found, catalogue.ra, catalogue.dec), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_declination_first_galactic_and_distorted_wcs():
    x, y = scattered(80)
    swapped = make_wcs(ctype=("DEC--TAN", "RA---TAN"))
    distorted = make_wcs(ctype=("RA---TAN-SIP", "DEC--TAN-SIP")).to_header()
    distorted.update({"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5, "B_0_2": -2e-5, "B_1_1": 1e-5})
    for wcs in (swapped, WCS(distorted)):
        match = stars_at(sources(x, y), SHAPE, wcs, catalogue_at(wcs, x, y))
        assert match.selected.all()
        assert match.n_on_image == 80
    galactic = WCS(naxis=2)
    galactic.wcs.ctype = "GLON-CAR", "GLAT-CAR"
    galactic.wcs.cdelt = -SCALE / 3600, SCALE / 3600
    galactic.wcs.crpix = 600, 500
    sky = galactic.pixel_to_world(x, y).icrs
    catalogue = StarCatalogue(sky.ra.deg, sky.dec.deg, np.ones(80))
    assert stars_at(sources(x, y), SHAPE, galactic, catalogue).selected.all()


def test_wcs_without_a_sky_for_the_image():
    wcs = make_wcs(ctype=("RA---SIN", "DEC--SIN"))
    wcs.wcs.cd = wcs.wcs.cd * 1e5
    with pytest.raises(NoWcsError, match="no sky position for parts of the image"):
        stars_at(sources([1.0], [1.0]), SHAPE, wcs, StarCatalogue([150.0], [2.0], [1.0]))


def test_log(caplog):
    x, y = scattered(50)
    with caplog.at_level(logging.INFO):
        stars_at(sources(x, y), SHAPE, make_wcs(), catalogue_at(make_wcs(shift=(0.5, 0)), x, y))
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "catalogue test: 50 of its stars on the image, 50 of 50 sources" in record.message
    assert "lies +0.500 arcsec east and" in record.message
    caplog.clear()
    stars_at(sources(x, y), SHAPE, make_wcs(), catalogue_at(make_wcs(shift=(1.5, 0)), x, y))
    assert caplog.records[0].levelno == logging.WARNING


def test_on_an_image():
    """Stars found on an image; the catalogue lacks every fourth."""
    shape = (400, 400)
    y, x = (a.ravel() for a in np.mgrid[50:351:60, 50:351:60].astype(float))
    sky = star_field(shape, x, y, np.full(len(x), 5000.0), 2.0)
    exposure = make_exposure(sky + white_noise(shape, 0), 1.0)
    found = find_stars(exposure.image, exposure.variance, exposure.mask, psf=exposure.psf)
    wcs = exposure.wcs
    known = np.arange(len(x)) % 4 != 0
    match = stars_at(found, shape, wcs, catalogue_at(wcs, x[known], y[known]))
    assert match.n_on_image == match.selected.sum() == known.sum()
    chosen = found[match.selected]
    distance = np.hypot(chosen["x"][:, None] - x[known], chosen["y"][:, None] - y[known])
    assert distance.min(axis=1).max() < 0.2


def test_real_catalogues(shared_data):
    """Sources where Pan-STARRS has them, stars from Gaia, the image's WCS a known way off."""
    folder = shared_data / "lsst_metadata"
    gaia = read_star_catalogue(folder / "gaia_dr2_20200414_189584.fits.gz", "i")
    ps1 = read_star_catalogue(folder / "ps1_pv3_3pi_20170110_189584_refcats.fits.gz", "i")
    middle = SkyCoord(ps1.ra, ps1.dec, unit="deg")
    middle = middle[np.argmin(middle.separation(SkyCoord(320.97, -0.4, unit="deg")))]
    truth = make_wcs(middle.ra.deg, middle.dec.deg)
    wcs = make_wcs(middle.ra.deg, middle.dec.deg, shift=(-1.6, 0.9))
    bright = ps1.flux > 10 ** (-0.4 * (20.0 - 31.4))
    x, y = truth.wcs_world2pix(ps1.ra[bright], ps1.dec[bright], 0)
    on = (x > 0) & (x < SHAPE[1] - 1) & (y > 0) & (y < SHAPE[0] - 1)
    match = stars_at(sources(x[on], y[on]), SHAPE, wcs, gaia)
    np.testing.assert_allclose(match.offset, (1.6, -0.9), atol=0.02)
    assert on.sum() > 20
    assert match.n_on_image > 20
    # Most of what Pan-STARRS calls brighter than i = 20 is in Gaia; what is not are galaxies.
    assert match.selected.mean() > 0.8
