"""Fluxes and shapes at given positions: apertures, forced PSF fluxes, second moments."""

import numpy as np

from skydelta.cutouts import CHUNK, Pixels, flat, pixel
from skydelta.moments import adaptive_moments
from skydelta.psf import grid_nodes
from skydelta.psf_fit import project, psf_shifter

_PSF_NODES = 5


def aperture_columns(exposure, x, y, radii):
    """Sums within circles; the edge is one pixel wide and linear: areas are exact to 0.3 %.

    Parameters
    ----------
    exposure
        Exposure.
    x, y
        (n,) centres, px.
    radii
        px.
    """
    pixels = Pixels(exposure)
    half = int(np.ceil(max(radii))) + 1
    sums = {r: np.zeros((3, len(x))) for r in radii}
    offset = np.arange(-half, half + 1)
    for start in range(0, len(x), CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
        data, variance, good = pixels.stamps(xi, yi, half)
        distance = np.hypot(
            offset[None, None, :] - (x[cut] - xi)[:, None, None],
            offset[None, :, None] - (y[cut] - yi)[:, None, None],
        )
        for r in radii:
            # Only the box about the circle: small radii cost little.
            reach = min(int(np.ceil(r)) + 1, half)
            box = np.s_[:, half - reach : half + reach + 1, half - reach : half + reach + 1]
            weight = np.clip(r + 0.5 - distance[box], 0.0, 1.0)
            sums[r][0, cut] = np.einsum("nij,nij->n", weight, data[box])
            sums[r][1, cut] = np.sqrt(np.einsum("nij,nij,nij->n", weight, weight, variance[box]))
            sums[r][2, cut] = ((weight > 0) & ~good[box]).any(axis=(1, 2))
    columns = {}
    for r, (flux, error, flag) in sums.items():
        name = f"base_CircularApertureFlux_{r:.1f}".replace(".", "_")
        columns[f"{name}_instFlux"], columns[f"{name}_instFluxErr"] = flux, error
        columns[f"{name}_flag"] = flag > 0
    return columns


def shape_columns(exposure, x, y, half, sigma):
    """Second moments under matched Gaussian weights, sign removed, and extendedness.

    Extendedness is that of the LSST stack: 1 - exp(-c^2 / 2), c = (T - T_psf) / T_psf^0.5, with T
    the sum of Ixx and Iyy in px^2.

    Parameters
    ----------
    exposure
        Exposure.
    x, y
        (n,) positions, px.
    half
        Half width of the stamps, px.
    sigma
        Of the PSF, px.
    """
    n = len(x)
    moments = np.full((3, n), np.nan)
    pixels = Pixels(exposure)
    for start in range(0, n, CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
        data, _, _ = pixels.stamps(xi, yi, half)
        core = data[:, half - 1 : half + 2, half - 1 : half + 2].sum(axis=(1, 2))
        sign = np.where(core < 0, -1.0, 1.0)
        moments[:, cut] = adaptive_moments(data * sign[:, None, None], sigma)[1]
    trace = moments[0] + moments[1]
    expected = _psf_trace(exposure, x, y, half, sigma)
    return {
        "base_SdssShape_xx": moments[0],
        "base_SdssShape_yy": moments[1],
        "base_SdssShape_xy": moments[2],
        "base_SdssShape_flag": ~np.isfinite(moments[0]),
        "base_ClassificationSizeExtendedness_value": 1.0
        - np.exp(-0.5 * (trace - expected) ** 2 / expected),
        "base_ClassificationSizeExtendedness_flag": ~np.isfinite(trace) | ~np.isfinite(expected),
    }


def _psf_trace(exposure, x, y, half, sigma):
    """Ixx + Iyy of the PSF at positions, linear between a few places of the image; NaN without."""
    from scipy.ndimage import map_coordinates

    ny, nx = exposure.shape
    ys, xs = (
        a.ravel()
        for a in np.meshgrid(grid_nodes(ny, _PSF_NODES), grid_nodes(nx, _PSF_NODES), indexing="ij")
    )
    reach = min(half, exposure.psf.size // 2)
    stamps = psf_shifter(exposure.psf, xs, ys, reach)[0].shifted(0.0 * xs, 0.0 * ys)
    moments = adaptive_moments(stamps, sigma)[1]
    nodes = (moments[0] + moments[1]).reshape(_PSF_NODES, _PSF_NODES)
    step = (_PSF_NODES - 1) / (max(ny - 1, 1)), (_PSF_NODES - 1) / (max(nx - 1, 1))
    return map_coordinates(nodes, [y * step[0], x * step[1]], order=1, mode="nearest")


def forced_fluxes(exposure, x, y):
    """PSF fluxes at given positions.

    Parameters
    ----------
    exposure
        Exposure.
    x, y
        (n,) positions, px.

    Returns
    -------
    flux, error
        (n,) above a local background, the median where the PSF is faint; NaN where it cannot be
        measured.
    light
        (n,) all light there, above the image's median level: what a star or a galaxy puts under
        a source. 0 where nothing is known.
    """
    n = len(x)
    flux, error, light = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n)
    pixels = Pixels(exposure)
    half = exposure.psf.size // 2
    sky = pixels.level()
    for start in range(0, n, CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
        data, variance, good = pixels.stamps(xi, yi, half)
        shifter, missing = psf_shifter(exposure.psf, x[cut], y[cut], half)
        phi = shifter.shifted(x[cut] - xi, y[cut] - yi)
        ring = good & (phi < 0.02 * phi.max(axis=(1, 2), keepdims=True)) & ~missing[:, None, None]
        level = _ring_median(data, ring)
        phi *= good
        norm = (phi**2).sum(axis=(1, 2))
        safe = np.where(norm > 0, norm, np.inf)
        light[cut] = project(phi, data) - sky * phi.sum(axis=(1, 2)) / safe
        flux[cut] = project(phi, data) - level * phi.sum(axis=(1, 2)) / safe
        error[cut] = np.sqrt((phi**2 * variance).sum(axis=(1, 2))) / safe
    unknown = ~(error > 0)
    flux[unknown], error[unknown] = np.nan, np.nan
    return flux, error, light


def _ring_median(data, ring):
    """Median of each stamp over its ring; 0 where the ring is empty."""
    # Sorted with the others last: quicker than nanmedian.
    values = np.sort(flat(np.where(ring, data, np.inf)), axis=1)
    count = ring.sum(axis=(1, 2))[:, None]
    low = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, axis=1)
    high = np.take_along_axis(values, count // 2, axis=1)
    return np.where(count > 0, 0.5 * (low + high), 0.0)[:, 0]
