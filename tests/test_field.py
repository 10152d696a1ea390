import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import white_noise
from scipy.signal import fftconvolve

from skydelta.convolve import convolve_spatial
from skydelta.field import (
    Field,
    bspline_1d,
    chebyshev_fields,
    functions_1d,
    polynomial_field,
    spline_terms,
)
from skydelta.kernel import SpatialKernel
from skydelta.polynomial import chebyshev, n_terms

SHAPE = (210, 330)
PLACES = st.tuples(st.floats(-0.5, 329.5), st.floats(-0.5, 209.5))


def spline_field(seed, count=6):
    return Field(np.random.default_rng(seed).normal(size=(count, count)), SHAPE, "bspline")


class TestChebyshev:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 4), st.integers(0, 2**32 - 1), PLACES)
    def test_equals_the_polynomial(self, order, seed, place):
        coefficients = np.random.default_rng(seed).normal(size=n_terms(order))
        x, y = np.atleast_1d(place[0]), np.atleast_1d(place[1])
        expected = chebyshev(order, x, y, SHAPE) @ coefficients
        field = polynomial_field(coefficients, order, SHAPE)
        assert field.at(x, y) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("order", [0, 1, 3])
    def test_fields_are_the_terms_one_by_one(self, order):
        x, y = np.random.default_rng(1).uniform(0, 200, (2, 11))
        fields = chebyshev_fields(order, SHAPE)
        values = np.stack([f.at(x, y) for f in fields], axis=-1)
        assert values == pytest.approx(chebyshev(order, x, y, SHAPE), abs=1e-12)
        assert [f.is_one for f in fields] == [True] + [False] * (n_terms(order) - 1)


class TestSplines:
    @settings(max_examples=30, deadline=None)
    @given(st.integers(4, 12), st.floats(-0.5, 99.5))
    def test_sum_to_one_and_are_not_negative(self, count, at):
        values = bspline_1d(count, [at], 100)
        assert values.shape == (count, 1)
        assert values.sum() == pytest.approx(1.0, abs=1e-12)
        assert values.min() >= 0

    @settings(max_examples=30, deadline=None)
    @given(st.integers(4, 9), st.floats(-5, 5), st.floats(-5, 5), st.floats(-5, 5), PLACES)
    def test_hold_every_plane(self, count, constant, slope_x, slope_y, place):
        """Coefficients at the Greville abscissae reproduce linear functions (de Boor, IX)."""
        knots = np.concatenate([np.zeros(3), np.linspace(0, 1, count - 2), np.ones(3)])
        greville = np.array([knots[k + 1 : k + 4].mean() for k in range(count)])
        plane = constant + slope_x * greville + slope_y * greville[:, None]
        x, y = place
        u, v = (x + 0.5) / SHAPE[1], (y + 0.5) / SHAPE[0]
        value = Field(plane, SHAPE, "bspline").at([x], [y])
        assert value == pytest.approx(constant + slope_x * u + slope_y * v, abs=1e-10)

    def test_are_local(self):
        """The first spline of seven ends at the first inner knot, a quarter of the axis."""
        first = bspline_1d(7, np.arange(100), 100)[0]
        assert first[0] > 0.9
        assert first[24] > 0
        assert not first[25:].any()

    def test_positions_beyond_the_image_are_held_at_its_edge(self):
        field = spline_field(2)
        assert field.at([-40.0], [900.0]) == pytest.approx(field.at([-0.5], [209.5]))

    def test_terms_are_in_the_order_of_the_coefficients(self):
        x, y = np.random.default_rng(3).uniform(0, 200, (2, 9))
        field = spline_field(4, 5)
        terms = spline_terms(5, x, y, SHAPE)
        assert terms @ field.coefficients.ravel() == pytest.approx(field.at(x, y), abs=1e-12)

    def test_a_constant_spline_is_not_taken_for_one(self):
        """`is_one` spares a multiplication; only a polynomial of degree 0 may claim it."""
        assert not Field(np.ones((1, 1)) * 2, SHAPE).is_one
        assert not Field(np.ones((4, 4)), SHAPE, "bspline").is_one


FIELDS = [polynomial_field(np.arange(1.0, 7.0), 2, SHAPE), spline_field(0)]


@pytest.mark.parametrize("field", FIELDS, ids=["chebyshev", "bspline"])
class TestBoth:
    def test_box_equals_at(self, field):
        yy, xx = np.mgrid[30:47, 101:140]
        expected = field.at(xx.ravel(), yy.ravel()).reshape(xx.shape)
        box = field.box(30, 47, 101, 140)
        assert box.dtype == np.float32
        assert box == pytest.approx(expected, abs=1e-5 * np.abs(field.coefficients).max())

    def test_scaled(self, field):
        x, y = np.array([3.0, 300.0]), np.array([200.0, 0.0])
        assert field.scaled(-2.5).at(x, y) == pytest.approx(-2.5 * field.at(x, y))
        assert field.scaled(3.0).kind == field.kind

    def test_convolution_takes_the_field_of_each_pixel(self, field):
        """A kernel times a field: the field times the convolution, pixel by pixel."""
        stamp = white_noise((5, 5), 7)
        image = white_noise(SHAPE, 8).astype(np.float32)
        kernel = SpatialKernel(stamp[None], (field,), polynomial_field([0.0], 0, SHAPE), SHAPE)
        yy, xx = np.mgrid[: SHAPE[0], : SHAPE[1]]
        weight = field.at(xx.ravel(), yy.ravel()).reshape(SHAPE)
        expected = weight * fftconvolve(image.astype(float), stamp, mode="same")
        assert np.abs(convolve_spatial(image, kernel) - expected).max() < 3e-5 * weight.max()


def test_functions_of_an_axis_by_kind():
    assert functions_1d("chebyshev", 3, [0.0], 1)[:, 0].tolist() == [1.0, 0.0, -1.0]
    assert functions_1d("bspline", 4, [0.0], 1)[:, 0] == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8])
