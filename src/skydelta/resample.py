"""Resampling of an exposure onto another grid: Lanczos in one step, flux, noise and mask kept.

A value of the resampled image is J sum_n w_n T_n, with separable Lanczos weights w (normalised to
sum 1) and J the area of the new pixel in old ones, so that fluxes are conserved.

The variance plane of a resampled image is that of the *equivalent white noise*,
J sum w_n^2 V_n / sum w_n^2: what a convolution by anything broader than the Lanczos kernel sees.
The variance of a single pixel is smaller, the rest sits in the covariance with its neighbours;
both follow from the autocorrelation that `noise_correlation` gives, normalised to sum 1.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.mask import Mask

ORDER = 3
"""Lanczos order: the kernel reaches this many (unstretched) source pixels to each side."""

_PHASES = 4096
_TILE = 192


@dataclass(frozen=True)
class LanczosTable:
    """Lanczos weights tabulated over the sub-pixel phase.

    Parameters
    ----------
    weights
        (n_phases + 1, taps) float32; row i holds for a fractional position i / n_phases.
    taps
        Number of source pixels along each axis.
    """

    weights: np.ndarray
    taps: int

    @classmethod
    def of(cls, order=ORDER, stretch=1.0):
        """Table for a kernel widened by `stretch` >= 1 (a source finer than the target)."""
        reach = int(np.ceil(order * stretch))
        offset = np.arange(-reach + 1, reach + 1)
        phase = np.linspace(0.0, 1.0, _PHASES + 1)
        distance = (offset[None, :] - phase[:, None]) / stretch
        weights = np.where(
            np.abs(distance) < order, np.sinc(distance) * np.sinc(distance / order), 0.0
        )
        weights /= weights.sum(axis=1, keepdims=True)
        return cls(weights.astype(np.float32), 2 * reach)

    def at(self, fraction):
        """(n, taps) weights for fractional positions in [0, 1]."""
        return self.weights[np.rint(fraction * _PHASES).astype(np.intp)]


@dataclass(frozen=True)
class Resampled:
    """One image on another's grid, over the rows and columns it covers.

    Parameters
    ----------
    x0, y0
        Target pixel of element [0, 0].
    image
        (ny, nx) float32, counts of the source times J.
    variance
        (ny, nx) float32, equivalent white noise.
    mask
        Bit planes; NO_DATA where the source gives nothing.
    """

    x0: int
    y0: int
    image: np.ndarray
    variance: np.ndarray
    mask: Mask

    @property
    def slices(self):
        """Target array slices of the covered box."""
        ny, nx = self.image.shape
        return slice(self.y0, self.y0 + ny), slice(self.x0, self.x0 + nx)


def stretch_of(pixel_map):
    """How much the kernel must widen so that a finer source is averaged, not aliased."""
    x = np.array([pixel_map.x_nodes.mean()])
    y = np.array([pixel_map.y_nodes.mean()])
    scale = float(np.sqrt(pixel_map.area(x, y)[0, 0]))
    return max(1.0, scale) if scale > 1.05 else 1.0


def covered_box(pixel_map, target_shape, source_shape, reach):
    """Target box (x0, y0, x1, y1; ends exclusive) that may see the source, or None."""
    ny, nx = target_shape
    x = np.unique(np.concatenate([pixel_map.x_nodes, np.linspace(0, nx - 1, 129)]))
    y = np.unique(np.concatenate([pixel_map.y_nodes, np.linspace(0, ny - 1, 129)]))
    u, v = pixel_map.evaluate(x, y)
    sy, sx = source_shape
    inside = (u > -reach) & (u < sx + reach) & (v > -reach) & (v < sy + reach)
    if not inside.any():
        return None
    cols, rows = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    x_lo, x_hi = x[max(cols[0] - 1, 0)], x[min(cols[-1] + 1, x.size - 1)]
    y_lo, y_hi = y[max(rows[0] - 1, 0)], y[min(rows[-1] + 1, y.size - 1)]
    return int(x_lo), int(y_lo), min(int(np.ceil(x_hi)) + 1, nx), min(int(np.ceil(y_hi)) + 1, ny)


def resample(source, pixel_map, target_shape, *, order=ORDER):
    """An exposure on another grid.

    A pixel becomes NO_DATA when a source pixel without data lies under its kernel, or the kernel
    reaches over the source's edge; other mask planes are taken from the four source pixels
    around the position. Nothing spreads further than the kernel.

    Parameters
    ----------
    source
        Exposure.
    pixel_map
        PixelMap from the target grid to the source.
    target_shape
        (ny, nx).
    order
        Lanczos order.

    Returns
    -------
    Resampled or None
        None if no target pixel lies on the source.
    """
    table = LanczosTable.of(order, stretch_of(pixel_map))
    reach = table.taps // 2
    box = covered_box(pixel_map, target_shape, source.shape, reach)
    if box is None:
        return None
    x0, y0, x1, y1 = box
    planes = source.mask.planes
    shape = (y1 - y0, x1 - x0)
    image = np.zeros(shape, np.float32)
    variance = np.full(shape, np.nan, np.float32)
    bits = np.full(shape, 1 << planes["NO_DATA"], np.int32)
    bad = source.mask.any("NO_DATA") | ~(source.variance > 0) | ~np.isfinite(source.image)
    gatherer = _Gatherer(source, bad, table)
    for ty in range(y0, y1, _TILE):
        y = np.arange(ty, min(ty + _TILE, y1))
        for tx in range(x0, x1, _TILE):
            x = np.arange(tx, min(tx + _TILE, x1))
            u, v = pixel_map.evaluate(x, y)
            cut = slice(ty - y0, ty - y0 + y.size), slice(tx - x0, tx - x0 + x.size)
            tile = gatherer.tile(u, v)
            if tile is None:
                continue
            area = pixel_map.area(x[[0, -1]], y[[0, -1]]).mean()
            image[cut] = tile.image * np.float32(area)
            variance[cut] = tile.variance * np.float32(area)
            bits[cut] = tile.bits
    return Resampled(x0, y0, image, variance, Mask(bits, planes))


@dataclass(frozen=True)
class _Tile:
    image: np.ndarray
    variance: np.ndarray
    bits: np.ndarray


class _Gatherer:
    """Weighted sums over the source for one tile of positions at a time."""

    def __init__(self, source, bad, table):
        self.shape = source.shape
        self.table = table
        # w and w^2 as the parts of a complex number, so that one look-up gives both.
        self.pairs = np.ascontiguousarray((table.weights + 1j * table.weights**2).T, np.complex64)
        # Image and variance side by side, read as one complex number: one gather serves both.
        pair = np.empty((*source.shape, 2), np.float32)
        pair[..., 0] = np.where(bad, np.float32(0), source.image)
        pair[..., 1] = np.where(bad, np.float32(0), source.variance)
        self.pair = pair.view(np.complex64).ravel()
        self.bits = source.mask.array.ravel()
        self.no_data = np.int32(1 << source.mask.planes["NO_DATA"])
        self.near_bad = _any_in_kernel(bad, table.taps) if bad.any() else None

    def tile(self, u, v):
        """Image, variance and mask at source positions, or None if all lie outside."""
        ny, nx = self.shape
        taps, reach = self.table.taps, self.table.taps // 2
        iu, iv = np.floor(u), np.floor(v)
        corner_x, corner_y = iu - (reach - 1), iv - (reach - 1)
        inside = (
            (corner_x >= 0) & (corner_y >= 0) & (corner_x + taps <= nx) & (corner_y + taps <= ny)
        )
        if not inside.any():
            return None
        everywhere = inside.all()
        pick = slice(None) if everywhere else inside.ravel()
        u, v, iu, iv = (a.ravel()[pick] for a in (u, v, iu, iv))
        base = ((iv - (reach - 1)) * nx + (iu - (reach - 1))).astype(np.intp)
        wx, wy = self._weight_pairs(u - iu), self._weight_pairs(v - iv)
        sums = self._sum(base, wx, wy)
        image = np.ascontiguousarray(sums[0::2])
        variance = sums[1::2] / (wx[:, 1::2].sum(axis=0) * wy[:, 1::2].sum(axis=0))
        centre = base + (reach - 1) * (nx + 1)
        bits = self.bits.take(centre)
        for step in (1, nx, nx + 1):
            bits |= self.bits.take(np.minimum(centre + step, self.bits.size - 1))
        bits &= ~self.no_data
        if self.near_bad is not None:
            gone = self.near_bad.take(centre)
            bits[gone] |= self.no_data
            image[gone] = 0.0
            variance[gone] = np.nan
        shape = inside.shape
        if everywhere:
            return _Tile(image.reshape(shape), variance.reshape(shape), bits.reshape(shape))
        full = _Tile(
            np.zeros(shape, np.float32),
            np.full(shape, np.nan, np.float32),
            np.full(shape, self.no_data, np.int32),
        )
        full.image[inside], full.variance[inside], full.bits[inside] = image, variance, bits
        return full

    def _weight_pairs(self, fraction):
        """(taps, 2n) float32: w for the image and w^2 for the variance of each position."""
        phase = np.rint(fraction * _PHASES).astype(np.intp)
        pairs = np.empty((self.table.taps, phase.size), np.complex64)
        for row, values in zip(self.pairs, pairs, strict=True):
            row.take(phase, out=values, mode="clip")
        return pairs.view(np.float32)

    def _sum(self, base, wx, wy):
        """(2n,) float32: image and variance sums of each position, interleaved."""
        taps, nx = self.table.taps, self.shape[1]
        value = np.empty(base.size, np.complex64)
        reals = value.view(np.float32)
        total = np.zeros_like(reals)
        row = np.empty_like(reals)
        for j in range(taps):
            row.fill(0)
            for i in range(taps):
                # A shifted view of the flat plane spares adding the tap's offset to every index.
                self.pair[j * nx + i :].take(base, out=value, mode="clip")
                np.multiply(reals, wx[i], out=reals)
                row += reals
            row *= wy[j]
            total += row
        return total


def _any_in_kernel(bad, taps):
    """Per source pixel p: whether a bad one lies under the kernel of positions in [p, p + 1)."""
    from scipy.ndimage import maximum_filter1d

    near = bad.astype(np.uint8)
    for axis in (0, 1):
        # taps - 1 more pixels, one less below than above: floor(position) is the left middle tap.
        near = maximum_filter1d(near, taps, axis=axis, mode="constant", origin=-1)
    return near.astype(bool).ravel()


def noise_correlation(pixel_map, box, *, order=ORDER, lags=6, samples=2000, seed=0):
    """Autocorrelation of white noise after resampling, normalised to sum 1.

    Mean of sum_n w_n(p) w_n(p + lag) over sample positions p on the target grid, so that it holds
    for any rotation, scale and distribution of sub-pixel phases: for identical grids it is a
    delta function.

    Parameters
    ----------
    pixel_map
        PixelMap from the target to the source.
    box
        (x0, y0, x1, y1) of the covered target pixels.
    order
        Lanczos order.
    lags
        Largest lag along each axis, px.
    samples
        Number of positions averaged.
    seed
        Of the choice of positions.

    Returns
    -------
    ndarray
        (2 lags + 1, 2 lags + 1), centred.
    """
    stretch = stretch_of(pixel_map)
    table = LanczosTable.of(order, stretch)
    rng = np.random.default_rng(seed)
    x0, y0, x1, y1 = box
    x = rng.integers(x0, max(x1, x0 + 1), samples)
    y = rng.integers(y0, max(y1, y0 + 1), samples)
    u, v = pixel_map.at(x, y)
    jacobian = pixel_map.jacobian(x, y)
    out = np.zeros((2 * lags + 1, 2 * lags + 1))
    for dy in range(-lags, lags + 1):
        for dx in range(-lags, lags + 1):
            du = jacobian[:, 0, 0] * dx + jacobian[:, 0, 1] * dy
            dv = jacobian[:, 1, 0] * dx + jacobian[:, 1, 1] * dy
            out[dy + lags, dx + lags] = np.mean(
                _overlap(table, u, u + du) * _overlap(table, v, v + dv)
            )
    return out / out.sum()


def _overlap(table, a, b):
    """sum_n w_n(a) w_n(b) along one axis, for arrays of positions."""
    ia, ib = np.floor(a).astype(int), np.floor(b).astype(int)
    wa, wb = table.at(a - ia), table.at(b - ib)
    taps = table.taps
    total = np.zeros(a.size)
    shift = ib - ia
    for k in range(taps):
        other = k - shift  # the tap of b on the same source pixel
        valid = (other >= 0) & (other < taps)
        total[valid] += wa[valid, k] * wb[np.flatnonzero(valid), other[valid]]
    return total


def warp_stamp(stamp, jacobian, size, *, order=ORDER):
    """A centred PSF stamp seen through the linear part of a pixel mapping, as `resample` would.

    Parameters
    ----------
    stamp
        (n, n) on the source grid.
    jacobian
        (2, 2) d(source) / d(target).
    size
        Odd size of the result.
    order
        Lanczos order.

    Returns
    -------
    ndarray
        (size, size) on the target grid; flux conserved.
    """
    area = abs(np.linalg.det(jacobian))
    scale = np.sqrt(area)
    table = LanczosTable.of(order, scale if scale > 1.05 else 1.0)
    half, reach = size // 2, table.taps // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    pad = reach + 1
    padded = np.pad(stamp, pad)
    middle = stamp.shape[0] // 2 + pad
    u = jacobian[0, 0] * xx + jacobian[0, 1] * yy + middle
    v = jacobian[1, 0] * xx + jacobian[1, 1] * yy + middle
    iu, iv = np.floor(u).astype(int), np.floor(v).astype(int)
    wx, wy = table.at(u - iu), table.at(v - iv)
    limit = padded.shape[0]
    total = np.zeros(xx.shape)
    for j in range(table.taps):
        row = np.zeros(xx.shape)
        rows = iv - (reach - 1) + j
        for i in range(table.taps):
            cols = iu - (reach - 1) + i
            valid = (rows >= 0) & (rows < limit) & (cols >= 0) & (cols < limit)
            row[valid] += wx[..., i][valid] * padded[rows[valid], cols[valid]]
        total += wy[..., j] * row
    return total * area
