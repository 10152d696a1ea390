"""Runs of pixels: masks and footprints as rows with first and last column, small in a file."""

import numpy as np

from skydelta.mask import Mask, add_planes

PLANE_DTYPE = np.dtype([("plane", "U24"), ("y", "i4"), ("x0", "i4"), ("x1", "i4")])
"""A run of pixels of a mask plane: row y, columns x0 to x1 inclusive."""


def runs(index, nx, group=None):
    """Runs of neighbouring pixels of a row.

    Parameters
    ----------
    index
        (n,) flat pixel indices, ascending.
    nx
        Columns of the image.
    group
        (n,) int, numbers that end a run where they change; None for one group.

    Returns
    -------
    y, x0, x1
        Row, first and last column of each run.
    first
        Where each run begins in `index`.
    """
    if len(index) == 0:
        return (np.zeros(0, int),) * 4
    y, x = np.divmod(index, nx)
    broken = (np.diff(index) != 1) | (np.diff(y) != 0)
    if group is not None:
        broken |= np.diff(group) != 0
    first = np.flatnonzero(np.r_[True, broken])
    last = np.flatnonzero(np.r_[broken, True])
    return y[first], x[first], x[last], first


def plane_spans(name, y, x0, x1):
    """Runs as an array of PLANE_DTYPE."""
    spans = np.zeros(len(y), PLANE_DTYPE)
    spans["plane"], spans["y"], spans["x0"], spans["x1"] = name, y, x0, x1
    return spans


def spans_of(name, where):
    """PLANE_DTYPE runs of a (ny, nx) bool."""
    return plane_spans(name, *runs(np.flatnonzero(where), where.shape[1])[:3])


def pixels_of(spans):
    """Rows, columns and number of the run of all pixels of runs."""
    length = spans["x1"].astype(np.int64) - spans["x0"] + 1
    number = np.repeat(np.arange(len(spans)), length)
    start = np.cumsum(length) - length
    columns = spans["x0"][number] + np.arange(number.size) - start[number]
    return spans["y"][number], columns, number


def with_spans(mask, spans):
    """A mask with the planes of PLANE_DTYPE runs set as well.

    Parameters
    ----------
    mask
        Mask.
    spans
        PLANE_DTYPE; what lies outside the mask is an error.
    """
    names = list(dict.fromkeys(spans["plane"].tolist()))
    planes = add_planes(mask.planes, names)
    array = mask.array.copy()
    for name in names:
        rows, columns, _ = pixels_of(spans[spans["plane"] == name])
        array[rows, columns] |= np.int32(1 << planes[name])
    return Mask(array, planes)
