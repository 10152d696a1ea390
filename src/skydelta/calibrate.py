"""From instrumental measurements to the DiaSource catalogue: nJy, AB magnitudes, sky errors."""

from dataclasses import dataclass

import numpy as np

from skydelta.dia_source import COLUMNS, typed
from skydelta.errors import NoPhotoCalibError
from skydelta.local_calibration import (
    local_jacobian,
    on_sky,
    pixel_areas,
    psf_moments,
    sky_covariance,
)
from skydelta.photocalib import nanojansky_to_magnitude
from skydelta.source_ids import band_number, dia_source_ids
from skydelta.timescale import time_scale, to_tai

BANDS = (
    *("u", "g", "r", "i", "z", "y", "Y", "U", "B", "V", "R", "I"),
    *("w", "L", "Clear", "VR"),
)
"""Bands in the order of their numbers in ids."""

APERTURE = 12.0
"""px; radius of the aperture behind apFlux, as in Rubin's own table."""

_APERTURE_FLUX = "base_CircularApertureFlux_12_0"

_COPIES = {
    "x": "base_NaiveCentroid_x",
    "xErr": "base_NaiveCentroid_xErr",
    "y": "base_NaiveCentroid_y",
    "yErr": "base_NaiveCentroid_yErr",
    "centroid_flag": "base_NaiveCentroid_flag",
    "apFlux_flag": f"{_APERTURE_FLUX}_flag",
    "isNegative": "is_negative",
    "psfChi2": "base_PsfFlux_chi2",
    "psfNdata": "base_PsfFlux_npixels",
    "psfFlux_flag": "base_PsfFlux_flag",
    "forced_PsfFlux_flag": "ip_diffim_forced_PsfFlux_flag",
    "forced_template_PsfFlux_flag": "ip_diffim_forced_template_PsfFlux_flag",
    "shape_flag": "base_SdssShape_flag",
    "isDipole": "ip_diffim_DipoleFit_flag_classification",
    "detectScore": "detect_score",
    "detectScoreNoise": "detect_score_noise",
    "sky_source": "sky_source",
    "bboxSize": "footprint_bbox_size",
    "extendedness": "base_ClassificationSizeExtendedness_value",
    "dipoleChi2": "ip_diffim_DipoleFit_chi2dof",
    "dipoleNdata": "ip_diffim_DipoleFit_nData",
    "dipoleFitAttempted": "ip_diffim_DipoleFit_flag_classificationAttempted",
    "dipoleFit_flag": "ip_diffim_DipoleFit_flag",
    "pixelFlags_offimage": "base_PixelFlags_flag_offimage",
}
"""Columns taken over as they are."""

_PIXEL_FLAGS = {
    "bad": "bad",
    "cr": "cr",
    "edge": "edge",
    "interpolated": "interpolated",
    "nodata": "nodata",
    "saturated": "saturated",
    "suspect": "suspect",
    "sat_template": "saturatedTemplate",
    "streak": "streak",
    "halo": "halo",
    "crTemplate": "crTemplate",
    "templateEdge": "templateEdge",
    "noPsf": "noPsf",
}
"""Names of pixel flags here and in base_PixelFlags_flag_*, both in footprint and at the centre."""

_DIPOLE = tuple(
    f"ip_diffim_DipoleFit_{name}"
    for name in ("instFlux", "instFluxErr", "fluxDiff", "fluxDiffErr", "separation", "orientation")
)

OPTIONAL = {"reliability": np.nan, "reliabilityVersion": ""}
"""Columns that a user can leave out, and the value that stands for none."""


@dataclass(frozen=True)
class CalibrateOptions:
    """How measurements become a catalogue.

    Parameters
    ----------
    bands
        Bands in the order of their numbers in ids.
    zero_point_error
        Whether the zero point's error is part of the errors of fluxes and magnitudes.
    """

    bands: tuple = BANDS
    zero_point_error: bool = False


def calibrate(columns, exposure, visit, detector, *, template_scale, options=None):
    """The DiaSource catalogue of one exposure.

    Parameters
    ----------
    columns
        Instrumental measurements by name, from `skydelta.measure.measure`.
    exposure
        The difference they were made on: calibration, WCS, PSF, band and time are taken from it.
    visit, detector
        Numbers of the exposure.
    template_scale
        nJy per count of the template.
    options
        CalibrateOptions.

    Returns
    -------
    dict
        Array by column name, in the order and types of `skydelta.dia_source.COLUMNS`.

    Raises
    ------
    NoPhotoCalibError
        If the difference has no zero point.
    NoIdError
        If visit, detector, band or the number of sources do not fit into an id.
    KeyError
        If a measurement is missing.
    """
    options = options or CalibrateOptions()
    if exposure.photo_calib is None:
        msg = (
            "neither the exposure nor its template has a zero point: give MAGZERO in a header or "
            "set input.coadd_zero_point"
        )
        raise NoPhotoCalibError(msg)
    x, y = (np.asarray(columns[f"base_NaiveCentroid_{axis}"], float) for axis in "xy")
    jacobian = local_jacobian(exposure.wcs, x, y)
    band = band_number(exposure.band, options.bands)
    ids = dia_source_ids(visit, detector, band, len(x))
    values = {name: columns[source] for name, source in _COPIES.items()}
    values |= _optional(columns)
    values |= _identity(ids, columns, exposure, visit, detector)
    values |= _sky(columns, jacobian)
    values |= _fluxes(columns, exposure.photo_calib, x, y, options.zero_point_error)
    values |= _template_flux(columns, template_scale)
    values |= _dipoles(columns, exposure.photo_calib, x, y, jacobian, options.zero_point_error)
    values |= _shapes(columns, exposure, x, y, jacobian)
    values |= _flags(columns, exposure, x, y)
    return {c.name: typed(c, values[c.name]) for c in COLUMNS}


def not_measured(columns):
    """Names of the catalogue's columns that instrumental columns have no measurement for."""
    return [name for name in OPTIONAL if name not in columns]


def _optional(columns):
    count = len(columns["base_NaiveCentroid_x"])
    return {name: columns.get(name, np.full(count, none)) for name, none in OPTIONAL.items()}


def _identity(ids, columns, exposure, visit, detector):
    count = len(ids)
    sky = np.asarray(columns["sky_source"], bool)
    return {
        "diaSourceId": ids,
        "visit": np.full(count, visit),
        "detector": np.full(count, detector),
        "band": np.full(count, exposure.band, dtype=object),
        "parentDiaSourceId": _parents(ids, columns["footprint"], sky),
        "midpointMjdTai": np.full(count, to_tai(exposure.mjd, time_scale(exposure.meta)[0])),
        "exposureTime": np.full(count, exposure.exptime),
        "snr": np.abs(columns["detect_score"]),
    }


def _parents(ids, footprints, sky):
    """Id of the first source of each footprint with several; masked where there is one, or for it.

    Sky sources have no footprint.
    """
    parents = np.ma.masked_all(len(ids), np.int64)
    real = np.flatnonzero(~sky)
    if real.size:
        _, first, inverse = np.unique(footprints[real], return_index=True, return_inverse=True)
        head = real[first[inverse]]
        later = head != real
        parents[real[later]] = ids[head[later]]
    return parents


def _sky(columns, jacobian):
    """Position on the sky and its covariance, deg."""
    ex, ey = (columns[f"base_NaiveCentroid_{axis}Err"] for axis in "xy")
    covariance = sky_covariance(jacobian, ex, ey, columns["base_NaiveCentroid_x_y_Cov"]) / 3600**2
    return {
        "ra": np.degrees(columns["coord_ra"]) % 360.0,
        "raErr": np.sqrt(covariance[:, 0, 0]),
        "dec": np.degrees(columns["coord_dec"]),
        "decErr": np.sqrt(covariance[:, 1, 1]),
        "ra_dec_Cov": covariance[:, 0, 1],
    }


def _fluxes(columns, calib, x, y, zero_point_error):
    """Fluxes on the difference and the science image, which are on one scale."""
    values = {}
    for name, source in (
        ("psfFlux", "base_PsfFlux"),
        ("apFlux", _APERTURE_FLUX),
        ("scienceFlux", "ip_diffim_forced_PsfFlux"),
    ):
        values[name], values[f"{name}Err"] = calib.to_nanojansky(
            columns[f"{source}_instFlux"],
            columns[f"{source}_instFluxErr"],
            x=x,
            y=y,
            zero_point_error=zero_point_error,
        )
    values["psfMag"], values["psfMagErr"] = nanojansky_to_magnitude(
        values["psfFlux"], values["psfFluxErr"]
    )
    values["localPhotoCalib"], values["localPhotoCalibErr"] = calib.local(x, y)
    return values


def _template_flux(columns, template_scale):
    """Forced flux on the template, on the template's own scale."""
    name = "ip_diffim_forced_template_PsfFlux"
    return {
        "templateFlux": columns[f"{name}_instFlux"] * template_scale,
        "templateFluxErr": columns[f"{name}_instFluxErr"] * template_scale,
    }


def _dipoles(columns, calib, x, y, jacobian, zero_point_error):
    mean, mean_err, difference, difference_err, separation, orientation = (
        np.asarray(columns[name], float) for name in _DIPOLE
    )
    where = {"x": x, "y": y, "zero_point_error": zero_point_error}
    mean, mean_err = calib.to_nanojansky(mean, mean_err, **where)
    difference, difference_err = calib.to_nanojansky(difference, difference_err, **where)
    length, bearing = on_sky(jacobian, separation, orientation)
    return {
        "dipoleMeanFlux": mean,
        "dipoleMeanFluxErr": mean_err,
        "dipoleFluxDiff": difference,
        "dipoleFluxDiffErr": difference_err,
        "dipoleLength": length,
        "dipoleAngle": bearing,
    }


def _shapes(columns, exposure, x, y, jacobian):
    """Moments in arcsec squared along the axes of the image, as Rubin has them."""
    area = pixel_areas(jacobian)
    moments = [columns[f"base_SdssShape_{name}"] for name in ("xx", "yy", "xy")]
    psf = psf_moments(exposure.psf, exposure.shape, x, y) if len(x) else np.zeros((3, 0))
    names = ("ixx", "iyy", "ixy")
    return {name: area * value for name, value in zip(names, moments, strict=True)} | {
        f"{name}PSF": area * value for name, value in zip(names, psf, strict=True)
    }


def _flags(columns, exposure, x, y):
    """Flags that follow from the position, and those of the mask planes."""
    beyond_psf = _beyond_edge(x, y, exposure.shape, exposure.psf.size // 2)
    values = {
        "pixelFlags": ~(np.isfinite(x) & np.isfinite(y)),
        "apFlux_flag_apertureTruncated": _beyond_edge(x, y, exposure.shape, APERTURE),
        "psfFlux_flag_edge": beyond_psf,
        "forced_PsfFlux_flag_edge": beyond_psf,
        "psfFlux_flag_noGoodPixels": np.asarray(columns["base_PsfFlux_npixels"]) == 0,
        # Without usable pixels under the PSF is the one way for a forced flux to fail.
        "forced_PsfFlux_flag_noGoodPixels": columns["ip_diffim_forced_PsfFlux_flag"],
    }
    for name, flag in _PIXEL_FLAGS.items():
        for where in ("", "Center"):
            values[f"pixelFlags_{name}{where}"] = columns[f"base_PixelFlags_flag_{flag}{where}"]
    return values


def _beyond_edge(x, y, shape, reach):
    """Whether less than `reach` px of the image lie on some side of a position."""
    ny, nx = shape
    inside = (x - reach >= -0.5) & (y - reach >= -0.5)
    return ~(inside & (x + reach <= nx - 0.5) & (y + reach <= ny - 0.5))
