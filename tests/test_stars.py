"""The search for stars, strip by strip."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from skydelta.parallel import threads
from skydelta.stars import find_stars, gaussian_smooth


@pytest.mark.parametrize("shape", [(300, 70), (64, 257), (20, 20)])
def test_smoothing_is_a_convolution(shape):
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    expected = gaussian_filter(image.astype(float), 1.7, mode="constant", truncate=3.0)
    assert gaussian_smooth(image, 1.7) == pytest.approx(expected, abs=1e-6)


def field(shape=(600, 500), count=60):
    rng = np.random.default_rng(2)
    points = np.zeros(shape)
    y, x = (rng.integers(20, n - 20, count) for n in shape)
    points[y, x] = 3000.0 * rng.pareto(1.0, count).clip(0.2, 30)
    image = gaussian_filter(points, 2.0) + rng.normal(size=shape)
    return image.astype(np.float32), np.ones(shape, np.float32)


def test_strips_have_no_seams():
    """Every star of a field moved along y by part of a strip is found again."""
    image, variance = field()
    stars = find_stars(image, variance)
    moved = find_stars(np.roll(image, 128, axis=0), variance)
    both = (stars["y"] > 30) & (stars["y"] < 440) & (stars["snr"] > 20)
    assert both.sum() > 20
    for star in stars[both]:
        distance = np.hypot(moved["x"] - star["x"], moved["y"] - star["y"] - 128)
        assert distance.min() < 0.05


def test_threads_change_nothing():
    image, variance = field()
    one = find_stars(image, variance)
    with threads(2):
        two = find_stars(image, variance)
    assert np.array_equal(one, two)
