import numpy as np
import pytest

from skydelta.io.wcs import header_of, wcs_from_header
from skydelta.simulate.astrometry import (
    PIXEL_SCALE,
    detector_wcs,
    jacobians,
    moved_origin,
    positions_on,
    tan_wcs,
    with_error,
)

SHAPE = (300, 400)


@pytest.fixture
def wcs():
    return detector_wcs(55.0, -30.0, SHAPE, 30.0, np.random.default_rng(1))


def separation_mas(one, other):
    east = (one[0] - other[0]) * np.cos(np.radians(one[1]))
    return np.hypot(east, one[1] - other[1]) * 3.6e6


def test_distortion_is_a_few_pixels_at_the_corner(wcs):
    plain = tan_wcs(55.0, -30.0, (199.5, 149.5), 30.0)
    corner = wcs.all_pix2world(0.0, 0.0, 0)
    moved = np.hypot(*plain.wcs_world2pix(*corner, 0))
    assert 1.0 < moved < 4.0


def test_positions_survive_a_fits_header(wcs):
    again = wcs_from_header(header_of(wcs))
    x, y = np.array([0.0, 399.0, 200.0]), np.array([0.0, 299.0, 10.0])
    assert separation_mas(wcs.all_pix2world(x, y, 0), again.all_pix2world(x, y, 0)).max() < 0.01


def test_pixel_size_and_parity(wcs):
    jacobian = jacobians(wcs, np.array([200.0]), np.array([150.0]))[0]
    assert np.linalg.det(jacobian) == pytest.approx(-(PIXEL_SCALE**2), rel=1e-3)


def test_rotation_turns_north(wcs):
    """At 30 degrees, a step along +y goes north by cos 30 and east by sin 30."""
    jacobian = jacobians(wcs, np.array([200.0]), np.array([150.0]))[0]
    assert jacobian[:, 1] / PIXEL_SCALE == pytest.approx([0.5, np.sqrt(0.75)], abs=2e-3)


@pytest.mark.parametrize("error", [0.0, 10.0, 50.0])
def test_error_has_the_asked_rms_over_the_image(wcs, error):
    written = with_error(wcs, SHAPE, error, np.random.default_rng(2))
    x, y = np.meshgrid(np.arange(0, 400, 10.0), np.arange(0, 300, 10.0))
    off = separation_mas(wcs.all_pix2world(x, y, 0), written.all_pix2world(x, y, 0))
    assert np.sqrt(np.mean(off**2)) == pytest.approx(error, rel=0.15, abs=1e-3)


def test_positions_on_finds_what_is_inside_only(wcs):
    x, y = np.array([-30.0, 10.0, 399.0, 200.0]), np.array([5.0, 20.0, 299.0, 400.0])
    ra, dec = wcs.all_pix2world(x, y, 0)
    index, x_on, y_on = positions_on(wcs, SHAPE, ra, dec, 0)
    assert list(index) == [1, 2]
    assert x_on == pytest.approx(x[1:3], abs=1e-4)
    assert y_on == pytest.approx(y[1:3], abs=1e-4)


def test_moved_origin_keeps_the_sky():
    wcs = tan_wcs(55.0, -30.0, (100.0, 200.0))
    moved = moved_origin(wcs, 30, 40)
    off = separation_mas(moved.all_pix2world(10.0, 20.0, 0), wcs.all_pix2world(40.0, 60.0, 0))
    assert off < 1e-3
