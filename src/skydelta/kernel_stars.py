"""The stars that the matching kernel is fitted to."""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import InputError
from skydelta.kernel_fit import Stamps
from skydelta.stars import find_stars

SCIENCE_BAD = ("BAD", "SAT", "CR", "EDGE", "NO_DATA")
TEMPLATE_BAD = ("BAD", "SAT", "EDGE", "NO_DATA")
"""Planes of pixels that are not fitted; a coadd's cosmic rays are clipped before."""


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
    source
        Where they are looked for: ``"exposure"``, ``"template"``, or ``"catalogue"`` for those of
        the exposure that a given catalogue knows as stars.
    catalogue
        That catalogue's file; read by the stage.
    match_radius
        A star of the catalogue lies within this distance, arcsec.
    """

    min_snr: float = 20.0
    max_snr: float = np.inf
    cell_size: float = 256.0
    per_cell: int = 5
    max_stars: int = 500
    max_peak: float = 0.9
    source: str = "exposure"
    catalogue: str | None = None
    match_radius: float = 1.0


def kernel_stars(science, template, half, stamp_half, options=None, catalogue=None):
    """Isolated unsaturated stars, spread over a grid of cells.

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
    catalogue
        skydelta.io.star_catalogue.StarCatalogue where the options ask for one.

    Returns
    -------
    ndarray
        Structured array of stars (see `skydelta.stars.STAR_DTYPE`), the best of every cell first.
    """
    options = options or StarOptions()
    searched = template if options.source == "template" else science
    found = find_stars(
        searched.image,
        searched.variance,
        searched.mask,
        psf=searched.psf,
        passes=1,  # good stars stand out of a sky known to a per cent of its noise
        saturate=searched.saturate,
        threshold=min(options.min_snr, 10.0),
    )
    good = found["usable"] & (found["snr"] >= options.min_snr) & (found["snr"] <= options.max_snr)
    if np.isfinite(searched.saturate):
        good &= found["peak"] < options.max_peak * searched.saturate
    if options.source == "catalogue":
        good &= _in_catalogue(found, catalogue, science, options)
    stars = found[good]
    usable = _core_is_usable(science, template, stars, half)
    stars = stars[usable]
    return stars[_by_cell(stars, science.shape, options)]


def _in_catalogue(found, catalogue, science, options):
    """Which of the found stars the catalogue knows as stars."""
    if catalogue is None:
        msg = "subtract.stars.source is catalogue, but no catalogue is given: name its file"
        raise InputError(msg)
    from skydelta.catalogue_stars import stars_at

    radius = options.match_radius
    return stars_at(found, science.shape, science.wcs, catalogue, radius=radius).selected


def _core_is_usable(science, template, stars, half):
    """Whether no bad pixel of either image bears upon the 3 x 3 px about each star."""
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    near = _cutouts(_bad(science, SCIENCE_BAD), x, y, 1, True)
    under = _cutouts(_bad(template, TEMPLATE_BAD), x, y, 1 + half // 2, True)
    return ~(near.any(axis=(1, 2)) | under.any(axis=(1, 2)))


def _bad(exposure, planes):
    return exposure.mask.any(*planes) | ~(exposure.variance > 0)


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


def cut_stamps(
    target, source, stars, half, stamp_half, source_correlation=None, *, source_is_science=False
):
    """Stamps of both images about the stars.

    A pixel is fitted if it is good on the target and no bad source pixel, nor one
    beyond the edge, lies under the kernel there.

    Parameters
    ----------
    target
        Exposure to be matched.
    source
        Exposure that the kernel is to convolve, on the same grid.
    stars
        From `kernel_stars`.
    half, stamp_half
        Half widths of the kernel and of the fitted stamps, px.
    source_correlation
        Autocorrelation of the noise of `source`, sum 1, or None for white noise.
    source_is_science
        Whether the science image is the one to be convolved.
    """
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    planes = (TEMPLATE_BAD, SCIENCE_BAD) if source_is_science else (SCIENCE_BAD, TEMPLATE_BAD)
    good = ~_cutouts(_bad(target, planes[0]), x, y, stamp_half, True)
    bad = _cutouts(_bad(source, planes[1]), x, y, stamp_half + half, True)
    good &= _box_sum(bad, 2 * half + 1) == 0

    def at_good(plane, fill):
        return np.where(good, _cutouts(plane, x, y, stamp_half, fill), fill).astype(float)

    wide = _cutouts(source.image, x, y, stamp_half + half, 0).astype(float)
    return Stamps(
        x=x,
        y=y,
        target=at_good(target.image, 0),
        variance=at_good(target.variance, 1),
        source=np.where(bad, 0.0, wide),
        good=good,
        source_variance=at_good(source.variance, 1),
        source_correlation=source_correlation,
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
