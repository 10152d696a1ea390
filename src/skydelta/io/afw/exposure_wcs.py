"""The WCS of an afw exposure: the header's where it is exact, else the archive's.

Headers of 2019 to 2025 hold an exact FITS WCS or none. Since afw of November 2025 they hold the
closest SIP approximation, and the SkyWcs of the archive is the truth.
"""

import numpy as np

from skydelta.errors import InputError, NoWcsError
from skydelta.io.afw.rows import load
from skydelta.io.wcs import repaired_header, wcs_from_header
from skydelta.lsst.sip_fit import fit_tan_sip
from skydelta.lsst.sky_wcs import AstSkyWcs, FitsSkyWcs

SAME_MAS = 1.0
"""Header and archive are one WCS if they agree to this."""

_MAS_PER_DEG = 3.6e6
_NODES = 9


def exposure_wcs(header, archive, number, xy0):
    """The astropy WCS of an image's own grid.

    Parameters
    ----------
    header
        Of the image plane, with NAXIS1 and NAXIS2 of the image.
    archive
        InputArchive, or None.
    number
        The SkyWcs's in it, 0 for none.
    xy0
        Parent pixel of the image's first pixel.

    Returns
    -------
    wcs : astropy.wcs.WCS
    sky_wcs
        What the archive has, in parent pixels; None if nothing.
    notes : list of str

    Raises
    ------
    NoWcsError
        If neither has one.
    InputError
        If the header has none and the archive's cannot be read or expressed.
    """
    shape = header["NAXIS2"], header["NAXIS1"]
    repaired, notes = repaired_header(header)
    from_header = wcs_from_header(repaired) if header.get("CTYPE1") else None
    try:
        sky_wcs = archive_wcs(archive, number)
        if from_header is None:
            return (*_from_archive(sky_wcs, shape, xy0, notes),)
        if sky_wcs is None:
            return from_header, None, notes
        offset = largest_offset(from_header, sky_wcs, shape, xy0)
    except InputError as error:
        if from_header is None:
            raise
        return from_header, None, [*notes, f"the header's WCS was taken: {error}"]
    if offset <= SAME_MAS:
        return from_header, sky_wcs, notes
    reason = f"the header's WCS is not quite the archive's: off by up to {offset:.3g} mas"
    return _from_archive(sky_wcs, shape, xy0, [*notes, reason])


def archive_wcs(archive, number):
    """The WCS of that number in an archive, None for 0 or no archive."""
    return load(archive, number, "pixel_to_sky", "SkyWcs") if archive is not None else None


def no_wcs():
    """The error of an exposure without WCS."""
    msg = "the exposure has no WCS, neither in its header nor in its archive"
    return NoWcsError(msg)


def _from_archive(sky_wcs, shape, xy0, notes):
    if sky_wcs is None:
        raise no_wcs()
    if isinstance(sky_wcs, FitsSkyWcs):
        return shifted(sky_wcs.wcs, xy0), sky_wcs, [*notes, "WCS: that of the archive"]
    wcs, error, order = fit_tan_sip(
        lambda x, y: sky_wcs.pixel_to_sky(x + xy0[0], y + xy0[1]), shape
    )
    note = f"WCS: TAN-SIP of order {order} fitted to the archive's SkyWcs, to {error:.2g} px"
    return wcs, sky_wcs, [*notes, note]


def shifted(wcs, xy0):
    """A FITS WCS on the grid that begins at pixel xy0 of its own."""
    from astropy.wcs import Sip

    moved = wcs.deepcopy()
    moved.wcs.crpix = np.asarray(wcs.wcs.crpix) - xy0
    if wcs.sip is not None:
        sip = wcs.sip
        moved.sip = Sip(sip.a, sip.b, sip.ap, sip.bp, moved.wcs.crpix)
    moved.wcs.set()
    return moved


def largest_offset(wcs, sky_wcs, shape, xy0):
    """Largest angle between two WCS over an image, mas; inf where one gives no position.

    Parameters
    ----------
    wcs
        astropy WCS of the image's own grid.
    sky_wcs
        With `pixel_to_sky`, on parent pixels.
    shape, xy0
        (ny, nx) of the image and the parent pixel of its first.
    """
    x, y = (np.linspace(-0.5, n - 0.5, _NODES) for n in (shape[1], shape[0]))
    x, y = (a.ravel() for a in np.meshgrid(x, y))
    same_frame = wcs.wcs.radesys in ("", "ICRS") or isinstance(sky_wcs, FitsSkyWcs)
    if same_frame:
        ra, dec = wcs.all_pix2world(x, y, 0)
    else:  # AST's are all ICRS, from which FK5 differs by some 20 mas
        ra, dec = AstSkyWcs.from_fits(wcs).pixel_to_sky(x, y)
    ra_too, dec_too = sky_wcs.pixel_to_sky(x + xy0[0], y + xy0[1])
    d_ra = ((ra - ra_too + 180.0) % 360.0 - 180.0) * np.cos(np.radians(dec))
    offset = np.hypot(d_ra, dec - dec_too).max() * _MAS_PER_DEG
    return float(offset) if np.isfinite(offset) else np.inf
