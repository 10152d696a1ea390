"""Sky sources: random empty positions that are measured as if something were there.

The scatter of their fluxes over their errors is a built-in check of all errors: it must be 1.
"""

import hashlib
from dataclasses import replace

import numpy as np

from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.footprints import SPAN_DTYPE
from skydelta.mask import UNUSABLE

FULL_FRAME = 4096 * 4096
"""px that the configured number refers to."""

_LEAST = 5
"""Sky sources of a small image."""

_TRIES = 20
"""Random places looked at for each one wanted."""

_CLEAR = 1.5
"""FWHM about a sky source without footprints, artefacts or unusable pixels."""

_AVOIDED = (*UNUSABLE, "STREAK", "HALO", "TEMPLATE_EDGE", "NO_PSF")


def identity_seed(*identity):
    """A seed that is the same for the same exposure on every machine."""
    text = "/".join(str(part) for part in identity)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def add_sky_sources(detections, exposure, score, labels, fwhm, count, seed):
    """Detections with sky sources behind the true ones.

    Parameters
    ----------
    detections
        skydelta.detections.Detections.
    exposure
        Difference with the artefacts in its mask.
    score
        (ny, nx) score.
    labels
        (ny, nx) footprints, 0 outside.
    fwhm
        px.
    count
        How many on 4096 x 4096 px; as many for the area, but five or more. 0 for none.
    seed
        int.

    Returns
    -------
    Detections
        Fewer are added where the image has not so much empty sky. Each has a footprint of its own.
    """
    ny, nx = exposure.shape
    wanted = max(round(count * ny * nx / FULL_FRAME), _LEAST) if count else 0
    half = int(np.ceil(_CLEAR * fwhm))
    if wanted == 0 or min(ny, nx) <= 2 * half + 1:
        return detections
    x, y = _empty_places(exposure, labels, half, wanted, np.random.default_rng(seed))
    sky = np.zeros(len(x), SOURCE_DTYPE)
    sky["x"], sky["y"], sky["n_peaks"], sky["is_sky"] = x, y, 1, True
    sky["score"] = sky["score_noise"] = score[np.rint(y).astype(int), np.rint(x).astype(int)]
    for name in ("x_negative", "y_negative", "score_negative"):
        sky[name] = np.nan
    last = detections.spans["footprint"].max() if len(detections.spans) else 0
    sky["footprint"] = last + 1 + np.arange(len(sky))
    spans = [detections.spans, *(_disc(source, 0.5 * fwhm) for source in sky)]
    return replace(
        detections,
        sources=np.concatenate([detections.sources, sky]),
        spans=np.concatenate(spans),
    )


def _empty_places(exposure, labels, half, wanted, rng):
    """Random positions whose surroundings are empty and apart from each other."""
    ny, nx = exposure.shape
    x = rng.uniform(half, nx - 1 - half, _TRIES * wanted)
    y = rng.uniform(half, ny - 1 - half, _TRIES * wanted)
    offset = np.arange(-half, half + 1)
    rows = np.rint(y).astype(int)[:, None, None] + offset[:, None]
    columns = np.rint(x).astype(int)[:, None, None] + offset
    bits = np.int32(exposure.mask.bits(*_AVOIDED))
    clear = (exposure.mask.array[rows, columns] & bits) == 0
    clear &= (labels[rows, columns] == 0) & (exposure.variance[rows, columns] > 0)
    chosen = []
    for k in np.flatnonzero(clear.all(axis=(1, 2))):
        apart = np.maximum(np.abs(x[chosen] - x[k]), np.abs(y[chosen] - y[k])) > 2 * half
        if apart.all():
            chosen.append(k)
        if len(chosen) == wanted:
            break
    return x[chosen], y[chosen]


def _disc(source, radius):
    """SPAN_DTYPE runs of the disc about a source."""
    x, y = round(source["x"]), round(source["y"])
    rows = np.arange(-int(radius), int(radius) + 1)
    reach = np.sqrt(radius**2 - rows**2).astype(int)
    spans = np.zeros(rows.size, SPAN_DTYPE)
    spans["footprint"], spans["y"] = source["footprint"], y + rows
    spans["x0"], spans["x1"] = x - reach, x + reach
    return spans
