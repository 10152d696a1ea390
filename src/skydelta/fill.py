"""Values for bad pixels, before an image goes through Fourier filters."""

import numpy as np
from scipy.ndimage import uniform_filter

from skydelta.parallel import map_tiles

_BLOCK = 128
_WIDTHS = (5, 17, 53)
_MARGIN = _WIDTHS[-1] // 2


def fill_holes(image, bad):
    """An image with its bad pixels replaced by means of the good ones about them.

    Means over boxes of 5, 17 and 53 px: the narrowest that holds a good pixel; the mean of the
    neighbourhood in larger holes, or 0.

    Parameters
    ----------
    image
        (ny, nx) float32; whatever the bad pixels hold.
    bad
        (ny, nx) bool.

    Returns
    -------
    ndarray
        New where anything was replaced.
    """
    if not bad.any():
        return image
    out = image.copy()
    ny, nx = image.shape

    def fill(corner):
        y0, x0 = corner
        holes = np.nonzero(bad[y0 : y0 + _BLOCK, x0 : x0 + _BLOCK])
        if not holes[0].size:
            return
        (ya, yb), (xa, xb) = (
            (c + int(h.min()), c + int(h.max()) + 1) for c, h in zip(corner, holes, strict=True)
        )
        inner = np.s_[ya:yb, xa:xb]
        top, left = max(ya - _MARGIN, 0), max(xa - _MARGIN, 0)
        outer = np.s_[top : yb + _MARGIN, left : xb + _MARGIN]
        filled = _interpolated(image[outer], bad[outer])
        cut = filled[ya - top : yb - top, xa - left : xb - left]
        np.copyto(out[inner], cut, where=bad[inner])

    corners = ((y0, x0) for y0 in range(0, ny, _BLOCK) for x0 in range(0, nx, _BLOCK))
    for _ in map_tiles(fill, corners):
        pass
    return out


def _interpolated(image, bad):
    good = (~bad).astype(np.float32)
    values = np.where(bad, np.float32(0), image)
    out, left = values, bad
    for width in _WIDTHS:
        mean, share = (uniform_filter(p, width, mode="nearest") for p in (values, good))
        # Less than half a pixel's share is rounding of the running sums.
        enough = left & (share > 0.5 / width**2)
        out = np.where(enough, mean / np.where(enough, share, 1), out)
        left = left & ~enough
        if not left.any():
            return out
    count = float(good.sum())
    return np.where(left, np.float32(values.sum() / max(count, 1.0)), out)
