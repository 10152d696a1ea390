"""The stars that the matching kernel is fitted to."""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import InputError
from skydelta.kernel_stamps import SCIENCE_BAD, TEMPLATE_BAD, bad_pixels, cutouts
from skydelta.stars import find_stars


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
    near = cutouts(bad_pixels(science, SCIENCE_BAD), x, y, 1, True)
    under = cutouts(bad_pixels(template, TEMPLATE_BAD), x, y, 1 + half // 2, True)
    return ~(near.any(axis=(1, 2)) | under.any(axis=(1, 2)))


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
