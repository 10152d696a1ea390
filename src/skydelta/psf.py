"""Point-spread functions that can be evaluated anywhere on an image.

A stamp is the pixel-integrated PSF on the image's own pixel grid, odd in size, centred on its
middle pixel; its sum is the fraction of the flux that falls inside it.
"""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.psf_places import nearest_known

log = logging.getLogger(__name__)

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Shape:
    """Second moments of a PSF, in pixels squared."""

    ixx: float
    iyy: float
    ixy: float

    @property
    def trace_radius(self):
        """sqrt((Ixx + Iyy) / 2), px: the tutorial's sigma."""
        return float(np.sqrt(0.5 * (self.ixx + self.iyy)))

    @property
    def determinant_radius(self):
        """(Ixx Iyy - Ixy^2)^(1/4), px: the sigma of the LSST stack's own code."""
        return float(max(self.ixx * self.iyy - self.ixy**2, 0.0) ** 0.25)

    @property
    def fwhm(self):
        """Full width at half maximum of the Gaussian of the determinant radius, px."""
        return FWHM_PER_SIGMA * self.determinant_radius


class Psf:
    """Interface of all PSFs: subclasses give `size` and `stamps`."""

    size: int
    """Odd width of the stamps, px."""

    def has_inputs(self, x, y):
        """Whether the PSF is known at positions (n,): not everywhere on a coadd, else it is."""
        return np.ones(np.size(x), bool)

    def stamps(self, x, y):
        """Stamps centred on their middle pixel at many positions.

        Parameters
        ----------
        x, y
            Sequences of n positions, 0-based pixels.

        Returns
        -------
        ndarray
            (n, size, size) float64.
        """
        raise NotImplementedError

    def stamp(self, x, y):
        """One centred stamp, (size, size)."""
        return self.stamps([x], [y])[0]

    def images(self, x, y):
        """Stamps as a star at (x, y) would be seen.

        Returns
        -------
        stamps
            (n, size, size), shifted by the sub-pixel part of each position.
        x0, y0
            (n,) int: image pixel of each stamp's element [0, 0].
        """
        x = np.atleast_1d(np.asarray(x, float))
        y = np.atleast_1d(np.asarray(y, float))
        xi, yi = np.floor(x + 0.5), np.floor(y + 0.5)
        half = self.size // 2
        shifted = shift_stamps(self.stamps(x, y), x - xi, y - yi)
        return shifted, (xi - half).astype(int), (yi - half).astype(int)

    def compute_image(self, x, y):
        """The PSF as a star at (x, y) would be seen, on the (size, size) box about its pixel."""
        return self.images([x], [y])[0][0]

    def compute_shape(self, x, y):
        """Second moments at (x, y), with a Gaussian weight matched to the PSF."""
        return adaptive_shape(self.stamp(x, y))


@dataclass(frozen=True)
class GridPsf(Psf):
    """Stamps at known positions, interpolated linearly between them.

    On a regular grid the interpolation is bilinear; between scattered positions it is linear on
    the Delaunay triangles. Outside the positions the nearest edge value holds. One position makes
    a constant PSF.

    Parameters
    ----------
    x, y
        (n,) positions, 0-based pixels.
    data
        (n, size, size) stamps.

    Raises
    ------
    BadPsfError
        For stamps that are not square, odd, finite, or have no positive sum.
    """

    x: np.ndarray
    y: np.ndarray
    data: np.ndarray

    def __post_init__(self):
        shape = np.shape(self.data)
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 2 == 0:
            msg = (
                f"PSF stamps must be square and of odd size, got {shape[1:]}: a stamp of even "
                "size has no middle pixel; pad or crop it by one row and column"
            )
            raise BadPsfError(msg)
        if not np.all(np.isfinite(self.data)):
            msg = "PSF stamps hold values that are not finite"
            raise BadPsfError(msg)
        sums = np.sum(self.data, axis=(1, 2))
        if np.any(sums <= 0):
            msg = f"PSF stamp {int(np.argmin(sums))} has no positive sum"
            raise BadPsfError(msg)

    @classmethod
    def constant(cls, stamp):
        """The same (size, size) stamp everywhere."""
        return cls(np.zeros(1), np.zeros(1), np.asarray(stamp, float)[None])

    @property
    def size(self):
        return self.data.shape[-1]

    @cached_property
    def _axes(self):
        """Sorted x and y nodes and the order of the stamps on them, or None if not a grid."""
        xs, ys = np.unique(self.x), np.unique(self.y)
        if xs.size * ys.size != self.x.size:
            return None
        order = np.full((ys.size, xs.size), -1)
        order[np.searchsorted(ys, self.y), np.searchsorted(xs, self.x)] = np.arange(self.x.size)
        return None if np.any(order < 0) else (xs, ys, order)

    @cached_property
    def _triangles(self):
        from scipy.spatial import Delaunay, QhullError

        points = np.column_stack([self.x, self.y])
        try:
            return points, Delaunay(points)
        except QhullError:  # fewer than three positions, or all on one line
            return points, None

    def _weights(self, x, y):
        """(n, n_nodes) interpolation weights."""
        weights = np.zeros((x.size, self.x.size))
        rows = np.arange(x.size)
        if self._axes is not None:
            xs, ys, order = self._axes
            (ix, fx), (iy, fy) = _bracket(xs, x), _bracket(ys, y)
            for dy, wy in ((0, 1 - fy), (1, fy)):
                for dx, wx in ((0, 1 - fx), (1, fx)):
                    node = order[np.minimum(iy + dy, ys.size - 1), np.minimum(ix + dx, xs.size - 1)]
                    np.add.at(weights, (rows, node), wx * wy)
            return weights
        points, triangles = self._triangles
        at = np.column_stack([x, y])
        simplex = triangles.find_simplex(at) if triangles is not None else np.full(x.size, -1)
        inside = simplex >= 0
        if inside.any():
            transform = triangles.transform[simplex[inside]]
            bary = np.einsum("nij,nj->ni", transform[:, :2], at[inside] - transform[:, 2])
            bary = np.column_stack([bary, 1 - bary.sum(axis=1)])
            weights[rows[inside, None], triangles.simplices[simplex[inside]]] = bary
        if not inside.all():
            far = at[~inside]
            nearest = np.argmin(((far[:, None] - points[None]) ** 2).sum(axis=2), axis=1)
            weights[rows[~inside], nearest] = 1.0
        return weights

    def stamps(self, x, y):
        x = np.atleast_1d(np.asarray(x, float))
        y = np.atleast_1d(np.asarray(y, float))
        if self.x.size == 1:
            return np.broadcast_to(self.data[0], (x.size, self.size, self.size)).astype(float)
        flat = self.data.reshape(self.x.size, -1)
        return (self._weights(x, y) @ flat).reshape(x.size, self.size, self.size)


def _bracket(nodes, at):
    """Index of the node at or below each value and the fraction of the way to the next."""
    if nodes.size == 1:
        return np.zeros(at.size, int), np.zeros(at.size)
    index = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    fraction = (at - nodes[index]) / (nodes[index + 1] - nodes[index])
    return index, np.clip(fraction, 0.0, 1.0)


def sample_psf(psf, shape, n=9, size=None):
    """Any PSF as a GridPsf of n x n stamps spread over an image.

    Parameters
    ----------
    psf
        PSF to sample.
    shape
        (ny, nx) of the image.
    n
        Nodes along each axis.
    size
        Odd stamp size; default that of `psf`.
    """
    ny, nx = shape
    x, y = grid_nodes(nx, n), grid_nodes(ny, n)
    xx, yy = (a.ravel() for a in np.meshgrid(x, y))
    u, v, moved = nearest_known(psf, xx, yy)
    if moved.any():
        log.warning(
            "at %d of %d nodes the PSF has no input images: took that of the nearest places that "
            "have, at most %.0f px away",
            np.count_nonzero(moved),
            moved.size,
            moved.max(),
        )
    return GridPsf(xx, yy, resize_stamps(psf.stamps(u, v), size or psf.size))


def grid_nodes(length, n):
    """N positions spread evenly from the first to the last pixel of an axis."""
    return np.linspace(0.0, length - 1.0, n) if n > 1 else np.array([(length - 1) / 2.0])


def resize_stamps(stamps, size):
    """Centred stamps padded with zeros or cropped to an odd `size`."""
    half, new = stamps.shape[-1] // 2, size // 2
    if new <= half:
        cut = slice(half - new, half + new + 1)
        return stamps[..., cut, cut]
    pad = [(0, 0)] * (stamps.ndim - 2) + [(new - half, new - half)] * 2
    return np.pad(stamps, pad)


def shift_stamps(stamps, dx, dy, pad=8):
    """Stamps moved by (dx, dy) px each, |d| <= 1, by a phase in Fourier space.

    Exact for band-limited profiles, which a Lanczos shift is not: it moves the centroid of a PSF
    by up to a hundredth of a pixel.

    Parameters
    ----------
    stamps
        (n, size, size).
    dx, dy
        (n,).
    pad
        Zeros added before the transform, so that nothing wraps around.
    """
    from scipy import fft

    dx = np.atleast_1d(np.asarray(dx, float))
    dy = np.atleast_1d(np.asarray(dy, float))
    size = stamps.shape[-1]
    padded = fft.next_fast_len(size + pad, real=True)
    padded += padded % 2 == 0  # an odd length has no Nyquist term, whose phase is ambiguous
    kx, ky = fft.rfftfreq(padded), fft.fftfreq(padded)
    transform = fft.rfft2(stamps, s=(padded, padded))
    transform *= np.exp(-2j * np.pi * dy[:, None] * ky)[:, :, None]
    transform *= np.exp(-2j * np.pi * dx[:, None] * kx)[:, None, :]
    return fft.irfft2(transform, s=(padded, padded))[:, :size, :size]


def adaptive_shape(stamp, iterations=60, tolerance=1e-6):
    """Second moments under an elliptical Gaussian weight that matches the object.

    The fixed point of Bernstein & Jarvis (2002) section 3 about the stamp's own centroid: exact
    for an elliptical Gaussian, finite for the wings of a real PSF.

    Parameters
    ----------
    stamp
        (size, size) image, its background zero.

    Raises
    ------
    BadPsfError
        If the iteration finds no positive second moments.
    """
    size = stamp.shape[-1]
    yy, xx = np.mgrid[:size, :size] - (size // 2)
    moments = np.diag([size / 10.0, size / 10.0]) ** 2 + np.eye(2)
    centre = np.zeros(2)
    for _ in range(iterations):
        inverse = np.linalg.inv(moments)
        dx, dy = xx - centre[0], yy - centre[1]
        weight = stamp * np.exp(
            -0.5 * (inverse[0, 0] * dx**2 + 2 * inverse[0, 1] * dx * dy + inverse[1, 1] * dy**2)
        )
        total = weight.sum()
        if not total > 0:
            break
        step = np.array([(weight * dx).sum(), (weight * dy).sum()]) / total
        observed = (
            np.array(
                [
                    [(weight * dx * dx).sum(), (weight * dx * dy).sum()],
                    [(weight * dx * dy).sum(), (weight * dy * dy).sum()],
                ]
            )
            / total
        )
        # A Gaussian object under an equal Gaussian weight shows half its covariance.
        unweighted = np.linalg.inv(observed) - inverse
        if not (np.linalg.det(unweighted) > 0 and unweighted[0, 0] > 0):
            break
        updated = np.linalg.inv(unweighted)
        centre = centre + 2 * step
        change = np.abs(updated - moments).max()
        moments = updated
        if change < tolerance * moments.max():
            return Shape(float(moments[0, 0]), float(moments[1, 1]), float(moments[0, 1]))
    else:
        return Shape(float(moments[0, 0]), float(moments[1, 1]), float(moments[0, 1]))
    msg = "the PSF has no positive second moments: not a point-like profile"
    raise BadPsfError(msg)
