"""Mask planes of sources: in the footprint, and within 3 x 3 px of the centre."""

import numpy as np

from skydelta.cutouts import Pixels


def flag_columns(exposure, footprints, spans, x, y, planes):
    """Pixel flags of sources.

    Parameters
    ----------
    exposure
        Exposure whose mask is asked.
    footprints
        (n,) number of each source's footprint.
    spans
        Structured array of skydelta.detect.SPAN_DTYPE.
    x, y
        (n,) positions, px.
    planes
        {flag: names of the planes that raise it}.

    Returns
    -------
    dict
        Bool arrays ``base_PixelFlags_flag_*`` and ``..Center``.
    """
    n = len(footprints)
    mask = exposure.mask
    in_footprint = _footprint_bits(mask.array, spans, footprints)
    ny, nx = exposure.shape
    xi = np.clip(np.rint(x).astype(int), 0, nx - 1)
    yi = np.clip(np.rint(y).astype(int), 0, ny - 1)
    near = Pixels(exposure).bits(xi, yi, 1).reshape(n, 9)
    centre = np.bitwise_or.reduce(near, axis=1) if n else np.zeros(0, np.int32)
    columns = {}
    for flag, names in planes.items():
        bits = np.int32(mask.bits(*names))
        columns[f"base_PixelFlags_flag_{flag}"] = (in_footprint & bits) != 0
        columns[f"base_PixelFlags_flag_{flag}Center"] = (centre & bits) != 0
    columns["base_PixelFlags_flag_offimage"] = (x < 0) | (y < 0) | (x > nx - 1) | (y > ny - 1)
    return columns


def footprint_sizes(spans, footprints):
    """Larger side of the box about each source's footprint, px; 0 without a footprint."""
    size = np.zeros(int(max(footprints.max(initial=0), spans["footprint"].max(initial=0))) + 1, int)
    if len(spans):
        far = np.iinfo(np.int64).max
        for low, high in (("x0", "x1"), ("y", "y")):
            first = np.full(size.size, far)
            last = np.full(size.size, -1)
            np.minimum.at(first, spans["footprint"], spans[low])
            np.maximum.at(last, spans["footprint"], spans[high])
            size = np.maximum(
                size, np.where(last >= 0, last - np.where(last >= 0, first, 0) + 1, 0)
            )
    return size[footprints].astype(np.int32)


def _footprint_bits(bits, spans, footprints):
    """OR of the mask over the footprint of each source."""
    if len(spans) == 0:
        return np.zeros(len(footprints), np.int32)
    last = max(int(spans["footprint"].max()), int(footprints.max(initial=0)))
    total = np.zeros(last + 1, np.int32)
    lengths = spans["x1"] - spans["x0"] + 1
    rows = np.repeat(spans["y"], lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = np.repeat(spans["x0"], lengths) + np.arange(lengths.sum()) - starts
    np.bitwise_or.at(total, np.repeat(spans["footprint"], lengths), bits[rows, columns])
    return total[footprints]
