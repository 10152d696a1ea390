"""A TAN-SIP WCS fitted to any smooth mapping from pixels to the sky.

astropy evaluates FITS WCS only; LSST's may be chains of polynomials, splines and rotations.
"""

import numpy as np

from skydelta.errors import UnsupportedError

_GOOD_ENOUGH_PX = 1e-4
_LARGEST_ORDER = 8
_NODES = 21


def fit_tan_sip(pixel_to_sky, shape, *, tolerance=0.02):
    """The TAN-SIP WCS that follows a mapping over an image.

    The order rises until the largest error is below 1e-4 px.

    Parameters
    ----------
    pixel_to_sky
        Function of 0-based x and y, giving ra and dec in degrees.
    shape
        (ny, nx) of the image.
    tolerance
        Largest error that is accepted, px.

    Returns
    -------
    wcs : astropy.wcs.WCS
    error : float
        Largest error, px, at positions between those fitted and on the image's outermost edge.
    order : int

    Raises
    ------
    UnsupportedError
        If no order reaches the tolerance, or the mapping is not finite on the image.
    """
    x, y = _nodes(shape, _NODES)
    x_between, y_between = _nodes(shape, 2 * _NODES - 3)
    ra, dec = pixel_to_sky(x, y)
    truth = pixel_to_sky(x_between, y_between)
    if not (np.all(np.isfinite([ra, dec])) and np.all(np.isfinite(truth))):
        msg = "the SkyWcs of the archive gives no sky position for parts of the image"
        raise UnsupportedError(msg)
    best = None
    for order in range(1, _LARGEST_ORDER + 1):
        wcs = _fitted(x, y, ra, dec, pixel_to_sky, shape, order)
        error = _largest_error(wcs, x_between, y_between, truth)
        if best is None or error < best[1]:
            best = wcs, error, order
        if error < _GOOD_ENOUGH_PX:
            break
    if best[1] > tolerance:
        msg = (
            f"the SkyWcs of the archive cannot be expressed as TAN-SIP: order {best[2]} is wrong "
            f"by up to {best[1]:.3g} px, {tolerance} px are accepted"
        )
        raise UnsupportedError(msg)
    return best


def _nodes(shape, count):
    """Positions that are denser towards the edges, where polynomials are worst: x, y."""
    unit = -np.cos(np.pi * np.arange(count) / (count - 1)) / 2.0 + 0.5
    x, y = np.meshgrid(unit * shape[1] - 0.5, unit * shape[0] - 0.5)
    return x.ravel(), y.ravel()


def _fitted(x, y, ra, dec, pixel_to_sky, shape, order):
    """The WCS of one order."""
    crpix = np.array([(shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0])
    crval = np.array(pixel_to_sky(crpix[:1], crpix[1:])).ravel()
    half = max(shape) / 2.0
    u, v = (x - crpix[0]) / half, (y - crpix[1]) / half
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    design = np.stack([u**i * v**j for i, j in powers], axis=1)
    for _ in range(2):  # the constant term moves into CRVAL
        terms = np.linalg.lstsq(design, np.stack(_tangent(ra, dec, crval), axis=1), rcond=None)[0]
        terms = {power: terms[k] / half ** sum(power) for k, power in enumerate(powers)}
        crval = np.array(_sky(terms[0, 0], crval))
    cd = np.stack([terms[1, 0], terms[0, 1]], axis=1)
    return _wcs(crpix, crval, cd, terms, order)


def _wcs(crpix, crval, cd, terms, order):
    from astropy.wcs import WCS, Sip

    wcs = WCS(naxis=2)
    distorted = order > 1
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"] if distorted else ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cd = crpix + 1.0, crval, cd
    wcs.wcs.cunit, wcs.wcs.radesys = ["deg", "deg"], "ICRS"
    if distorted:
        a, b = np.zeros((2, order + 1, order + 1))
        inverse = np.linalg.inv(cd)
        for (i, j), value in terms.items():
            if i + j > 1:
                a[i, j], b[i, j] = inverse @ value
        wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def _largest_error(wcs, x, y, truth):
    """Px, from the sky distance and the mean pixel scale."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    off = np.hypot(
        (((ra - truth[0]) + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec)), dec - truth[1]
    )
    return float(off.max() / np.sqrt(abs(np.linalg.det(wcs.wcs.cd))))


def _tangent(ra, dec, centre):
    """Gnomonic coordinates about a point, deg (FITS paper II, section 5.1.3)."""
    a, d, a0, d0 = map(np.radians, (ra, dec, *centre))
    cosine = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a - a0)
    xi = np.cos(d) * np.sin(a - a0) / cosine
    eta = (np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(a - a0)) / cosine
    return np.degrees(xi), np.degrees(eta)


def _sky(tangent, centre):
    """Ra, dec (deg) of gnomonic coordinates about a point."""
    (xi, eta), (a0, d0) = np.radians(tangent), np.radians(centre)
    x, y = np.cos(d0) - eta * np.sin(d0), xi
    ra = np.degrees(a0 + np.arctan2(y, x)) % 360.0
    return ra, np.degrees(np.arctan2(np.sin(d0) + eta * np.cos(d0), np.hypot(x, y)))
