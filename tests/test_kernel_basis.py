import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydelta.kernel_basis import (
    BasisSpec,
    basis_transform,
    gaussian_basis,
    kernel_size,
    profiles,
    raw_functions,
    scaled_spec,
)

DEFAULT = BasisSpec((0.7, 1.5, 3.0), (4, 2, 2), 21)
TUTORIAL = BasisSpec((0.1, 0.7, 1.5, 3.0), (2, 4, 2, 2), 21)


@pytest.mark.parametrize(("spec", "count"), [(DEFAULT, 27), (TUTORIAL, 33)])
def test_number_of_functions(spec, count):
    """Sum of (d + 1)(d + 2) / 2: 27 for the stack's default, 33 for the tutorial's basis."""
    assert len(gaussian_basis(spec)) == len(spec.terms) == count


@pytest.mark.parametrize("spec", [DEFAULT, TUTORIAL, BasisSpec((1.4, 2.8), (6, 3), 31)])
class TestNormalisation:
    def test_first_has_unit_sum_the_others_none(self, spec):
        sums = gaussian_basis(spec).sum(axis=(1, 2))
        assert sums[0] == pytest.approx(1.0)
        assert np.abs(sums[1:]).max() < 2e-6

    def test_the_others_have_unit_norm_or_none(self, spec):
        norms = np.sqrt((gaussian_basis(spec)[1:] ** 2).sum(axis=(1, 2)))
        null = norms == 0
        assert norms[~null] == pytest.approx(1.0)

    def test_transform_and_products(self, spec):
        basis = np.einsum("bt,tyx->byx", basis_transform(spec), raw_functions(spec))
        assert np.array_equal(basis, gaussian_basis(spec))
        factors = profiles(spec)
        m, i, j = spec.terms[-1]
        assert raw_functions(spec)[-1] == pytest.approx(np.outer(factors[m][j], factors[m][i]))


def test_a_tenth_of_a_pixel_keeps_no_sum():
    """The stack's comparison with epsilon leaves terms of this Gaussian with a sum of sqrt(2)."""
    basis = gaussian_basis(TUTORIAL)
    narrow = [k for k, (m, _, _) in enumerate(TUTORIAL.terms) if m == 0]
    sums = basis[narrow[1:]].sum(axis=(1, 2))
    norms = np.sqrt((basis[narrow[1:]] ** 2).sum(axis=(1, 2)))
    assert (np.abs(sums) <= 2e-6 * np.maximum(norms, 1)).all()
    # The 0.1 px Gaussian itself is a delta function.
    assert basis[0][10, 10] == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.4, 5), min_size=1, max_size=3),
    st.integers(0, 4),
    st.integers(0, 2**32 - 1),
)
def test_kernel_sum_does_not_depend_on_the_coefficients(sigmas, degree, seed):
    spec = BasisSpec(tuple(sorted(sigmas)), (degree,) * len(sigmas), 25)
    basis = gaussian_basis(spec)
    coefficients = np.random.default_rng(seed).normal(0, 1, len(basis))
    coefficients[0] = 3.5
    kernel = np.tensordot(coefficients, basis, 1)
    assert kernel.sum() == pytest.approx(3.5, abs=1e-5 * len(basis))


def test_parity():
    """Odd powers of x are odd in x: the basis has no preferred side."""
    basis = gaussian_basis(DEFAULT)
    for function, (_, i, j) in zip(basis, DEFAULT.terms, strict=True):
        assert function[:, ::-1] == pytest.approx((-1) ** i * function, abs=1e-12)
        assert function[::-1] == pytest.approx((-1) ** j * function, abs=1e-12)


class TestWidths:
    def test_rule(self):
        """sigma_K / 2, sigma_K, 2 sigma_K with sigma_K^2 = sigma_s^2 - sigma_t^2 (2026 rule)."""
        spec = scaled_spec(2.5, 1.5, degrees=(4, 2, 2))
        assert spec.sigmas == pytest.approx((1.0, 2.0, 4.0))
        assert spec.degrees == (4, 2, 2)
        assert spec.size == 25

    def test_not_below_the_pixel(self):
        assert scaled_spec(1.9, 1.8).sigmas == pytest.approx((0.7, 1.4, 2.8, 5.6))

    def test_symmetric_in_the_two_images(self):
        assert scaled_spec(1.5, 2.5) == scaled_spec(2.5, 1.5)

    def test_continuous_at_the_narrowest(self):
        """The stack's rule of 2020 jumped at sigma_K = 1.4 px."""
        below, above = (scaled_spec(np.sqrt(1 + s**2), 1.0).sigmas for s in (1.399, 1.401))
        assert below == pytest.approx(above, abs=0.01)

    def test_equal_seeing(self):
        assert scaled_spec(2.0, 2.0).sigmas == (0.7, 1.5, 3.0, 6.0)

    @pytest.mark.parametrize(
        ("widest", "size"), [(1.0, 21), (3.0, 21), (4.0, 25), (4.2, 25), (5.0, 31), (9.0, 51)]
    )
    def test_size(self, widest, size):
        """int(6 sigma) made odd, within 21 and 51 px."""
        assert kernel_size((0.7, widest)) == size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1.0, 2.0), (2,), 21), "2 Gaussian widths but 1 degrees"),
        (((0.0,), (2,), 21), "must be positive"),
        (((1.0,), (-1,), 21), "degrees not negative"),
        (((1.0,), (2,), 20), "odd and at least 3, got 20"),
    ],
)
def test_what_cannot_be_a_basis(arguments, message):
    with pytest.raises(ValueError, match=message):
        BasisSpec(*arguments)
