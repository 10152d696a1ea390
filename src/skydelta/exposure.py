"""The value object every stage takes and gives: one image with all that is known about it."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skydelta.mask import Mask
from skydelta.photocalib import PhotoCalib


@dataclass(frozen=True)
class Exposure:
    """A calibrated image of the sky.

    Arrays are indexed [y, x]; pixel coordinates are 0-based with the centre of the first pixel at
    (0, 0), x along the second array axis. Functions never change an exposure's arrays in place.

    Parameters
    ----------
    image
        (ny, nx) float32, counts.
    variance
        (ny, nx) float32, counts squared.
    mask
        Bit planes of the same shape.
    wcs
        astropy.wcs.WCS, celestial, of this pixel grid.
    psf
        A skydelta.psf.Psf, or None while unknown.
    photo_calib
        Counts to nJy, or None while unknown.
    band
        Filter name as in the input tables, for example ``"i"``.
    mjd
        Mid-exposure time, MJD (NaN if unknown), in the scale that TIMESYS in `meta` names, or UTC.
    exptime
        s (NaN if unknown).
    gain
        Electrons per count (NaN if unknown).
    saturate
        Saturation level in counts (inf if unknown).
    xy0
        (x0, y0): where the first pixel lies in the parent image that this one was cut from, as the
        patches of a tract are. Only `bbox` counts from there; all other pixel coordinates are of
        this grid.
    info
        What an LSST file says besides, a skydelta.lsst.exposure_info.ExposureInfo; else None.
    meta
        Further header cards of the primary header, {key: value or (value, comment)}.
    notes
        What was estimated or repaired on the way, one sentence each; written as HISTORY.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: Mask
    wcs: Any
    psf: Any = None
    photo_calib: PhotoCalib | None = None
    band: str = ""
    mjd: float = np.nan
    exptime: float = np.nan
    gain: float = np.nan
    saturate: float = np.inf
    xy0: tuple = (0, 0)
    info: Any = None
    meta: dict = field(default_factory=dict)
    notes: tuple = ()

    def __post_init__(self):
        shapes = {self.image.shape, self.variance.shape, self.mask.array.shape}
        if len(shapes) != 1 or self.image.ndim != 2:
            msg = (
                "image, variance and mask must be 2-d and of one shape, got "
                f"{self.image.shape}, {self.variance.shape}, {self.mask.array.shape}"
            )
            raise ValueError(msg)

    @property
    def shape(self):
        """(ny, nx)."""
        return self.image.shape

    @property
    def bbox(self):
        """(x_min, y_min, x_max, y_max) of the pixel centres in the parent image, inclusive."""
        (ny, nx), (x0, y0) = self.shape, self.xy0
        return x0, y0, x0 + nx - 1, y0 + ny - 1

    @property
    def central_psf_shape(self):
        """skydelta.psf.Shape of the PSF at the centre."""
        ny, nx = self.shape
        return self.psf.compute_shape((nx - 1) / 2.0, (ny - 1) / 2.0)

    def replace(self, **changes):
        """A copy with some fields changed."""
        return replace(self, **changes)

    def noted(self, *sentences):
        """A copy with sentences added to its notes."""
        return replace(self, notes=(*self.notes, *sentences))
