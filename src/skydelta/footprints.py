"""Footprints of detected sources: connected pixels above the threshold, grown, as runs."""

import numpy as np

from skydelta.spans import PLANE_DTYPE, plane_spans, runs

SPAN_DTYPE = np.dtype([(name, "i4") for name in ("footprint", "y", "x0", "x1")])
"""A run of footprint pixels: row y, columns x0 to x1 inclusive."""


def grown_labels(above, radius):
    """Labels of the connected regions above threshold, both signs together, grown by `radius`."""
    from scipy import ndimage

    if not above.any():
        return np.zeros(above.shape, np.int32)
    grown = above.astype(np.uint8)
    for axis in (0, 1):
        grown = ndimage.maximum_filter1d(grown, 2 * radius + 1, axis=axis, mode="constant")
    return ndimage.label(grown, np.ones((3, 3)))[0].astype(np.int32, copy=False)


def footprint_spans(labels, sources):
    """Pixel runs of the footprints that hold a source, renumbered from 1 in their own order.

    Parameters
    ----------
    labels
        (ny, nx) int32, 0 outside the footprints.
    sources
        Structured array with a field ``footprint``, a label.

    Returns
    -------
    spans
        Array of SPAN_DTYPE.
    sources
        With the new numbers.
    """
    if len(sources) == 0:
        return np.zeros(0, SPAN_DTYPE), sources
    used = np.unique(sources["footprint"])
    number = np.zeros(labels.max() + 1, np.int32)
    number[used] = np.arange(1, used.size + 1)
    renumbered = sources.copy()
    renumbered["footprint"] = number[sources["footprint"]]
    flat = labels.ravel()
    index = np.flatnonzero(flat)
    kept = number[flat[index]]
    index, kept = index[kept > 0], kept[kept > 0]
    y, x0, x1, first = runs(index, labels.shape[1], kept)
    spans = np.zeros(len(y), SPAN_DTYPE)
    spans["footprint"], spans["y"], spans["x0"], spans["x1"] = kept[first], y, x0, x1
    return spans, renumbered


def detected_planes(sources, spans):
    """PLANE_DTYPE runs of DETECTED and DETECTED_NEGATIVE: footprints by the signs they hold.

    Sky sources are not detected.
    """
    if len(spans) == 0:
        return np.zeros(0, PLANE_DTYPE)
    real = sources[~sources["is_sky"]]
    negative = real["is_negative"] | real["is_dipole"]
    parts = []
    for name, holds in (("DETECTED", ~real["is_negative"]), ("DETECTED_NEGATIVE", negative)):
        chosen = spans[np.isin(spans["footprint"], real["footprint"][holds])]
        parts.append(plane_spans(name, chosen["y"], chosen["x0"], chosen["x1"]))
    return np.concatenate(parts)
