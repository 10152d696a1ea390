"""Edges of the template: pixels whose matched template rests partly on nothing."""

import numpy as np
from scipy import ndimage


def near_no_data(mask, reach):
    """Pixels with data that have some without within `reach` px along both axes.

    Parameters
    ----------
    mask
        Mask of the template.
    reach
        Half width of the matching kernel, px.

    Returns
    -------
    ndarray
        (ny, nx) bool.
    """
    empty = mask.any("NO_DATA")
    if not empty.any() or reach == 0:
        return np.zeros(empty.shape, bool)
    near = empty.view(np.uint8)
    for axis in (0, 1):
        near = ndimage.maximum_filter1d(near, 2 * reach + 1, axis=axis, mode="constant")
    return near.view(bool) & ~empty
