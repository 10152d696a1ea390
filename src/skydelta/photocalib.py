"""Photometric calibration: instrumental counts to nanojansky and AB magnitudes.

AB magnitudes follow mag = -2.5 log10(f / nJy) + 31.4, as in the LSST stack (afw PhotoCalib).
"""

from dataclasses import dataclass, replace

import numpy as np

from skydelta.field import Field

NJY_ZEROPOINT = 31.4
"""AB magnitude of 1 nJy."""

_MAG_PER_LN = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class PhotoCalib:
    """Photometric scale, the same all over the image or varying.

    Parameters
    ----------
    scale
        nJy per count; of a varying one where its field is 1.
    scale_err
        Its standard error, nJy per count; 0 where unknown.
    field
        Variation over the image, a factor on the scale and its error (Chebyshev polynomials or
        B-splines); None for none.
    """

    scale: float
    scale_err: float = 0.0
    field: Field | None = None

    def __post_init__(self):
        if not (np.isfinite(self.scale) and self.scale > 0):
            msg = f"photometric scale must be positive and finite, got {self.scale} nJy per count"
            raise ValueError(msg)

    @classmethod
    def from_zero_point(cls, magzero, magzero_err=0.0):
        """From the AB magnitude of 1 count."""
        scale = 10.0 ** ((NJY_ZEROPOINT - magzero) / 2.5)
        return cls(float(scale), float(scale * magzero_err / _MAG_PER_LN))

    @property
    def zero_point(self):
        """AB magnitude of 1 count; of a varying scale where its field is 1."""
        return NJY_ZEROPOINT - 2.5 * np.log10(self.scale)

    def scaled(self, factor):
        """The calibration with so many times the nJy per count."""
        return replace(self, scale=self.scale * factor, scale_err=self.scale_err * factor)

    def local(self, x=None, y=None):
        """Scale and its standard error at positions, nJy per count.

        Parameters
        ----------
        x, y
            (n,) 0-based px; may be left out where the scale is constant.

        Returns
        -------
        scale, error
            (n,), or two numbers without positions.

        Raises
        ------
        ValueError
            If the scale varies and no positions are given.
        """
        if self.field is None:
            ones = np.ones(np.shape(x)) if x is not None else 1.0
            return self.scale * ones, self.scale_err * ones
        if x is None or y is None:
            msg = "the photometric scale varies over the image: give positions x, y"
            raise ValueError(msg)
        factor = self.field.at(np.ravel(x), np.ravel(y)).reshape(np.shape(x))
        return self.scale * factor, self.scale_err * factor

    def to_nanojansky(self, flux, flux_err=None, *, x=None, y=None, zero_point_error=False):
        """Flux in nJy, or (flux, error) when an error is given; same shape as the input.

        Parameters
        ----------
        flux, flux_err
            Counts and their standard error.
        x, y
            Positions, 0-based px; needed where the scale varies.
        zero_point_error
            Whether the error of the scale, which all sources of an image share, is added to that
            of each in quadrature.
        """
        scale, scale_err = self.local(x, y)
        counts = np.asarray(flux, float)
        flux = counts * scale
        if flux_err is None:
            return flux
        error = np.asarray(flux_err, float) * scale
        return flux, np.hypot(error, counts * scale_err) if zero_point_error else error

    def to_magnitude(self, flux, flux_err=None, **where):
        """AB magnitude, or (magnitude, error); NaN where the flux is not positive.

        Parameters are those of `to_nanojansky`.
        """
        if flux_err is None:
            return nanojansky_to_magnitude(self.to_nanojansky(flux, **where))
        return nanojansky_to_magnitude(*self.to_nanojansky(flux, flux_err, **where))


def nanojansky_to_magnitude(flux, flux_err=None):
    """AB magnitude of a flux in nJy, or (magnitude, error); NaN where the flux is not positive."""
    flux = np.asarray(flux, float)
    positive = np.where(flux > 0, flux, np.nan)
    magnitude = NJY_ZEROPOINT - 2.5 * np.log10(positive)
    if flux_err is None:
        return magnitude
    return magnitude, _MAG_PER_LN * np.asarray(flux_err, float) / positive
