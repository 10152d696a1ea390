"""What every method of subtraction gives."""

from dataclasses import dataclass, field

import numpy as np

from skydelta.exposure import Exposure
from skydelta.kernel import SpatialKernel
from skydelta.psf import Psf


@dataclass(frozen=True)
class ScoreMap:
    """Significance of a point source at every pixel.

    Parameters
    ----------
    score
        (ny, nx) float32, in sigma; 0 where void.
    flux_sigma
        (ny, nx) float32, standard error of the flux there, counts; inf where void.
    """

    score: np.ndarray
    flux_sigma: np.ndarray

    @property
    def flux(self):
        """(ny, nx) optimal PSF flux of a source centred on each pixel, counts; 0 where void."""
        with np.errstate(invalid="ignore"):
            flux = self.score * self.flux_sigma
        return np.where(np.isfinite(self.flux_sigma), flux, np.float32(0))


@dataclass(frozen=True)
class Difference:
    """A difference image and how it was made.

    Parameters
    ----------
    exposure
        On the flux scale of the science image. Unless `white` its noise is still correlated.
    kernel
        SpatialKernel that the convolved image was convolved with: of sum `flux_ratio` for the
        template, of unit sum for the science image.
    convolved
        ``"template"`` or ``"science"``.
    flux_ratio
        Science counts per template count.
    stars
        Columns (x, y, flux, snr, used, reason, flux_ratio, residual) of the stars it rests on.
    flux_error
        Relative flux error of the matched template, NaN if not known.
    solution
        KernelSolution of the fit, or None for methods without one.
    detection_filter
        Stamp that the science image was pre-convolved with, for detection, or None.
    score
        ScoreMap of methods that have one of their own, or None.
    white
        Whether the noise is white already.
    science_psf
        Psf of the science image where it is not that of the exposure.
    """

    exposure: Exposure
    kernel: SpatialKernel
    convolved: str
    flux_ratio: float
    stars: dict = field(default_factory=dict)
    flux_error: float = np.nan
    solution: object = None
    detection_filter: np.ndarray | None = None
    score: ScoreMap | None = None
    white: bool = False
    science_psf: Psf | None = None
