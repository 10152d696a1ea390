"""The matching kernel as a function of position."""

from dataclasses import dataclass

import numpy as np

from skydelta.field import Field, chebyshev_fields, polynomial_field
from skydelta.polynomial import chebyshev, n_terms


@dataclass(frozen=True)
class SpatialKernel:
    """K(u; x, y) = sum_c f_c(x, y) I_c(u), and the background fitted with it.

    Parameters
    ----------
    images
        (n, size, size), size odd.
    fields
        n Fields; with a polynomial kernel those of its Chebyshev terms.
    background
        Field, counts.
    shape
        (ny, nx) of the image.
    """

    images: np.ndarray
    fields: tuple
    background: Field
    shape: tuple

    @classmethod
    def polynomial(cls, basis, coefficients, order, background, background_order, shape):
        """A kernel sum_b a_b(x, y) B_b(u) with Chebyshev polynomials a_b of one total degree.

        Parameters
        ----------
        basis
            (n_basis, size, size).
        coefficients
            (n_basis, n_terms(order)) of the terms of `skydelta.polynomial.chebyshev`.
        order
            Total degree.
        background
            (n_terms(background_order),) of a background of total degree `background_order`.
        background_order
            See `background`.
        shape
            (ny, nx) of the image.
        """
        images = np.einsum("bt,byx->tyx", coefficients, basis)
        fields = tuple(chebyshev_fields(order, shape))
        level = polynomial_field(background, background_order, shape)
        return cls(images, fields, level, tuple(shape))

    @classmethod
    def through(cls, x, y, kernels, order, shape):
        """The polynomial kernel that fits kernels known at n positions best, without background.

        Parameters
        ----------
        x, y
            (n,) px.
        kernels
            (n, size, size).
        order
            Total degree in x and y; n must reach its number of terms.
        shape
            (ny, nx) of the image.
        """
        terms = chebyshev(order, x, y, shape)
        flat = np.reshape(kernels, (len(kernels), -1))
        images = np.linalg.lstsq(terms, flat)[0].reshape(-1, *np.shape(kernels)[1:])
        level = polynomial_field([0.0], 0, shape)
        return cls(images, tuple(chebyshev_fields(order, shape)), level, tuple(shape))

    @classmethod
    def identity(cls, shape, size=1):
        """The kernel that changes nothing."""
        basis = np.zeros((1, size, size))
        basis[0, size // 2, size // 2] = 1.0
        return cls.polynomial(basis, np.ones((1, n_terms(0))), 0, np.zeros(1), 0, shape)

    @property
    def size(self):
        """Odd kernel width, px."""
        return self.images.shape[-1]

    @property
    def half(self):
        """Half width, px."""
        return self.size // 2

    def at(self, x, y):
        """Kernels at n positions: (n, size, size)."""
        x, y = np.atleast_1d(x), np.atleast_1d(y)
        weights = np.stack([f.at(x, y) for f in self.fields])
        return np.einsum("cn,cyx->nyx", weights, self.images)

    def image(self, x, y):
        """Kernel at one position: (size, size)."""
        return self.at([x], [y])[0]

    @property
    def middle(self):
        """Kernel at the image centre."""
        ny, nx = self.shape
        return self.image((nx - 1) / 2, (ny - 1) / 2)

    @property
    def sum(self):
        """Kernel sum at the image centre."""
        return float(self.middle.sum())

    def scaled(self, factor):
        """Kernel and background times a number."""
        return SpatialKernel(
            self.images * factor, self.fields, self.background.scaled(factor), self.shape
        )
