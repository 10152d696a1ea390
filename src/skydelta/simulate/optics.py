"""Point-spread functions that vary smoothly over an image and are known exactly everywhere."""

from dataclasses import dataclass, replace

import galsim
import numpy as np

from skydelta.psf import Psf
from skydelta.simulate.astrometry import PIXEL_SCALE

STAMP_SIZE = 41
"""Width of the stamps written to PSFGRID, px."""

PSF_NODES = 7
"""Nodes of PSFGRID along each axis: linear interpolation is then good to 1e-3 of the peak."""

BETA = 3.5
"""Moffat exponent of atmospheric seeing."""

# Wings that GalSim's periodic FFT folds back stay below 1e-4 of the flux.
_ACCURATE = galsim.GSParams(folding_threshold=2e-4, maxk_threshold=1e-5)

_ENCLOSED = 5e-4
"""Fraction of a star's flux that may fall outside the stamp it is drawn on."""


@dataclass(frozen=True)
class MoffatField(Psf):
    """A Moffat profile whose width and ellipticity are quadratic polynomials of position.

    Evaluated anew at every position: no cells, no interpolation.

    Parameters
    ----------
    origin, extent
        Middle (x, y) and half-widths (x, y) of the field, px: they map it on [-1, 1].
    beta
        Moffat exponent; the wings fall as r^(-2 beta).
    fwhm
        (6,) coefficients of 1, u, v, u^2, uv, v^2 of the full width at half maximum before pixel
        integration, px.
    g1, g2
        (6,) coefficients of the reduced shear along the pixel axes and along their diagonal.
    size
        Odd width of the stamps, px.
    """

    origin: tuple
    extent: tuple
    beta: float
    fwhm: np.ndarray
    g1: np.ndarray
    g2: np.ndarray
    size: int = STAMP_SIZE

    def parameters(self, x, y):
        """(fwhm in px, g1, g2) at positions x, y."""
        u = (np.asarray(x, float) - self.origin[0]) / self.extent[0]
        v = (np.asarray(y, float) - self.origin[1]) / self.extent[1]
        basis = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)
        return basis @ self.fwhm, basis @ self.g1, basis @ self.g2

    def profile(self, fwhm, g1, g2, gsparams=_ACCURATE):
        """The GalSim profile, in px, of one set of `parameters`."""
        return galsim.Moffat(beta=self.beta, fwhm=fwhm, gsparams=gsparams).shear(g1=g1, g2=g2)

    def radius(self, counts, level):
        """Px beyond which a star is fainter than `level` and holds no flux worth drawing.

        Parameters
        ----------
        counts
            (n,) flux.
        level
            Counts per px.
        """
        scale = np.max(self.fwhm[0]) / (2 * np.sqrt(2 ** (1 / self.beta) - 1))
        peak = np.abs(counts) * (self.beta - 1) / (np.pi * scale**2)
        faint = np.maximum(peak / level, 1.0) ** (1 / self.beta)
        enclosed = _ENCLOSED ** (1 / (1 - self.beta))
        return scale * np.sqrt(np.maximum(faint, enclosed) - 1) + 2

    def shifted(self, x0, y0):
        """The same field seen from an image whose pixel (0, 0) is this one's (x0, y0)."""
        return replace(self, origin=(self.origin[0] - x0, self.origin[1] - y0))

    def stamps(self, x, y):
        half = self.size // 2
        x, y = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(y))
        return self._drawn(x, y, np.full(x.size, half), np.full(x.size, half))

    def images(self, x, y):
        x, y = np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))
        half = self.size // 2
        x0 = np.floor(x + 0.5).astype(int) - half
        y0 = np.floor(y + 0.5).astype(int) - half
        return self._drawn(x, y, x - x0, y - y0), x0, y0

    def _drawn(self, x, y, x_in, y_in):
        """Stamps of the PSF at x, y, centred on stamp pixel x_in, y_in."""
        stamps = np.empty((len(x), self.size, self.size))
        for stamp, values, cx, cy in zip(
            stamps, np.column_stack(self.parameters(x, y)), x_in, y_in, strict=True
        ):
            bounds = galsim.BoundsI(0, self.size - 1, 0, self.size - 1)
            image = galsim.ImageD(bounds)
            self.profile(*values).drawImage(image, scale=1.0, center=(cx, cy))
            stamp[:] = image.array
        return stamps


def make_psf(rng, shape, fwhm_arcsec, *, variable=True, beta=BETA):
    """A MoffatField over an image.

    Parameters
    ----------
    rng
        numpy Generator.
    shape
        (ny, nx) of the image the variation spans.
    fwhm_arcsec
        Full width at half maximum in the middle.
    variable
        Whether width (by about 4 %) and ellipticity (by about 0.03) change over the image.
    beta
        Moffat exponent. GalSim draws 2.5 and 3.5 five times faster than others: their transforms
        are elementary functions.
    """
    ny, nx = shape
    linear, quadratic = (0.02, 0.006) if variable else (0.0, 0.0)
    scatter = np.array([0.0, linear, linear, quadratic, quadratic, quadratic])
    width = rng.normal(size=6) * scatter
    g1, g2 = rng.normal(size=(2, 6)) * scatter * 0.75 + rng.normal(0, 0.02, (2, 1)) * np.eye(6)[0]
    width[0] = 1.0
    return MoffatField(
        origin=((nx - 1) / 2, (ny - 1) / 2),
        extent=(nx / 2, ny / 2),
        beta=beta,
        fwhm=width * fwhm_arcsec / PIXEL_SCALE,
        g1=g1,
        g2=g2,
    )
