"""Cut-outs about many positions of an exposure."""

import numpy as np

from skydelta.mask import UNUSABLE

CHUNK = 1000
"""Sources treated at a time: it bounds the memory of their stamps."""


class Pixels:
    """Cut-outs of an exposure with its unusable pixels told apart; no full plane is copied."""

    def __init__(self, exposure):
        self.exposure = exposure
        self.shape = exposure.shape
        self.unusable = np.int32(exposure.mask.bits(*UNUSABLE))

    def indices(self, x, y, half):
        """Rows, columns of the boxes about integer pixels, clipped, and which lie inside."""
        ny, nx = self.shape
        offset = np.arange(-half, half + 1)
        rows = y[:, None, None] + offset[:, None]
        columns = x[:, None, None] + offset
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        return np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1), inside

    def bits(self, x, y, half):
        """(n, 2 half + 1, 2 half + 1) mask values; 0 beyond the image."""
        rows, columns, inside = self.indices(x, y, half)
        return np.where(inside, self.exposure.mask.array[rows, columns], np.int32(0))

    def stamps(self, x, y, half):
        """(data, variance, good) about integer pixels, float64; bad pixels hold zeros."""
        rows, columns, inside = self.indices(x, y, half)
        variance = self.exposure.variance[rows, columns]
        good = inside & (variance > 0)
        good &= (self.exposure.mask.array[rows, columns] & self.unusable) == 0
        data = np.where(good, self.exposure.image[rows, columns], np.float32(0))
        return data.astype(float), np.where(good, variance, np.float32(0)).astype(float), good

    def level(self):
        """Median of a sample of the usable pixels."""
        sample = slice(None, None, 4), slice(None, None, 4)
        usable = (self.exposure.mask.array[sample] & self.unusable) == 0
        usable &= self.exposure.variance[sample] > 0
        values = self.exposure.image[sample][usable]
        return float(np.median(values)) if values.size else 0.0


def pixel(at, pixels, axis=1):
    """Nearest pixel inside the image."""
    return np.clip(np.rint(at).astype(int), 0, pixels.shape[axis] - 1)


def flat(stamps):
    """(..., size, size) as (..., size * size), for no stamps at all, too."""
    return stamps.reshape(*stamps.shape[:-2], stamps.shape[-2] * stamps.shape[-1])
