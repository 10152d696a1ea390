"""What tells real sources from artefacts: numbers that know neither place nor camera.

Lengths are in FWHM of the local PSF, fluxes in units of the source's own or of their errors, so
that a model learnt on one camera holds for others.
"""

import numpy as np

from skydelta.cutouts import CHUNK, Pixels, pixel
from skydelta.local_calibration import psf_moments
from skydelta.psf import FWHM_PER_SIGMA

FEATURES = (
    "snr",
    "modelErrorRatio",
    "psfChi2",
    "fluxToScore",
    "usable",
    "size",
    "elongation",
    "core",
    "wide",
    "peak",
    "negative",
    "lowest",
    "asymmetry",
    "origin",
    "other",
    "otherSnr",
    "dipolePreference",
    "peaks",
    "footprint",
    "shift",
)
"""Features in the order of the model's columns; docs/reliability.md says what each is."""

MISSING = -9.0
"""Stands for what could not be measured."""

_LIMIT = 1e3
_CORE, _WIDE, _REACH = 0.5, 1.25, 2.0
"""Radii, FWHM: of the core, of the source, and of the stamp."""

_OUTSTANDING = 2.0
"""sigma; pixels beyond it count in the balance of negative and positive ones."""

_MAX_HALF = 25


def reliability_features(difference, columns, kernel_sum):
    """The features of measured sources.

    Parameters
    ----------
    difference
        Exposure they were measured on.
    columns
        Measurements by name, from `skydelta.measure.measure`.
    kernel_sum
        Science counts per template count.

    Returns
    -------
    ndarray
        (n, len(FEATURES)) float32; MISSING where a feature could not be measured.
    """
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    psf = psf_moments(difference.psf, difference.shape, x, y) if len(x) else np.zeros((3, 0))
    fwhm = FWHM_PER_SIGMA * (psf[0] * psf[1] - psf[2] ** 2) ** 0.25
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        values = _significance(columns)
        values |= _shapes(columns, psf)
        values |= _pixels(Pixels(difference), columns, fwhm)
        values |= _light(columns, kernel_sum)
        values |= _surroundings(columns, fwhm)
    table = np.column_stack([np.asarray(values[name], float) for name in FEATURES])
    table = np.where(np.isfinite(table), np.clip(table, -_LIMIT, _LIMIT), MISSING)
    return table.astype(np.float32)


def _significance(columns):
    """Significance with and without the error of the subtraction, and how good the fit is."""
    noise = np.abs(columns["detect_score_noise"].astype(float))
    flux, error = columns["base_PsfFlux_instFlux"], columns["base_PsfFlux_instFluxErr_noise"]
    count = columns["base_PsfFlux_npixels"]
    return {
        "snr": np.log10(noise),
        "modelErrorRatio": np.abs(columns["detect_score"]) / noise,
        "psfChi2": np.log10(columns["base_PsfFlux_chi2"] / np.maximum(count - 3, 1)),
        "fluxToScore": np.abs(flux) / error / noise,
    }


def _shapes(columns, psf):
    """Size and ellipticity against the PSF's."""
    xx, yy, xy = (columns[f"base_SdssShape_{name}"] for name in ("xx", "yy", "xy"))
    trace, expected = xx + yy, psf[0] + psf[1]
    across = (xx - yy) / trace - (psf[0] - psf[1]) / expected
    along = xy / trace - psf[2] / expected
    return {"size": np.log10(trace / expected), "elongation": np.hypot(across, 2 * along)}


def _pixels(pixels, columns, fwhm):
    """Concentration, negative pixels and symmetry of the light about each position."""
    names = ("usable", "core", "wide", "peak", "negative", "lowest", "asymmetry")
    n = len(fwhm)
    values = {name: np.full(n, np.nan) for name in names}
    known = np.flatnonzero(fwhm > 0)
    if known.size == 0:
        return values
    half = int(min(np.ceil(_REACH * fwhm[known].max()), _MAX_HALF))
    for start in range(0, known.size, CHUNK):
        rows = known[start : start + CHUNK]
        found = _stamp_features(pixels, {k: v[rows] for k, v in columns.items()}, fwhm[rows], half)
        for name in names:
            values[name][rows] = found[name]
    return values


def _stamp_features(pixels, columns, fwhm, half):
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    xi, yi = pixel(x, pixels), pixel(y, pixels, axis=0)
    data, variance, good = pixels.stamps(xi, yi, half)
    flux = columns["base_PsfFlux_instFlux"]
    data *= np.where(flux < 0, -1.0, 1.0)[:, None, None]
    offset = np.arange(-half, half + 1)
    distance = np.hypot(offset - (x - xi)[:, None, None], offset[:, None] - (y - yi)[:, None, None])
    core, wide = (
        np.clip(radius * fwhm[:, None, None] + 0.5 - distance, 0, 1) for radius in (_CORE, _WIDE)
    )
    near = good & (wide > 0)
    sigma = np.sqrt(np.where(good, variance, 1.0))
    z = np.where(near, data / sigma, 0.0)
    strong = np.where(np.abs(z) > _OUTSTANDING, np.abs(z), 0.0)
    turned = np.where(near & near[:, ::-1, ::-1], z - z[:, ::-1, ::-1], 0.0)
    paired = np.maximum((near & near[:, ::-1, ::-1]).sum(axis=(1, 2)), 1)
    size, light = fwhm**2, np.abs(flux)
    return {
        "usable": near.sum(axis=(1, 2)) / (wide > 0).sum(axis=(1, 2)),
        "core": (core * data).sum(axis=(1, 2)) / light,
        "wide": (wide * data).sum(axis=(1, 2)) / light,
        "peak": np.where(near, data, 0).max(axis=(1, 2)) * size / light,
        "negative": np.where(z < 0, strong, 0).sum(axis=(1, 2)) / strong.sum(axis=(1, 2)),
        "lowest": z.min(axis=(1, 2)) / np.abs(columns["detect_score_noise"]),
        # 1 for a point source in the middle of a pixel; noise of two pixels in each difference.
        "asymmetry": np.log10(1e-3 + (turned**2).sum(axis=(1, 2)) / (2 * paired)),
    }


def _light(columns, kernel_sum):
    """Whether the light that changed is there in the image it comes from, and what the other has.

    A new source is on the science image with all its flux, a vanished one on the template.
    """
    flux = columns["base_PsfFlux_instFlux"]
    science, template = "ip_diffim_forced_PsfFlux", "ip_diffim_forced_template_PsfFlux"
    new = columns[f"{science}_instFlux"]
    old = columns[f"{template}_instFlux"] * kernel_sum
    new_error = columns[f"{science}_instFluxErr"]
    old_error = columns[f"{template}_instFluxErr"] * abs(kernel_sum)
    faded, light = flux < 0, np.abs(flux)
    snr = np.where(faded, new / new_error, old / old_error)
    return {
        "origin": np.where(faded, old, new) / light,
        "other": np.arcsinh(np.where(faded, new, old) / light),
        "otherSnr": np.arcsinh(snr),
    }


def _surroundings(columns, fwhm):
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    shift = np.hypot(x - columns["base_PeakCentroid_x"], y - columns["base_PeakCentroid_y"])
    return {
        "dipolePreference": columns["ip_diffim_DipoleFit_preference"],
        "peaks": columns["deblend_nPeaks"],
        "footprint": columns["footprint_bbox_size"] / fwhm,
        "shift": shift / fwhm,
    }
