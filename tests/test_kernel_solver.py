import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skydelta.errors import BadKernelError
from skydelta.field import spline_terms
from skydelta.kernel_solver import normal_equations, solve, spatial_system
from skydelta.polynomial import chebyshev

SHAPE = (1000, 1000)


def scale_terms(kind, degree, x, y):
    if kind == "bspline":
        return spline_terms(4, x, y, SHAPE)
    return chebyshev(degree, x, y, SHAPE)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from([("polynomial", 0), ("polynomial", 1), ("polynomial", 2), ("bspline", 0)]),
    st.integers(1, 5),
)
def test_recovers_a_varying_flux_scale(seed, order, background_order, flux_scale, count):
    """Unknowns are the terms of the scale, those of each other function, the background's."""
    rng = np.random.default_rng(seed)
    n, pixels = 60, 30
    design = np.concatenate([rng.normal(size=(n, count, pixels)), np.ones((n, 1, pixels))], 1)
    x, y = rng.uniform(0, 1000, (2, n))
    p, q = chebyshev(order, x, y, SHAPE), chebyshev(background_order, x, y, SHAPE)
    s = scale_terms(*flux_scale, x, y)
    scale, back = rng.normal(size=s.shape[1]), rng.normal(size=q.shape[1])
    shapes = rng.normal(size=(count - 1, p.shape[1]))
    at = np.column_stack([s @ scale, p @ shapes.T, q @ back])
    data = np.einsum("nk,nkp->np", at, design)
    weights = rng.uniform(0.5, 2, (n, pixels))
    system, right = spatial_system(*normal_equations(design, data, weights), p, q, s)
    assert np.allclose(system, system.T)
    # The system is that of the plain, long least-squares problem.
    blocks = [s, *[p] * (count - 1), q]
    long = np.concatenate(
        [design[:, k, :, None] * terms[:, None] for k, terms in enumerate(blocks)], axis=2
    ).reshape(n * pixels, -1)
    assert system == pytest.approx(long.T @ (weights.reshape(-1, 1) * long), abs=1e-8)
    expected = np.concatenate([scale, shapes.ravel(), back])
    assert solve(system, right).values == pytest.approx(expected, abs=1e-4)


class TestSingular:
    def test_two_functions_alike_share_what_is_there(self):
        """Cholesky fails; the solution of least norm has half the weight on each."""
        solved = solve(np.full((2, 2), 3.0), np.array([6.0, 6.0]))
        assert solved.values == pytest.approx([1.0, 1.0])
        assert np.isfinite(solved.condition)

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(2, 8), st.integers(1, 4))
    def test_solves_what_can_be_solved(self, seed, rank, missing):
        """Data in the span are reproduced, and no value runs away along the empty directions."""
        rng = np.random.default_rng(seed)
        design = rng.normal(size=(30, rank)) @ rng.normal(size=(rank, rank + missing))
        values = rng.normal(size=rank + missing)
        system, right = design.T @ design, design.T @ (design @ values)
        solved = solve(system, right)
        assert design @ solved.values == pytest.approx(design @ values, abs=1e-4)
        scale = np.sqrt(np.diag(system))
        assert np.linalg.norm(scale * solved.values) < 1.001 * np.linalg.norm(scale * values)

    def test_a_prior_fills_the_empty_direction(self):
        solved = solve(np.full((2, 2), 3.0), np.array([6.0, 6.0]), np.array([0.0, 1e6]))
        assert solved.values == pytest.approx([2.0, 0.0], abs=1e-5)

    def test_prior_as_a_matrix_or_its_diagonal(self):
        system, right, prior = np.diag([2.0, 4.0]), np.array([1.0, 2.0]), np.array([1.0, 3.0])
        expected = np.array([1 / 3, 2 / 7])
        assert solve(system, right, prior).values == pytest.approx(expected)
        assert solve(system, right, np.diag(prior)).values == pytest.approx(expected)

    def test_not_finite(self):
        with pytest.raises(BadKernelError, match="not finite"):
            solve(np.eye(2), np.array([1.0, np.inf]))


def test_condition_is_that_of_the_scaled_system():
    """Units of the unknowns do not matter: diag(1, 1e12) is as good as the identity."""
    assert solve(np.diag([1.0, 1e12]), np.ones(2)).condition == pytest.approx(1.0)


def test_variance_of_a_direction_is_the_scatter():
    """sum d_k a_k over 600 realisations of the noise against d^T inverse d."""
    rng = np.random.default_rng(4)
    n, pixels = 12, 20
    design = np.concatenate([rng.normal(size=(n, 3, pixels)), np.ones((n, 1, pixels))], 1)
    x, y = rng.uniform(0, 1000, (2, n))
    p, q, s = (chebyshev(order, x, y, SHAPE) for order in (1, 0, 1))
    sigma = rng.uniform(0.5, 2.0, (n, pixels))
    found = []
    direction = rng.normal(size=3 + 2 * 3 + 1)
    for _ in range(600):
        noise = sigma * rng.normal(size=(n, pixels))
        system, right = spatial_system(*normal_equations(design, noise, sigma**-2), p, q, s)
        solved = solve(system, right)
        found.append(direction @ solved.values)
    error = np.sqrt(solved.variance(direction))
    assert abs(np.mean(found)) < 4 * error / np.sqrt(600)
    assert np.std(found) == pytest.approx(error, rel=0.10)
