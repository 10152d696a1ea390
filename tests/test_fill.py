"""Values for bad pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import white_noise

from skydelta.fill import fill_holes

SHAPE = (300, 280)


def plane(gradient=(0.0, 0.0), level=7.0):
    yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (level + gradient[0] * xx + gradient[1] * yy).astype(np.float32)


def holes(*boxes):
    bad = np.zeros(SHAPE, bool)
    for y0, y1, x0, x1 in boxes:
        bad[y0:y1, x0:x1] = True
    return bad


def filled(image, bad, junk=np.nan):
    return fill_holes(np.where(bad, np.float32(junk), image), bad)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -1e30])
def test_constants_are_kept_whatever_the_bad_pixels_hold(junk):
    """Holes of every size up to 53 px, at the edges and across the blocks of 128 px."""
    bad = holes((0, 9, 0, 9), (120, 140, 100, 150), (200, 201, 0, 280), (60, 112, 200, 252))
    assert filled(plane(), bad, junk) == pytest.approx(7.0, rel=1e-4)


def test_a_gradient_is_exact_where_the_good_pixels_lie_about():
    """In single pixels, lines, and the middle of anything symmetric."""
    image = plane((0.3, -0.2))
    bad = holes((50, 51, 60, 61), (0, 300, 127, 128), (150, 161, 200, 211))
    out = filled(image, bad)
    assert out[50, 60] == pytest.approx(image[50, 60], rel=1e-4)
    assert out[5:-5, 127] == pytest.approx(image[5:-5, 127], rel=1e-4)
    assert out[155, 205] == pytest.approx(image[155, 205], rel=1e-4)


def test_a_gradient_is_followed_to_the_width_of_the_means():
    image = plane((0.3, -0.2))
    bad = holes((150, 180, 100, 130))
    assert np.abs(filled(image, bad) - image).max() < 0.5 * 53 // 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0, 0.9))
def test_good_pixels_stay_and_all_is_finite(seed, share):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=SHAPE).astype(np.float32)
    bad = rng.random(SHAPE) < share
    y, x = rng.integers(0, 250, 2)
    bad[y : y + 70, x : x + 40] = True
    out = filled(image, bad)
    assert np.array_equal(out[~bad], image[~bad])
    assert np.isfinite(out).all()
    assert out.min() >= image.min() - 1e-3
    assert out.max() <= image.max() + 1e-3


def test_far_from_good_pixels_it_is_the_mean_of_the_neighbourhood():
    bad = holes((100, 200, 100, 200))
    assert filled(plane(), bad) == pytest.approx(7.0, rel=1e-4)


def test_nothing_good_gives_zero():
    assert (filled(plane(), np.ones(SHAPE, bool)) == 0).all()


def test_without_holes_it_is_the_image_itself():
    image = plane()
    assert fill_holes(image, np.zeros(SHAPE, bool)) is image


def test_the_image_given_is_not_changed():
    image, bad = white_noise(SHAPE, 1).astype(np.float32), holes((50, 60, 50, 60))
    before = image.copy()
    assert fill_holes(image, bad) is not image
    assert np.array_equal(image, before)


def test_blocks_leave_no_seams():
    """As the image shifted by half a block is filled."""
    image = white_noise(SHAPE, 1).astype(np.float32)
    bad = np.random.default_rng(2).random(SHAPE) < 0.05
    bad |= holes((100, 150, 110, 140))
    shifted = filled(image[64:, 64:], bad[64:, 64:])
    inner = np.s_[30:, 30:]
    assert shifted[inner] == pytest.approx(filled(image, bad)[64:, 64:][inner], abs=1e-4)
