"""Families of kernel basis functions, and their convolution with stamps of stars.

Every basis has a first function of unit sum and others of zero sum, so that the coefficient of the
first alone is the flux scale.
"""

from functools import cached_property

import numpy as np

from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import basis_transform, gaussian_basis, profiles
from skydelta.parallel import map_strips
from skydelta.polynomial import degree_of
from skydelta.psf import grid_nodes
from skydelta.whitening import convolve_stamps

_BATCH = 32
"""Stamps a thread takes at a time."""


class Basis:
    """Interface: subclasses give `functions` and `_convolve`.

    Attributes
    ----------
    functions
        (n, size, size), the first of unit sum, the others of zero sum.
    name
        What the product's header calls it.
    """

    functions: np.ndarray
    name = ""

    def __len__(self):
        return len(self.functions)

    @property
    def size(self):
        """Odd width, px."""
        return self.functions.shape[-1]

    @property
    def half(self):
        """Half width, px."""
        return self.size // 2

    def design(self, source, x, y):
        """Every function convolved with every stamp, and a constant for the background.

        Parameters
        ----------
        source
            (n, s + 2 half, s + 2 half).
        x, y
            (n,) px of the stamps' centres.

        Returns
        -------
        ndarray
            (n, n_basis + 1, s * s).
        """
        n, inner = len(source), source.shape[-1] - 2 * self.half
        out = np.empty((n, len(self) + 1, inner * inner))
        out[:, -1] = 1.0

        def convolve(first, last):
            rows = slice(first, last)
            self._convolve(source[rows], x[rows], y[rows], out[rows, :-1])

        map_strips(convolve, n, _BATCH)
        return out

    def _convolve(self, source, x, y, out):
        raise NotImplementedError

    def kernel(self, coefficients, shape):
        """The SpatialKernel, without background, of polynomial coefficients.

        Parameters
        ----------
        coefficients
            (n_basis, n_terms) of the Chebyshev terms of each function.
        shape
            (ny, nx) of the image.
        """
        order = degree_of(coefficients.shape[1])
        return SpatialKernel.polynomial(self.functions, coefficients, order, [0.0], 0, shape)

    def gram(self, correlation=None):
        """(n, n): sum of products of the functions, one of each pair convolved with `correlation`.

        That times a variance is the covariance of noise convolved with the functions.
        """
        flat = self.functions.reshape(len(self), -1)
        if correlation is None:
            return flat @ flat.T
        smooth = convolve_stamps(self.functions, correlation[None], self.size)
        return flat @ smooth.reshape(len(self), -1).T

    @cached_property
    def roughness(self):
        """(n, n): sum of products of the functions' Laplacians, zero outside the support."""
        padded = np.pad(self.functions, ((0, 0), (2, 2), (2, 2)))
        laplacian = -4.0 * padded[:, 1:-1, 1:-1]
        for shifted in (
            padded[:, :-2, 1:-1],
            padded[:, 2:, 1:-1],
            padded[:, 1:-1, :-2],
            padded[:, 1:-1, 2:],
        ):
            laplacian += shifted
        flat = laplacian.reshape(len(self), -1)
        return flat @ flat.T


class GaussianBasis(Basis):
    """Alard & Lupton's Gaussians times polynomials.

    Parameters
    ----------
    spec
        BasisSpec.
    """

    name = "gaussian"

    def __init__(self, spec):
        self.spec = spec
        self.functions = gaussian_basis(spec)

    def _convolve(self, source, x, y, out):
        spec, width = self.spec, source.shape[-1]
        inner = width - 2 * spec.half
        bands = [[_band_matrix(p, inner, width) for p in group] for group in profiles(spec)]
        along_x = [[source @ band.T for band in group] for group in bands]
        raw = np.empty((len(source), len(spec.terms), inner, inner))
        for k, (m, i, j) in enumerate(spec.terms):
            np.matmul(bands[m][j], along_x[m][i], out=raw[:, k])
        flat = raw.reshape(len(source), len(spec.terms), inner * inner)
        np.matmul(self._transform, flat, out=out)

    @cached_property
    def _transform(self):
        return basis_transform(self.spec)


def _band_matrix(profile, inner, width):
    """(inner, width): valid convolution with a 1-d profile as a matrix."""
    band = np.zeros((inner, width))
    flipped = profile[::-1]
    for row in range(inner):
        band[row, row : row + flipped.size] = flipped
    return band


class DeltaBasis(Basis):
    """One function a pixel, as of Bramich (2008) and SFFT: a delta less the central one.

    Parameters
    ----------
    size
        Odd width, px.
    """

    name = "delta"

    def __init__(self, size):
        if size % 2 == 0 or size < 3:
            msg = f"the kernel size must be odd and at least 3, got {size}"
            raise ValueError(msg)
        middle = size * size // 2
        functions = np.eye(size * size)
        functions[:, middle] -= 1.0
        functions[middle, middle] = 1.0
        order = np.r_[middle, np.delete(np.arange(size * size), middle)]
        self.functions = functions[order].reshape(-1, size, size)

    def _convolve(self, source, x, y, out):
        inner = source.shape[-1] - 2 * self.half
        out = out.reshape(len(source), len(self), inner, inner)
        middle = source[:, self.half : self.half + inner, self.half : self.half + inner]
        out[:, 0] = middle
        places = [divmod(int(k), self.size) for k in np.flatnonzero(np.ones(self.size**2))]
        places.remove((self.half, self.half))
        for k, (j, i) in enumerate(places, start=1):
            dy, dx = self.size - 1 - j, self.size - 1 - i
            np.subtract(source[:, dy : dy + inner, dx : dx + inner], middle, out=out[:, k])


class CombinedBasis(Basis):
    """Linear combinations of the functions of another basis, as principal components are.

    Parameters
    ----------
    parent
        Basis.
    matrix
        (n_new, n_parent); the first row must give a function of unit sum.
    """

    def __init__(self, parent, matrix):
        self.parent, self.matrix = parent, matrix
        self.name = f"{parent.name} components"
        self.functions = np.einsum("nb,byx->nyx", matrix, parent.functions)

    def _convolve(self, source, x, y, out):
        np.matmul(self.matrix, self.parent.design(source, x, y)[:, :-1], out=out)


class PsfBasis(Basis):
    """Every function of a basis convolved with the kernel that the two PSF models imply.

    The kernel of the PSFs brings the source close to the target everywhere, the basis only corrects
    it: for registration, for errors of the PSF models.

    Parameters
    ----------
    parent
        Basis of the corrections.
    first
        SpatialKernel of unit sum everywhere, polynomial.
    """

    def __init__(self, parent, first):
        self.parent, self.first = parent, first
        self.name = f"psf * {parent.name}"
        size = parent.size + 2 * first.half
        self.functions = convolve_stamps(parent.functions, first.middle[None], size)

    def _convolve(self, source, x, y, out):
        close = convolved_with(source, self.first.at(x, y))
        self.parent._convolve(close, x, y, out)

    def kernel(self, coefficients, shape):
        """The product of the correction and the PSFs' kernel; of their degrees' sum, exactly."""
        correction = self.parent.kernel(coefficients, shape)
        degree = degree_of(len(correction.images)) + degree_of(len(self.first.images))
        x, y = (a.ravel() for a in np.meshgrid(*(grid_nodes(n, degree + 2) for n in shape[::-1])))
        kernels = convolve_stamps(correction.at(x, y), self.first.at(x, y), self.size)
        return SpatialKernel.through(x, y, kernels, degree, shape)


def convolved_with(source, kernels):
    """Valid convolution of each stamp with its own kernel: (n, w, w), (n, k, k) to (n, w - k + 1).

    The last two axes of the result are square.
    """
    from scipy import fft

    width, size = source.shape[-1], kernels.shape[-1]
    n = fft.next_fast_len(width, real=True)  # the wrapped part is not in the valid one
    product = fft.rfft2(source, s=(n, n)) * fft.rfft2(kernels, s=(n, n))
    return fft.irfft2(product, s=(n, n))[:, size - 1 : width, size - 1 : width]
