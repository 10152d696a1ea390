"""Templates over the border of two tracts: each has a tangent plane of its own."""

import numpy as np
import pytest
from astropy.wcs import WCS
from scenes import gaussian_psf, make_exposure, robust_sigma, star_field, tan_wcs, white_noise
from scipy.ndimage import map_coordinates

import skydelta.template
from skydelta.io.footprints import footprint_of
from skydelta.overlap import find_overlaps
from skydelta.pixelmap import PixelMap
from skydelta.tables import CoaddRow, ExposureRow
from skydelta.template import build_template

SHAPE = (160, 200)
SCIENCE = tan_wcs(SHAPE, rotation=20.0, ra=60.0, dec=-60.0)
SIGMA = 2.0
TRACTS = {4639: 58.5, 4640: 61.5}
"""Right ascension of the tangent points: north is turned by 2.6 deg from one to the other."""


def tract_wcs(tract):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [TRACTS[tract], -60.3]
    wcs.wcs.crpix = [1.0, 1.0]
    wcs.wcs.cd = 0.2 / 3600 * np.diag([-1.0, 1.0])
    wcs.wcs.set()
    return wcs


def patch_wcs(tract, x0, y0):
    """Of the patch that begins at the tract's pixel (x0, y0)."""
    wcs = tract_wcs(tract).deepcopy()
    wcs.wcs.crpix = [1.0 - x0, 1.0 - y0]
    wcs.wcs.set()
    return wcs


@pytest.fixture(scope="module")
def stars():
    """ra, dec, flux; well inside the exposure."""
    rng = np.random.default_rng(4)
    x, y = rng.uniform(15, SHAPE[1] - 15, 12), rng.uniform(15, SHAPE[0] - 15, 12)
    return *SCIENCE.all_pix2world(x, y, 0), rng.uniform(2e4, 5e4, 12)


def coadd(wcs, shape, stars, noise):
    ra, dec, flux = stars
    x, y = wcs.all_world2pix(ra, dec, 0)
    near = (np.abs(x - shape[1] / 2) < shape[1] / 2 + 12) & (y > -12) & (y < shape[0] + 12)
    image = star_field(shape, x[near], y[near], flux[near], SIGMA) + noise
    return make_exposure(image, 4.0, wcs=wcs, psf=gaussian_psf(SIGMA))


@pytest.fixture(scope="module")
def patches(stars):
    """{(tract, patch): (wcs, shape)}: three patches, two of them of one name, over the exposure."""
    corners = SCIENCE.calc_footprint(axes=SHAPE[::-1])
    boxes = {}
    for tract in TRACTS:
        x, y = tract_wcs(tract).all_world2pix(*corners.T, 0)
        x0, y0 = int(x.min()) - 12, int(y.min()) - 12
        nx, ny = int(np.ptp(x)) + 24, int(np.ptp(y)) + 24
        boxes[tract] = x0, y0, nx, ny
    (x0, y0, nx, ny), (u0, v0, nu, nv) = boxes.values()
    cut = int(0.6 * nx)
    return {
        (4639, (0, 0)): (patch_wcs(4639, x0, y0), (ny, cut)),
        (4639, (1, 0)): (patch_wcs(4639, x0 + cut - 60, y0), (ny, nx - cut + 60)),
        (4640, (0, 0)): (patch_wcs(4640, u0, v0), (nv, nu)),
    }


def test_every_patch_of_both_tracts_is_found(patches):
    exposure = ExposureRow(1013665, 79, "i", "science")
    coadds = [CoaddRow(*key, "i", f"{key}") for key in patches]
    footprints = {f"{key}": footprint_of(*grid) for key, grid in patches.items()}
    footprints["science"] = footprint_of(SCIENCE, SHAPE)
    found = find_overlaps([exposure], coadds, footprints)
    assert [(o.tract, o.patch) for o in found] == list(patches)
    assert found[2].fraction == pytest.approx(1.0)
    assert all(0.3 < overlap.fraction < 1.0 for overlap in found[:2])


def test_template_is_the_sky_and_each_patch_is_resampled_once(patches, stars, monkeypatch):
    coadds = [
        coadd(wcs, shape, stars, white_noise(shape, seed, 4.0))
        for seed, (wcs, shape) in enumerate(patches.values())
    ]
    resampled = []
    resample = skydelta.layers.resample
    monkeypatch.setattr(
        "skydelta.layers.resample",
        lambda one, *args, **options: resampled.append(one) or resample(one, *args, **options),
    )
    template = build_template(SCIENCE, SHAPE, coadds, band="i")
    assert [id(one) for one in resampled] == [id(one) for one in coadds]
    exposure = template.exposure
    assert template.coverage.min() == 2
    assert template.coverage.max() == 3
    # Independent noise: the variance follows from the number of coadds, and the pixels obey it.
    assert exposure.meta["OVLPCORR"][0] == pytest.approx(0.0, abs=0.05)
    for n in (2, 3):
        assert np.median(exposure.variance[template.coverage == n]) == pytest.approx(4 / n, rel=0.1)
    ra, dec, flux = stars
    sky = star_field(SHAPE, *SCIENCE.all_world2pix(ra, dec, 0), flux, SIGMA)
    residual = exposure.image - sky
    # 0.5 % of the brightest star's peak is what the resampling kernel may cost.
    assert np.abs(residual).max() < 5e-3 * sky.max() + 5 * np.sqrt(2.0)
    where = sky < 1.0
    assert robust_sigma(residual[where & (template.coverage == 2)]) < np.sqrt(2.0)
    shape = exposure.central_psf_shape
    assert shape.determinant_radius == pytest.approx(SIGMA, rel=0.01)


def test_tracts_of_the_same_input_exposures_share_their_noise(patches, stars):
    """Coadds of the same exposures in two tracts: averaging them takes no noise away."""
    (wcs_a, shape_a), (wcs_b, shape_b) = patches[4639, (0, 0)], patches[4640, (0, 0)]
    # Seen from both tracts, one noise field; smooth, so that interpolating keeps it.
    field = white_noise((shape_b[0] + 80, shape_b[1] + 80), 7, 4.0)
    to_b = PixelMap.between(wcs_a, shape_a, wcs_b)
    yy, xx = np.mgrid[: shape_a[0], : shape_a[1]].astype(float)
    u, v = wcs_b.all_world2pix(*wcs_a.all_pix2world(xx, yy, 0), 0)
    noise_a = map_coordinates(field, [v + 40, u + 40], order=3)
    assert to_b.error < 0.01
    coadds = [
        coadd(wcs_a, shape_a, stars, noise_a),
        coadd(wcs_b, shape_b, stars, field[40:-40, 40:-40]),
    ]
    template = build_template(SCIENCE, SHAPE, coadds, band="i")
    assert template.exposure.meta["OVLPCORR"][0] > 0.85
    twice = np.median(template.exposure.variance[template.coverage == 2])
    once = np.median(template.exposure.variance[template.coverage == 1])
    assert twice > 0.9 * once


def test_each_pair_of_coadds_has_its_own_correlation(patches, stars):
    """Two patches cut from one tract repeat each other; the other tract's noise is its own."""
    (left, shape_l), (right, shape_r), (other, shape_o) = patches.values()
    step = round(left.wcs.crpix[0] - right.wcs.crpix[0])
    field = white_noise((shape_l[0], step + shape_r[1]), 8, 4.0)
    coadds = [
        coadd(left, shape_l, stars, field[:, : shape_l[1]]),
        coadd(right, shape_r, stars, field[:, step:]),
        coadd(other, shape_o, stars, white_noise(shape_o, 9, 4.0)),
    ]
    template = build_template(SCIENCE, SHAPE, coadds, band="i")
    variance = template.exposure.variance
    # w = 1/3 each: three variances, and twice the covariance of the one pair.
    expected = 4.0 * (3 + 2) / 9
    assert np.median(variance[template.coverage == 3]) == pytest.approx(expected, rel=0.07)
    assert np.median(variance[template.coverage == 2]) == pytest.approx(4.0 / 2, rel=0.07)
