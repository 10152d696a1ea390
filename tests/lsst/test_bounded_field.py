"""Fields over boxes: afw's convention, products, and the exact change to an image's own grid."""

import numpy as np
import pytest
from numpy.polynomial.chebyshev import chebval2d
from scenes import tan_wcs

from skydelta.errors import UnsupportedError
from skydelta.lsst.bounded_field import (
    ChebyshevBoundedField,
    PixelAreaBoundedField,
    ProductBoundedField,
    field_on,
)
from skydelta.lsst.photo_calib import BoundedPhotoCalib
from skydelta.lsst.sky_wcs import FitsSkyWcs
from skydelta.photocalib import PhotoCalib

BBOX = (100, 40, 2147, 4215)
COEFFICIENTS = np.array([[2.0, 0.3, -0.1], [0.2, 0.05, 0.0], [-0.07, 0.01, 0.02]])
IMAGE = (900, 1000, 1411, 1299)


def positions():
    x, y = np.random.default_rng(3).random((2, 200))
    return IMAGE[0] + 511 * x, IMAGE[1] + 299 * y


def test_edges_of_the_box_are_plus_and_minus_one():
    field = ChebyshevBoundedField(COEFFICIENTS, BBOX)
    corner = field.evaluate(BBOX[2] + 0.5, BBOX[1] - 0.5)
    assert corner == pytest.approx(chebval2d(-1.0, 1.0, COEFFICIENTS), rel=1e-14)
    middle = field.evaluate((100 + 2147) / 2, (40 + 4215) / 2)
    assert middle == pytest.approx(chebval2d(0.0, 0.0, COEFFICIENTS), rel=1e-14)


@pytest.mark.parametrize("kind", ["chebyshev", "product"])
def test_polynomials_change_their_box_exactly(kind):
    field = ChebyshevBoundedField(COEFFICIENTS, BBOX)
    if kind == "product":
        field = ProductBoundedField((field, ChebyshevBoundedField(COEFFICIENTS.T, IMAGE)))
    own = field_on(field, IMAGE, 0.5)
    assert own.shape == (300, 512)
    x, y = positions()
    expected = 0.5 * field.evaluate(x, y)
    np.testing.assert_allclose(own.at(x - IMAGE[0], y - IMAGE[1]), expected, rtol=1e-13)
    assert own.coefficients.shape == ((3, 3) if kind == "chebyshev" else (5, 5))


def test_pixel_area():
    wcs = tan_wcs((300, 512), scale=0.2)
    steradian = (0.2 / 3600 * np.pi / 180) ** 2
    field = PixelAreaBoundedField(FitsSkyWcs(wcs, IMAGE[:2]), IMAGE, 1.0 / steradian)
    x, y = positions()
    # The area of a pixel of a TAN grid falls as the cube of the cosine of the angle.
    r = 0.2 * np.hypot(x + 0.5 - IMAGE[0] - 255.5, y + 0.5 - IMAGE[1] - 149.5)
    expected = np.cos(np.radians(r / 3600)) ** 3
    np.testing.assert_allclose(field.evaluate(x, y), expected, atol=1e-6)
    own = field_on(field, IMAGE)
    np.testing.assert_allclose(own.at(x - IMAGE[0], y - IMAGE[1]), field.evaluate(x, y), rtol=1e-7)


def test_what_no_polynomial_follows():
    class Wavy:
        degree = None

        def evaluate(self, x, y):
            return 2.0 + np.sin(x / 5.0) + 0 * y

    with pytest.raises(UnsupportedError, match="Wavy is no polynomial"):
        field_on(Wavy(), IMAGE)


def test_calibration_of_part_of_a_detector():
    field = ChebyshevBoundedField(COEFFICIENTS, BBOX)
    calib = BoundedPhotoCalib(2.0, 0.01, field).on(IMAGE)
    x, y = positions()
    scale, error = calib.local(x - IMAGE[0], y - IMAGE[1])
    np.testing.assert_allclose(scale, field.evaluate(x, y), rtol=1e-13)
    np.testing.assert_allclose(error / scale, 0.005, rtol=1e-12)


def test_calibration_both_ways():
    calib = BoundedPhotoCalib(2.0, 0.01, ChebyshevBoundedField(COEFFICIENTS, BBOX)).on(IMAGE)
    back = BoundedPhotoCalib.of(calib, IMAGE).on(IMAGE)
    np.testing.assert_allclose(back.field.coefficients, calib.field.coefficients, rtol=1e-15)
    constant = PhotoCalib(3.7, 0.1)
    assert BoundedPhotoCalib.of(constant, IMAGE).on(BBOX) == constant
