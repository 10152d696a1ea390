"""Smooth functions over an image: tensor products of Chebyshev polynomials or cubic B-splines."""

from dataclasses import dataclass

import numpy as np

from skydelta.polynomial import chebyshev_1d, exponents
from skydelta.splines import bspline_matrix

KINDS = ("chebyshev", "bspline")


@dataclass(frozen=True)
class Field:
    """f(x, y) = sum_ji c_ji g_j(y) h_i(x) over an image.

    Parameters
    ----------
    coefficients
        (n_y, n_x).
    shape
        (ny, nx) of the image, whose edges the functions are scaled to.
    kind
        ``"chebyshev"`` or ``"bspline"``.
    """

    coefficients: np.ndarray
    shape: tuple
    kind: str = "chebyshev"

    def at(self, x, y):
        """Values at n positions, 0-based px: (n,)."""
        hx, gy = self._functions(x, 1), self._functions(y, 0)
        return np.einsum("jn,ji,in->n", gy, self.coefficients, hx)

    def box(self, y0, y1, x0, x1):
        """Values on the pixels [y0:y1, x0:x1], float32."""
        hx, gy = self._functions(np.arange(x0, x1), 1), self._functions(np.arange(y0, y1), 0)
        return ((gy.T @ self.coefficients).astype(np.float32)) @ hx.astype(np.float32)

    @property
    def is_one(self):
        """Whether the field is 1 everywhere."""
        return self.kind == "chebyshev" and self.coefficients.shape == (1, 1) and self._first == 1

    @property
    def _first(self):
        return float(self.coefficients[0, 0])

    def scaled(self, factor):
        """The field times a number."""
        return Field(self.coefficients * factor, self.shape, self.kind)

    def _functions(self, at, axis):
        return functions_1d(self.kind, self.coefficients.shape[axis], at, self.shape[axis])


def functions_1d(kind, count, at, length):
    """(count, n) values of an axis's functions at pixels `at` of `length` px."""
    if kind == "chebyshev":
        return chebyshev_1d(count - 1, at, length)
    return bspline_1d(count, at, length)


def bspline_1d(count, at, length):
    """(count, n): clamped cubic B-splines with equal knots from edge to edge; they sum to 1.

    Parameters
    ----------
    count
        Number of splines, at least 4.
    at
        (n,) pixels.
    length
        px of the axis.
    """
    knots = np.concatenate([np.zeros(3), np.linspace(0.0, 1.0, count - 2), np.ones(3)])
    t = np.clip((np.asarray(at, float) + 0.5) / length, 0.0, 1.0)
    return bspline_matrix(t, knots).T


def chebyshev_fields(order, shape):
    """The fields T_i(x) T_j(y), i + j <= order, in the order of `polynomial.exponents`."""
    fields = []
    for i, j in exponents(order):
        coefficients = np.zeros((j + 1, i + 1))
        coefficients[j, i] = 1.0
        fields.append(Field(coefficients, tuple(shape)))
    return fields


def polynomial_field(coefficients, order, shape):
    """One field from the coefficients of the terms of `polynomial.chebyshev`."""
    grid = np.zeros((order + 1, order + 1))
    for (i, j), value in zip(exponents(order), coefficients, strict=True):
        grid[j, i] = value
    return Field(grid, tuple(shape))


def spline_terms(count, x, y, shape):
    """(n, count^2): products of B-splines at n positions, row by row of the coefficients."""
    gy, hx = bspline_1d(count, y, shape[0]), bspline_1d(count, x, shape[1])
    return np.einsum("jn,in->nji", gy, hx).reshape(np.size(x), count * count)
