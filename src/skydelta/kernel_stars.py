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
    ny, nx = science.shape
    reach = half + stamp_half
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    inside = (x >= reach) & (x < nx - reach) & (y >= reach) & (y < ny - reach)
    stars, x, y = stars[inside], x[inside], y[inside]
    bad_template = template.mask.any(*_TEMPLATE_BAD) | ~(template.variance > 0)
    clean = ~_cutouts(bad_template, x, y, reach).any(axis=(1, 2))
    stars = stars[clean]
    order = _by_cell(stars, science.shape, options)
    return stars[order]


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


def _cutouts(image, x, y, half):
    """(n, 2 half + 1, 2 half + 1) cut-outs about integer pixels well inside the image."""
    offset = np.arange(-half, half + 1)
    return image[y[:, None, None] + offset[:, None], x[:, None, None] + offset]


def cut_stamps(science, template, stars, half, stamp_half):
    """Stamps of both images about the stars.

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
    variance = _cutouts(science.variance, x, y, stamp_half).astype(float)
    usable = ~science.mask.any(*_SCIENCE_BAD) & (science.variance > 0)
    good = _cutouts(usable, x, y, stamp_half)
    return Stamps(
        x=x,
        y=y,
        science=np.where(good, _cutouts(science.image, x, y, stamp_half), 0.0).astype(float),
        variance=np.where(good, variance, 1.0),
        template=_cutouts(template.image, x, y, stamp_half + half).astype(float),
        good=good,
    )
