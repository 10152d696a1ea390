"""Satellite trails: straight lines that cross a difference image.

The significance of binned pixels, clipped so that no single object counts for much, is summed along
all lines by the fast Radon transform (Nir, Zackay & Ofek 2018). The best line is then followed at
full resolution: it must be there all along its way, which no row of stars or bleed is; its width
comes from its own profile. What is found is taken out and the search goes on, as in the stack's
maskStreaks and acstools' findsat_mrt, which find lines by a Hough transform of edge pixels and by a
median Radon transform.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from skydelta.artefacts.radon import line_sums
from skydelta.cells import cell_medians, upsample
from skydelta.local_psf import reference_place
from skydelta.mask import UNUSABLE

log = logging.getLogger(__name__)

_BIN = 4
"""px; about the FWHM, so that a bin holds most of a trail's width."""

_PIXEL_CLIP, _BIN_CLIP = 5.0, 4.0
"""sigma; more of a pixel, of a bin, does not count."""

_BACKGROUND = 32
"""Bins; the level over so many is taken off."""

_LEAST_BINS = 40
"""Good bins that a line must have."""

_HALF = 40
"""px to each side of a line that are looked at."""

_SHIFTS = ((24.0, 2.0), (3.0, 0.5))
"""px by which each end of a line is moved to find its best place, and in what steps; in turn."""

_PIECES = 16
"""A line is judged in so many pieces."""

_LEAST_PIECES = 4
"""Pieces in a row that make a streak."""

_PIECE_SIGMA = 1.5
"""Least significance of it in a piece where it is seen."""

_PIECE_COST, _PIECE_SHARE = 1.0, 0.25
"""A piece of less significance than this, or than this part of its better pieces', shortens rather
than lengthens a streak."""

_PIECES_SEEN = 0.6
"""Share of its pieces in which it must be seen."""

_WING = 0.2
"""The mask ends where the profile falls below so many sigma of a pixel, or into its noise."""

_LEAST_EFFECT = 1.0
"""Sigma by which a streak changes the PSF flux of a source on it; a fainter one, such as the trace
of a bad column that took the whole image to be seen, neither makes detections nor spoils fluxes."""

_MARGIN = 8
"""px about a streak that do not count for the next one: the wings of a bright trail."""

_MAX_LINES = 40
"""Lines looked at, streaks or not: it bounds the time of a bad subtraction."""


@dataclass(frozen=True)
class Streak:
    """A straight trail.

    Parameters
    ----------
    x0, y0, x1, y1
        Ends of its middle line, 0-based px.
    half_width
        px from the middle line to where the mask ends.
    significance
        Of the sum along it, sigma; negative for a trail in the template.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    half_width: float
    significance: float


def find_streaks(exposure, threshold=8.0, *, excluded=None):
    """Trails of positive or negative sign.

    Parameters
    ----------
    exposure
        Difference of white noise.
    threshold
        Least significance of a line's sum, sigma.
    excluded
        (ny, nx) bool of pixels that do not count beside the unusable ones: those about saturated
        stars.

    Returns
    -------
    list of Streak
        Most significant first.
    """
    ny, nx = exposure.shape
    if min(ny, nx) < _BIN * _LEAST_BINS:
        return []
    fwhm = exposure.psf.compute_shape(*reference_place(exposure.psf, exposure.shape)).fwhm
    z = _significance(exposure, excluded)
    binned = _binned(z)
    fields = [_LineField(*binned, transposed) for transposed in (False, True)]
    streaks = []
    for _ in range(_MAX_LINES):
        field = max(fields, key=_LineField.highest)
        if field.highest() < threshold:
            break
        line, significance = field.best()
        streak = _followed(z, line, significance, fwhm)
        field.pass_over_best()
        if streak is None:
            continue
        streaks.append(streak)
        log.info("%s", streak)
        wide = replace(streak, half_width=2 * streak.half_width + _MARGIN)
        where = _near(wide, field.binned_shape, _BIN)
        for each in fields:
            each.remove(where)
    return streaks


def streak_spans(streak, shape, scale=1):
    """Rows (n,) and first and last columns (n,) of the pixels that a streak touches.

    Parameters
    ----------
    streak
        Streak.
    shape
        (ny, nx) of the image, or of one binned by `scale`.
    scale
        px per bin.
    """
    ny, nx = shape
    length = np.hypot(streak.x1 - streak.x0, streak.y1 - streak.y0)
    c, s = (streak.x1 - streak.x0) / length, (streak.y1 - streak.y0) / length
    reach = streak.half_width + 0.7 * (scale - 1)
    y = np.arange(ny) * scale + 0.5 * (scale - 1) - streak.y0
    low, high = np.full(ny, -np.inf), np.full(ny, np.inf)
    # |y c - x s| <= reach across the line, -reach <= x c + y s <= length + reach along it.
    for slope, first, last in (
        (-s, -reach - y * c, reach - y * c),
        (c, -reach - y * s, length + reach - y * s),
    ):
        if abs(slope) < 1e-12:
            outside = (first > 0) | (last < 0)
            high[outside] = -np.inf
            continue
        one, other = first / slope, last / slope
        low, high = (
            np.maximum(low, np.minimum(one, other)),
            np.minimum(high, np.maximum(one, other)),
        )
    edges = ((edge + streak.x0 - 0.5 * (scale - 1)) / scale for edge in (low, high))
    low, high = (np.clip(edge, -1, nx) for edge in edges)
    x0, x1 = np.maximum(np.ceil(low), 0).astype(int), np.minimum(np.floor(high), nx - 1).astype(int)
    rows = np.flatnonzero(x1 >= x0)
    return rows, x0[rows], x1[rows]


def _near(streak, shape, scale):
    """Pixels of an image binned by `scale` that a streak touches."""
    where = np.zeros(shape, bool)
    for row, first, last in zip(*streak_spans(streak, shape, scale), strict=True):
        where[row, first : last + 1] = True
    return where


def _significance(exposure, excluded):
    """(ny, nx) float32 pixels in their sigma, 0 where unusable; NaN never."""
    usable = ~exposure.mask.any(*UNUSABLE) & (exposure.variance > 0)
    usable &= np.isfinite(exposure.variance)
    if excluded is not None:
        usable &= ~excluded
    z = np.zeros(exposure.shape, np.float32)
    np.divide(exposure.image, np.sqrt(exposure.variance, where=usable, out=z), out=z, where=usable)
    z[~usable] = 0.0
    return z


def _binned(z):
    """Clipped significance of bins and which of them hold enough pixels, both (my, mx)."""
    my, mx = (n // _BIN for n in z.shape)
    blocks = np.clip(z[: my * _BIN, : mx * _BIN], -_PIXEL_CLIP, _PIXEL_CLIP)
    blocks = blocks.reshape(my, _BIN, mx, _BIN)
    count = np.count_nonzero(blocks, axis=(1, 3))
    good = count >= _BIN**2 // 2
    binned = blocks.sum(axis=(1, 3)) / np.sqrt(np.maximum(count, 1))
    level = cell_medians(binned, good, _BACKGROUND, step=1)
    if np.isfinite(level).all():
        binned -= upsample(level, binned.shape)
        scatter = 1.4826 * np.median(np.abs(binned[good]))
        binned /= scatter if scatter > 0 else 1.0
    binned = np.clip(binned, -_BIN_CLIP, _BIN_CLIP)
    return np.where(good, binned, 0).astype(np.float32), good


class _LineField:
    """Significance of all lines within 45 degrees of one axis."""

    def __init__(self, binned, good, transposed):
        self.transposed = transposed
        self.binned_shape = binned.shape
        if transposed:
            binned, good = binned.T, good.T
        rows = 1 << (binned.shape[0] - 1).bit_length()
        pad = ((0, rows - binned.shape[0]), (0, 0))
        self.values = np.pad(binned, pad)
        self.good = np.pad(good.astype(np.float32), pad)
        self.passed = []
        self._sum()

    def _sum(self):
        count = line_sums(self.good)
        self.field = line_sums(self.values)
        self.field /= np.sqrt(np.maximum(count, 1))
        self.field[count < _LEAST_BINS] = 0.0
        for window in self.passed:
            self.field[window] = 0.0
        self._find()

    def _find(self):
        # Without a copy of the field: the larger of its two extremes.
        ends = self.field.argmax(), self.field.argmin()
        self.index = max(ends, key=lambda i: abs(self.field.flat[i]))

    def highest(self):
        """Largest |significance| of a line."""
        return abs(float(self.field.flat[self.index]))

    def best(self):
        """((x, y) of two points of the best line, px of the image), signed significance."""
        rows = self.values.shape[0]
        lean, start = np.unravel_index(self.index, self.field.shape)
        lean, start = lean - (rows - 1), start - (rows - 1)
        last = (self.binned_shape[::-1] if self.transposed else self.binned_shape)[0] - 1
        ends = np.array([[start, 0], [start + lean * last / (rows - 1), last]], float)
        if self.transposed:
            ends = ends[:, ::-1]
        return ends * _BIN + 0.5 * (_BIN - 1), float(self.field.flat[self.index])

    def pass_over_best(self):
        """Never again give the best line or those beside it."""
        lean, start = np.unravel_index(self.index, self.field.shape)
        window = np.s_[max(lean - 4, 0) : lean + 5, max(start - 4, 0) : start + 5]
        self.passed.append(window)
        self.field[window] = 0.0
        self._find()

    def remove(self, where):
        """Let bins, (my, mx) bool, count no more."""
        where = where.T if self.transposed else where
        for plane in (self.values, self.good):
            plane[: where.shape[0]][where] = 0.0
        self._sum()


def _followed(z, ends, significance, fwhm):
    """The streak along a line at full resolution, or None if it is not there all along."""
    ends = _clipped_to_image(ends, z.shape)
    if ends is None:
        return None
    sign = np.sign(significance)
    ends = _moved(z, ends, sign, max(fwhm, 3.0))
    strip = _strip(z, ends)
    if strip.shape[1] < _PIECES * _BIN:
        return None
    if _effect(sign * strip, fwhm) < _LEAST_EFFECT:
        return None
    half_width = _half_width(sign * strip, fwhm)
    inner = np.abs(np.arange(-_HALF, _HALF + 1)) <= max(0.5 * half_width, 0.5 * fwhm)
    pieces = [_piece_significance(sign * p) for p in np.array_split(strip[inner], _PIECES, axis=1)]
    first, last = _best_run(np.array(pieces))
    seen = np.mean(np.array(pieces[first:last]) > _PIECE_SIGMA) if last > first else 0.0
    if last - first < _LEAST_PIECES or seen < _PIECES_SEEN:
        return None
    (x0, y0), (x1, y1) = ends[0] + np.array([[first], [last]]) / _PIECES * (ends[1] - ends[0])
    return Streak(float(x0), float(y0), float(x1), float(y1), half_width, significance)


def _clipped_to_image(ends, shape):
    """Where the line through two points enters and leaves the image; None if it misses it."""
    ny, nx = shape
    start, step = ends[0], ends[1] - ends[0]
    low, high = -np.inf, np.inf
    for p, d, last in ((start[0], step[0], nx - 1), (start[1], step[1], ny - 1)):
        if d != 0:
            one, other = sorted(((0 - p) / d, (last - p) / d))
            low, high = max(low, one), min(high, other)
        elif not 0 <= p <= last:
            return None
    return start + np.array([[low], [high]]) * step if high > low else None


def _strip(z, ends):
    """(2 _HALF + 1, length) pixels along a line, rows by distance from it; NaN where unusable."""
    ny, nx = z.shape
    length = np.hypot(*(ends[1] - ends[0]))
    c, s = (ends[1] - ends[0]) / length
    along = np.arange(int(length) + 1)
    across = np.arange(-_HALF, _HALF + 1)[:, None]
    x = np.rint(ends[0, 0] + along * c - across * s).astype(int)
    y = np.rint(ends[0, 1] + along * s + across * c).astype(int)
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    values = z[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    return np.where(inside & (values != 0), values, np.float32(np.nan))


def _moved(z, ends, sign, width):
    """The line with each end moved across to where its sum is largest."""
    for reach, step in _SHIFTS:
        strip = sign * _strip(z, ends)
        # A trail brighter than the clip of single objects counts in full, or it had no middle.
        clip = max(_PIXEL_CLIP, 1.5 * _profile(strip).max())
        strip = np.nan_to_num(np.clip(strip, -clip, clip))
        ends = _shifted(ends, strip, np.arange(-reach, reach + step / 2, step), width)
    return ends


def _shifted(ends, strip, grid, width):
    """The ends shifted by the two values of `grid` that make the largest sum of the strip."""
    box = np.ones(2 * int(0.5 * width) + 1)
    pieces = np.array_split(strip, _PIECES, axis=1)
    profiles = np.array([np.convolve(p.sum(axis=1), box, "same") for p in pieces])
    place = (np.arange(_PIECES) + 0.5) / _PIECES
    first, last = (a.ravel()[:, None] for a in np.meshgrid(grid, grid))
    rows = np.rint(first * (1 - place) + last * place).astype(int) + _HALF
    best = profiles[np.arange(_PIECES), rows].sum(axis=1).argmax()
    direction = (ends[1] - ends[0]) / np.hypot(*(ends[1] - ends[0]))
    normal = np.array([-direction[1], direction[0]])
    return ends + np.array([first[best, 0], last[best, 0]])[:, None] * normal


def _profile(strip):
    """(2 _HALF + 1,) median across the line, the level at its ends taken off."""
    known = np.isfinite(strip).any(axis=1)
    profile = np.zeros(len(strip))
    profile[known] = np.nanmedian(strip[known], axis=1)
    outer = _HALF // 4
    return profile - np.median(np.r_[profile[:outer], profile[-outer:]])


def _effect(strip, fwhm):
    """Sigma that a strip adds to the PSF flux of a source on its middle line.

    For a Gaussian PSF phi of width s on white noise, sum(phi z) / sqrt(sum(phi^2)); phi summed
    along the line is a Gaussian of one dimension, sum(phi^2) = 1 / (4 pi s^2).
    """
    width = fwhm / np.sqrt(8 * np.log(2))
    across = np.arange(-_HALF, _HALF + 1)
    weight = np.exp(-0.5 * (across / width) ** 2) / (np.sqrt(2 * np.pi) * width)
    return float(2 * np.sqrt(np.pi) * width * (weight @ _profile(strip)))


def _half_width(strip, fwhm):
    """Where the profile across falls into its noise or its far wings, px; at least one FWHM."""
    profile = _profile(strip)
    folded = 0.5 * (profile[_HALF:] + profile[_HALF::-1])
    known = np.median(np.isfinite(strip).sum(axis=1))
    noise = 1.2533 / np.sqrt(max(2 * known, 1))  # of a median, of two sides
    smooth = np.convolve(np.r_[folded[1], folded, folded[-1]], np.ones(3) / 3, "valid")
    below = np.flatnonzero(smooth < max(_WING, 2.5 * noise / np.sqrt(3)))
    reach = float(below[0]) if below.size else float(_HALF)
    return float(max(reach + 1.0, fwhm))


def _piece_significance(piece):
    """Significance of the mean of the clipped pixels of a piece."""
    known = np.isfinite(piece)
    total = np.clip(piece[known], -_PIXEL_CLIP, _PIXEL_CLIP).sum()
    return float(total / np.sqrt(max(known.sum(), 1)))


def _best_run(pieces):
    """(first, last + 1) of the run of pieces with the largest sum above what a gap costs."""
    typical = np.percentile(pieces, 75)
    cost = max(_PIECE_COST, _PIECE_SHARE * typical)
    sums = np.r_[0.0, np.cumsum(np.minimum(pieces, max(typical, 2 * cost)) - cost)]
    gain = sums[None, :] - sums[:, None]
    gain[np.tril_indices(len(sums))] = -np.inf
    return np.unravel_index(gain.argmax(), gain.shape)
