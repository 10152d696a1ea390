"""VisitInfo as header cards and as rows (afw: image/VisitInfo.cc)."""

import math
from datetime import datetime, timedelta

import numpy as np

from skydelta.errors import InputError
from skydelta.io.afw.archive import text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.lsst.visit_info import VisitInfo

_NUMBERS = (
    ("exposure_time", "EXPTIME", "exposuretime", "[s] exposure time"),
    ("dark_time", "DARKTIME", "darktime", "[s] time from CCD flush to readout"),
    ("ut1", "MJD-AVG-UT1", "ut1", "[d] mid-exposure, UT1"),
    ("era", "AVG-ERA", "era", "[deg] Earth rotation angle"),
    ("boresight_ra", "BORE-RA", "boresightradec_ra", "[deg] boresight, ICRS"),
    ("boresight_dec", "BORE-DEC", "boresightradec_dec", "[deg] boresight, ICRS"),
    ("boresight_azimuth", "BORE-AZ", "boresightazalt_az", "[deg] boresight, refracted"),
    ("boresight_altitude", "BORE-ALT", "boresightazalt_alt", "[deg] boresight, refracted"),
    ("boresight_airmass", "BORE-AIRMASS", "boresightairmass", "airmass"),
    ("rotation_angle", "BORE-ROTANG", "boresightrotangle", "[deg] rotation angle"),
    ("longitude", "OBS-LONG", "longitude", "[deg] telescope, east"),
    ("latitude", "OBS-LAT", "latitude", "[deg] telescope"),
    ("elevation", "OBS-ELEV", "elevation", "[m] telescope"),
    ("air_temperature", "AIRTEMP", "airtemperature", "[C]"),
    ("air_pressure", "AIRPRESS", "airpressure", "[Pa]"),
    ("humidity", "HUMIDITY", "humidity", "per cent"),
    ("focus_z", "FOCUSZ", "focusz", "[mm] defocus"),
)
"""Attribute, card, column of the archive, comment."""

_TEXTS = (
    ("instrument", "INSTRUMENT", "instrumentlabel"),
    ("observation_type", "OBSTYPE", "observationType"),
    ("science_program", "PROGRAM", "scienceProgram"),
    ("observation_reason", "REASON", "observationReason"),
    ("target", "OBJECT", "object"),
)
_ROTATION_TYPES = ("UNKNOWN", "SKY", "HORIZON", "MOUNT")
_UNIX_EPOCH = datetime(1970, 1, 1)
_SIMULATED = "HAS-SIMULATED-CONTENT"

CARDS = (
    *(card for _, card, _, _ in _NUMBERS),
    *(card for _, card, _ in _TEXTS),
    *("DATE-AVG", "TIMESYS", "TIME-MID", "ROTTYPE", "IDNUM", _SIMULATED),
)
"""All cards that tell of a visit."""


def visit_info_of_cards(cards):
    """The VisitInfo of a header.

    Raises
    ------
    InputError
        If DATE-AVG is not TAI, as afw has it, or no date.
    """
    values = {name: _number(cards.get(card)) for name, card, _, _ in _NUMBERS}
    values |= {name: str(cards.get(card) or "").strip() for name, card, _ in _TEXTS}
    rotation = str(cards.get("ROTTYPE") or "").strip().upper()
    return VisitInfo(
        **values,
        tai_ns=_tai_ns(cards),
        rotation_type=rotation if rotation in _ROTATION_TYPES else "UNKNOWN",
        visit=int(cards.get("IDNUM") or 0),
        has_simulated_content=cards.get(_SIMULATED) is True,
    )


def cards_of_visit_info(info):
    """[(keyword, value, comment)] as afw writes them; unknown values are left out."""
    cards = [
        (card, getattr(info, name), comment)
        for name, card, _, comment in _NUMBERS
        if math.isfinite(getattr(info, name))
    ]
    if info.tai_ns is not None:
        cards.append(("DATE-AVG", _iso(info.tai_ns), "TAI date at middle of observation"))
        cards.append(("TIMESYS", "TAI", "time scale"))
    cards.append(("ROTTYPE", info.rotation_type, "type of rotation angle"))
    cards += [(card, getattr(info, name), "") for name, card, _ in _TEXTS if getattr(info, name)]
    if info.visit:
        cards.append(("IDNUM", info.visit, "number of the visit"))
    cards.append((_SIMULATED, info.has_simulated_content, "anything simulated?"))
    return cards


def _tai_ns(cards):
    """Ns since 1970 TAI, or None."""
    text = str(cards.get("DATE-AVG") or "").strip()
    if text:
        scale = str(cards.get("TIMESYS") or "").strip().upper()
        if scale != "TAI":
            msg = f"TIMESYS is {scale or 'missing'}, but DATE-AVG of an LSST exposure is in TAI"
            raise InputError(msg)
        return _ns_since_1970(text, "DATE-AVG")
    text = str(cards.get("TIME-MID") or "").strip()
    if not text:
        return None
    ns = _ns_since_1970(text.rstrip("Z"), "TIME-MID")
    # Calib wrote 1970-01-01 TAI for "not known". Its cards are UTC, whatever their comment says.
    return None if ns < 0 else _tai_of_utc(ns)


def _ns_since_1970(text, card):
    head, _, fraction = text.partition(".")
    try:
        whole = datetime.fromisoformat(head) - _UNIX_EPOCH
        ns = int(fraction.ljust(9, "0")[:9] or 0)
    except (ValueError, TypeError) as error:
        msg = f"{card} = {text!r} is no date"
        raise InputError(msg) from error
    return (whole.days * 86400 + whole.seconds) * 10**9 + ns


def _tai_of_utc(ns):
    from astropy.time import Time

    seconds, rest = divmod(ns, 10**9)
    start = Time((_UNIX_EPOCH + timedelta(seconds=seconds)).isoformat(), scale="utc")
    tai = start.tai.to_datetime() - _UNIX_EPOCH
    return (tai.days * 86400 + tai.seconds + round(tai.microseconds / 1e6)) * 10**9 + rest


def _iso(ns):
    seconds, rest = divmod(ns, 10**9)
    return f"{(_UNIX_EPOCH + timedelta(seconds=seconds)).isoformat()}.{rest:09d}"


def _number(value):
    """A card's number; NaN where it has none. Old files have EXPTIME as text."""
    if isinstance(value, bool) or value is None:
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


_DEGREES = {
    *("era", "boresight_ra", "boresight_dec", "boresight_azimuth", "boresight_altitude"),
    *("rotation_angle", "longitude", "latitude"),
}
_VERSION = 5


def read_visit_info(archive, number):
    """The VisitInfo of object `number`, of any version; angles are stored in rad."""
    row = archive.row(number)
    known = row.array.columns.names
    values = {}
    for name, _, column, _ in _NUMBERS:
        value = _number(row[column]) if column in known else math.nan
        values[name] = math.degrees(value) if name in _DEGREES else value
    values |= {n: text_of(row[column]) for n, _, column in _TEXTS if column in known}
    rotation = int(row["rottype"])
    return VisitInfo(
        **values,
        tai_ns=_known_time(int(row["tai"])),
        rotation_type=_ROTATION_TYPES[rotation],
        visit=int(row["idnum"]) if "idnum" in known else 0,
        has_simulated_content=bool(row["flags"][0]) if "flags" in known else False,
    )


def _known_time(ns):
    """Ns, or None for what DateTime stores as invalid: the lowest number."""
    return None if ns == np.iinfo(np.int64).min else ns


def write_visit_info(archive, info):
    """Add a VisitInfo, as version 5."""
    columns = {}
    for name, _, column, _ in _NUMBERS:
        value = getattr(info, name)
        columns[column] = "D", [math.radians(value) if name in _DEGREES else value]
    columns |= {column: ("1QA", [getattr(info, name)]) for name, _, column in _TEXTS}
    unknown = np.iinfo(np.int64).min
    columns |= {
        "tai": ("K", [unknown if info.tai_ns is None else info.tai_ns]),
        "rottype": ("J", [_ROTATION_TYPES.index(info.rotation_type)]),
        "idnum": ("K", [info.visit]),
        "version": ("J", [_VERSION]),
    }
    flags = {"hasSimulatedContent": [info.has_simulated_content]}
    return archive.add("VisitInfo", "lsst.afw.image", Catalog(columns, flags))
