"""Polygons, PSFs of a part of an image, detectors, times."""

import numpy as np
import pytest
from scenes import gaussian_psf

from skydelta.lsst.detector import Amplifier, Detector
from skydelta.lsst.offset_psf import OffsetPsf
from skydelta.lsst.polygon import Polygon
from skydelta.lsst.visit_info import VisitInfo, tai_ns_of_mjd
from skydelta.psf import GridPsf

L_SHAPE = Polygon(((0.0, 0.0), (4.0, 0.0), (4.0, 1.0), (1.0, 1.0), (1.0, 3.0), (0.0, 3.0)))


def test_polygon_with_a_notch():
    x, y = np.array([0.5, 3.5, 3.5, 0.5, -0.1, 2.0]), np.array([2.5, 0.5, 2.0, 3.1, 1.0, 1.5])
    assert L_SHAPE.contains(x, y).tolist() == [True, True, False, False, False, False]
    assert L_SHAPE.contains(2.0, 0.5)
    assert L_SHAPE.bbox == (0.0, 0.0, 4.0, 3.0)


def test_polygon_does_not_mind_direction_or_closure():
    x, y = np.random.default_rng(2).uniform(-1, 5, (2, 500))
    inside = L_SHAPE.contains(x, y)
    assert inside.mean() == pytest.approx(6.0 / 36.0, abs=0.05)
    for vertices in (L_SHAPE.vertices[::-1], (*L_SHAPE.vertices, L_SHAPE.vertices[0])):
        np.testing.assert_array_equal(Polygon(vertices).contains(x, y), inside)


def test_offset_psf_asks_the_parent():
    stamps = np.concatenate([gaussian_psf(s, 21).data for s in (1.5, 2.5)])
    parent = GridPsf(np.array([1000.0, 2000.0]), np.array([500.0, 500.0]), stamps)
    psf = OffsetPsf(parent, 1000, 400)
    assert psf.size == 21
    np.testing.assert_array_equal(psf.stamp(0.0, 100.0), stamps[0])
    np.testing.assert_array_equal(psf.stamps([0.0, 1000.0], [9.0, 9.0])[1], stamps[1])
    image, x0, y0 = psf.images([10.3], [20.8])
    expected, px0, py0 = parent.images([1010.3], [420.8])
    np.testing.assert_array_equal(image, expected)
    assert (x0[0], y0[0]) == (px0[0] - 1000, py0[0] - 400) == (0, 11)
    assert psf.compute_shape(1000.0, 0.0).fwhm > 1.5 * psf.compute_shape(0.0, 0.0).fwhm


def test_gain_and_saturation_of_a_detector():
    box = (0, 0, 9, 9)
    amplifiers = (
        Amplifier("a", box, 2.0, 50000.0),
        Amplifier("b", box, 3.0, 45000.0),
        Amplifier("c", box, 0.0, 0.0),  # as afw writes what it does not know
    )
    detector = Detector("R20_S21", 79, amplifiers=amplifiers)
    assert (detector.gain, detector.saturation) == (2.5, 45000.0)
    assert np.isnan(Detector("x", 1).gain)
    assert np.isinf(Detector("x", 1).saturation)


@pytest.mark.parametrize("mjd", [58000.123456789, 60310.0, 40587.5, 51544.999999999])
def test_time_goes_through_nanoseconds_unchanged(mjd):
    assert VisitInfo(tai_ns=tai_ns_of_mjd(mjd)).mjd_tai == mjd


def test_unknown_time():
    assert tai_ns_of_mjd(np.nan) is None
    assert np.isnan(VisitInfo().mjd_tai)
