"""Footprint files: detected sources, the pixels of their footprints, the artefacts' planes."""

import numpy as np

from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.footprints import SPAN_DTYPE
from skydelta.io.fits_writer import write_hdus
from skydelta.io.products import open_product, primary_with, table_hdu
from skydelta.spans import PLANE_DTYPE


def write_detections(path, detections, provenance=({}, ())):
    """Detections: tables SOURCES, SPANS and PLANES, counts and noise figures in the header.

    Parameters
    ----------
    path
        Destination.
    detections
        skydelta.detections.Detections.
    provenance
        (header cards, HISTORY sentences).
    """
    primary = primary_with(provenance)
    if np.isfinite(detections.score_rms):
        primary.header["SCORERMS"] = (detections.score_rms, "scatter of the score in blank sky")
    if np.isfinite(detections.flux_sigma):
        primary.header["FLUXSIG"] = (detections.flux_sigma, "[count] median PSF flux error")
    for reason, count in sorted(detections.rejected.items()):
        primary.header[f"HIERARCH REJECTED {reason.upper()}"] = count
    for kind, count in sorted(detections.artefacts.items()):
        primary.header[f"HIERARCH ARTEFACT {kind.upper()}"] = count
    tables = [
        table_hdu(detections.sources, "SOURCES", {"x": "pix", "y": "pix"}),
        table_hdu(detections.spans, "SPANS"),
        table_hdu(detections.planes, "PLANES"),
    ]
    write_hdus(path, [primary, *tables])


def read_detections(path):
    """Detections as written by `write_detections`."""
    with open_product(path) as hdul:
        header = hdul[0].header
        return Detections(
            sources=_structured(hdul["SOURCES"], SOURCE_DTYPE),
            spans=_structured(hdul["SPANS"], SPAN_DTYPE),
            score_rms=float(header.get("SCORERMS", np.nan)),
            flux_sigma=float(header.get("FLUXSIG", np.inf)),
            rejected=_counts(header, "REJECTED"),
            planes=_structured(hdul["PLANES"], PLANE_DTYPE),
            artefacts=_counts(header, "ARTEFACT"),
        )


def _counts(header, kind):
    """{name: number} of the cards "KIND NAME"."""
    return {
        key.split(" ", 1)[1].lower(): int(header[key])
        for key in header
        if key.startswith(f"{kind} ")
    }


def _structured(hdu, dtype):
    out = np.zeros(len(hdu.data), dtype)
    for name in dtype.names:
        out[name] = hdu.data[name]
    return out
