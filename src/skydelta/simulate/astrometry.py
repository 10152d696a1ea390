"""World coordinate systems of simulated images: distorted detectors, their errors, Jacobians."""

import numpy as np
from astropy.wcs import WCS, Sip

PIXEL_SCALE = 0.2
"""arcsec per pixel of every simulated image."""

_ARCSEC = 1.0 / 3600.0
_SHORTEST_CORNER = 128.0 * np.sqrt(2.0)


def tan_wcs(ra, dec, crpix, rotation_deg=0.0):
    """A gnomonic WCS, east to the left where north is up.

    Parameters
    ----------
    ra, dec
        Tangent point, deg.
    crpix
        Its (x, y), 0-based pixels.
    rotation_deg
        Angle by which the image's axes are turned against north.
    """
    cos, sin = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [crpix[0] + 1.0, crpix[1] + 1.0]
    wcs.wcs.cd = PIXEL_SCALE * _ARCSEC * np.array([[-cos, sin], [sin, cos]])
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def detector_wcs(ra, dec, shape, rotation_deg, rng, distortion_px=2.0):
    """A TAN-SIP WCS about the middle of a detector.

    Parameters
    ----------
    ra, dec
        Position of the middle of the image, deg.
    shape
        (ny, nx).
    rotation_deg
        Camera rotation.
    rng
        numpy Generator, for the asymmetric part of the distortion.
    distortion_px
        Radial displacement at the corner, px; images smaller than 256 x 256 px have as much of it
        as the middle of one of that size, or it would diverge within reach of their stars.
    """
    ny, nx = shape
    wcs = tan_wcs(ra, dec, ((nx - 1) / 2, (ny - 1) / 2), rotation_deg)
    corner = max(0.5 * np.hypot(nx, ny), _SHORTEST_CORNER)
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = distortion_px / corner**3
    for power in ((2, 0), (1, 1), (0, 2)):
        a[power], b[power] = rng.normal(0.0, 0.2 * distortion_px / corner**2, 2)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def with_error(wcs, shape, error_mas, rng):
    """A WCS as an imperfect astrometric fit would give it.

    A shift carries four fifths of the error's variance, a rotation and a change of scale about
    the middle the rest.

    Parameters
    ----------
    wcs
        The truth, with the middle of the image as its reference pixel.
    shape
        (ny, nx) of the image.
    error_mas
        Displacement on the sky, rms over the image, mas.
    rng
        numpy Generator.
    """
    radius = np.sqrt((shape[0] ** 2 + shape[1] ** 2) / 12.0) * PIXEL_SCALE
    error = error_mas * 1e-3
    shift = np.sqrt(0.8) * error * _direction(rng)
    turn, stretch = np.sqrt(0.2) * error / radius * _direction(rng)
    written = wcs.deepcopy()
    dec = np.radians(wcs.wcs.crval[1])
    written.wcs.crval = wcs.wcs.crval + shift * _ARCSEC / [np.cos(dec), 1.0]
    written.wcs.cd = (np.eye(2) * (1 + stretch) + np.array([[0, -turn], [turn, 0]])) @ wcs.wcs.cd
    written.wcs.set()
    return written


def _direction(rng):
    """A unit vector of random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def moved_origin(wcs, x0, y0):
    """The same undistorted WCS for the part of the image that starts at pixel (x0, y0)."""
    moved = wcs.deepcopy()
    moved.wcs.crpix = wcs.wcs.crpix - [x0, y0]
    moved.wcs.set()
    return moved


def outline(wcs, shape):
    """ra, dec (deg) of the four corners of an image, in order around it."""
    ny, nx = shape
    return wcs.all_pix2world([-0.5, nx - 0.5, nx - 0.5, -0.5], [-0.5, -0.5, ny - 0.5, ny - 0.5], 0)


def positions_on(wcs, shape, ra, dec, margin):
    """Which sky positions fall on or near an image, and where.

    Parameters
    ----------
    wcs, shape
        Of the image.
    ra, dec
        (n,) deg.
    margin
        px around the image that still counts.

    Returns
    -------
    index, x, y
        Indices into `ra`, and their 0-based pixel positions.
    """
    ny, nx = shape
    # SIP polynomials diverge far from the image: look roughly first, then exactly.
    x, y = wcs.wcs_world2pix(ra, dec, 0)
    near = margin + 20.0
    index = np.flatnonzero((x > -near) & (x < nx + near) & (y > -near) & (y < ny + near))
    if index.size == 0:
        return index, np.empty(0), np.empty(0)
    x, y = wcs.all_world2pix(ra[index], dec[index], 0, tolerance=1e-6)
    keep = (x > -margin - 0.5) & (x < nx + margin) & (y > -margin - 0.5) & (y < ny + margin)
    return index[keep], x[keep], y[keep]


def jacobians(wcs, x, y):
    """d(east, north) / d(x, y) in arcsec per px at each position, (n, 2, 2)."""
    columns = []
    for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
        ra_hi, dec_hi = wcs.all_pix2world(x + dx, y + dy, 0)
        ra_lo, dec_lo = wcs.all_pix2world(x - dx, y - dy, 0)
        east = ((ra_hi - ra_lo + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec_hi + dec_lo) / 2)
        columns.append(np.stack([east, dec_hi - dec_lo], axis=-1) * 3600.0)
    return np.stack(columns, axis=-1)
