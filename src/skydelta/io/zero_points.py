"""The photometric scale that a header's cards state."""

import numpy as np

from skydelta.photocalib import NJY_ZEROPOINT, PhotoCalib

MAGGIES_TO_NJY = 10.0 ** (NJY_ZEROPOINT / 2.5)
"""nJy of AB magnitude 0."""

_MAGNITUDE_CARDS = {"MAGZERO": "MAGZERR", "MAGZP": "MAGZPUNC"}
"""Cards of a zero point, mag, and of its standard error."""


def photo_calib_from_header(header):
    """The photometric scale of a header (NJYSCALE, MAGZERO, MAGZP or FLUXMAG0), or None.

    A zero point that PHOTSYS or MAGSYS calls Vega is none.
    """
    if is_vega(header):
        return None
    if header.get("NJYSCALE"):
        return PhotoCalib(float(header["NJYSCALE"]), float(header.get("NJYSCERR", 0.0)))
    for key, error_key in _MAGNITUDE_CARDS.items():
        value, error = header.get(key), header.get(error_key)
        if is_number(value):
            known = is_number(error) and error > 0
            return PhotoCalib.from_zero_point(float(value), float(error) if known else 0.0)
    fluxmag0 = header.get("FLUXMAG0")
    if isinstance(fluxmag0, int | float) and fluxmag0 > 0:
        scale = MAGGIES_TO_NJY / fluxmag0
        return PhotoCalib(scale, scale * float(header.get("FLUXMAG0ERR", 0.0)) / fluxmag0)
    return None


def is_vega(header):
    """Whether a header says that its zero point is in the Vega system."""
    systems = (str(header.get(key, "")).strip().upper() for key in ("PHOTSYS", "MAGSYS"))
    return any(system.startswith("VEGA") for system in systems)


def is_number(value):
    """Whether a card holds a finite number."""
    return isinstance(value, int | float) and bool(np.isfinite(value))
