"""Draw a sky with a PSF that is known as stamps of pixels, as PSFEx models and coadds' PSFs are.

Every source has the stamp of its own position, moved between pixels by a phase in Fourier space
(skydelta.psf.shift_stamps); galaxies are convolved with it there. Light ends where the stamp does.
"""

import galsim
import numpy as np
from scipy import fft

from skydelta.psf import shift_stamps
from skydelta.simulate.astrometry import jacobians, positions_on

GALAXY_LEVEL = 0.02
"""Surface brightness where a galaxy's stamp ends, in units of the sky noise of a pixel."""

_MAX_RADIUS = 250
"""Half-width of the largest stamp of a galaxy, px."""

_BATCH = 256
"""PSF stamps held at a time."""


def draw_points(image, wcs, psf, ra, dec, counts):
    """Add point sources to `image`.

    Parameters
    ----------
    image
        (ny, nx), changed in place.
    wcs
        Where the light truly falls.
    psf
        skydelta.psf.Psf on this grid.
    ra, dec
        (n,) deg.
    counts
        (n,).
    """
    shining = np.flatnonzero(counts > 0)
    half = psf.size // 2
    index, x, y = positions_on(wcs, image.shape, ra[shining], dec[shining], half + 1)
    counts = counts[shining][index]
    x0, y0 = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    for part, stamps in _stamps_of(psf, x, y):
        moved = shift_stamps(stamps, (x - x0)[part], (y - y0)[part])
        moved *= counts[part, None, None]
        for stamp, left, low in zip(moved, x0[part] - half, y0[part] - half, strict=True):
            _add(image, stamp, left, low)


def draw_galaxies(image, wcs, psf, galaxies, counts, noise):
    """Add galaxies to `image`; parameters as of `draw_points`.

    Parameters
    ----------
    galaxies
        skydelta.simulate.sky.Galaxies.
    noise
        Sky noise of a pixel, counts: stamps end far below it.
    """
    index, x, y = positions_on(wcs, image.shape, galaxies.ra, galaxies.dec, _MAX_RADIUS)
    counts = counts[index]
    jacobian = jacobians(wcs, x, y)
    scale = np.sqrt(np.abs(np.linalg.det(jacobian)))
    radius = galaxies.radius[index] / scale
    extent = sersic_radius(radius, galaxies.index[index], counts, GALAXY_LEVEL * noise)
    half = np.minimum(np.ceil(extent).astype(int) + psf.size // 2, _MAX_RADIUS)
    touching = touches(image.shape, x, y, half)
    kept, x, y, half, jacobian = (a[touching] for a in (index, x, y, half, jacobian))
    counts = counts[touching]
    x0, y0 = np.floor(x + 0.5).astype(int), np.floor(y + 0.5).astype(int)
    for part, stamps in _stamps_of(psf, x, y):
        for k, stamp in zip(range(part.start, min(part.stop, len(x))), stamps, strict=True):
            profile = _on_pixels(galaxies, kept[k], jacobian[k]).withFlux(counts[k])
            profile = profile.shift(x[k] - x0[k], y[k] - y0[k])
            seen = _convolved(profile, stamp, half[k])
            _add(image, seen, x0[k] - half[k], y0[k] - half[k])


def sersic_radius(half_light, index, counts, level):
    """Px where the surface brightness of circular Sersic profiles falls to `level`.

    With I(r) = I_e exp(-b [(r / r_e)^(1/n) - 1]) and
    I_e = F b^(2n) e^-b / (2 pi n Gamma(2n) r_e^2).
    """
    b = np.where(index == 1, 1.67835, 7.66925)
    gamma = np.where(index == 1, 1.0, 5040.0)
    at_half = counts * b ** (2 * index) * np.exp(-b) / (2 * np.pi * index * gamma * half_light**2)
    return half_light * np.maximum(1 + np.log(at_half / level) / b, 0.0) ** index


def touches(shape, x, y, radius):
    """Which squares of half-width `radius` about positions reach an image, (n,) bool."""
    ny, nx = shape
    return (x > -radius) & (x < nx + radius) & (y > -radius) & (y < ny + radius)


def _stamps_of(psf, x, y):
    """(slice, stamps) of positions, a batch at a time."""
    for start in range(0, len(x), _BATCH):
        part = slice(start, start + _BATCH)
        yield part, psf.stamps(x[part], y[part])


def _on_pixels(galaxies, one, jacobian):
    """A galaxy's profile of unit flux in pixels."""
    radius = galaxies.radius[one]
    if galaxies.index[one] == 1:
        profile = galsim.Exponential(half_light_radius=radius)
    else:
        profile = galsim.DeVaucouleurs(half_light_radius=radius)
    profile = profile.shear(g1=galaxies.g1[one], g2=galaxies.g2[one])
    return galsim.JacobianWCS(*jacobian.ravel()).profileToImage(profile)


def _convolved(profile, stamp, half):
    """A profile (px, about its (0, 0)) convolved with a stamp, (2 half + 1, 2 half + 1).

    The product of the profile's transform and the stamp's: exact for a stamp without power beyond
    the Nyquist frequency. The stamp holds the integration over pixels.
    """
    size = stamp.shape[-1]
    # Odd, so that there is no term at the Nyquist frequency, whose phase is ambiguous.
    length = fft.next_fast_len(2 * half + 1 + size // 2, real=True)
    length += length % 2 == 0
    transform = profile.drawKImage(nx=length, ny=length, scale=2 * np.pi / length).array
    middle = np.zeros((length, length))
    middle[:size, :size] = stamp
    middle = np.roll(middle, (-(size // 2), -(size // 2)), axis=(0, 1))
    columns = length // 2 + 1
    product = fft.rfft2(middle) * fft.ifftshift(transform)[:, :columns]
    seen = fft.fftshift(fft.irfft2(product, s=(length, length)))
    start = length // 2 - half
    return seen[start : start + 2 * half + 1, start : start + 2 * half + 1]


def _add(image, stamp, x0, y0):
    """Add a stamp whose element [0, 0] lies on pixel (x0, y0)."""
    (ny, nx), (height, width) = image.shape, stamp.shape
    rows, columns = slice(max(y0, 0), min(y0 + height, ny)), slice(max(x0, 0), min(x0 + width, nx))
    if rows.start < rows.stop and columns.start < columns.stop:
        cut = slice(rows.start - y0, rows.stop - y0), slice(columns.start - x0, columns.stop - x0)
        image[rows, columns] += stamp[cut]
