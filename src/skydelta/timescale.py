"""Time scales of headers (FITS standard 4.0, section 9.2) and International Atomic Time."""

import numpy as np

_SCALES = {
    "UTC": "utc",
    "GMT": "utc",
    "UT": "utc",
    # UT1 is within 0.9 s of UTC; the table of their difference would need the network.
    "UT1": "utc",
    "TAI": "tai",
    "IAT": "tai",
    "TT": "tt",
    "TDT": "tt",
    "ET": "tt",
    "TCG": "tcg",
    "TDB": "tdb",
    "TCB": "tcb",
    "GPS": "gps",
}
"""astropy's name of each scale of FITS; LOCAL has none."""

_GPS_BEHIND_TAI = 19.0 / 86400.0

DEFAULT = "UTC"
"""The scale of a header without TIMESYS."""


def time_scale(header):
    """The scale of a header's times, and how it is known.

    Parameters
    ----------
    header
        Mapping with or without TIMESYS; values may be (value, comment).

    Returns
    -------
    name
        Key of FITS' scales, as ``"UTC"``.
    how
        ``"TIMESYS"``, ``"FITS default"``, or ``"TIMESYS ... unknown"``, if UTC stands for a scale
        that is not one of FITS'.
    """
    card = header.get("TIMESYS")
    value = card[0] if isinstance(card, tuple) else card
    text = str(value or "").strip().upper()
    if not text:
        return DEFAULT, "FITS default"
    name = text.split("(")[0].strip()  # as TT(BIPM2004)
    if name not in _SCALES:
        return DEFAULT, f"TIMESYS {name} unknown"
    return name, "TIMESYS"


def to_tai(mjd, scale):
    """MJD in TAI.

    Parameters
    ----------
    mjd
        Number, NaN for none.
    scale
        Name of its scale in FITS, from `time_scale`.
    """
    name = _SCALES[scale]
    if not np.isfinite(mjd) or name == "tai":
        return float(mjd)
    if name == "gps":
        return float(mjd) + _GPS_BEHIND_TAI
    from astropy.utils import iers

    # Leap seconds come with the installation.
    with iers.conf.set_temp("auto_download", False):
        from astropy.time import Time

        return float(Time(mjd, format="mjd", scale=name).tai.mjd)
