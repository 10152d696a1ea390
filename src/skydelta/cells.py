"""Slowly varying planes: medians in the cells of a mesh, and back to pixels."""

import numpy as np


def cell_medians(plane, usable, cell, *, step=3):
    """Medians of the usable, finite pixels in a mesh of cells.

    Parameters
    ----------
    plane
        (ny, nx) values.
    usable
        (ny, nx) bool, or None for all pixels.
    cell
        Wished side of a cell, px; the cells divide the image evenly.
    step
        Only every `step`-th row and column is looked at.

    Returns
    -------
    ndarray
        (my, mx) float64; a cell without a value takes the median of the others, or, if there is
        none, NaN.
    """
    ny, nx = plane.shape
    my, mx = max(round(ny / cell), 1), max(round(nx / cell), 1)
    ys, xs = np.linspace(0, ny, my + 1).astype(int), np.linspace(0, nx, mx + 1).astype(int)
    medians = np.full((my, mx), np.nan)
    for j in range(my):
        for i in range(mx):
            cut = slice(ys[j], ys[j + 1], step), slice(xs[i], xs[i + 1], step)
            values = plane[cut] if usable is None else plane[cut][usable[cut]]
            values = values[np.isfinite(values)]
            if values.size:
                medians[j, i] = np.median(values)
    known = np.isfinite(medians)
    if known.any():
        medians[~known] = np.median(medians[known])
    return medians


def upsample(cells, shape):
    """Cell values at (ny, nx) pixels, bilinear between cell centres, constant outside them."""
    ny, nx = shape
    my, mx = cells.shape
    along_y = _hat_matrix(ny, my)
    along_x = _hat_matrix(nx, mx)
    return (along_y @ cells.astype(np.float32) @ along_x.T).astype(np.float32)


def _hat_matrix(length, count):
    edges = np.linspace(0, length, count + 1)
    centres = 0.5 * (edges[1:] + edges[:-1]) - 0.5
    at = np.arange(length)
    return np.stack([np.interp(at, centres, row) for row in np.eye(count)], axis=1).astype(
        np.float32
    )
