"""From instrumental measurements to the DiaSource catalogue: nJy, AB magnitudes, sky errors.

Column names, units and order are those of Rubin's DiaSource table where it has them; psfMag,
psfMagErr and detectScore are additions.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import NoPhotoCalibError
from skydelta.photocalib import nanojansky_to_magnitude

FLUX_APERTURE = "base_CircularApertureFlux_12_0"
"""The aperture behind apFlux, as in Rubin's own table."""


@dataclass(frozen=True)
class Column:
    """A catalogue column: name, numpy type, unit (empty if none) and meaning."""

    name: str
    dtype: str
    unit: str
    description: str


_FLAGS = {
    "bad": "bad",
    "cr": "cr",
    "edge": "edge",
    "interpolated": "interpolated",
    "nodata": "nodata",
    "saturated": "saturated",
    "suspect": "suspect",
    "sat_template": "saturatedTemplate",
}

COLUMNS = (
    Column("diaSourceId", "i8", "", "unique over visits and detectors"),
    Column("visit", "i8", "", "visit of the exposure"),
    Column("detector", "i2", "", "detector of the exposure"),
    Column("band", "U", "", "filter"),
    Column("parentDiaSourceId", "i8", "", "first source of the same footprint; 0 for none"),
    Column("midpointMjdTai", "f8", "d", "mid-exposure time"),
    Column("ra", "f8", "deg", "right ascension, ICRS"),
    Column("raErr", "f4", "deg", "standard error of ra (of the coordinate, not times cos dec)"),
    Column("dec", "f8", "deg", "declination, ICRS"),
    Column("decErr", "f4", "deg", "standard error of dec"),
    Column("x", "f4", "pixel", "column, 0-based"),
    Column("xErr", "f4", "pixel", "standard error of x"),
    Column("y", "f4", "pixel", "row, 0-based"),
    Column("yErr", "f4", "pixel", "standard error of y"),
    Column("centroid_flag", "?", "", "the position fit failed"),
    Column("snr", "f4", "", "|psfFlux| over its error"),
    Column("detectScore", "f4", "", "matched-filter significance, signed"),
    Column("psfFlux", "f4", "nJy", "PSF flux on the difference image"),
    Column("psfFluxErr", "f4", "nJy", "standard error of psfFlux"),
    Column("psfFlux_flag", "?", "", "the PSF flux is not to be used"),
    Column("psfMag", "f4", "mag", "AB magnitude of psfFlux; NaN where it is not positive"),
    Column("psfMagErr", "f4", "mag", "standard error of psfMag"),
    Column("psfChi2", "f4", "", "chi2 of the PSF fit"),
    Column("psfNdata", "i4", "", "pixels of the PSF fit"),
    Column("apFlux", "f4", "nJy", "flux in 12 px radius on the difference image"),
    Column("apFluxErr", "f4", "nJy", "standard error of apFlux"),
    Column("apFlux_flag", "?", "", "the aperture holds unusable pixels"),
    Column("scienceFlux", "f4", "nJy", "forced PSF flux on the science image"),
    Column("scienceFluxErr", "f4", "nJy", "standard error of scienceFlux"),
    Column("forced_PsfFlux_flag", "?", "", "scienceFlux could not be measured"),
    Column("templateFlux", "f4", "nJy", "forced PSF flux on the template"),
    Column("templateFluxErr", "f4", "nJy", "standard error of templateFlux"),
    Column("forced_template_PsfFlux_flag", "?", "", "templateFlux could not be measured"),
    Column("ixx", "f4", "pixel2", "second moment of the source along x"),
    Column("iyy", "f4", "pixel2", "second moment along y"),
    Column("ixy", "f4", "pixel2", "mixed second moment"),
    Column("shape_flag", "?", "", "the moments could not be measured"),
    Column("isNegative", "?", "", "fainter than the template"),
    Column("isDipole", "?", "", "a positive and a negative lobe side by side"),
    *(
        Column(f"pixelFlags_{name}{where}", "?", "", f"{name} pixels {text}")
        for name in _FLAGS
        for where, text in (("", "in the footprint"), ("Center", "within 1 px of the centre"))
    ),
    Column("pixelFlags_offimage", "?", "", "the position is outside the image"),
)


def dia_source_ids(visit, detector, count):
    """64-bit ids: (visit, detector, counter from 1), 22 bits for the counter, 10 for detector.

    Raises
    ------
    ValueError
        If a number does not fit.
    """
    if not (0 <= visit < 2**31 and 0 <= detector < 1024 and count < 2**22):
        msg = f"no id for visit {visit}, detector {detector}, {count} sources"
        raise ValueError(msg)
    return (np.int64(visit) << 32) + (np.int64(detector) << 22) + np.arange(1, count + 1)


def calibrate(columns, exposure, visit, detector, *, template_scale):
    """The DiaSource catalogue of one exposure.

    Parameters
    ----------
    columns
        Instrumental measurements by name, from `skydelta.measure.measure`.
    exposure
        The difference they were made on: calibration, WCS, band and time are taken from it.
    visit, detector
        Numbers of the exposure.
    template_scale
        nJy per count of the template.

    Returns
    -------
    dict
        Array by column name, in the order and types of COLUMNS.

    Raises
    ------
    NoPhotoCalibError
        If the difference has no zero point.
    """
    calib = exposure.photo_calib
    if calib is None:
        msg = (
            "neither the exposure nor its template has a zero point: give MAGZERO in a header or "
            "set input.coadd_zero_point"
        )
        raise NoPhotoCalibError(msg)
    count = len(columns["coord_ra"])
    ids = dia_source_ids(visit, detector, count)
    ra_error, dec_error = _sky_errors(columns, exposure.wcs)
    flux, flux_error = calib.to_nanojansky(
        columns["base_PsfFlux_instFlux"], columns["base_PsfFlux_instFluxErr"]
    )
    ap_flux, ap_error = calib.to_nanojansky(
        columns[f"{FLUX_APERTURE}_instFlux"], columns[f"{FLUX_APERTURE}_instFluxErr"]
    )
    mag, mag_error = nanojansky_to_magnitude(flux, flux_error)
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = np.abs(flux) / flux_error
    values = {
        "diaSourceId": ids,
        "visit": np.full(count, visit),
        "detector": np.full(count, detector),
        "band": np.full(count, exposure.band, dtype=object),
        "parentDiaSourceId": _parents(ids, columns["footprint"]),
        "midpointMjdTai": np.full(count, exposure.mjd),
        "ra": np.degrees(columns["coord_ra"]) % 360.0,
        "raErr": ra_error,
        "dec": np.degrees(columns["coord_dec"]),
        "decErr": dec_error,
        "x": columns["base_NaiveCentroid_x"],
        "xErr": columns["base_NaiveCentroid_xErr"],
        "y": columns["base_NaiveCentroid_y"],
        "yErr": columns["base_NaiveCentroid_yErr"],
        "centroid_flag": columns["base_NaiveCentroid_flag"],
        "snr": snr,
        "detectScore": columns["detect_score"],
        "psfFlux": flux,
        "psfFluxErr": flux_error,
        "psfFlux_flag": columns["base_PsfFlux_flag"],
        "psfMag": mag,
        "psfMagErr": mag_error,
        "psfChi2": columns["base_PsfFlux_chi2"],
        "psfNdata": columns["base_PsfFlux_npixels"],
        "apFlux": ap_flux,
        "apFluxErr": ap_error,
        "apFlux_flag": columns[f"{FLUX_APERTURE}_flag"],
        "ixx": columns["base_SdssShape_xx"],
        "iyy": columns["base_SdssShape_yy"],
        "ixy": columns["base_SdssShape_xy"],
        "shape_flag": columns["base_SdssShape_flag"],
        "isNegative": columns["is_negative"],
        "isDipole": columns["ip_diffim_DipoleFit_flag_classification"],
        "pixelFlags_offimage": columns["base_PixelFlags_flag_offimage"],
    }
    values |= _forced(columns, calib, template_scale)
    for name, flag in _FLAGS.items():
        for where in ("", "Center"):
            values[f"pixelFlags_{name}{where}"] = columns[f"base_PixelFlags_flag_{flag}{where}"]
    return {c.name: _typed(values[c.name], c.dtype) for c in COLUMNS}


def empty_catalogue():
    """The catalogue of an exposure without sources: every column, no row."""
    return {c.name: _typed(np.zeros(0), c.dtype) for c in COLUMNS}


def _typed(values, dtype):
    if dtype == "U":
        return np.asarray(values, dtype=object)
    return np.asarray(values).astype(dtype)


def _parents(ids, footprints):
    """Id of the first source of each footprint with several; 0 where there is one, or for it."""
    parents = np.zeros(len(ids), np.int64)
    if len(ids) == 0:
        return parents
    _, first, inverse = np.unique(footprints, return_index=True, return_inverse=True)
    head = first[inverse]
    later = head != np.arange(len(ids))
    parents[later] = ids[head[later]]
    return parents


def _forced(columns, calib, template_scale):
    """Forced fluxes in nJy, of each image on its own scale."""
    science = calib.to_nanojansky(
        columns["ip_diffim_forced_PsfFlux_instFlux"],
        columns["ip_diffim_forced_PsfFlux_instFluxErr"],
    )
    name = "ip_diffim_forced_template_PsfFlux"
    return {
        "scienceFlux": science[0],
        "scienceFluxErr": science[1],
        "forced_PsfFlux_flag": columns["ip_diffim_forced_PsfFlux_flag"],
        "templateFlux": columns[f"{name}_instFlux"] * template_scale,
        "templateFluxErr": columns[f"{name}_instFluxErr"] * template_scale,
        "forced_template_PsfFlux_flag": columns[f"{name}_flag"],
    }


def _sky_errors(columns, wcs):
    """Standard errors of ra and dec, deg, from those of x and y through the local WCS."""
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    if len(x) == 0:
        return np.zeros(0), np.zeros(0)
    step = 0.5
    derivatives = []
    for dx, dy in ((step, 0.0), (0.0, step)):
        ra_hi, dec_hi = wcs.all_pix2world(x + dx, y + dy, 0)
        ra_lo, dec_lo = wcs.all_pix2world(x - dx, y - dy, 0)
        ra_step = (ra_hi - ra_lo + 180.0) % 360.0 - 180.0
        derivatives.append((ra_step / (2 * step), (dec_hi - dec_lo) / (2 * step)))
    (ra_x, dec_x), (ra_y, dec_y) = derivatives
    ex, ey = columns["base_NaiveCentroid_xErr"], columns["base_NaiveCentroid_yErr"]
    return np.hypot(ra_x * ex, ra_y * ey), np.hypot(dec_x * ex, dec_y * ey)
