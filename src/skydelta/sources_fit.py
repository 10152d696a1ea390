"""PSF fits of all sources of a difference: isolated ones, blends and dipoles."""

import logging

import numpy as np

from skydelta.blends import COUPLING_FWHM, add_models, blend_groups, fit_blends, sky_sources
from skydelta.cutouts import CHUNK, Pixels, pixel
from skydelta.psf_fit import fit_isolated, fit_stamps, psf_shifter
from skydelta.unresolved import split_unresolved

log = logging.getLogger(__name__)

MAX_MEMBERS = 100
"""More overlapping sources than this are fitted in turn, not jointly."""


def fit_sources(exposure, sources, dipoles, half, fwhm, *, deblend=True):
    """Flux and position of every source.

    Parameters
    ----------
    exposure
        The difference.
    sources
        Structured array of skydelta.detect.SOURCE_DTYPE; dipoles and sky sources keep their
        position.
    dipoles
        skydelta.dipoles.DipoleFits of the same sources: the lobes are what their neighbours see.
    half
        Half width of the fitted stamps, px.
    fwhm
        Of the PSF, px.
    deblend
        Neighbours are fitted together; else each as if it were alone.

    Returns
    -------
    dict
        As of `skydelta.psf_fit.fit_stamps`, the flags ``too_many`` and ``failed`` of blends, and
        ``alone``: fitted without neighbours.
    """
    pixels, psf = Pixels(exposure), exposure.psf
    x, y = sources["x"].astype(float), sources["y"].astype(float)
    fixed = sources["is_dipole"] | sky_sources(sources)
    alone = np.ones(len(x), bool)
    if deblend:
        groups = _groups(sources, fwhm)
        alone = np.bincount(groups, minlength=1)[groups] == 1
    fits = _empty(len(x)) | {"alone": alone}
    _put(fits, alone, fit_isolated(pixels, psf, x[alone], y[alone], half, fixed[alone]))
    if alone.all():
        return fits
    lobes = np.flatnonzero(~alone & fixed)
    light = np.zeros(exposure.shape)
    for start in range(0, lobes.size, CHUNK):
        _add_lobes(light, psf, dipoles, lobes[start : start + CHUNK], 1.0)
    members = np.flatnonzero(~alone & ~fixed)
    if members.size:
        joint = fit_blends(
            pixels,
            psf,
            x[members],
            y[members],
            groups[members],
            half,
            fwhm,
            max_members=MAX_MEMBERS,
            light=light,
        )
        joint["failed"] = joint["bad_position"] | joint["bad_flux"]
        _put(fits, members, joint)
    for start in range(0, lobes.size, CHUNK):
        index = lobes[start : start + CHUNK]
        _put(fits, index, _dipoles_less(pixels, psf, light, dipoles, (x, y), index, half))
    return fits


def split_sources(exposure, sources, dipoles, fits, half, fwhm):
    """Single peaks that are two sources parted, and fitted again with their neighbours.

    Parameters
    ----------
    exposure, sources, dipoles, half, fwhm
        As of `fit_sources`.
    fits
        What it returned.

    Returns
    -------
    sources, dipoles, fits
        With a further row behind each source that was split; both share the peak's score.
    """
    fixed = sources["is_dipole"] | sky_sources(sources)
    index, x, y = split_unresolved(
        Pixels(exposure), exposure.psf, fits, fits["alone"] & ~fixed, half, fwhm
    )
    if index.size == 0:
        return sources, dipoles, fits
    log.info("%d single peaks are two sources", index.size)
    copies = np.ones(len(sources), int)
    copies[index] = 2
    order = np.repeat(np.arange(len(sources)), copies)
    out, dipoles = sources[order], dipoles.take(order)
    fits = {name: values[order] for name, values in fits.items()}
    index, x, y = (a[np.argsort(index)] for a in (index, x, y))
    first = np.searchsorted(order, index)
    for part in (0, 1):
        out["x"][first + part], out["y"][first + part] = x[:, part], y[:, part]
    added = np.bincount(sources["footprint"][index], minlength=int(out["footprint"].max()) + 1)
    out["n_peaks"] += added[out["footprint"]].astype(out["n_peaks"].dtype)
    out["is_deblended"] = out["n_peaks"] > 1
    groups = _groups(out, fwhm)
    again = np.flatnonzero(np.isin(groups, groups[first]))
    refitted = fit_sources(exposure, out[again], dipoles.take(again), half, fwhm)
    _put(fits, again, refitted)
    return out, dipoles, fits


def _groups(sources, fwhm):
    """Number of the blend of each source; sky sources have one each."""
    groups = len(sources) + np.arange(len(sources))
    real = np.flatnonzero(~sky_sources(sources))
    x, y = sources["x"][real], sources["y"][real]
    groups[real] = blend_groups(x, y, sources["footprint"][real], COUPLING_FWHM * fwhm)
    return groups


def _empty(n):
    fits = {
        name: np.full(n, np.nan)
        for name in (
            *("x", "y", "x_error", "y_error", "xy_covariance"),
            *("flux", "flux_error", "chi2", "area"),
        )
    }
    fits["n_data"] = np.zeros(n, int)
    flags = ("bad_position", "bad_flux", "too_many", "failed")
    return fits | {name: np.zeros(n, bool) for name in flags}


def _put(fits, where, part):
    for name, values in part.items():
        fits[name][where] = values


def _add_lobes(light, psf, dipoles, index, sign):
    """The two-lobe models of some dipoles into an image; those without a fit are left out."""
    for lobe, side in ((0, 1.0), (1, -1.0)):
        flux = np.nan_to_num(sign * side * dipoles.flux[index, lobe])
        known = flux != 0
        add_models(
            light, psf, dipoles.x[index, lobe][known], dipoles.y[index, lobe][known], flux[known]
        )


def _dipoles_less(pixels, psf, light, dipoles, at, index, half):
    """Single PSF fits at the centres of dipoles on the image less all other sources."""
    x, y = at[0][index], at[1][index]
    xi, yi = pixel(x, pixels), pixel(y, pixels, axis=0)
    data, variance, good = pixels.stamps(xi, yi, half)
    rows, columns, _ = pixels.indices(xi, yi, half)
    others = light[rows, columns] - _own_lobes(psf, dipoles, index, xi, yi, half)
    fixed = np.ones(len(x), bool)
    stamps = np.where(good, data - others, 0.0), variance, good
    return fit_stamps(stamps, psf, x, y, xi, yi, half, fixed)


def _own_lobes(psf, dipoles, index, xi, yi, half):
    """The lobes of each dipole on its own stamp, about the pixels (xi, yi)."""
    shifter, _ = psf_shifter(psf, xi.astype(float), yi.astype(float), half)
    model = np.zeros((len(index), 2 * half + 1, 2 * half + 1))
    for lobe, side in ((0, 1.0), (1, -1.0)):
        flux = np.nan_to_num(side * dipoles.flux[index, lobe])
        dx = np.nan_to_num(dipoles.x[index, lobe] - xi)
        dy = np.nan_to_num(dipoles.y[index, lobe] - yi)
        model += flux[:, None, None] * shifter.shifted(dx, dy)
    return model
