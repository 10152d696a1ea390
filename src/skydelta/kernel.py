"""The matching kernel as a function of position."""

from dataclasses import dataclass

import numpy as np

from skydelta.polynomial import chebyshev, chebyshev_1d, exponents, n_terms


@dataclass(frozen=True)
class SpatialKernel:
    """K(u; x, y) = sum_i a_i(x, y) B_i(u) and the background fitted with it.

    Parameters
    ----------
    basis
        (n_basis, size, size).
    coefficients
        (n_basis, n_terms(order)): of the Chebyshev terms of each basis function; the first
        function usually has the constant only, and the kernel sum does not vary.
    order
        Total degree of the kernel's polynomial.
    background
        (n_terms(background_order),) coefficients, counts.
    background_order
        Total degree of the background.
    shape
        (ny, nx) of the image the polynomials are scaled to.
    """

    basis: np.ndarray
    coefficients: np.ndarray
    order: int
    background: np.ndarray
    background_order: int
    shape: tuple

    @property
    def size(self):
        """Odd kernel width, px."""
        return self.basis.shape[-1]

    @property
    def half(self):
        """Half width, px."""
        return self.size // 2

    def terms(self):
        """(n_terms, size, size): the kernel image that each Chebyshev term multiplies."""
        return np.einsum("bt,byx->tyx", self.coefficients, self.basis)

    def images(self, x, y):
        """Kernels at n positions: (n, size, size)."""
        weights = chebyshev(self.order, np.atleast_1d(x), np.atleast_1d(y), self.shape)
        return np.einsum("nt,tyx->nyx", weights, self.terms())

    def image(self, x, y):
        """Kernel at one position: (size, size)."""
        return self.images([x], [y])[0]

    @property
    def sum(self):
        """Kernel sum at the image centre: science counts per template count."""
        ny, nx = self.shape
        return float(self.image((nx - 1) / 2, (ny - 1) / 2).sum())

    def background_rows(self, y):
        """The background on image rows `y`: (y.size, nx) float32."""
        order, (ny, nx) = self.background_order, self.shape
        tx = chebyshev_1d(order, np.arange(nx), nx)
        ty = chebyshev_1d(order, y, ny)
        grid = np.zeros((order + 1, order + 1))
        for (i, j), value in zip(exponents(order), self.background, strict=True):
            grid[j, i] = value
        return (ty.T @ grid @ tx).astype(np.float32)

    @classmethod
    def identity(cls, shape, size=1):
        """The kernel that changes nothing."""
        basis = np.zeros((1, size, size))
        basis[0, size // 2, size // 2] = 1.0
        return cls(basis, np.ones((1, n_terms(0))), 0, np.zeros(1), 0, tuple(shape))
