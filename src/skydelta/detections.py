"""What detection found: apart from how it is found, which later stages need not import."""

from dataclasses import dataclass, field

import numpy as np

from skydelta.footprints import detected_planes
from skydelta.spans import PLANE_DTYPE, with_spans


@dataclass(frozen=True)
class Detections:
    """Sources of one difference image.

    Parameters
    ----------
    sources
        Structured array of SOURCE_DTYPE, sky sources last.
    spans
        Structured array of SPAN_DTYPE: the pixels of the footprints.
    score_rms
        Robust scatter of the score over usable pixels without sources; 1 if the variance is right.
    flux_sigma
        Median error of a PSF flux at one pixel, counts.
    rejected
        Number of peaks dropped by reason.
    planes
        skydelta.spans.PLANE_DTYPE: mask planes of the artefacts.
    artefacts
        Number of artefacts by name.
    """

    sources: np.ndarray
    spans: np.ndarray
    score_rms: float
    flux_sigma: float
    rejected: dict = field(default_factory=dict)
    planes: np.ndarray = field(default_factory=lambda: np.zeros(0, PLANE_DTYPE))
    artefacts: dict = field(default_factory=dict)


def mask_with_planes(mask, detections):
    """The difference's mask with the artefacts' planes, DETECTED and DETECTED_NEGATIVE."""
    detected = detected_planes(detections.sources, detections.spans)
    return with_spans(mask, np.concatenate([detections.planes, detected]))
