"""Sub-pixel shifts of PSF stamps with exact derivatives, many at a time.

A shift by a phase in Fourier space is a convolution with the periodic sinc along each axis, hence
two small matrix products per stamp: the same values as `skydelta.psf.shift_stamps`, their
derivatives at little more cost, and only for the pixels that are asked for.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

_PAD = 8
"""Zeros between a stamp and its periodic image, px."""


class StampShifter:
    """Stamps of one PSF each for n sources, to be shifted again and again.

    Parameters
    ----------
    stamps
        (n, size, size) centred stamps, size odd.
    half
        Half width of the stamps handed out, px, at most size // 2.
    """

    def __init__(self, stamps, half):
        self.stamps = stamps
        self.half = half
        size = stamps.shape[-1]
        self._length = size + _PAD + (size + _PAD + 1) % 2
        middle = size // 2
        # Row i of the output and column j of the input are i - j px apart: windows, one px from
        # row to row, of the sinc at these offsets, largest first.
        self._offsets = np.arange(middle + half, middle - half - size, -1)

    def __len__(self):
        return len(self.stamps)

    def take(self, index):
        """The same for some of the sources."""
        return StampShifter(self.stamps[index], self.half)

    def shifted(self, dx, dy):
        """(n, 2 half + 1, 2 half + 1) stamps moved by (dx, dy) px, |d| of a few px at most."""
        along_x, along_y = self._matrix(dx)[0], self._matrix(dy)[0]
        return along_y @ (self.stamps @ along_x.transpose(0, 2, 1))

    def columns(self, dx, dy):
        """Moved stamps and their derivatives by dx and by dy, (n, 3, 2 half + 1, 2 half + 1)."""
        (along_x, slope_x), (along_y, slope_y) = self._matrix(dx), self._matrix(dy)
        moved = self.stamps @ along_x.transpose(0, 2, 1)
        tilted = self.stamps @ slope_x.transpose(0, 2, 1)
        width = 2 * self.half + 1
        out = np.empty((len(self.stamps), 3, width, width))
        np.matmul(along_y, moved, out=out[:, 0])
        np.matmul(along_y, tilted, out=out[:, 1])
        np.matmul(slope_y, moved, out=out[:, 2])
        return out

    def _matrix(self, shift):
        """Interpolation matrices (n, 2 half + 1, size) of each shift, and their derivatives."""
        # A shift by +d asks the sinc at offset - d.
        at = self._offsets - np.asarray(shift, float)[:, None]
        value, slope = _periodic_sinc(at, self._length)
        return self._windows(value), self._windows(-slope)

    def _windows(self, values):
        # Contiguous copies: a product of views would not run in BLAS.
        size = self.stamps.shape[-1]
        return np.ascontiguousarray(sliding_window_view(values, size, axis=1)[:, ::-1])


def _periodic_sinc(u, length):
    """sin(pi u) / (N sin(pi u / N)) of odd period N, and its derivative by u."""
    angle = np.pi * u / length
    # Beyond one period from 0 nothing is asked for, so that sin(angle) is 0 at u = 0 only.
    near = np.abs(u) < 1e-5
    safe = np.where(near, 1.0, np.sin(angle))
    value = np.where(near, 1.0, np.sin(np.pi * u) / (length * safe))
    slope = np.pi * (np.cos(np.pi * u) - value * np.cos(angle)) / (length * safe)
    return value, np.where(near, -(np.pi**2) / 3 * (1 - length**-2.0) * u, slope)
