"""64-bit ids of sources: exposure and place in it, packed; unique and the same in every run.

From the highest bit: sign (0), 32 bits visit, 9 bits detector, 5 bits band, 17 bits counter,
which begins at 1. Visits of Rubin's form YYYYMMDDNNNNN, which would need 41 bits, are stored as
days since 2015-01-01 (14 bits) and N (17 bits) above 2^31; other visits must be below 2^31.
"""

from datetime import date, timedelta
from typing import NamedTuple

import numpy as np

from skydelta.errors import TableError

DETECTOR_BITS, BAND_BITS, COUNTER_BITS = 9, 5, 17
MAX_BANDS = 2**BAND_BITS

_PLAIN = 2**31
_SEQUENCE_BITS = 17
_SEQUENCE = 100_000
_FIRST_DAY = date(2015, 1, 1)


class NoIdError(TableError):
    """A visit, detector, band or number of sources does not fit into an id."""

    status = "no_id"


class SourceId(NamedTuple):
    """What an id says; arrays of one shape."""

    visit: np.ndarray
    detector: np.ndarray
    band: np.ndarray
    """Place of the band in `calibrate.bands`."""
    counter: np.ndarray
    """Place of the source in its exposure, from 1."""


def dia_source_ids(visit, detector, band, count):
    """Ids of the sources of one exposure.

    Parameters
    ----------
    visit, detector
        Numbers of the exposure.
    band
        Place of its band in `calibrate.bands`.
    count
        Number of sources.

    Returns
    -------
    ndarray
        (count,) int64, positive.

    Raises
    ------
    NoIdError
        If a number does not fit.
    """
    fits = 0 <= detector < 2**DETECTOR_BITS and 0 <= band < MAX_BANDS
    if not (fits and 0 <= count < 2**COUNTER_BITS):
        msg = (
            f"no id for detector {detector}, band number {band}, {count} sources: there is room "
            f"for detectors below {2**DETECTOR_BITS}, {MAX_BANDS} bands and "
            f"{2**COUNTER_BITS - 1} sources of an exposure (raise detect.threshold)"
        )
        raise NoIdError(msg)
    head = (visit_code(visit) << DETECTOR_BITS | detector) << BAND_BITS | band
    return np.int64(head << COUNTER_BITS) + np.arange(1, count + 1, dtype=np.int64)


def unpack_id(ids):
    """The SourceId of ids, a number or an array of them; inverse of `dia_source_ids`."""
    ids = np.asarray(ids, np.int64)

    def field(shift, bits):
        return (ids >> shift) & (2**bits - 1)

    code = ids >> (COUNTER_BITS + BAND_BITS + DETECTOR_BITS)
    return SourceId(
        visit=_visits(code),
        detector=field(COUNTER_BITS + BAND_BITS, DETECTOR_BITS),
        band=field(COUNTER_BITS, BAND_BITS),
        counter=field(0, COUNTER_BITS),
    )


def visit_code(visit):
    """A visit in 32 bits.

    Raises
    ------
    NoIdError
        If it is neither below 2^31 nor of the form YYYYMMDDNNNNN of 2015 to 2059.
    """
    if 0 <= visit < _PLAIN:
        return int(visit)
    day, sequence = divmod(int(visit), _SEQUENCE)
    try:
        days = (date(day // 10000, day // 100 % 100, day % 100) - _FIRST_DAY).days
    except ValueError:
        days = -1
    if not 0 <= days < 2 ** (31 - _SEQUENCE_BITS):
        msg = (
            f"no id for visit {visit}: it must be below {_PLAIN} or of the form YYYYMMDDNNNNN "
            "with a day from 2015 to 2059; renumber the visits of the exposure table"
        )
        raise NoIdError(msg)
    return _PLAIN + (days << _SEQUENCE_BITS) + sequence


def _visits(codes):
    """Visits of codes: each distinct one is worked out once."""
    distinct, inverse = np.unique(codes, return_inverse=True)
    visits = [_visit(int(code)) for code in distinct]
    return np.array(visits, np.int64)[inverse].reshape(np.shape(codes))


def _visit(code):
    if code < _PLAIN:
        return code
    days, sequence = divmod(code - _PLAIN, 2**_SEQUENCE_BITS)
    day = _FIRST_DAY + timedelta(days=days)
    return int(f"{day:%Y%m%d}") * _SEQUENCE + sequence


def check_ids(exposures, bands):
    """Whether every exposure's sources can have ids.

    Parameters
    ----------
    exposures
        Rows of the exposure table.
    bands
        `calibrate.bands`.

    Raises
    ------
    NoIdError
        If not.
    """
    for row in exposures:
        dia_source_ids(row.visit, row.detector, band_number(row.band, bands), 0)


def band_number(band, bands):
    """Place of a band in the list of bands.

    Raises
    ------
    NoIdError
        If it is not there.
    """
    if band not in bands:
        msg = (
            f"band {band!r} has no number in the ids of sources: append it to calibrate.bands "
            f"({', '.join(bands)}), at most {MAX_BANDS}"
        )
        raise NoIdError(msg)
    return list(bands).index(band)
