"""The end of an exposure's chain: its catalogue, or the reason why there is none."""

import logging

import numpy as np

from skydelta.calibrate import CalibrateOptions, calibrate, not_measured
from skydelta.dia_source import empty_catalogue
from skydelta.errors import SkydeltaError
from skydelta.io.detections import read_detections
from skydelta.io.outcome import OK
from skydelta.io.products import open_product, read_image
from skydelta.io.sources import read_sources
from skydelta.photocalib import PhotoCalib, nanojansky_to_magnitude
from skydelta.stage import is_provenance
from skydelta.timescale import time_scale

log = logging.getLogger(__name__)

_LEAST_SKY = 5
"""Sky sources that a scatter needs."""

_NUMBERS = {
    "kernel_sum": "KSUM",
    "kernel_sum_error": "KSUMERR",
    "kernel_flux_error": "KFLUXERR",
    "kernel_order": "KORDER",
    "kernel_order_requested": "KORDREQ",
    "kernel_condition": "KCOND",
    "stars_used": "KNSTAR",
    "stars_rejected": "KNREJ",
    "star_residual": "KRESID",
    "fwhm_science_px": "SCIFWHM",
    "fwhm_template_px": "TMPFWHM",
    "zero_point": "MAGZERO",
    "zero_point_source": "ZPSOURCE",
}


def calibrated_exposure(
    visit, detector, band, *, sources, diffexp, footprints, threshold=5.0, options=None
):
    """Catalogue and status of one exposure, from its products.

    Parameters
    ----------
    visit, detector, band
        The exposure.
    sources, diffexp, footprints
        Paths of its products; any of them may be a failure marker.
    threshold
        Detection threshold in sigma, for the limiting magnitude.
    options
        skydelta.calibrate.CalibrateOptions.

    Returns
    -------
    catalogue
        Array by column name; empty if the exposure failed.
    status
        What goes into results/status/ID.json. Numbers of sources leave sky sources out.
    """
    options = options or CalibrateOptions()
    status = {"visit": visit, "detector": detector, "band": band}
    try:
        difference = read_image(diffexp)
        detections = read_detections(footprints)
        columns = read_sources(sources)
        catalogue = calibrate(
            columns,
            difference,
            visit,
            detector,
            template_scale=difference.meta.get("TMPSCALE", np.nan),
            options=options,
        )
    except SkydeltaError as error:
        log.error("%s: %s", error.status, error)
        stage = getattr(error, "stage", "") or "calibrate"
        failure = {"status": error.status, "stage": stage, "message": str(error)}
        return empty_catalogue(), status | failure
    return catalogue, status | {
        "status": OK,
        "message": "",
        **_counts(catalogue),
        "peaks_rejected": detections.rejected,
        "artefacts": detections.artefacts,
        "score_rms": detections.score_rms,
        "limiting_magnitude": _limit(detections, difference.photo_calib, threshold),
        "time_scale": " by ".join(time_scale(difference.meta)),
        "zero_point_error_included": options.zero_point_error,
        "columns_not_measured": not_measured(columns),
        "notes": [n for n in difference.notes if not is_provenance(n)],
        **_numbers(diffexp),
    }


def catalogue_cards(status):
    """Header cards of an exposure's catalogue: what its numbers mean.

    Parameters
    ----------
    status
        From `calibrated_exposure`.

    Returns
    -------
    dict
        {card: (value, comment)}; none for an exposure that failed.
    """
    if status["status"] != OK:
        return {}
    return {
        "TIMESYS": ("TAI", "of midpointMjdTai"),
        "TIMEFROM": (status["time_scale"], "scale of the exposure's own time"),
        "ZPERRINC": (status["zero_point_error_included"], "flux errors hold the zero point's"),
        "NOTMEAS": (" ".join(status["columns_not_measured"]), "columns without measurement"),
    }


def _counts(catalogue):
    """Numbers of sources, and what the sky sources say about the errors."""
    sky = catalogue["sky_source"]
    return {
        "n_sources": int(np.count_nonzero(~sky)),
        "n_negative": int(np.count_nonzero(catalogue["isNegative"] & ~sky)),
        "n_dipoles": int(np.count_nonzero(catalogue["isDipole"] & ~sky)),
        "n_sky_sources": int(np.count_nonzero(sky)),
        "sky_flux_pull": _sky_flux_pull(catalogue),
    }


def _sky_flux_pull(catalogue):
    """Rms of flux over error of the sky sources: 1 if the errors are right; None below five."""
    sky = catalogue["sky_source"] & ~catalogue["psfFlux_flag"]
    if np.count_nonzero(sky) < _LEAST_SKY:
        return None
    pulls = catalogue["psfFlux"][sky].astype(float) / catalogue["psfFluxErr"][sky]
    return float(np.sqrt(np.mean(pulls**2)))


def _numbers(diffexp):
    with open_product(diffexp) as hdul:
        header = hdul[0].header
        return {name: header[card] for name, card in _NUMBERS.items() if card in header}


def _limit(detections, calib: PhotoCalib, threshold):
    """AB magnitude of a point source at the threshold, with the score's measured scatter."""
    flux = threshold * detections.score_rms * detections.flux_sigma * calib.scale
    return float(nanojansky_to_magnitude(flux)) if np.isfinite(flux) else None
