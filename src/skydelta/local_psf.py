"""A PSF over an image: where it can be used, and one place that stands for all."""

import numpy as np

from skydelta.convolve import tile_size, tiles
from skydelta.errors import BadPsfError
from skydelta.psf import grid_nodes

_NODES = 7


def is_known(stamp):
    """Whether a stamp is finite and not empty."""
    return bool(np.isfinite(stamp).all() and (stamp**2).sum() > 0)


def reference_place(psf, shape):
    """(x, y) of the place nearest to the image's middle where the PSF is known.

    Parameters
    ----------
    psf
        Psf.
    shape
        (ny, nx).

    Raises
    ------
    BadPsfError
        If it is known at none of 7 x 7 places.
    """
    ny, nx = shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, _NODES), grid_nodes(ny, _NODES)))
    for k in np.argsort(np.hypot(x - (nx - 1) / 2, y - (ny - 1) / 2), kind="stable"):
        if is_known(_stamp_or_void(psf, x[k], y[k])):
            return float(x[k]), float(y[k])
    msg = "the PSF is not known anywhere on the image: its stamps are empty or not finite"
    raise BadPsfError(msg)


def unknown_boxes(psf, shape):
    """Boxes (y0, y1, x0, x1) of the score's tiles for which there is no PSF."""
    half = psf.size // 2
    boxes = tiles(shape, half, tile_size(shape, half))
    return [box for box in boxes if not is_known(tile_stamp(psf, box))]


def tile_stamp(psf, box):
    """The stamp at the middle of a box (y0, y1, x0, x1); zeros if the PSF has no inputs there."""
    y0, y1, x0, x1 = box
    return _stamp_or_void(psf, 0.5 * (x0 + x1 - 1), 0.5 * (y0 + y1 - 1))


def _stamp_or_void(psf, x, y):
    return psf.stamp(x, y) if psf.has_inputs([x], [y])[0] else np.zeros((psf.size, psf.size))
