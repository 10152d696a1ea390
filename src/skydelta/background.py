"""Sky level and sky noise of an image, from a mesh of cells free of sources."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadImageError
from skydelta.parallel import map_strips
from skydelta.splines import CardinalSplines, linear_matrix

_BLOCK = 4
"""Side of the blocks in which sources are looked for, px: about the width of a star."""

_MAX_SAMPLE = 64
"""Rows and columns sampled in a cell: 4096 pixels give the level to 0.02 sigma."""


@dataclass(frozen=True)
class Background:
    """Sky of an image; arrays are (ny, nx), indexed [y, x].

    Parameters
    ----------
    mesh
        The cells.
    level_cells, rms_cells
        Their values, counts.
    finite
        bool, usable pixels.
    sources
        bool, one for each block of pixels: whether a source was found in it.
    """

    mesh: object
    level_cells: np.ndarray
    rms_cells: np.ndarray
    finite: np.ndarray
    sources: np.ndarray

    def level_of(self, y0, y1):
        """`level` in the rows y0 to y1 - 1."""
        return self.mesh.expand(self.level_cells, smooth=True, rows=np.arange(y0, y1))

    def blank_rows(self, rows):
        """`blank` in the given rows."""
        y, x = (
            np.minimum(at // _BLOCK, count - 1)
            for at, count in zip(
                (rows, np.arange(self.finite.shape[1])), self.sources.shape, strict=True
            )
        )
        return self.finite[rows] & ~self.sources[y][:, x]

    @cached_property
    def blank(self):
        """bool, usable pixels without a detected source."""
        return self.blank_rows(np.arange(len(self.finite)))

    @cached_property
    def level(self):
        """float32, counts."""
        return self.mesh.expand(self.level_cells, smooth=True)

    @cached_property
    def rms(self):
        """float32, standard deviation of a sky pixel, counts."""
        return self.mesh.expand(self.rms_cells, smooth=False)

    @property
    def subtracted(self):
        """Whether the sky was taken off before: its level is within a few sigma of zero."""
        return bool(np.median(self.level[::8, ::8]) < 5.0 * np.median(self.rms[::8, ::8]))


def estimate_background(image, excluded=None, *, cell=None, passes=2, difference=False):
    """Sky level and rms maps.

    In each cell of a mesh the pixels are clipped at 3 sigma about their median; the median is the
    level, and the distance down to the 16th percentile, which faint sources do not touch, the rms.
    Sources found above the first level are left out of the next pass.

    Parameters
    ----------
    image
        (ny, nx), counts.
    excluded
        (ny, nx) bool, pixels not to use; those that are not finite never are.
    cell
        Side of a cell, px; default a quarter of the shorter axis within 32 and 128.
    passes
        Rounds of masking sources.
    difference
        Whether it is a difference image. With hardly a source in it the level may come from the
        means of small blocks, all of them: a quarter of the error that a sample of pixels has,
        which matters where faint sources are summed over many pixels.

    Raises
    ------
    BadImageError
        If no cell has enough usable pixels.
    """
    mesh = _Mesh(image.shape, cell or int(np.clip(min(image.shape) // 4, 32, 128)))
    finite, blocks, sampled = _condensed(image, excluded, mesh)
    sources = np.zeros(blocks.shape, bool)
    level, rms = mesh.statistics(sampled, sources, None)
    for _ in range(passes):
        sources = _source_blocks(blocks, mesh, level, rms)
        level, rms = mesh.statistics(sampled, sources, level)
    if difference:
        level = _level_of_blocks(blocks, sources, mesh, level)
    return Background(mesh, level, rms, finite, sources)


def residual_background(difference, unusable, cell):
    """(level, its rms) of what the background fitted with a kernel left over.

    Parameters
    ----------
    difference
        (ny, nx), counts.
    unusable
        (ny, nx) bool.
    cell
        Wished side of a cell, px; small images have four at least.
    """
    cell = min(cell, max(min(difference.shape) // 2, 32))
    level = estimate_background(difference, unusable, cell=cell, passes=1, difference=True).level
    return level, float(np.std(level[::8, ::8]))


def _condensed(image, excluded, mesh):
    """What is needed of an image: usable pixels, means of blocks, and the pixels of the sample.

    A mean is NaN where one of its pixels is not usable; an unusable pixel of the sample is inf.
    """
    ny, nx = image.shape
    y, x = mesh.axes
    finite = np.empty((ny, nx), bool)
    blocks = np.empty((ny // _BLOCK, nx // _BLOCK), np.float32)
    sampled = np.empty((y.sampled.size, x.sampled.size), np.float32)

    def condense(y0, y1):
        part = np.array(image[y0:y1], np.float32)
        np.isfinite(part, out=finite[y0:y1])
        if excluded is not None:
            finite[y0:y1] &= ~excluded[y0:y1]
        part[~finite[y0:y1]] = np.nan
        blocks[y0 // _BLOCK : y1 // _BLOCK] = _block_means(part)
        first, last = np.searchsorted(y.sampled, (y0, y1))
        picked = part[np.ix_(y.sampled[first:last] - y0, x.sampled)]
        picked[np.isnan(picked)] = np.inf
        sampled[first:last] = picked

    map_strips(condense, ny)
    return finite, blocks, sampled


def noise_correlation(image, background, clip=4.0):
    """Mean correlation of blank-sky pixels with their neighbours along x and along y.

    Zero for untouched pixels; about 0.5 and more where the image was resampled, so that the noise
    of a sum of pixels is larger than their variances tell.
    """
    # Whole rows at a stride keep neighbours together and the cost of large images down.
    rows = np.arange(0, image.shape[0] - 1, max(1, image.shape[0] // 512))
    first, second = (
        np.where(
            background.blank[r],
            (image[r] - background.level[r]) / background.rms[r],
            np.float32(np.nan),
        )
        for r in (rows, rows + 1)
    )
    for plane in (first, second):
        plane[np.abs(plane) > clip] = np.nan
    variance = np.nanmean(first**2)
    along_x = np.nanmean(first[:, 1:] * first[:, :-1])
    along_y = np.nanmean(first * second)
    return float(0.5 * (along_x + along_y) / variance)


def _level_of_blocks(blocks, sources, mesh, level):
    """The level of each cell from the medians of its blocks' means."""
    y, x = mesh.axes
    count_y, count_x = (n // axis.n for n, axis in zip(blocks.shape, mesh.axes, strict=True))
    rest = np.where(
        sources, np.float32(np.inf), blocks - mesh.expand(level, smooth=True, step=_BLOCK)
    )
    rest[np.isnan(rest)] = np.inf
    rows, columns = (
        np.linspace(0, n, axis.n + 1)[:-1, None].astype(int) + np.arange(count)
        for n, axis, count in zip(blocks.shape, mesh.axes, (count_y, count_x), strict=True)
    )
    cells = rest[rows[:, None, :, None], columns[None, :, None, :]].reshape(y.n * x.n, -1)
    median, _, count = _clipped_in_batches(cells)
    poor = count < max(10, 0.05 * cells.shape[1])
    return level + np.where(poor, 0.0, median).reshape(mesh.counts).astype(np.float32)


class _Mesh:
    """Cells that tile an image and the pixels sampled in each."""

    def __init__(self, shape, cell):
        self.shape = shape
        self.axes = [_CellAxis(length, cell) for length in shape]
        self.counts = tuple(axis.n for axis in self.axes)

    def by_cell(self, picked):
        """Sampled pixels as one row per cell."""
        y, x = self.axes
        picked = picked.reshape(y.n, y.per_cell, x.n, x.per_cell)
        return picked.swapaxes(1, 2).reshape(y.n * x.n, -1)

    def statistics(self, sampled, sources, level):
        """Level and rms of each cell, about an earlier estimate of the level if there is one."""
        y, x = self.axes
        block_y, block_x = (
            np.minimum(axis.sampled // _BLOCK, n - 1)
            for axis, n in zip(self.axes, sources.shape, strict=True)
        )
        values = np.where(sources[np.ix_(block_y, block_x)], np.float32(np.inf), sampled)
        if level is not None:
            values -= y.matrix(y.sampled, True) @ level @ x.matrix(x.sampled, True).T
        values = self.by_cell(values)
        median, rms, count = _clipped_in_batches(values)
        poor = count < max(30, 0.05 * values.shape[1])
        if poor.all():
            msg = "the sky cannot be measured: no region of the image is free of masked pixels"
            raise BadImageError(msg)
        median, rms = (
            _filled(np.where(poor, np.nan, a).reshape(self.counts)) for a in (median, rms)
        )
        return _despiked(median if level is None else median + level), _median_of_nine(rms)

    def expand(self, mesh, *, smooth, step=1, rows=None):
        """float32 map through the cells' values, at every pixel or at blocks of `step` pixels.

        Of all rows of them or of those given.
        """
        at = [np.arange(length // step) for length in self.shape]
        if rows is not None:
            at[0] = rows
        wy, wx = (
            axis.matrix(a * step + 0.5 * (step - 1), smooth)
            for axis, a in zip(self.axes, at, strict=True)
        )
        return wy @ mesh @ wx.T


class _CellAxis:
    """Cells along one axis of an image."""

    def __init__(self, length, cell):
        self.n = max(1, round(length / cell))
        edges = np.linspace(0, length, self.n + 1)
        self.centres = 0.5 * (edges[1:] + edges[:-1]) - 0.5
        self.per_cell = min(_MAX_SAMPLE, length // self.n)
        steps = (np.arange(self.per_cell) + 0.5) / self.per_cell
        self.sampled = (edges[:-1, None] + steps * (length / self.n)).astype(int).ravel()

    def matrix(self, at, smooth):
        """(len(at), n) float32 interpolation from the cells: spline, or linear and held at ends."""
        if self.n == 1:
            return np.ones((len(at), 1), np.float32)
        if smooth:
            return CardinalSplines(self.centres, natural=True)(at).astype(np.float32)
        return linear_matrix(self.centres, at).astype(np.float32)


def _clipped_in_batches(values, size=64):
    """`_clipped_statistics` of so many rows at a time, which the cache holds, in threads."""
    parts = map_strips(lambda a, b: _clipped_statistics(values[a:b]), len(values), size)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _clipped_statistics(values, kappa=3.0, iterations=6):
    """Median, lower-side sigma and number of the pixels left in each row; inf marks the unused."""
    ordered = np.sort(values, axis=1)
    rows = np.arange(len(ordered))
    low = np.zeros(len(ordered), int)
    high = np.count_nonzero(np.isfinite(ordered), axis=1)
    empty = high == 0
    ordered[empty] = 0.0

    def quantile(fraction):
        position = low + (fraction * np.maximum(high - low - 1, 0)).astype(int)
        return ordered[rows, np.minimum(position, ordered.shape[1] - 1)]

    for _ in range(iterations):
        median = quantile(0.5)
        sigma = median - quantile(0.1587)
        new_low = np.count_nonzero(ordered < (median - kappa * sigma)[:, None], axis=1)
        new_high = np.count_nonzero(ordered <= (median + kappa * sigma)[:, None], axis=1)
        if np.array_equal(new_low, low) and np.array_equal(new_high, high):
            break
        low, high = new_low, new_high
    median = quantile(0.5)
    return median, median - quantile(0.1587), np.where(empty, 0, high - low)


def _filled(mesh):
    """Cells without a value (NaN) take that of the nearest cell that has one."""
    from scipy.ndimage import distance_transform_edt

    empty = np.isnan(mesh)
    if not empty.any():
        return mesh
    nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return mesh[tuple(nearest)]


def _despiked(mesh):
    """Cells far off the median of their neighbours (a galaxy fills them) replaced by it."""
    smooth = _median_of_nine(mesh)
    deviation = mesh - smooth
    scatter = 1.4826 * np.median(np.abs(deviation))
    return np.where(np.abs(deviation) > 3.0 * scatter, smooth, mesh)


def _median_of_nine(mesh):
    """Median of each cell and its neighbours; beyond the edges the mesh goes on linearly."""
    from scipy.ndimage import median_filter

    # Repeated edge cells would flatten a gradient there.
    for axis, n in enumerate(mesh.shape):
        width = [(0, 0), (0, 0)]
        width[axis] = (1, 1)
        options = {"mode": "reflect", "reflect_type": "odd"} if n > 1 else {"mode": "edge"}
        mesh = np.pad(mesh, width, **options)
    return median_filter(mesh, size=3)[1:-1, 1:-1].astype(np.float32)


def _block_means(image):
    """Means of blocks of pixels; NaN where one of them is."""
    ny, nx = (n // _BLOCK for n in image.shape)
    rows = image[: ny * _BLOCK, : nx * _BLOCK].reshape(ny, _BLOCK, nx * _BLOCK).sum(axis=1)
    # As a product with a vector: numpy sums along short axes slowly.
    mean = np.full(_BLOCK, 1.0 / _BLOCK**2, np.float32)
    return (rows.reshape(-1, _BLOCK) @ mean).reshape(ny, nx)


def _source_blocks(blocks, mesh, level, rms, threshold=3.0):
    """Bool, where a block stands above the sky or has a neighbour that does."""
    from scipy.ndimage import binary_dilation

    excess = blocks - mesh.expand(level, smooth=True, step=_BLOCK)
    excess /= mesh.expand(rms, smooth=False, step=_BLOCK)
    # Measured on the blocks themselves: neighbouring pixels of a resampled image are correlated.
    known = excess[np.isfinite(excess)]
    if not known.size:  # every block holds a bad pixel
        return np.zeros(blocks.shape, bool)
    middle = np.median(known)
    noise = 1.4826 * np.median(np.abs(known - middle))
    return binary_dilation(excess > middle + threshold * noise, np.ones((3, 3), bool))
