import numpy as np
import pytest
from scenes import gaussian_stamp

from skydelta.psf import shift_stamps
from skydelta.stamp_shift import StampShifter

SHIFTS = np.array([0.0, 0.37, -0.81, 1e-9, 1.0, -2.3]), np.array([0.0, -0.2, 0.5, 0.3, -1.0, 1.9])


@pytest.fixture(scope="module")
def stamps():
    rng = np.random.default_rng(1)
    return np.stack([gaussian_stamp(s, 33, dx=0.1) for s in rng.uniform(1.6, 2.4, 6)])


def test_equals_the_shift_in_fourier_space(stamps):
    expected = shift_stamps(stamps, *SHIFTS)[:, 6:-6, 6:-6]
    assert StampShifter(stamps, 10).shifted(*SHIFTS) == pytest.approx(expected, abs=1e-9)


def test_moves_a_gaussian_to_where_it_is_drawn():
    stamp = gaussian_stamp(2.0, 33)[None]
    moved = StampShifter(stamp, 12).shifted([0.4], [-0.7])[0]
    expected = gaussian_stamp(2.0, 33, dx=0.4, dy=-0.7)[4:-4, 4:-4]
    assert moved == pytest.approx(expected, abs=1e-7)


def test_derivatives_are_those_of_a_gaussian():
    dx, dy = np.array([0.3]), np.array([-0.45])
    _, gx, gy = StampShifter(gaussian_stamp(2.0, 41)[None], 10).columns(dx, dy)[0]
    at = np.arange(-10, 11)
    expected = gaussian_stamp(2.0, 21, dx=0.3, dy=-0.45)
    # d/d dx of a Gaussian at dx is (x - dx) / sigma^2 times itself.
    assert gx == pytest.approx(expected * (at - 0.3) / 4.0, abs=1e-7)
    assert gy == pytest.approx(expected * (at + 0.45)[:, None] / 4.0, abs=1e-7)


def test_columns_hold_the_shifted_stamps(stamps):
    shifter = StampShifter(stamps, 12)
    assert shifter.columns(*SHIFTS)[:, 0] == pytest.approx(shifter.shifted(*SHIFTS), abs=1e-14)


def test_take(stamps):
    part = StampShifter(stamps, 12).take([4, 1])
    whole = StampShifter(stamps, 12).shifted(*SHIFTS)
    assert part.shifted(*(s[[4, 1]] for s in SHIFTS)) == pytest.approx(whole[[4, 1]])
    assert len(part) == 2


def test_nothing_to_shift():
    shifter = StampShifter(np.zeros((0, 21, 21)), 7)
    assert shifter.columns(np.zeros(0), np.zeros(0)).shape == (0, 3, 15, 15)
