"""Stamps carried through affine maps with the interpolation kernels of the stack.

One function, `warp`, that does many at a time: a coadd's PSF is a mean over dozens of input
images, each with a map of its own.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError, UnsupportedError
from skydelta.lsst.image_psf import lanczos

_RUN = 8
"""Taps of a row are gathered eight at a time: 32 bytes, which numpy copies in one go."""

_BATCH_PIXELS = 24_000
"""Pixels gathered at a time, so that the temporary arrays stay in the processor's cache."""

_LARGEST = 200.0
"""Largest element of a sensible source-to-target matrix (meas_algorithms: WarpedPsf.cc)."""


@dataclass(frozen=True)
class WarpingControl:
    """How the stack interpolates (afw: warpExposure.h).

    Parameters
    ----------
    kernel
        ``"lanczosN"``, ``"bilinear"`` or ``"nearest"``.
    cache_size
        Sub-pixel phases for which weights are kept; a phase takes those of the middle of its
        interval. 0 to compute them anew.

    Raises
    ------
    UnsupportedError
        For another kernel.
    """

    kernel: str = "lanczos3"
    cache_size: int = 10000

    def __post_init__(self):
        if not re.fullmatch(r"lanczos[1-9]\d?|bilinear|nearest", self.kernel):
            msg = (
                f"warping kernel {self.kernel!r} is not known: expected lanczosN, bilinear or "
                "nearest"
            )
            raise UnsupportedError(msg)

    @property
    def reach(self):
        """Source pixels to each side of a position: half the taps."""
        return int(self.kernel[7:]) if self.kernel.startswith("lanczos") else 1

    def weights(self, fraction):
        """(n, 2 reach) weights for fractions of a pixel in [0, 1], normalised to sum 1."""
        fraction = np.asarray(fraction, float)[:, None]
        distance = np.arange(1 - self.reach, self.reach + 1) - fraction
        if self.kernel == "bilinear":
            return 1.0 - np.abs(distance)
        if self.kernel == "nearest":
            return np.concatenate([fraction < 0.5, fraction >= 0.5], axis=1).astype(float)
        weights = lanczos(distance, self.reach)
        return weights / weights.sum(axis=1, keepdims=True)

    @cached_property
    def table(self):
        """(cache_size, 2 reach) weights of the phases."""
        return self.weights((np.arange(self.cache_size) + 0.5) / self.cache_size)

    @cached_property
    def _runs(self):
        """The table in float32, rows filled up to whole runs, and each weight as a whole run."""
        x = np.zeros((self.cache_size, -(-2 * self.reach // _RUN) * _RUN), np.float32)
        x[:, : 2 * self.reach] = self.table
        y = np.repeat(self.table.T[:, :, None].astype(np.float32), x.shape[1], axis=2)
        return x, y

    def runs(self, u, v):
        """Run tables for fractions u and v, and the row of them that each fraction takes."""
        if self.cache_size:
            x, y = self._runs
            last = self.cache_size - 1
            rows = ((f * self.cache_size).astype(np.int32) for f in (u, v))
            return x, y, *(np.minimum(r, last, out=r) for r in rows)
        x = np.zeros((u.size, -(-2 * self.reach // _RUN) * _RUN), np.float32)
        x[:, : 2 * self.reach] = self.weights(u)
        y = np.repeat(self.weights(v).T[:, :, None].astype(np.float32), x.shape[1], axis=2)
        return x, y, np.arange(u.size), np.arange(u.size)


def half_boxes(width, height, to_source):
    """Half widths and heights of the odd boxes about (0, 0) into which stamps are warped.

    Parameters
    ----------
    width, height
        Of the source stamps, px.
    to_source
        (n, 2, 2) linear parts of the maps from target to source.

    Returns
    -------
    ndarray
        (n, 2) int: (half width, half height). The size of the warped outline, halved and rounded
        down (meas_algorithms: WarpedPsf.cc, computeBBoxFromTransform).

    Raises
    ------
    BadPsfError
        If a map magnifies more than a mapping between images of the sky can.
    """
    determinant = np.linalg.det(to_source)
    if not np.all(np.abs(determinant) > 0):
        msg = "a WCS maps the coadd's pixels onto a line: a PSF cannot be carried through it"
        raise BadPsfError(msg)
    forward = np.abs(np.linalg.inv(to_source))
    if forward.sum(axis=2).max() > _LARGEST:
        msg = f"a WCS magnifies more than {_LARGEST:.0f} times: a PSF cannot be carried through it"
        raise BadPsfError(msg)
    # The corners' extremes add up: the outline of a box is its |matrix| times its size.
    return np.floor(0.5 * (forward @ np.array([width, height], float))).astype(int)


def warp(stamps, origin, to_source, half, control, half_size):
    """Stamps on the pixels of another grid, about its pixel (0, 0).

    Each value is the interpolation of the stamp, zeros around it, at the position the map gives;
    zero where the kernel's taps lie further outside, and outside each box. The area ratio is
    left out: PSFs are normalised afterwards (afw: warpExposure.cc, WarpAtOnePoint.h).

    Parameters
    ----------
    stamps
        (n, size, size).
    origin
        (n, 2): x, y of the target's (0, 0), in each stamp's own elements.
    to_source
        (n, 2, 2): linear part of the maps from target to source.
    half
        (n, 2): half sizes of the boxes, `half_boxes`.
    control
        WarpingControl.
    half_size
        The result's: boxes beyond it are cropped.

    Returns
    -------
    ndarray
        (n, 2 half_size + 1, 2 half_size + 1) float32.
    """
    n, size = stamps.shape[0], stamps.shape[-1]
    margin = control.reach + 1
    padded = np.zeros((n, size + 2 * margin, size + 2 * margin), np.float32)
    padded[:, margin:-margin, margin:-margin] = stamps
    width = 2 * half_size + 1
    out = np.zeros((n, width, width), np.float32)
    step = max(_BATCH_PIXELS // size**2, 1)
    for start in range(0, n, step):
        part = slice(start, start + step)
        _warp_batch(padded[part], origin[part], to_source[part], half[part], control, out[part])
    return out


def _warp_batch(padded, origin, to_source, half, control, out):
    size = padded.shape[1]
    margin = control.reach + 1
    offset = np.arange(out.shape[-1]) - out.shape[-1] // 2
    x, y = offset[None, None, :], offset[None, :, None]
    a = to_source[:, :, :, None, None]
    u = a[:, 0, 0] * x + (a[:, 0, 1] * y + origin[:, 0, None, None])
    v = a[:, 1, 0] * x + (a[:, 1, 1] * y + origin[:, 1, None, None])
    # The nearest whole pixel below must be one at which all taps lie on the padded stamp.
    last = size - 2 * margin + 1
    inside = (u >= -2) & (u < last) & (v >= -2) & (v < last)
    inside &= (np.abs(offset) <= half[:, :1])[:, None, :]
    inside &= (np.abs(offset) <= half[:, 1:])[:, :, None]
    pick = np.flatnonzero(inside)
    u, v = u.ravel()[pick], v.ravel()[pick]
    iu, iv = np.floor(u), np.floor(v)
    x_runs, y_runs, x_row, y_row = control.runs(u - iu, v - iv)
    index = ((pick // out[0].size) * size**2 + (iv + 2) * size + (iu + 2)).astype(np.intp)
    runs = _all_runs(padded, x_runs.shape[1])
    total = np.zeros((pick.size, x_runs.shape[1]), np.float32)
    for row in range(2 * control.reach):
        # Taps are there by construction: "clip" only spares numpy a check.
        values = np.take(runs[row * size :], index, axis=0, mode="clip")
        values *= np.take(y_runs[row], y_row, axis=0, mode="clip")
        total += values
    total *= np.take(x_runs, x_row, axis=0, mode="clip")
    out.reshape(-1)[pick] = total @ np.ones(total.shape[1], np.float32)


def _all_runs(padded, length):
    """(padded.size, length): from every element, the `length` elements that start with it."""
    flat = np.concatenate([padded.ravel(), np.zeros(length, padded.dtype)])
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(flat, length)[:-1])
