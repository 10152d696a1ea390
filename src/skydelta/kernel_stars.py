"""The stars that the matching kernel is fitted to."""

from dataclasses import dataclass

import numpy as np

from skydelta.kernel_fit import Stamps
from skydelta.stars import find_stars

_SCIENCE_BAD = ("BAD", "SAT", "CR", "EDGE", "NO_DATA")
_TEMPLATE_BAD = ("BAD", "SAT", "EDGE", "NO_DATA")


@dataclass(frozen=True)
class StarOptions:
    """Which stars serve for the kernel.

    Parameters
    ----------
    min_snr, max_snr
        Range of the signal-to-noise ratio on the science image.
    cell_size
        The image is cut into square cells of about this many px ...
    per_cell
        ... of which each gives its best so many stars.
    max_stars
        Most stars of a fit; the best of every cell come first.
    max_peak
        Highest peak as a fraction of the saturation level.
    """

    min_snr: float = 20.0
    max_snr: float = np.inf
    cell_size: float = 256.0
    per_cell: int = 5
    max_stars: int = 500
    max_peak: float = 0.9


def kernel_stars(science, template, half, stamp_half, options=None):
    """Isolated unsaturated stars of the science image, spread over a grid of cells.

    Parameters
    ----------
    science, template
        Exposures on one grid.
    half
        Half width of the kernel, px.
    stamp_half
        Half width of the fitted stamps, px.
    options
        StarOptions.

    Returns
    -------
    ndarray
        Structured array of stars (see `skydelta.stars.STAR_DTYPE`), the best of every cell first.
    """
    options = options or StarOptions()
    found = find_stars(
        science.image,
        science.variance,
        science.mask,
        psf=science.psf,
        saturate=science.saturate,
        threshold=min(options.min_snr, 10.0),
    )
    good = found["usable"] & (found["snr"] >= options.min_snr) & (found["snr"] <= options.max_snr)
    if np.isfinite(science.saturate):
        good &= found["peak"] < options.max_peak * science.saturate
    stars = found[good]
    usable = _core_is_usable(science, template, stars, half)
    stars = stars[usable]
    return stars[_by_cell(stars, science.shape, options)]


def _core_is_usable(science, template, stars, half):
    """Whether no bad pixel of either image bears upon the 3 x 3 px about each star."""
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    near = _cutouts(_bad_science(science), x, y, 1, True)
    under = _cutouts(_bad_template(template), x, y, 1 + half // 2, True)
    return ~(near.any(axis=(1, 2)) | under.any(axis=(1, 2)))


def _bad_science(science):
    return science.mask.any(*_SCIENCE_BAD) | ~(science.variance > 0)


def _bad_template(template):
    return template.mask.any(*_TEMPLATE_BAD) | ~(template.variance > 0)


def _by_cell(stars, shape, options):
    """Indices of the kept stars: best of every cell, then second best, and so on."""
    ny, nx = shape
    cells_y = max(round(ny / options.cell_size), 1)
    cells_x = max(round(nx / options.cell_size), 1)
    cell = (stars["y"] * cells_y // ny).astype(int) * cells_x
    cell += (stars["x"] * cells_x // nx).astype(int)
    by_cell = np.lexsort((-stars["snr"], cell))
    starts = np.flatnonzero(np.r_[True, np.diff(cell[by_cell]) != 0])
    lengths = np.diff(np.r_[starts, by_cell.size])
    rank = np.arange(by_cell.size) - np.repeat(starts, lengths)
    kept = rank < options.per_cell
    by_cell, rank = by_cell[kept], rank[kept]
    order = np.lexsort((-stars["snr"][by_cell], rank))
    return by_cell[order][: options.max_stars]


def _cutouts(image, x, y, half, fill):
    """(n, 2 half + 1, 2 half + 1) cut-outs about integer pixels, `fill` beyond the image."""
    padded = np.pad(image, half, constant_values=fill)
    offset = np.arange(2 * half + 1)
    return padded[y[:, None, None] + offset[:, None], x[:, None, None] + offset]


def cut_stamps(science, template, stars, half, stamp_half):
    """Stamps of both images about the stars.

    A pixel is fitted if it is good on the science image and no bad template pixel, nor one
    beyond the edge, lies under the kernel there.

    Parameters
    ----------
    science, template
        Exposures on one grid.
    stars
        From `kernel_stars`.
    half, stamp_half
        Half widths of the kernel and of the fitted stamps, px.
    """
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    good = ~_cutouts(_bad_science(science), x, y, stamp_half, True)
    bad = _cutouts(_bad_template(template), x, y, stamp_half + half, True)
    good &= _box_sum(bad, 2 * half + 1) == 0
    wide = _cutouts(template.image, x, y, stamp_half + half, 0).astype(float)
    return Stamps(
        x=x,
        y=y,
        science=np.where(good, _cutouts(science.image, x, y, stamp_half, 0), 0.0).astype(float),
        variance=np.where(good, _cutouts(science.variance, x, y, stamp_half, 1), 1.0).astype(float),
        template=np.where(bad, 0.0, wide),
        good=good,
    )


def _box_sum(stamps, width):
    """Number of true pixels in every width x width box: (n, s, s) to (n, s - width + 1, ...)."""
    total = np.pad(stamps.astype(np.int32), ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    return (
        total[:, width:, width:]
        - total[:, :-width, width:]
        - total[:, width:, :-width]
        + total[:, :-width, :-width]
    )
