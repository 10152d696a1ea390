"""Gaussian and kernel PSFs: closed forms, boxes of any parity, shifts."""

import numpy as np
import pytest

from skydelta.errors import BadPsfError
from skydelta.lsst.functions import (
    Chebyshev1Function2,
    DoubleGaussianFunction2,
    GaussianFunction2,
    PolynomialFunction2,
)
from skydelta.lsst.gaussian_psf import DoubleGaussianPsf, GaussianPsf, SingleGaussianPsf
from skydelta.lsst.image_psf import lanczos_shift
from skydelta.lsst.kernel_psf import (
    AnalyticKernel,
    FixedKernel,
    KernelPsf,
    LinearCombinationKernel,
)


def test_gaussian_is_one():
    psf = GaussianPsf(25, 25, 2.5)
    shape = psf.compute_shape(100.0, 200.0)
    assert shape.ixx == pytest.approx(6.25, rel=1e-6)
    assert psf.stamp(3.0, 4.0).sum() == pytest.approx(1.0, abs=1e-14)
    ratio = psf.stamp(0, 0)[12, 15] / psf.stamp(0, 0)[12, 12]
    assert ratio == pytest.approx(np.exp(-0.5 * 9 / 6.25), rel=1e-13)


def test_double_gaussian_peaks():
    stamp = DoubleGaussianPsf(31, 31, 1.5, 4.0, 0.1).stamp(0, 0)
    expected = (np.exp(-0.5 * 36 / 2.25) + 0.1 * np.exp(-0.5 * 36 / 16.0)) / 1.1
    assert stamp[15, 21] / stamp[15, 15] == pytest.approx(expected, rel=1e-13)
    single = DoubleGaussianPsf(31, 31, 1.5, 0.0, 0.0).stamp(0, 0)
    np.testing.assert_allclose(single, SingleGaussianPsf(31, 31, 1.5).stamp(0, 0), atol=1e-16)


@pytest.mark.parametrize(("width", "height", "size"), [(7, 7, 7), (8, 7, 9), (5, 12, 13)])
def test_boxes_that_are_even_or_not_square(width, height, size):
    """afw puts the centre at (n - 1) // 2; padded to an odd square it is the middle."""
    psf = SingleGaussianPsf(width, height, 1.0)
    stamp = psf.stamp(0, 0)
    assert psf.size == size
    assert stamp.shape == (size, size)
    assert np.unravel_index(stamp.argmax(), stamp.shape) == (size // 2, size // 2)
    assert (stamp > 0).sum() == width * height


def test_images_between_pixels():
    """Lanczos-5 as afw shifts: within 0.3 % of the peak of the Gaussian itself (sigma 2)."""
    stamps, x0, y0 = GaussianPsf(31, 31, 2.0).images([100.3, -7.6], [50.75, 12.5])
    yy, xx = np.mgrid[:31, :31]
    for stamp, left, low, x, y in zip(stamps, x0, y0, (100.3, -7.6), (50.75, 12.5), strict=True):
        r2 = (xx + left - x) ** 2 + (yy + low - y) ** 2
        exact = np.exp(-0.5 * r2 / 4.0) / (8 * np.pi)
        assert np.abs(stamp - exact).max() < 3e-3 * exact.max()


def test_shift_by_whole_pixels_and_there_and_back():
    stamps = np.random.default_rng(0).normal(size=(1, 9, 9))
    moved = lanczos_shift(stamps, np.array([1.0]), np.array([0.0]))
    np.testing.assert_allclose(moved[0, :, 1:], stamps[0, :, :-1], atol=1e-12)
    np.testing.assert_allclose(lanczos_shift(stamps, np.zeros(1), np.zeros(1)), stamps, atol=1e-14)
    mirrored = lanczos_shift(stamps[:, ::-1, ::-1], np.array([-0.3]), np.array([0.4]))
    direct = lanczos_shift(stamps, np.array([0.3]), np.array([-0.4]))
    np.testing.assert_allclose(mirrored[:, ::-1, ::-1], direct, atol=1e-13)


def test_linear_combination_varies_with_the_position():
    parts = [FixedKernel(np.eye(5), (2, 2)), FixedKernel(np.ones((5, 5)), (2, 2))]
    functions = (PolynomialFunction2((1.0, 0.0, 0.0)), PolynomialFunction2((0.0, 0.1, -0.2)))
    psf = KernelPsf(LinearCombinationKernel(parts, (2, 2), spatial_functions=functions))
    expected = np.eye(5) + (0.1 * 30 - 0.2 * 5)
    np.testing.assert_allclose(psf.stamp(30.0, 5.0), expected / expected.sum(), atol=1e-15)
    fixed = KernelPsf(LinearCombinationKernel(parts, (2, 2), amplitudes=(1.0, 2.0)))
    np.testing.assert_allclose(fixed.stamp(30.0, 5.0), expected / expected.sum(), atol=1e-15)


def test_functions():
    """Order of the coefficients as afw documents it, and numpy's Chebyshev polynomials."""
    x, y = np.array([0.3, 2.0]), np.array([-0.5, 1.5])
    c = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    expected = 1 + 2 * x + 3 * y + 4 * x**2 + 5 * x * y + 6 * y**2
    np.testing.assert_allclose(PolynomialFunction2(c)(x, y), expected)
    function = Chebyshev1Function2(c, (0.0, -2.0), (4.0, 2.0))
    table = [[1.0, 3.0, 6.0], [2.0, 5.0, 0.0], [4.0, 0.0, 0.0]]
    expected = np.polynomial.chebyshev.chebval2d((x - 2) / 2, y / 2, table)
    np.testing.assert_allclose(function(x, y), expected)
    yy, xx = np.mgrid[-40:41, -40:41]
    assert GaussianFunction2(2.0, 4.0, 0.5)(xx, yy).sum() == pytest.approx(1.0, abs=1e-9)
    assert DoubleGaussianFunction2(2.0, 5.0, 0.3)(xx, yy).sum() == pytest.approx(1.0, abs=1e-9)
    with pytest.raises(BadPsfError, match="4 coefficients"):
        PolynomialFunction2((1.0, 2.0, 3.0, 4.0))


def test_analytic_kernel_is_turned_as_its_function():
    kernel = AnalyticKernel((41, 41), (20, 20), GaussianFunction2(2.0, 4.0, np.pi / 6))
    shape = KernelPsf(kernel).compute_shape(0, 0)
    c, s = np.cos(np.pi / 6), np.sin(np.pi / 6)
    assert shape.ixx == pytest.approx(4 * c**2 + 16 * s**2, rel=1e-4)
    assert shape.ixy == pytest.approx((4 - 16) * c * s, rel=1e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GaussianPsf(10, 11, 1.0),
        lambda: SingleGaussianPsf(11, 11, 0.0),
        lambda: DoubleGaussianPsf(11, 11, 1.0, -1.0, 0.1),
        lambda: SingleGaussianPsf(0, 11, 1.0),
        lambda: FixedKernel(np.full((3, 3), np.inf), (1, 1)),
        lambda: FixedKernel(np.ones((3, 3)), (3, 1)),
        lambda: LinearCombinationKernel((), (0, 0), amplitudes=()),
        lambda: LinearCombinationKernel((FixedKernel(np.ones((3, 3)), (1, 1)),), (1, 1)),
        lambda: KernelPsf(FixedKernel(np.zeros((3, 3)), (1, 1))).stamp(0, 0),
    ],
)
def test_what_cannot_be_a_psf(make):
    with pytest.raises(BadPsfError):
        make()
