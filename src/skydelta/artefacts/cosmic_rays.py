"""Cosmic rays in a difference image: pixels sharper than any light that came through the optics.

The test is condition 3 of the LSST stack's findCosmicRays (Shimasaku and Lupton; also SDSS photo):
along one of four directions the two neighbours of a pixel are fainter, against it, than the PSF
allows. On a difference the light is not only the PSF: a star that is out of place leaves the PSF's
gradient, one that is too wide its Laplacian, and those are sharper. The contrast allowed is the
largest of all three, at any sub-pixel position; that of the PSF alone where too little light was
subtracted to leave such a residual.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from skydelta.local_psf import is_known, reference_place
from skydelta.mask import UNUSABLE
from skydelta.psf import grid_nodes, shift_stamps

_DIRECTIONS = np.array([(0, 1), (1, 0), (1, 1), (1, -1)])
"""(dy, dx) to one of the two neighbours; the other lies opposite."""

_NODES = 3
"""Positions along each axis at which the PSF's contrast is evaluated."""

_ERROR = 2.5
"""Sigmas by which noise may have sharpened the core of a hit (cond3_fac of the stack)."""

_SLACK = 0.6
"""A core's neighbours are below this part of what the PSF allows (cond3_fac2 of the stack)."""

_GROW_ERROR, _GROW_SLACK = 1.0, 0.6
"""The same for pixels that touch a core."""

_ALONE_ERROR = 1.0
"""Added to both where the PSF's contrast alone counts: noise on the flank of a faint transient
sharpens it more often than the PSF's derivatives allow for."""

_SHIFT = 0.25
"""px by which a PSF is moved both ways for its gradient, which central differences would widen."""

_GROW_SIGMA = 3.0
"""Least significance of those."""

_PATTERN = 12
"""px; brighter light within this distance explains a pixel by the PSF's wings and rings."""

_PATTERN_ERROR = 2.0
"""Wings and rings may be this much brighter than the PSF model has them."""

_CHUNK = 4096
"""Candidates whose surroundings are looked at together: it bounds their memory."""


_RESIDUAL = 0.5
"""A star's residual is fainter than this part of the light subtracted within 2 px of it."""

_MODEL_ERROR = 0.02
"""Of the subtracted light of a pixel: the noise of a bright star's core that no model foresees."""


@dataclass(frozen=True)
class CosmicRays:
    """Pixels hit by cosmic rays.

    Parameters
    ----------
    pixels
        (ny, nx) bool: all hits with the pixels that touch them; whitening spreads a little of
        their charge there.
    template
        (ny, nx) bool: those on the template, negative in the difference.
    count, count_template
        Number of hits, and of those on the template.
    """

    pixels: np.ndarray
    template: np.ndarray
    count: int
    count_template: int


def find_cosmic_rays(exposure, threshold=6.0, *, matched=None, excluded=None):
    """Cosmic rays of both signs.

    Parameters
    ----------
    exposure
        Difference of white noise, with PSF.
    threshold
        Least |pixel| of a hit's core, in its own sigma.
    matched
        skydelta.matched_template.MatchedTemplate: a fiftieth of its light counts as noise; None
        for none.
    excluded
        (ny, nx) bool of pixels that are no cores, or None.

    Returns
    -------
    CosmicRays
    """
    pixels = _Significance(exposure, matched)
    contrast = _AllowedContrast(exposure)
    cores = pixels.above(threshold)
    if excluded is not None:
        cores = cores[~excluded.ravel()[cores]]
    cores = cores[pixels.highest(cores)]
    cores = cores[pixels.sharper(cores, contrast, _ERROR, _SLACK)]
    hits = _grown(pixels, contrast, cores)
    hits, group, positive = _unexplained(exposure, hits)
    every = _with_neighbours(hits, exposure.shape)
    template = _with_neighbours(hits[~positive], exposure.shape)
    counts = (int(np.unique(group[s]).size) for s in (slice(None), ~positive))
    return CosmicRays(every, template, *counts)


class _Significance:
    """Pixels by flat index: image, variance, and which are usable."""

    def __init__(self, exposure, matched):
        self.shape = exposure.shape
        self.image, self.variance = exposure.image.ravel(), exposure.variance.ravel()
        self.mask = exposure.mask.array.ravel()
        self.bits = np.int32(exposure.mask.bits(*UNUSABLE))
        self.matched = matched
        self.taken = np.zeros(self.image.size, bool)

    def usable(self, index):
        variance = self.variance[index]
        known = (variance > 0) & np.isfinite(variance)
        return known & ((self.mask[index] & self.bits) == 0) & ~self.taken[index]

    def sigma(self, index):
        """Standard errors of pixels with that of the subtracted light."""
        variance = self.variance[index]
        if self.matched is not None:
            variance = variance + (_MODEL_ERROR * self.matched.pixel_light(index)) ** 2
        return np.sqrt(variance)

    def alone(self, index):
        """Which pixels are brighter than any residual of the light that was subtracted there."""
        if self.matched is None:
            return np.zeros(index.size, bool)
        ny, nx = self.shape
        y, x = np.divmod(index, nx)
        light = np.zeros(index.size)
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                around = np.clip(y + dy, 0, ny - 1) * nx + np.clip(x + dx, 0, nx - 1)
                light = np.maximum(light, self.matched.pixel_light(around))
        return np.abs(self.image[index]) > _RESIDUAL * light + _ERROR * self.sigma(index)

    def above(self, threshold):
        """Flat indices of usable pixels of |value| above so many sigma."""
        with np.errstate(invalid="ignore"):
            # A comparison with NaN is false: pixels without variance drop out.
            found = np.flatnonzero(self.image**2 > np.float32(threshold**2) * self.variance)
        found = found[self.usable(found)]
        return found[np.abs(self.image[found]) > threshold * self.sigma(found)]

    def highest(self, index):
        """Which of the pixels are fainter than none of the eight around them.

        The flank of a star's residual can be as sharp as a hit, its top cannot.
        """
        ny, nx = self.shape
        y, x = np.divmod(index, nx)
        own = np.abs(self.image[index])
        highest = np.ones(index.size, bool)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = (y + dy >= 0) & (y + dy < ny) & (x + dx >= 0) & (x + dx < nx)
                other = np.where(inside, index + dy * nx + dx, index)
                highest &= ~(np.abs(self.image[other]) > own) | ~self.usable(other)
        return highest

    def sharper(self, index, contrast, error, slack):
        """Which of the pixels stand out of their neighbours more than the PSF allows."""
        ny, nx = self.shape
        y, x = np.divmod(index, nx)
        sign = np.sign(self.image[index])
        alone = self.alone(index)
        allowed = np.where(alone, contrast.at(x, y, alone=True), contrast.at(x, y))
        error = error + _ALONE_ERROR * alone
        core = np.abs(self.image[index]) - error * self.sigma(index)
        sharp = np.zeros(index.size, bool)
        for (dy, dx), ratio in zip(_DIRECTIONS, allowed, strict=True):
            inside = (y >= dy) & (y + dy < ny)
            inside &= (x >= abs(dx)) & (x + abs(dx) < nx)
            step = np.where(inside, dy * nx + dx, 0)
            one, other = index + step, index - step
            usable = inside & (ratio > 0) & self.usable(one) & self.usable(other)
            mean = 0.5 * sign * (self.image[one] + self.image[other])
            with np.errstate(invalid="ignore"):  # unusable pixels may hold NaN
                noise = 0.5 * np.sqrt(self.variance[one] + self.variance[other])
                sharp |= usable & (slack * ratio * core > mean + error * noise)
        return sharp


class _AllowedContrast:
    """Least mean of two opposite neighbours over the pixel between them, by direction."""

    def __init__(self, exposure):
        ny, nx = exposure.shape
        self.x, self.y = grid_nodes(nx, _NODES), grid_nodes(ny, _NODES)
        xx, yy = (a.ravel() for a in np.meshgrid(self.x, self.y))
        # (2, nodes, 4): with a star's residuals, of the PSF alone.
        ratios = [_least_ratios(s) for s in exposure.psf.stamps(xx, yy)]
        self.ratios = np.array(ratios).transpose(1, 0, 2)

    def at(self, x, y, *, alone=False):
        """(4, n) at the nearest node, of the PSF alone or with a star's residuals."""
        i, j = (np.rint(np.interp(p, n, np.arange(_NODES))) for p, n in ((x, self.x), (y, self.y)))
        return self.ratios[int(alone), (j * _NODES + i).astype(int)].T


def _least_ratios(stamp):
    """(2, 4) over sub-pixel positions: of PSF, gradients and Laplacian at their peaks; of the PSF.

    Zero, so that no pixel is called sharp, where the PSF is not known.
    """
    if not is_known(stamp):
        return np.zeros((2, len(_DIRECTIONS)))
    steps = np.linspace(-0.5, 0.5, 3)
    dx, dy = (a.ravel() for a in np.meshgrid(steps, steps))
    phi = shift_stamps(np.broadcast_to(stamp, (dx.size, *stamp.shape)), dx, dy)
    gx = shift_stamps(phi, *_constant(dx, _SHIFT, 0)) - shift_stamps(
        phi, *_constant(dx, -_SHIFT, 0)
    )
    gy = shift_stamps(phi, *_constant(dx, 0, _SHIFT)) - shift_stamps(
        phi, *_constant(dx, 0, -_SHIFT)
    )
    gyy, gxx = np.gradient(gy, axis=1), np.gradient(gx, axis=2)
    least, alone = np.ones(len(_DIRECTIONS)), None
    for patterns in (phi, gx, gy, gx + gy, gx - gy, gxx + gyy):
        inner = np.abs(patterns[:, 1:-1, 1:-1]).reshape(len(patterns), -1)
        j, i = np.divmod(inner.argmax(axis=1), patterns.shape[2] - 2)
        rows, j, i = np.arange(len(patterns)), j + 1, i + 1
        peak = patterns[rows, j, i]
        for k, (v, u) in enumerate(_DIRECTIONS):
            pair = 0.5 * (patterns[rows, j + v, i + u] + patterns[rows, j - v, i - u])
            least[k] = min(least[k], (pair / peak).min())
        alone = least.copy() if alone is None else alone
    return np.maximum([least, alone], 0.0)


def _constant(like, *values):
    return (np.full(like.size, float(value)) for value in values)


def _unexplained(exposure, hits):
    """Hits less those whose brightest pixel the wings or rings of light beside them account for.

    Light is what is not sharp itself: a track does not explain its own pixels. The second array
    numbers the hits that belong together, the third tells whose brightest pixel is positive,
    whatever the sign of its ripples.
    """
    if hits.size == 0:
        return hits, np.zeros(0, int), np.zeros(0, bool)
    light = np.abs(exposure.image)
    light[exposure.mask.any("NO_DATA", "BAD")] = 0.0
    brightness = light.ravel()[hits]
    touched = _with_neighbours(hits, exposure.shape)
    light[touched] = 0.0
    groups = ndimage.label(touched, np.ones((3, 3)))[0].ravel()[hits]
    order = np.lexsort((-brightness, groups))
    first = np.r_[True, np.diff(groups[order]) > 0]
    brightest = order[first]
    explained = _expected(light, exposure.psf, hits[brightest]) > brightness[brightest]
    keep = ~explained[groups - 1]
    positive = (exposure.image.ravel()[hits[brightest]] > 0)[groups - 1]
    return hits[keep], groups[keep], positive[keep]


def _expected(light, psf, index):
    """The most that the PSF of any light within _PATTERN px can leave in each pixel, counts."""
    ny, nx = light.shape
    stamp = psf.stamp(*reference_place(psf, light.shape))
    half = min(_PATTERN, stamp.shape[0] // 2)
    envelope = _PATTERN_ERROR * _envelope(stamp, half)
    offset = np.arange(-half, half + 1)
    expected = np.zeros(index.size, np.float32)
    for start in range(0, index.size, _CHUNK):
        y, x = np.divmod(index[start : start + _CHUNK], nx)
        rows = np.clip(y[:, None, None] + offset[:, None], 0, ny - 1)
        columns = np.clip(x[:, None, None] + offset, 0, nx - 1)
        around = light[rows, columns] * envelope
        expected[start : start + _CHUNK] = around.max(axis=(1, 2))
    return expected


def _envelope(stamp, half):
    """The largest |PSF| within 1 px of each offset, over the PSF's peak."""
    middle = stamp.shape[0] // 2
    wide = ndimage.maximum_filter(np.abs(stamp), 3)
    cut = slice(middle - half, middle + half + 1)
    return (wide[cut, cut] / np.abs(stamp).max()).astype(np.float32)


def _grown(pixels, contrast, index):
    """Hits with the connected fainter pixels that are sharp, too."""
    ny, nx = pixels.shape
    pixels.taken[index] = True
    found, front = [index], index
    while front.size:
        y, x = np.divmod(front, nx)
        around = []
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                inside = (y + dy >= 0) & (y + dy < ny) & (x + dx >= 0) & (x + dx < nx)
                around.append((front + dy * nx + dx)[inside])
        around = np.unique(np.concatenate(around))
        around = around[pixels.usable(around)]
        bright = np.abs(pixels.image[around]) > _GROW_SIGMA * pixels.sigma(around)
        around = around[bright]
        front = around[pixels.sharper(around, contrast, _GROW_ERROR, _GROW_SLACK)]
        pixels.taken[front] = True
        found.append(front)
    return np.concatenate(found)


def _with_neighbours(index, shape):
    """(ny, nx) bool of pixels by flat index and those that touch them."""
    ny, nx = shape
    hit = np.zeros(shape, bool)
    y, x = np.divmod(index, nx)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            hit[np.clip(y + dy, 0, ny - 1), np.clip(x + dx, 0, nx - 1)] = True
    return hit
