import numpy as np
import pytest

from skydelta.simulate.astrometry import detector_wcs, tan_wcs
from skydelta.simulate.optics import make_psf
from skydelta.simulate.render import draw_galaxies, draw_points
from skydelta.simulate.sky import Galaxies

SHAPE = (201, 201)
WCS = detector_wcs(55.0, -30.0, SHAPE, 30.0, np.random.default_rng(1))
PSF = make_psf(np.random.default_rng(2), SHAPE, 0.8)


def moments(image):
    yy, xx = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    total = image.sum()
    x, y = (image * xx).sum() / total, (image * yy).sum() / total
    return total, x, y


def galaxy(wcs, x, y, *, index=1, radius=0.6, g1=0.0, g2=0.0):
    ra, dec = wcs.all_pix2world(np.array([x]), np.array([y]), 0)
    return Galaxies(
        ra, dec, {}, np.array([radius]), np.array([index]), np.array([g1]), np.array([g2])
    )


def test_star_has_its_flux_at_its_place():
    image = np.zeros(SHAPE, np.float32)
    ra, dec = WCS.all_pix2world(np.array([90.3]), np.array([110.7]), 0)
    draw_points(image, WCS, PSF, ra, dec, np.array([1e5]), 20.0)
    assert moments(image) == pytest.approx((1e5, 90.3, 110.7), rel=1e-3, abs=2e-3)


def test_star_equals_the_psf_stamp():
    image = np.zeros(SHAPE, np.float32)
    ra, dec = WCS.all_pix2world(np.array([90.3]), np.array([110.7]), 0)
    draw_points(image, WCS, PSF, ra, dec, np.array([1e5]), 20.0)
    stamps, x0, y0 = PSF.images([90.3], [110.7])
    box = image[y0[0] : y0[0] + 41, x0[0] : x0[0] + 41]
    assert np.abs(box / 1e5 - stamps[0]).max() < 1e-4 * stamps.max()


def test_star_off_the_image_leaves_its_wing_only():
    image = np.zeros(SHAPE, np.float32)
    ra, dec = WCS.all_pix2world(np.array([-4.0]), np.array([100.0]), 0)
    draw_points(image, WCS, PSF, ra, dec, np.array([1e6]), 20.0)
    assert 0 < image.sum() < 2e5
    assert image[100].argmax() == 0


@pytest.mark.parametrize("index", [1, 4])
def test_galaxy_has_its_flux_at_its_place(index):
    image = np.zeros(SHAPE, np.float32)
    draw_galaxies(image, WCS, PSF, galaxy(WCS, 95.2, 101.4, index=index), np.array([1e5]), 20.0)
    total, x, y = moments(image)
    assert total == pytest.approx(1e5, rel=0.03)
    assert (x, y) == pytest.approx((95.2, 101.4), abs=0.05)


def test_galaxy_elongated_to_the_east_keeps_its_direction_in_every_camera():
    """East is -x with north up and turns with the camera."""
    ixx_minus_iyy = []
    for rotation in (0.0, 90.0):
        wcs = tan_wcs(55.0, -30.0, (100.0, 100.0), rotation)
        image = np.zeros(SHAPE, np.float32)
        draw_galaxies(image, wcs, PSF, galaxy(wcs, 100.0, 100.0, g1=0.5), np.array([1e5]), 20.0)
        yy, xx = np.mgrid[:201, :201] - 100.0
        ixx_minus_iyy.append((image * (xx**2 - yy**2)).sum() / image.sum())
    assert ixx_minus_iyy[0] > 1.0
    assert ixx_minus_iyy[1] < -1.0
