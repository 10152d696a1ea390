"""The columns of injections.parquet: what was injected, and what was found of it."""

import numpy as np

from skydelta.dia_source import Column

IDENTITY = (
    Column("method", "U", "", "method of the subtraction"),
    Column("visit", "i8", "", "visit of the exposure"),
    Column("detector", "i2", "", "detector of the exposure"),
    Column("band", "U", "", "filter"),
    Column("realisation", "i2", "", "number of the realisation, from 1"),
)

INJECTED = (
    Column("injection", "i4", "", "number within the realisation, from 0"),
    Column("x", "f8", "pixel", "true column, 0-based"),
    Column("y", "f8", "pixel", "true row, 0-based"),
    Column("ra", "f8", "deg", "true right ascension, ICRS"),
    Column("dec", "f8", "deg", "true declination, ICRS"),
    Column("counts", "f8", "count", "true flux on the science image"),
    Column("flux", "f8", "nJy", "true flux; negative for a source that fades"),
    Column("mag", "f8", "mag", "AB magnitude of |flux|"),
    Column("on_host", "?", "", "placed on a star or galaxy of the template"),
    Column("host_x", "f8", "pixel", "peak of the host; NaN off hosts"),
    Column("host_y", "f8", "pixel", "peak of the host; NaN off hosts"),
    Column("host_separation", "f8", "arcsec", "distance from the host's peak; NaN off hosts"),
    Column(
        "host_surface_brightness",
        "f8",
        "mag/arcsec2",
        "of the template's light above its sky, mean of 3 x 3 px; NaN off hosts",
    ),
)
"""What is known before the images are subtracted; also the INJECTED table of injected_ID.fits."""

RECOVERED = (
    Column(
        "snr_expected",
        "f8",
        "",
        "|counts| over the flux error of the difference without injections at this pixel",
    ),
    Column("observable", "?", "", "on usable pixels of that difference, apart from its sources"),
    Column("found", "?", "", "detected with the right sign within the match radius"),
    Column("clean", "?", "", "found, and the detection neither flagged nor a dipole"),
    Column("dia_source_id", "i8", "", "diaSourceId of the detection, 0 without one"),
    Column("detect_score", "f8", "", "its detectScore"),
    Column("measured_flux", "f8", "nJy", "its psfFlux"),
    Column("measured_flux_error", "f8", "nJy", "its psfFluxErr"),
    Column("pull", "f8", "", "(measured_flux - flux) / measured_flux_error"),
    Column("dx", "f8", "pixel", "measured less true column"),
    Column("dy", "f8", "pixel", "measured less true row"),
    Column("is_dipole", "?", "", "its isDipole"),
    Column("flags", "U", "", "names of its flags that mark it as doubtful, joined by blanks"),
)

COLUMNS = (*IDENTITY, *INJECTED, *RECOVERED)
"""All columns of injections.parquet, in order."""


def typed(values, columns):
    """{name: array} in the order and types of columns."""
    return {c.name: as_type(values[c.name], c.dtype) for c in columns}


def as_type(values, dtype):
    """An array of a column's type; text as objects."""
    if dtype == "U":
        return np.asarray(values, dtype=object)
    return np.asarray(values).astype(dtype)


def empty(columns=COLUMNS):
    """No row of all columns."""
    return {c.name: as_type(np.zeros(0), c.dtype) for c in columns}
