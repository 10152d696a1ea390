"""The template stage: all coadds under an exposure, each resampled once to its grid, combined."""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.errors import BandMismatchError, NoOverlapError, NoPhotoCalibError, NoPsfError
from skydelta.exposure import Exposure
from skydelta.layers import (
    combine,
    combine_psf,
    make_layer,
    match_backgrounds,
    node_shares,
    overlap_correlation,
)
from skydelta.local_calibration import on_constant_scale
from skydelta.psf import grid_nodes
from skydelta.resample import ORDER

log = logging.getLogger(__name__)

_HOW = {
    "given": "as configured",
    "measured": "measured",
    "assumed": "assumed: too few shared pixels to measure it",
    "one coadd": "there is one coadd",
}


@dataclass(frozen=True)
class Template:
    """A template on an exposure's grid.

    Parameters
    ----------
    exposure
        Image, variance (equivalent white noise), mask, PSF and calibration.
    coverage
        (ny, nx) uint8, number of coadds that contribute to each pixel.
    noise_correlation
        (13, 13) autocorrelation of the background noise, sum 1.
    """

    exposure: Exposure
    coverage: np.ndarray
    noise_correlation: np.ndarray

    @property
    def covered_fraction(self):
        """Fraction of the exposure's pixels with template data."""
        return float(np.mean(self.coverage > 0))


def build_template(
    wcs,
    shape,
    coadds,
    *,
    band="",
    lanczos_order=ORDER,
    overlap_noise="measured",
    min_coverage=0.1,
    psf_nodes=7,
):
    """Coadds combined on the grid of an exposure.

    Each coadd is resampled once, straight to the exposure. Where several overlap they are averaged
    with the inverse of their *background* variance: weights that knew the sources' own photon
    noise would change the PSF with brightness. The variance of the mean knows how the noise of
    each two coadds is correlated (`skydelta.layers.combine`).

    Parameters
    ----------
    wcs, shape
        WCS and (ny, nx) of the exposure.
    coadds
        Iterable of Exposure; read one at a time if it is a generator.
    band
        Filter of the exposure, for the check against each coadd's.
    lanczos_order
        3 or more; higher orders interpolate better and spread bad pixels further.
    overlap_noise
        How the noise of overlapping coadds is related: ``"shared"`` (r = 1: patches cut from the
        same input exposures), ``"independent"`` (r = 0), or ``"measured"`` from the scatter of
        their difference, falling back to shared where too few pixels overlap.
    min_coverage
        Smallest covered fraction of the exposure worth going on with.
    psf_nodes
        The template's PSF is sampled on psf_nodes x psf_nodes positions.

    Returns
    -------
    Template

    Raises
    ------
    NoOverlapError
        If less than `min_coverage` of the exposure is covered.
    BandMismatchError, NoPhotoCalibError, NoPsfError
        If a coadd does not fit.
    """
    layers, meta, notes, calib = [], [], [], None
    first = None
    for coadd in coadds:
        _check(coadd, band)
        coadd = on_constant_scale(coadd)
        calib = calib or coadd.photo_calib
        layer = make_layer(coadd, wcs, shape, calib, lanczos_order)
        if layer is None:
            continue
        first = first or coadd
        layers.append(layer)
        meta.append(coadd.exptime)
        notes += [n for n in coadd.notes if n not in notes]
    if not layers:
        msg = "no coadd gives a pixel on this exposure"
        raise NoOverlapError(msg, coverage=0.0)
    offsets = match_backgrounds(layers)
    if np.any(offsets != 0):
        text = ", ".join(f"{value:.6g}" for value in offsets)
        notes.append(f"backgrounds matched, subtracted from the coadds: {text} counts")
    correlations, correlation, how = overlap_correlation(layers, overlap_noise)
    image, variance, mask, coverage = combine(layers, shape, correlations)
    covered = float(np.mean(coverage > 0))
    if covered < min_coverage:
        msg = f"coadds cover {covered:.3f} of the exposure, less than min_coverage={min_coverage}"
        raise NoOverlapError(msg, coverage=covered)
    x, y = (a.ravel() for a in np.meshgrid(*(grid_nodes(n, psf_nodes) for n in shape[::-1])))
    shares = node_shares(layers, x, y)
    psf, (lost, distance) = combine_psf(layers, x, y, shares, lanczos_order)
    if lost:
        notes.append(
            f"at {lost} nodes of the template's PSF a coadd has no input images: took its PSF "
            f"from the nearest place that has, at most {distance:.0f} px away"
        )
        log.warning(notes[-1])
    notes.append(
        f"template of {len(layers)} coadds, coverage {covered:.4f}, noise correlation of "
        f"overlapping coadds {correlation:.2f} ({_HOW[how]})"
    )
    log.info(notes[-1])
    exposure = Exposure(
        image=image,
        variance=variance,
        mask=mask,
        wcs=wcs,
        psf=psf,
        photo_calib=calib,
        band=band or first.band,
        exptime=float(np.nanmean(meta)) if np.isfinite(meta).any() else np.nan,
        saturate=first.saturate,
        meta={
            "NCOADD": (len(layers), "coadds in the template"),
            "COVERAGE": (covered, "fraction of pixels with template data"),
            "OVLPCORR": (correlation, f"noise correlation of coadds, {how}"),
            "LANCZOS": (lanczos_order, "order of the resampling kernel"),
            "WCSMAPER": (
                max(layer.pixel_map.error for layer in layers),
                "[pix] largest error of the WCS mapping",
            ),
        },
        notes=tuple(notes),
    )
    weights = shares.mean(axis=1)
    noise = sum(w * layer.noise_correlation for w, layer in zip(weights, layers, strict=True))
    return Template(exposure, coverage, noise / noise.sum())


def _check(coadd, band):
    if band and coadd.band and coadd.band != band:
        msg = f"the exposure is in band {band!r}, the coadd in {coadd.band!r}"
        raise BandMismatchError(msg)
    if coadd.photo_calib is None:
        msg = (
            "a coadd has no zero point (MAGZERO, MAGZP or FLUXMAG0 in its header): "
            "set input.coadd_zero_point"
        )
        raise NoPhotoCalibError(msg)
    if coadd.psf is None:
        msg = "a coadd has no PSF"
        raise NoPsfError(msg)
