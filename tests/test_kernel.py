import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import BasisSpec, gaussian_basis
from skydelta.polynomial import exponents, n_terms

SPEC = BasisSpec((0.8, 1.6), (2, 2), 13)
SHAPE = (300, 400)


def random_kernel(seed, order=2, *, sum_=2.0, background_order=2, shape=SHAPE, spec=SPEC):
    rng = np.random.default_rng(seed)
    basis = gaussian_basis(spec)
    coefficients = rng.normal(0, 0.2, (len(basis), n_terms(order)))
    coefficients[0] = 0.0
    coefficients[0, 0] = sum_
    background = rng.normal(0, 3, n_terms(background_order))
    return SpatialKernel.polynomial(basis, coefficients, order, background, background_order, shape)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 3), st.floats(-0.5, 399.5), st.floats(-0.5, 299.5))
def test_the_sum_is_the_same_everywhere(seed, order, x, y):
    kernel = random_kernel(seed, order, sum_=1.7)
    assert kernel.image(x, y).sum() == pytest.approx(1.7, abs=1e-4)
    assert kernel.sum == pytest.approx(1.7, abs=1e-4)


def test_images_are_the_terms_times_the_polynomials():
    kernel = random_kernel(3, 1)
    x, y = 30.0, 200.0
    u, v = (2 * x + 1) / 400 - 1, (2 * y + 1) / 300 - 1
    expected = np.tensordot([1, u, v], kernel.images, 1)
    assert kernel.image(x, y) == pytest.approx(expected, abs=1e-12)
    assert kernel.at([0, x], [5, y])[1] == pytest.approx(expected, abs=1e-12)


def test_linear_kernel_is_linear_in_position():
    kernel = random_kernel(4, 1)
    mean = 0.5 * (kernel.image(10, 20) + kernel.image(300, 120))
    assert kernel.image(155, 70) == pytest.approx(mean, abs=1e-12)


def test_background():
    kernel = random_kernel(5, background_order=2)
    rows = kernel.background.box(149, 152, 0, 400)
    assert rows.shape == (3, 400)
    u, v = (2 * 100 + 1) / 400 - 1, (2 * 150 + 1) / 300 - 1
    terms = [1, u, v, 2 * u * u - 1, u * v, 2 * v * v - 1]
    given = [kernel.background.coefficients[j, i] for i, j in exponents(2)]
    assert rows[1, 100] == pytest.approx(np.dot(given, terms), rel=1e-5)


def test_identity():
    kernel = SpatialKernel.identity((20, 30), 5)
    assert kernel.sum == 1.0
    assert kernel.half == 2
    assert kernel.image(3, 4)[2, 2] == 1.0
    assert not kernel.background.box(0, 20, 0, 30).any()
