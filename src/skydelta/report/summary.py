"""One exposure in numbers: the rows of the survey table."""

from dataclasses import dataclass

import numpy as np

from skydelta.mask import UNUSABLE
from skydelta.report.entries import card, footprint_mask, is_flagged
from skydelta.report.statistics import (
    Noise,
    blank_sky,
    limiting_magnitude,
    noise_of,
    normalised,
)


@dataclass(frozen=True)
class Summary:
    """Numbers of one exposure; NaN for what is not known.

    Parameters
    ----------
    values
        Number by name, the keys of skydelta.report.survey.SURVEY_COLUMNS.
    before, after
        Noise of the raw and of the decorrelated difference, or None.
    raw_sigmas, sigmas
        (ny, nx) D / sqrt(V) of the raw and of the decorrelated difference, or None.
    blank
        (ny, nx) bool, blank sky, or None.
    """

    values: dict
    before: Noise | None = None
    after: Noise | None = None
    raw_sigmas: np.ndarray | None = None
    sigmas: np.ndarray | None = None
    blank: np.ndarray | None = None


def summarise(loaded):
    """The Summary of a skydelta.report.entries.Loaded."""
    values = _kernel_values(loaded)
    values["coverage"] = card(loaded.template, "COVERAGE")
    if loaded.detections is not None:
        values |= _detection_values(loaded)
    if loaded.difference is None:
        return Summary(values)
    unusable = loaded.difference.mask.any(*UNUSABLE)
    sigmas = _sigmas(loaded.difference, unusable)
    blank = _blank(loaded, values["kernel_sum"], unusable)
    if blank is None:
        return Summary(values, sigmas=sigmas)
    raw = _sigmas(loaded.subtracted, unusable)
    before, after = noise_of(raw, blank), noise_of(sigmas, blank)
    values |= {
        "noise_before": before.rms,
        "neighbour_before": before.neighbour,
        "noise_after": after.rms,
        "neighbour_after": after.neighbour,
    }
    return Summary(values, before, after, raw, sigmas, blank)


def _sigmas(exposure, unusable):
    return normalised(exposure.image, exposure.variance, unusable)


def _blank(loaded, kernel_sum, unusable):
    """Blank sky, or None if one of the images is missing, is of another shape or all masked."""
    shapes = {getattr(e, "shape", None) for e in (loaded.science, loaded.template, unusable)}
    if len(shapes) > 1 or loaded.subtracted is None:
        return None
    detected = np.zeros(unusable.shape, bool)
    if loaded.detections is not None:
        detected = footprint_mask(unusable.shape, loaded.detections.spans)
    template = (kernel_sum if np.isfinite(kernel_sum) else 1.0) * loaded.template.image
    fwhm = card(loaded.subtracted, "SCIFWHM", 4.0)
    blank = blank_sky(loaded.science, template, unusable, detected, fwhm=fwhm)
    return blank if blank.any() else None


def _kernel_values(loaded):
    subtracted = loaded.subtracted
    scale = _pixel_scale(subtracted.wcs) if subtracted is not None else np.nan
    return {
        "stars_used": card(subtracted, "KNSTAR"),
        "stars_rejected": card(subtracted, "KNREJ"),
        "kernel_sum": card(subtracted, "KSUM"),
        "order_asked": card(subtracted, "KORDREQ"),
        "order_used": card(subtracted, "KORDER"),
        "fwhm_science": scale * card(subtracted, "SCIFWHM"),
        "fwhm_template": scale * card(subtracted, "TMPFWHM"),
    }


def _detection_values(loaded):
    detections, catalogue = loaded.detections, loaded.catalogue
    calib = loaded.difference.photo_calib
    negative, dipole = (np.asarray(catalogue[n], bool) for n in ("isNegative", "isDipole"))
    return {
        "score_rms": detections.score_rms,
        "sky_pull": _number(loaded.numbers.get("sky_flux_pull")),
        "limit": limiting_magnitude(
            detections.flux_sigma, detections.score_rms, calib.scale if calib else np.nan
        ),
        "positive": int(np.count_nonzero(~negative & ~dipole)),
        "negative": int(np.count_nonzero(negative & ~dipole)),
        "dipoles": int(np.count_nonzero(dipole)),
        "flagged": int(np.count_nonzero(is_flagged(catalogue))),
    }


def _number(value):
    return np.nan if value is None else float(value)


def _pixel_scale(wcs):
    """Width of a pixel at the reference point, arcsec."""
    from astropy.wcs.utils import proj_plane_pixel_area

    return 3600.0 * float(np.sqrt(proj_plane_pixel_area(wcs)))
