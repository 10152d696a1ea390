"""The end of an exposure's chain: its catalogue, or the reason why there is none."""

import logging

import numpy as np

from skydelta.calibrate import calibrate, empty_catalogue
from skydelta.errors import SkydeltaError
from skydelta.io.detections import read_detections
from skydelta.io.outcome import OK
from skydelta.io.products import open_product, read_image
from skydelta.io.sources import read_sources
from skydelta.photocalib import PhotoCalib
from skydelta.stage import is_provenance

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


def calibrated_exposure(visit, detector, band, *, sources, diffexp, footprints, threshold=5.0):
    """Catalogue and status of one exposure, from its products.

    Parameters
    ----------
    visit, detector, band
        The exposure.
    sources, diffexp, footprints
        Paths of its products; any of them may be a failure marker.
    threshold
        Detection threshold in sigma, for the limiting magnitude.

    Returns
    -------
    catalogue
        Array by column name; empty if the exposure failed.
    status
        What goes into results/status/ID.json.
    """
    status = {"visit": visit, "detector": detector, "band": band}
    try:
        difference = read_image(diffexp)
        detections = read_detections(footprints)
        columns = read_sources(sources)
        template_scale = difference.meta.get("TMPSCALE", np.nan)
        catalogue = calibrate(columns, difference, visit, detector, template_scale=template_scale)
    except SkydeltaError as error:
        log.error("%s: %s", error.status, error)
        stage = getattr(error, "stage", "") or "calibrate"
        failure = {"status": error.status, "stage": stage, "message": str(error)}
        return empty_catalogue(), status | failure
    real = ~columns["sky_source"]
    return catalogue, status | {
        "status": OK,
        "message": "",
        "n_sources": int(real.sum()),
        "n_negative": int((catalogue["isNegative"] & real).sum()),
        "n_dipoles": int((catalogue["isDipole"] & real).sum()),
        "n_sky_sources": int((~real).sum()),
        "sky_flux_pull": _sky_flux_pull(columns),
        "peaks_rejected": detections.rejected,
        "artefacts": detections.artefacts,
        "score_rms": detections.score_rms,
        "limiting_magnitude": _limit(detections, difference.photo_calib, threshold),
        "notes": [n for n in difference.notes if not is_provenance(n)],
        **_numbers(diffexp),
    }


def _sky_flux_pull(columns):
    """Rms of flux over error of the sky sources: 1 if the errors are right; None below five."""
    sky = columns["sky_source"] & ~columns["base_PsfFlux_flag"]
    if sky.sum() < _LEAST_SKY:
        return None
    pull = columns["base_PsfFlux_instFlux"][sky] / columns["base_PsfFlux_instFluxErr"][sky]
    return float(np.sqrt(np.mean(pull**2)))


def _numbers(diffexp):
    with open_product(diffexp) as hdul:
        header = hdul[0].header
        return {name: header[card] for name, card in _NUMBERS.items() if card in header}


def _limit(detections, calib: PhotoCalib, threshold):
    """AB magnitude of a point source at the threshold, with the score's measured scatter."""
    flux = threshold * detections.score_rms * detections.flux_sigma
    return float(calib.to_magnitude(flux)) if np.isfinite(flux) else None
