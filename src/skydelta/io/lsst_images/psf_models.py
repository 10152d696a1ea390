"""PSFs of lsst-images files that numpy can evaluate: Gaussian, one per cell, Piff's pixel grid."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.psf import Psf


@dataclass(frozen=True)
class GaussianPsf(Psf):
    """The same round Gaussian everywhere, sampled at the pixel centres.

    Parameters
    ----------
    sigma
        px.
    size
        Odd width of the stamps, px.

    Raises
    ------
    BadPsfError
        If it is no such thing.
    """

    sigma: float
    size: int

    def __post_init__(self):
        if not (np.isfinite(self.sigma) and self.sigma > 0) or self.size % 2 != 1 or self.size < 1:
            msg = f"Gaussian PSF of sigma {self.sigma} px on stamps of {self.size} px"
            raise BadPsfError(msg)

    def _centred(self, dx, dy):
        at = np.arange(self.size) - self.size // 2
        gx = np.exp(-0.5 * ((at - dx[:, None]) / self.sigma) ** 2)
        gy = np.exp(-0.5 * ((at - dy[:, None]) / self.sigma) ** 2)
        stamps = gy[:, :, None] * gx[:, None, :]
        return stamps / stamps.sum(axis=(1, 2), keepdims=True)

    def stamps(self, x, y):
        zero = np.zeros(np.atleast_1d(x).size)
        return self._centred(zero, zero)

    def images(self, x, y):
        x = np.atleast_1d(np.asarray(x, float))
        y = np.atleast_1d(np.asarray(y, float))
        xi, yi = np.floor(x + 0.5), np.floor(y + 0.5)
        half = self.size // 2
        stamps = self._centred(x - xi, y - yi)
        return stamps, (xi - half).astype(int), (yi - half).astype(int)


@dataclass(frozen=True)
class CellPsf(Psf):
    """One PSF per cell of a coadd, constant inside it.

    A cell without a PSF, whose pixels have no data either, is given that of the nearest cell that
    has one, as are positions outside all cells.

    Parameters
    ----------
    data
        (n_y, n_x, size, size), NaN for missing cells.
    origin
        (x, y) of the first pixel of cell [0, 0], 0-based px of the image.
    cell
        (width, height) of a cell, px.

    Raises
    ------
    BadPsfError
        If the stamps are not square and of odd size, or no cell has a PSF of positive sum.
    """

    data: np.ndarray
    origin: tuple
    cell: tuple

    def __post_init__(self):
        shape = np.shape(self.data)
        if len(shape) != 4 or shape[2] != shape[3] or shape[2] % 2 == 0:
            msg = f"the PSFs of the cells must be square and of odd size, got an array of {shape}"
            raise BadPsfError(msg)
        if not self._known.any():
            msg = "no cell has a PSF of positive sum"
            raise BadPsfError(msg)

    @property
    def size(self):
        """Odd width of the stamps, px."""
        return self.data.shape[-1]

    @cached_property
    def _known(self):
        sums = self.data.sum(axis=(2, 3))
        return np.isfinite(sums) & (sums > 0)

    @cached_property
    def _donors(self):
        """(2, n_y, n_x): the cell whose PSF each cell takes, its own if it has one."""
        from scipy.ndimage import distance_transform_edt

        return distance_transform_edt(
            ~self._known,
            sampling=self.cell[::-1],
            return_distances=False,
            return_indices=True,
        )

    def stamps(self, x, y):
        n_y, n_x = self.data.shape[:2]
        # The cell of the pixel the position lies in.
        column = np.floor(np.atleast_1d(x) + 0.5).astype(int) - self.origin[0]
        row = np.floor(np.atleast_1d(y) + 0.5).astype(int) - self.origin[1]
        i = np.clip(row // self.cell[1], 0, n_y - 1)
        j = np.clip(column // self.cell[0], 0, n_x - 1)
        stamps = self.data[tuple(self._donors[:, i, j])].astype(float)
        return stamps / stamps.sum(axis=(1, 2), keepdims=True)


@dataclass(frozen=True)
class PixelGridPsf(Psf):
    """Piff's PixelGrid with a BasisPolynomial: each pixel a polynomial of the position.

    Its grid has the image's pixels, so that a centred stamp is the grid itself; between the grid's
    points, and beyond its edge, Piff interpolates with a Lanczos kernel. Source: Piff
    pixelgrid.py, basis_interp.py.

    Parameters
    ----------
    coefficients
        (n_terms, size, size).
    powers
        (n_terms, 2): of x and y.
    origin
        (x, y) of the image's first pixel in the coordinates of the polynomial.
    scale
        Of these coordinates: units per px.
    lanczos
        Half width of the kernel that shifts it, px.

    Raises
    ------
    BadPsfError
        If the stamps are not square and of odd size, values are not finite, or, when evaluated, a
        stamp has no positive sum.
    """

    coefficients: np.ndarray
    powers: np.ndarray
    origin: tuple
    scale: float = 1.0
    lanczos: int = 7

    def __post_init__(self):
        shape = np.shape(self.coefficients)
        if len(shape) != 3 or shape[1] != shape[2] or shape[2] % 2 == 0:
            msg = f"the PSF's grid must be square and of odd size, got {shape[1:]}"
            raise BadPsfError(msg)
        if len(self.powers) != shape[0] or not np.all(np.isfinite(self.coefficients)):
            msg = (
                f"PSF with {shape[0]} coefficients a pixel for {len(self.powers)} terms, or with "
                "values that are not finite"
            )
            raise BadPsfError(msg)

    @property
    def size(self):
        """Odd width of the stamps, px."""
        return self.coefficients.shape[-1]

    def stamps(self, x, y):
        u = (np.atleast_1d(np.asarray(x, float)) + self.origin[0]) * self.scale
        v = (np.atleast_1d(np.asarray(y, float)) + self.origin[1]) * self.scale
        powers = np.asarray(self.powers)
        basis = u[:, None] ** powers[:, 0] * v[:, None] ** powers[:, 1]
        stamps = np.tensordot(basis, self.coefficients, axes=1)
        sums = stamps.sum(axis=(1, 2), keepdims=True)
        if np.any(sums <= 0):
            msg = "the PSF has no positive sum at a position asked for"
            raise BadPsfError(msg)
        return stamps / sums

    def images(self, x, y):
        x = np.atleast_1d(np.asarray(x, float))
        y = np.atleast_1d(np.asarray(y, float))
        xi, yi = np.floor(x + 0.5), np.floor(y + 0.5)
        along_x, along_y = self._shift(x - xi), self._shift(y - yi)
        shifted = along_y @ self.stamps(x, y) @ along_x.transpose(0, 2, 1)
        half = self.size // 2
        shifted /= shifted.sum(axis=(1, 2), keepdims=True)
        return shifted, (xi - half).astype(int), (yi - half).astype(int)

    def _shift(self, d):
        """(n, size, size) matrices that move a row of pixels by d px."""
        at = np.arange(self.size)
        distance = at[:, None] - at - d[:, None, None]
        weight = np.sinc(distance) * np.sinc(distance / self.lanczos)
        return np.where(np.abs(distance) < self.lanczos, weight, 0.0)
