"""Celestial WCS from and to FITS headers."""

import math
import re
import warnings

from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning, WcsError

from skydelta.errors import NoWcsError


def wcs_from_header(header):
    """The celestial WCS of an image header.

    Raises
    ------
    NoWcsError
        If there is none, it is not celestial, or it cannot be evaluated.
    """
    ctypes = [str(header.get(f"CTYPE{i}", "")) for i in (1, 2)]
    if not any(ctypes):
        msg = "the image has no WCS (no CTYPE1, CTYPE2): solve its astrometry first"
        raise NoWcsError(msg)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        try:
            wcs = WCS(_without_alternates(header))
        except (WcsError, ValueError, KeyError, TypeError, MemoryError) as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error)
            msg = f"the WCS cannot be read: correct its cards ({reason})"
            raise NoWcsError(msg) from error
    if not wcs.has_celestial or wcs.naxis != 2:
        msg = f"the WCS is not a celestial one of two axes: CTYPE1, CTYPE2 = {ctypes}"
        raise NoWcsError(msg)
    return wcs


_ALTERNATE = {f"{key}{axis}A" for key in ("CTYPE", "CRPIX", "CRVAL", "CUNIT") for axis in (1, 2)}


def _without_alternates(header):
    """The header without LSST's LINEAR alternate WCS and its SIP cards left unambiguous."""
    return fits.Header([card for card in header.cards if card.keyword not in _ALTERNATE])


def repaired_header(header):
    """A header whose linear WCS is stated once, and sentences saying what was changed.

    CD wins over PC and CDELT, of which FITS allows only one (astropy would take PC); projection
    parameters that are not numbers are dropped.

    Returns
    -------
    header : Header
    notes : list of str
    """
    repaired, notes = header.copy(), []
    cd = [key for key in header if re.fullmatch(r"CD[12]_[12]", key)]
    pc = [key for key in header if re.fullmatch(r"PC[12]_[12]", key)]
    if cd:
        for key in (*pc, "CDELT1", "CDELT2", "CROTA1", "CROTA2"):
            repaired.remove(key, ignore_missing=True)
        if pc:
            notes.append("WCS repaired: the header has both CD and PC; CD was kept, PC dropped")
    parameters = [key for key in header if re.fullmatch(r"PV[12]_\d+", key)]
    wrong = [key for key in parameters if not _is_finite(header[key])]
    for key in wrong:
        del repaired[key]
    if wrong:
        notes.append(f"WCS repaired: {', '.join(wrong)} are not numbers and were dropped")
    return repaired, notes


def _is_finite(value):
    return isinstance(value, int | float) and math.isfinite(value)


def header_of(wcs):
    """WCS cards of an image header, TAN-SIP and TPV distortions included."""
    header = wcs.to_header(relax=True)
    if wcs.wcs.has_cd():
        # to_header() writes PC and CDELT=1; CD is what most readers of distorted WCS expect.
        for i in (1, 2):
            for j in (1, 2):
                value = header.pop(f"PC{i}_{j}", 1.0 if i == j else 0.0)
                header[f"CD{i}_{j}"] = value * header.get(f"CDELT{i}", 1.0)
            header.pop(f"CDELT{i}", None)
    for key in ("DATE-OBS", "MJD-OBS", "DATE-REF", "MJDREF", "DATEREF", "MJDREFI", "MJDREFF"):
        header.remove(key, ignore_missing=True)
    return fits.Header(header)
