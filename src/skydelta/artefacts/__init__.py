"""Artefacts of a difference image: cosmic rays, satellite trails, haloes, edges of the template.

Each finder is a function of the difference; `find_artefacts` runs them in the order in which they
need each other.
"""

import logging
from dataclasses import dataclass, field

import numpy as np

from skydelta.artefacts.cosmic_rays import find_cosmic_rays
from skydelta.artefacts.halos import find_halos
from skydelta.artefacts.streaks import find_streaks, streak_spans
from skydelta.artefacts.template_edge import near_no_data
from skydelta.spans import PLANE_DTYPE, plane_spans, spans_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Artefacts:
    """What was found.

    Parameters
    ----------
    spans
        skydelta.spans.PLANE_DTYPE runs of the planes CR (hits on either image), CR_TEMPLATE (those
        on the template), STREAK, HALO and TEMPLATE_EDGE.
    counts
        Number of hits, streaks and haloes by name.
    """

    spans: np.ndarray
    counts: dict = field(default_factory=dict)


def find_artefacts(exposure, *, cosmic_ray_sigma=6.0, streak_sigma=8.0, halos=True, matched=None):
    """All artefacts of a difference.

    Parameters
    ----------
    exposure
        Difference of white noise, with PSF.
    cosmic_ray_sigma
        Least core pixel of a cosmic ray; None to look for none.
    streak_sigma
        Least significance of a satellite trail; None to look for none.
    halos
        Whether the surroundings of saturated stars are marked.
    matched
        skydelta.matched_template.MatchedTemplate, for the edges of the template and the sharp
        residuals of bright stars, or None.

    Returns
    -------
    Artefacts
    """
    around = find_halos(exposure) if halos else []
    in_halo = np.zeros(exposure.shape, bool)
    for halo in around:
        height, width = halo.pixels.shape
        in_halo[halo.y : halo.y + height, halo.x : halo.x + width] |= halo.pixels
    spans, counts, hit = [spans_of("HALO", in_halo)], {"halos": len(around)}, in_halo
    if cosmic_ray_sigma is not None:
        # What is sharp at a saturated star is its residual: flagged HALO, and left to see.
        hits = find_cosmic_rays(exposure, cosmic_ray_sigma, matched=matched, excluded=in_halo)
        hit = in_halo | hits.pixels
        spans += [spans_of("CR", hits.pixels), spans_of("CR_TEMPLATE", hits.template)]
        counts |= {"cosmic_rays": hits.count, "cosmic_rays_template": hits.count_template}
    if streak_sigma is not None:
        streaks = find_streaks(exposure, streak_sigma, excluded=hit)
        spans += [plane_spans("STREAK", *streak_spans(s, exposure.shape)) for s in streaks]
        counts["streaks"] = len(streaks)
    if matched is not None:
        edge = near_no_data(matched.exposure.mask, matched.reach)
        spans.append(spans_of("TEMPLATE_EDGE", edge))
    log.info("artefacts: %s", counts)
    return Artefacts(np.concatenate([np.zeros(0, PLANE_DTYPE), *spans]), counts)
