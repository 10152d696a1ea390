"""Our splines are scipy's, without the cost of importing it."""

import numpy as np
import pytest
from scipy.interpolate import BSpline, CubicSpline, RegularGridInterpolator

from skydelta.splines import CardinalSplines, bspline_matrix, linear_matrix

AT = np.linspace(-20.0, 130.0, 401)
"""Positions beyond both ends too, and on nodes."""


@pytest.mark.parametrize("nodes", [np.linspace(0, 100, 11), np.array([0, 1, 5.5, 40, 99, 100])])
@pytest.mark.parametrize("natural", [True, False])
@pytest.mark.parametrize("derivative", [0, 1])
def test_cardinal_splines(nodes, natural, derivative):
    kind = "natural" if natural else "not-a-knot"
    expected = CubicSpline(nodes, np.eye(nodes.size), bc_type=kind)(AT, derivative)
    found = CardinalSplines(nodes, natural=natural)(AT, derivative)
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_nodes(n):
    nodes = np.arange(n) * 10.0
    expected = CubicSpline(nodes, np.eye(n), bc_type="natural")(AT)
    assert np.allclose(CardinalSplines(nodes, natural=True)(AT), expected, atol=1e-9)


def test_cubics_are_reproduced():
    """Without the conditions of a natural end a spline is any cubic exactly."""
    nodes = np.linspace(-1, 3, 7)
    at = np.linspace(-1.5, 3.5, 50)
    cubic = np.polynomial.Polynomial([1.0, -2.0, 0.5, 0.3])
    splines = CardinalSplines(nodes)
    assert np.allclose(splines(at) @ cubic(nodes), cubic(at), atol=1e-12)
    assert np.allclose(splines(at, 1) @ cubic(nodes), cubic.deriv()(at), atol=1e-11)


@pytest.mark.parametrize("count", [4, 5, 9])
def test_bsplines(count):
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, count - 2), np.ones(3)])
    at = np.concatenate([np.linspace(0, 1, 101), knots])
    expected = BSpline.design_matrix(at, knots, 3).toarray()
    assert np.allclose(bspline_matrix(at, knots), expected, atol=1e-14)
    assert np.allclose(bspline_matrix(at, knots).sum(axis=1), 1.0)


def test_linear_in_two_directions():
    x, y = np.linspace(0, 90, 5), np.linspace(0, 70, 4)
    values = np.random.default_rng(1).normal(size=(4, 5))
    at = np.random.default_rng(2).uniform(0, 70, (30, 2))
    found = np.einsum("nj,ni,ji->n", linear_matrix(y, at[:, 1]), linear_matrix(x, at[:, 0]), values)
    expected = RegularGridInterpolator((y, x), values)(at[:, ::-1])
    assert np.allclose(found, expected)
    assert linear_matrix(x, [-5.0, 200.0])[:, [0, -1]].tolist() == [[1.0, 0.0], [0.0, 1.0]]
