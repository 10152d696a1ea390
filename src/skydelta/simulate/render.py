"""Draw a sky on a pixel grid, without noise. Counts; every pixel is the integral over its area.

A source of flux f gives f / scale counts wherever it falls on the image: pixels of different
area on the sky do not change fluxes, as in images whose photometric calibration includes the
pixel area. A resampling that conserves the flux of stars is the right one for them.
"""

import galsim
import numpy as np

from skydelta.simulate import stamped
from skydelta.simulate.astrometry import jacobians, positions_on
from skydelta.simulate.optics import MoffatField
from skydelta.simulate.stamped import GALAXY_LEVEL, sersic_radius, touches

_STAR_LEVEL = 0.005
"""Surface brightness where a star's stamp ends, in units of the sky noise of a pixel."""

_MAX_RADIUS = 300
"""Half-width of the largest stamp, px."""

# Faint galaxies: errors of a percent of their flux are a small part of the noise.
_QUICK = galsim.GSParams(
    folding_threshold=1e-2, maxk_threshold=2e-3, kvalue_accuracy=1e-4, stepk_minimum_hlr=4
)
_CAREFUL = galsim.GSParams(folding_threshold=2e-3)


def render_sky(shape, wcs, psf, sky, band, event_flux, counts_per_njy, noise):
    """Noiseless counts of all sources.

    Parameters
    ----------
    shape
        (ny, nx).
    wcs
        Where sources truly fall.
    psf
        On this grid: a skydelta.simulate.optics.MoffatField, whose wings reach far out, or any
        other skydelta.psf.Psf, of which stars and galaxies are drawn as far as its stamps reach.
    sky
        skydelta.simulate.sky.Sky.
    band
        Filter whose fluxes are drawn.
    event_flux
        (n,) nJy of the events in this image.
    counts_per_njy
        Photometric scale.
    noise
        Sky noise of a pixel, counts: stamps end far below it.

    Returns
    -------
    ndarray
        (ny, nx) float32.
    """
    image = np.zeros(shape, np.float32)
    stars, galaxies, events = sky.stars, sky.galaxies, sky.events
    points = (
        (stars.ra, stars.dec, stars.flux[band] * counts_per_njy),
        (events.ra, events.dec, event_flux * counts_per_njy),
    )
    galaxy_counts = galaxies.flux[band] * counts_per_njy
    if isinstance(psf, MoffatField):
        for ra, dec, counts in points:
            draw_points(image, wcs, psf, ra, dec, counts, noise)
        draw_galaxies(image, wcs, psf, galaxies, galaxy_counts, noise)
    else:
        for ra, dec, counts in points:
            stamped.draw_points(image, wcs, psf, ra, dec, counts)
        stamped.draw_galaxies(image, wcs, psf, galaxies, galaxy_counts, noise)
    return image


def draw_points(image, wcs, psf, ra, dec, counts, noise):
    """Add point sources to `image`, each with the PSF of its own position."""
    shining = np.flatnonzero(counts > 0)
    index, x, y = positions_on(wcs, image.shape, ra[shining], dec[shining], _MAX_RADIUS)
    counts = counts[shining][index]
    radius = psf.radius(counts, _STAR_LEVEL * noise)
    parameters = np.column_stack(psf.parameters(x, y))
    for i in np.flatnonzero(touches(image.shape, x, y, radius)):
        profile = psf.profile(*parameters[i]).withFlux(counts[i])
        _add(image, profile, x[i], y[i], radius[i])


def draw_galaxies(image, wcs, psf, galaxies, counts, noise):
    """Add galaxies to `image`: sheared on the sky, mapped to pixels, convolved with the PSF."""
    index, x, y = positions_on(wcs, image.shape, galaxies.ra, galaxies.dec, _MAX_RADIUS)
    counts = counts[index]
    jacobian = jacobians(wcs, x, y)
    scale = np.sqrt(np.abs(np.linalg.det(jacobian)))
    level = GALAXY_LEVEL * noise
    extent = sersic_radius(galaxies.radius[index] / scale, galaxies.index[index], counts, level)
    radius = np.maximum(extent + psf.fwhm[0], psf.radius(counts, level))
    parameters = np.column_stack(psf.parameters(x, y))
    for i in np.flatnonzero(touches(image.shape, x, y, radius)):
        one = index[i]
        # 400 is the flux, in units of the pixel noise, where a point source has S/N of about 50.
        gsparams = _CAREFUL if counts[i] > 400 * noise else _QUICK
        galaxy = _sersic(galaxies.index[one], galaxies.radius[one], gsparams)
        galaxy = galaxy.shear(g1=galaxies.g1[one], g2=galaxies.g2[one]).withFlux(counts[i])
        on_pixels = galsim.JacobianWCS(*jacobian[i].ravel()).profileToImage(galaxy)
        seeing = psf.profile(*parameters[i], gsparams=gsparams)
        seen = galsim.Convolve(on_pixels, seeing, gsparams=gsparams)
        _add(image, seen, x[i], y[i], radius[i])


def _sersic(index, radius, gsparams):
    if index == 1:
        return galsim.Exponential(half_light_radius=radius, gsparams=gsparams)
    return galsim.DeVaucouleurs(half_light_radius=radius, gsparams=gsparams)


def _add(image, profile, x, y, radius):
    """Draw a profile (px, flux in counts) on the square of half-width `radius` about (x, y)."""
    ny, nx = image.shape
    half = min(int(np.ceil(radius)), _MAX_RADIUS)
    x0, y0 = int(np.floor(x + 0.5)) - half, int(np.floor(y + 0.5)) - half
    x1, y1 = x0 + 2 * half, y0 + 2 * half
    stamp = galsim.ImageF(galsim.BoundsI(x0, x1, y0, y1))
    profile.drawImage(stamp, scale=1.0, center=(x, y))
    cut_y, cut_x = slice(max(y0, 0), min(y1 + 1, ny)), slice(max(x0, 0), min(x1 + 1, nx))
    if cut_x.start < cut_x.stop and cut_y.start < cut_y.stop:
        image[cut_y, cut_x] += stamp.array[
            cut_y.start - y0 : cut_y.stop - y0, cut_x.start - x0 : cut_x.stop - x0
        ]
