"""PSF fits of many isolated sources: flux and position, with equal pixel weights.

Unlike weights that know each pixel's variance, equal ones carry no bias from the photon noise of
the source itself; the errors come from the variance plane (the "sandwich" of a least-squares fit
whose weights are not the inverse variances).
"""

import numpy as np

from skydelta.cutouts import CHUNK, flat, pixel
from skydelta.stamp_shift import StampShifter

MAX_SHIFT = 2.0
"""A position farther than this from its start, px along an axis, is a failed fit."""

_MAX_STEP = 0.5

_ROUNDS = 8

_CONVERGED = 1e-3

_MARGIN = 4
"""px of the PSF beyond the fitted stamp that a shift may bring in."""


def psf_shifter(psf, x, y, half):
    """The PSF at many positions, ready to be shifted, and where it is missing.

    Returns
    -------
    StampShifter
        Stamps of half width `half`; zeros where the PSF is missing.
    missing
        (n,) bool: the PSF has values that are not finite there, or no positive sum.
    """
    middle = psf.size // 2
    reach = min(middle, half + _MARGIN)
    cut = slice(middle - reach, middle + reach + 1)
    stamps = psf.stamps(x, y)[:, cut, cut]
    with np.errstate(invalid="ignore"):
        missing = ~(stamps.sum(axis=(1, 2)) > 0)
    if missing.any():
        stamps = np.where(missing[:, None, None], 0.0, stamps)
    return StampShifter(stamps, half), missing


def fit_isolated(pixels, psf, x, y, half, fixed):
    """Fits of sources without neighbours, as `fit_stamps`, straight from the image.

    Parameters
    ----------
    pixels
        skydelta.cutouts.Pixels.
    psf
        Psf.
    x, y
        (n,) first positions, px.
    half
        Half width of the stamps, px.
    fixed
        (n,) bool: sources that keep their position.
    """
    parts = []
    for start in range(0, max(len(x), 1), CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
        stamps = pixels.stamps(xi, yi, half)
        parts.append(fit_stamps(stamps, psf, x[cut], y[cut], xi, yi, half, fixed[cut]))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def fit_stamps(stamps, psf, x, y, xi, yi, half, fixed):
    """Flux and position by Gauss-Newton steps; `fixed` sources keep their position.

    Parameters
    ----------
    stamps
        (data, variance, good), each (n, 2 half + 1, 2 half + 1), background zero, about the pixels
        `xi`, `yi`.
    psf
        Psf.
    x, y
        (n,) first positions, px.
    xi, yi
        (n,) integer pixels in the middle of the stamps.
    half
        Half width of the stamps, px.
    fixed
        (n,) bool.

    Returns
    -------
    dict
        Arrays x, y, flux, chi2, n_data, area, their errors and flags.
    """
    data, variance, good = stamps
    shifter, _ = psf_shifter(psf, x, y, half)
    dx, dy = (x - xi).astype(float), (y - yi).astype(float)
    start = np.column_stack([dx, dy])
    active = np.flatnonzero(~fixed)
    for _ in range(_ROUNDS):
        if active.size == 0:
            break
        columns = shifter.take(active).columns(dx[active], dy[active]) * good[active, None]
        move = _position_step(columns, data[active])
        dx[active] = within(dx[active] + move[:, 0], start[active, 0])
        dy[active] = within(dy[active] + move[:, 1], start[active, 1])
        active = active[np.abs(move).max(axis=1) > _CONVERGED]
    columns = shifter.columns(dx, dy)
    whole = (columns[:, 0] ** 2).sum(axis=(1, 2))
    columns *= good[:, None]
    flux = project(columns[:, 0], data)
    residual = data - flux[:, None, None] * columns[:, 0]
    covariance = _covariance(columns, variance, fixed)
    stuck = ~fixed & (np.abs(np.column_stack([dx, dy]) - start).max(axis=1) >= MAX_SHIFT)
    return summary(
        (xi + dx, yi + dy, flux), covariance, (columns[:, 0], whole), residual, variance, stuck
    )


def summary(values, covariance, profile, residual, variance, stuck):
    """Columns of a finished fit.

    Parameters
    ----------
    values
        (x, y, flux), each (n,).
    covariance
        (n, 3, 3) of flux, flux dx, flux dy.
    profile
        PSF at the usable pixels, (n, size, size), and the sum of its squares over all pixels.
    residual, variance
        (n, size, size), zero at unusable pixels.
    stuck
        (n,) bool: the position is not to be used.
    """
    x, y, flux = values
    phi, whole = profile
    norm = (phi**2).sum(axis=(1, 2))
    empty = ~(norm > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
        errors[:, 1:] /= np.abs(flux)[:, None]
        shared = covariance[:, 1, 2] / flux**2
        chi2 = np.where(variance > 0, residual**2 / np.where(variance > 0, variance, 1), 0)
        share = norm / np.where(whole > 0, whole, np.inf)
    errors[empty] = np.nan
    return {
        "x": x,
        "y": y,
        "x_error": errors[:, 1],
        "y_error": errors[:, 2],
        "xy_covariance": np.where(empty, np.nan, shared),
        "flux": np.where(empty, np.nan, flux),
        "flux_error": errors[:, 0],
        "chi2": chi2.sum(axis=(1, 2)),
        "n_data": (variance > 0).sum(axis=(1, 2)),
        "area": np.where(empty, 0.0, phi.sum(axis=(1, 2)) ** 2 / np.where(empty, 1, norm)),
        "bad_position": stuck | empty,
        "bad_flux": empty | ~(errors[:, 0] > 0) | (share < 0.5),
    }


def within(value, start, limit=MAX_SHIFT):
    """Values kept within `limit` of where they started."""
    return np.clip(value, start - limit, start + limit)


def moves(step, flux):
    """Shifts in px from steps of flux times shift, limited; 0 for a source without flux."""
    with np.errstate(invalid="ignore", divide="ignore"):
        move = np.where(np.abs(flux)[:, None] > 0, step / flux[:, None], 0.0)
    return np.clip(np.nan_to_num(move), -_MAX_STEP, _MAX_STEP)


def project(phi, data):
    """Least-squares amplitude of phi in the data; 0 where phi vanishes."""
    norm = (phi**2).sum(axis=(1, 2))
    return (phi * data).sum(axis=(1, 2)) / np.where(norm > 0, norm, np.inf)


def damped(matrix):
    """Normal matrices (..., k, k) with a diagonal so small that it only makes them regular."""
    trace = np.trace(matrix, axis1=-2, axis2=-1)
    return matrix + (1e-9 * trace + 1e-30)[..., None, None] * np.eye(matrix.shape[-1])


def _position_step(columns, data):
    """Shift in px of one Gauss-Newton step in (flux, flux dx, flux dy)."""
    flux = project(columns[:, 0], data)
    rows = flat(columns)
    residual = flat(data - flux[:, None, None] * columns[:, 0])
    right = (rows @ residual[..., None])[..., 0]
    matrix = damped(rows @ rows.transpose(0, 2, 1))
    step = np.linalg.solve(matrix, right[..., None])[..., 0]
    return moves(step[:, 1:], flux)


def _covariance(columns, variance, fixed):
    """(n, 3, 3) of flux, flux dx, flux dy for equal weights and the given pixel variances."""
    rows = flat(columns)
    matrix = rows @ rows.transpose(0, 2, 1)
    # A kept position costs the flux nothing: its terms stand apart.
    matrix[fixed, 0, 1:] = matrix[fixed, 1:, 0] = 0.0
    inverse = np.linalg.inv(damped(matrix))
    noise = (rows * flat(variance)[:, None]) @ rows.transpose(0, 2, 1)
    return inverse @ noise @ inverse
