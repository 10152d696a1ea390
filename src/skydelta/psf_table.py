"""The part of a PSF that its analytic profile misses: a table of the stars' residuals."""

from dataclasses import dataclass

import numpy as np

from skydelta.polynomial import chebyshev
from skydelta.psf import shift_stamps


@dataclass(frozen=True)
class ResidualTable:
    """What the stars show beside their profiles, pixel by pixel a polynomial of the position.

    Parameters
    ----------
    planes
        (k, size, size) coefficients, in units of the flux.
    covariance
        (size, size, k, k), of the coefficients of each pixel.
    shape
        (ny, nx) of the image.
    order
        Of the polynomial.
    """

    planes: np.ndarray
    covariance: np.ndarray
    shape: tuple
    order: int

    @classmethod
    def of(cls, cut, field, order, rounds=2):
        """Table of the aligned residuals of stars, outliers clipped against the table itself."""
        profile = field.stamps(cut.x, cut.y, cut.data.shape[-1], cut.dx, cut.dy)
        expected = np.zeros_like(profile)
        for _ in range(rounds):
            weight = cut.weight(profile + expected)
            residual = (cut.data - cut.sky[:, None, None]) / cut.flux[:, None, None] - profile
            residual = np.where(weight > 0, residual, expected)
            aligned = shift_stamps(residual, -cut.dx, -cut.dy)
            table = cls._fitted(aligned, weight * cut.flux[:, None, None] ** 2, cut, field, order)
            expected = shift_stamps(table(cut.x, cut.y), cut.dx, cut.dy)
        return table

    @classmethod
    def _fitted(cls, aligned, weight, cut, field, order):
        weight = _without_outliers(aligned, weight)
        terms = chebyshev(order, cut.x, cut.y, field.shape)
        k = terms.shape[1]
        normal = np.einsum("nk,nyx,nl->yxkl", terms, weight, terms, optimize=True)
        # Where no star has a value the table is zero.
        ridge = 1e-6 * np.median(np.trace(normal, axis1=2, axis2=3)) * np.eye(k)
        inverse = np.linalg.inv(normal + ridge)
        right = np.einsum("nk,nyx->yxk", terms, weight * aligned, optimize=True)
        planes = np.moveaxis(np.einsum("yxkl,yxl->yxk", inverse, right), -1, 0)
        left = weight * (aligned - np.tensordot(terms, planes, axes=1)) ** 2
        degrees = np.maximum(np.count_nonzero(weight, axis=0) - k, 1)
        excess = np.maximum(left.sum(axis=0) / degrees, 1.0)
        return cls(planes, inverse * excess[:, :, None, None], field.shape, order)

    def __call__(self, x, y):
        """(n, size, size) table at the positions, damped where it is lost in its noise."""
        terms = chebyshev(self.order, x, y, self.shape)
        tables = np.tensordot(terms, self.planes, axes=1)
        noise2 = np.einsum("nk,yxkl,nl->nyx", terms, self.covariance, terms, optimize=True)
        return np.stack([_wiener(t, v) for t, v in zip(tables, noise2, strict=True)])


def _without_outliers(residual, weight, clip=3.5):
    """Weights with 0 for pixels far from the weighted median of the stars."""
    if len(residual) < 4:
        return weight
    order = np.argsort(residual, axis=0)
    share = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    at = np.argmax(share >= 0.5 * share[-1], axis=0)[None]
    middle = np.take_along_axis(np.take_along_axis(residual, order, axis=0), at, axis=0)
    total = np.maximum(weight.sum(axis=0), 1e-300)
    known = weight > 0
    error2 = 1.0 / np.where(known, weight, 1.0) + 1.6 / total
    pull = np.abs(residual - middle) / np.sqrt(error2)
    spread = np.maximum(1.4826 * np.median(pull, axis=0), 1.0)
    return np.where(pull < clip * spread, weight, 0.0)


def _wiener(table, noise2):
    """A table as far as it stands out of its noise.

    The means of its annuli, which follow wings to great depth, and the deviations from them are
    damped apart, by signal / (signal + noise), their powers averaged over three annuli.
    """
    half = table.shape[-1] // 2
    offset = np.arange(-half, half + 1)
    ring = np.rint(np.hypot(offset[:, None], offset)).astype(int).ravel()
    count = np.bincount(ring)

    def mean(values):
        return np.bincount(ring, values) / count

    def signal(power, noise):
        excess = np.pad(power - noise, 1, mode="edge")
        return np.maximum(np.convolve(excess, np.full(3, 1.0 / 3.0), "valid"), 1e-30)

    table, noise2 = table.ravel(), noise2.ravel()
    # Pixels without a star have no noise to speak of: they are damped to nothing.
    noise2 = np.minimum(noise2, 100.0 * np.median(noise2))
    level, noise = mean(table), mean(noise2)
    rest = table - level[ring]
    of_level = signal(level**2, noise / count)
    of_rest = signal(mean(rest**2), noise)[ring]
    damped = level * of_level / (of_level + noise / count)
    damped = damped[ring] + rest * of_rest / (of_rest + noise2)
    return damped.reshape(2 * half + 1, -1)
