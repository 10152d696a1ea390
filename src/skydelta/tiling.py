"""Overlapping tiles whose results blend linearly into one image."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from scipy import fft

from skydelta.convolve import kernel_transform, padded_cut

SMALL, LARGE = 512, 768
"""Sizes of the tiles' transforms, px. Larger ones waste less on margins and need fewer filters, but
hold one filter over more of the image, and beyond this they leave the processor's cache."""

LARGE_IMAGE = 3000
"""From this length of an axis, px, a large tile is still a small part of the image."""

BLEND = 24
"""Half width of the zone in which neighbouring tiles blend, px."""


@dataclass(frozen=True)
class Tile:
    """One tile of an image.

    Parameters
    ----------
    box
        (y0, y1, x0, x1) of the output, blending zones included.
    centre
        (x, y) px of the tile without them.
    window
        (y1 - y0, x1 - x0) float32; the windows of all tiles sum to 1 everywhere.
    size
        Transform size that holds the output and `half` px on every side of it.
    """

    box: tuple
    centre: tuple
    window: np.ndarray
    size: int

    @property
    def inside(self):
        """Index of the output box."""
        y0, y1, x0, x1 = self.box
        return slice(y0, y1), slice(x0, x1)

    def grown(self, by):
        """The tile with an output that is `by` px wider on every side."""
        y0, y1, x0, x1 = self.box
        return replace(self, box=(y0 - by, y1 + by, x0 - by, x1 + by))


def blended_tiles(shape, half):
    """The tiles of an image for filters of a half width.

    Parameters
    ----------
    shape
        (ny, nx).
    half
        px that filters reach.

    Yields
    ------
    Tile
    """
    ny, nx = shape
    size = LARGE if max(shape) >= LARGE_IMAGE else SMALL
    room = size - 2 * half - 2 * BLEND
    if room < 128:  # wide filters: a larger transform wastes less on its margins
        size, room = 2 * size, room + size
    if min(ny, nx) < 4 * BLEND:
        room = max(ny, nx)
        size = fft.next_fast_len(room + 2 * half, real=True)
    for y_start, y_stop in _edges(ny, room):
        y0, y1, wy = _ramp(y_start, y_stop, ny)
        for x_start, x_stop in _edges(nx, room):
            x0, x1, wx = _ramp(x_start, x_stop, nx)
            centre = 0.5 * (x_start + x_stop - 1), 0.5 * (y_start + y_stop - 1)
            yield Tile((y0, y1, x0, x1), centre, wy[:, None] * wx, size)


def _edges(length, step):
    """Starts and ends of tiles that cover an axis in near-equal parts of at most `step`."""
    count = max(int(np.ceil(length / step)), 1)
    return list(pairwise(np.linspace(0, length, count + 1).astype(int)))


def _ramp(start, stop, length):
    """Blending window of a tile widened at each inner side: linear, summing to 1."""
    lo, hi = max(start - BLEND, 0), min(stop + BLEND, length)
    at = np.arange(lo, hi) + 0.5
    window = np.ones(hi - lo, np.float32)
    if start > 0:
        window = np.minimum(window, (at - (start - BLEND)) / (2 * BLEND))
    if stop < length:
        window = np.minimum(window, ((stop + BLEND) - at) / (2 * BLEND))
    return lo, hi, window.astype(np.float32)


def tile_transform(image, tile, half, beyond="zero"):
    """rfft2 of a tile's box and `half` px around it.

    Parameters
    ----------
    image
        (ny, nx) float32 without NaN.
    tile
        Tile.
    half
        px.
    beyond
        What lies outside the image: ``"zero"``, its ``"edge"`` values, or noise: a pair
        (Generator, sigma).
    """
    cut = padded_cut(image, *tile.box, half)
    pads = _pads(image.shape, tile.box, half)
    if beyond != "zero" and any(p for pair in pads for p in pair):
        inner = cut[pads[0][0] : cut.shape[0] - pads[0][1], pads[1][0] : cut.shape[1] - pads[1][1]]
        if beyond == "edge":
            cut = np.pad(inner, pads, mode="edge")
        else:
            rng, sigma = beyond
            cut = rng.normal(0.0, sigma, cut.shape).astype(np.float32)
            rows = slice(pads[0][0], cut.shape[0] - pads[0][1])
            cut[rows, pads[1][0] : cut.shape[1] - pads[1][1]] = inner
    return fft.rfft2(cut, s=(tile.size, tile.size))


def _pads(shape, box, half):
    (ny, nx), (y0, y1, x0, x1) = shape, box
    pads = ((half - y0, y1 + half - ny), (half - x0, x1 + half - nx))
    return tuple(tuple(max(p, 0) for p in pair) for pair in pads)


def tile_inverse(product, tile, half, own):
    """The output box of an inverse transform.

    Parameters
    ----------
    product
        Product of a `tile_transform` and of `kernel_transform`s.
    tile, half
        As given to `tile_transform`.
    own
        Half width of the kernel, or the sum of the half widths of several.
    """
    y0, y1, x0, x1 = tile.box
    full = fft.irfft2(product, s=(tile.size, tile.size), overwrite_x=True)
    start = half + own
    return full[start : start + y1 - y0, start : start + x1 - x0]


def filtered_tile(image, kernel, tile, half, beyond="zero"):
    """One tile's output of image conv kernel."""
    product = tile_transform(image, tile, half, beyond)
    product *= kernel_transform(kernel, tile.size)
    return tile_inverse(product, tile, half, kernel.shape[-1] // 2)
