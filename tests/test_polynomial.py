import numpy as np
import pytest
from numpy.polynomial import chebyshev as reference

from skydelta.polynomial import chebyshev, chebyshev_1d, exponents, n_terms


@pytest.mark.parametrize(("order", "count"), [(0, 1), (1, 3), (2, 6), (4, 15)])
def test_number_of_terms(order, count):
    assert n_terms(order) == len(exponents(order)) == count
    assert all(i + j <= order for i, j in exponents(order))
    assert len(set(exponents(order))) == count


@pytest.mark.parametrize("order", [0, 1, 3])
def test_axis_is_mapped_edge_to_edge(order):
    """The outer edges of the first and last pixel are -1 and +1."""
    assert chebyshev_1d(order, [-0.5, 99.5], 100)[order] == pytest.approx([(-1) ** order, 1])


def test_equals_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 60, 9), rng.uniform(0, 40, 9)
    terms = chebyshev(3, x, y, (40, 60))
    u, v = (2 * x + 1) / 60 - 1, (2 * y + 1) / 40 - 1
    for column, (i, j) in zip(terms.T, exponents(3), strict=True):
        grid = np.zeros((4, 4))
        grid[i, j] = 1.0
        assert column == pytest.approx(reference.chebval2d(u, v, grid), abs=1e-12)
