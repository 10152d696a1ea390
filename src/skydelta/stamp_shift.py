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
        (along_x,), (along_y,) = (self._matrices(d, slope=False) for d in (dx, dy))
        return along_y @ (self.stamps @ along_x.transpose(0, 2, 1))

    def columns(self, dx, dy):
        """Moved stamps and their derivatives by dx and by dy, (n, 3, 2 half + 1, 2 half + 1)."""
        (along_x, slope_x), (along_y, slope_y) = (self._matrices(d, slope=True) for d in (dx, dy))
        moved = self.stamps @ along_x.transpose(0, 2, 1)
        tilted = self.stamps @ slope_x.transpose(0, 2, 1)
        width = 2 * self.half + 1
        out = np.empty((len(self.stamps), 3, width, width))
        np.matmul(along_y, moved, out=out[:, 0])
        np.matmul(along_y, tilted, out=out[:, 1])
        np.matmul(slope_y, moved, out=out[:, 2])
        return out

    def _matrices(self, shift, *, slope):
        """Interpolation matrices (n, 2 half + 1, size) of each shift, and their derivatives."""
        size = self.stamps.shape[-1]
        values = _periodic_sinc(self._offsets, np.asarray(shift, float), self._length, slope)
        # Contiguous copies: a product of views would not run in BLAS.
        return tuple(
            np.ascontiguousarray(sliding_window_view(v, size, axis=1)[:, ::-1]) for v in values
        )


def _periodic_sinc(offsets, shift, length, slope):
    """sin(pi u) / (N sin(pi u / N)) at u = offset - shift, N odd, and its derivative by the shift.

    Sines of the differences are written out: two of them per shift, not one per element.
    """
    turn, half_turn = np.pi / length, np.pi
    sign = np.where(offsets % 2 == 0, 1.0, -1.0)
    small = [f(turn * shift)[:, None] for f in (np.sin, np.cos)]
    fixed = [f(turn * offsets) for f in (np.sin, np.cos)]
    # Beyond one period from 0 nothing is asked for, so that this sine is 0 at u = 0 only.
    sine = fixed[0] * small[1] - fixed[1] * small[0]
    near = np.abs(sine) < 1e-6 * turn
    sine[near] = 1.0
    value = -sign * np.sin(half_turn * shift)[:, None] / (length * sine)
    value[near] = 1.0
    if not slope:
        return (value,)
    cosine = fixed[1] * small[1] + fixed[0] * small[0]
    tilt = sign * np.cos(half_turn * shift)[:, None]
    derivative = np.pi * (value * cosine - tilt) / (length * sine)
    derivative[near] = 0.0
    return value, derivative
