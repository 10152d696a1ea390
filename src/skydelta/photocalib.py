"""Photometric calibration: instrumental counts to nanojansky and AB magnitudes.

AB magnitudes follow mag = -2.5 log10(f / nJy) + 31.4, as in the LSST stack (afw PhotoCalib).
"""

from dataclasses import dataclass

import numpy as np

NJY_ZEROPOINT = 31.4
"""AB magnitude of 1 nJy."""

_MAG_PER_LN = 2.5 / np.log(10.0)


@dataclass(frozen=True)
class PhotoCalib:
    """Constant photometric scale.

    Parameters
    ----------
    scale
        nJy per count.
    scale_err
        Its standard error, nJy per count; 0 where unknown.
    """

    scale: float
    scale_err: float = 0.0

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
        """AB magnitude of 1 count."""
        return NJY_ZEROPOINT - 2.5 * np.log10(self.scale)

    def to_nanojansky(self, flux, flux_err=None):
        """Flux in nJy, or (flux, error) when an error is given; same shape as the input."""
        flux = np.asarray(flux, float) * self.scale
        if flux_err is None:
            return flux
        return flux, np.asarray(flux_err, float) * self.scale

    def to_magnitude(self, flux, flux_err=None):
        """AB magnitude, or (magnitude, error); NaN where the flux is not positive."""
        return nanojansky_to_magnitude(
            self.to_nanojansky(flux), None if flux_err is None else self.to_nanojansky(flux_err)
        )


def nanojansky_to_magnitude(flux, flux_err=None):
    """AB magnitude of a flux in nJy, or (magnitude, error); NaN where the flux is not positive."""
    flux = np.asarray(flux, float)
    positive = np.where(flux > 0, flux, np.nan)
    magnitude = NJY_ZEROPOINT - 2.5 * np.log10(positive)
    if flux_err is None:
        return magnitude
    return magnitude, _MAG_PER_LN * np.asarray(flux_err, float) / positive
