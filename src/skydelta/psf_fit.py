"""PSF fits of many sources: flux and position, blends in turn on each other's residual."""

import numpy as np

from skydelta.cutouts import CHUNK, Pixels, flat, pixel
from skydelta.psf import shift_stamps

_MAX_STEP = 0.5

_MAX_SHIFT = 2.0

_CENTROID_ROUNDS = 6

_BLEND_ROUNDS = 3


def _psf_stamps(psf, x, y, half):
    """Centred stamps cut to the half width."""
    middle = psf.size // 2
    cut = slice(middle - half, middle + half + 1)
    return psf.stamps(x, y)[:, cut, cut]


def fit_positions(exposure, sources, half):
    """PSF fits of all sources: position free, neighbours of a blend fitted in turn.

    In every round each source is fitted to the image less the models of the others in its
    footprint.
    """
    pixels = Pixels(exposure)
    x, y = sources["x"].astype(float), sources["y"].astype(float)
    fits = _fit_all(pixels, exposure.psf, x, y, half, sources["is_dipole"] | sources["is_sky"])
    blended = np.flatnonzero(sources["is_deblended"])
    if blended.size:
        for _ in range(_BLEND_ROUNDS):
            _refit_blends(pixels, exposure.psf, sources, fits, blended, half)
    return fits


def _fit_all(pixels, psf, x, y, half, fixed):
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
    centred = _psf_stamps(psf, x, y, half)
    dx, dy = x - xi, y - yi
    free = ~fixed
    start_dx, start_dy = dx.copy(), dy.copy()
    for _ in range(_CENTROID_ROUNDS):
        phi = shift_stamps(centred, dx, dy) * good
        flux = project(phi, data)
        gx, gy = _gradients(phi)
        matrix, right = _position_system(phi, gx * good, gy * good, data, flux)
        step = np.linalg.solve(matrix, right[..., None])[..., 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            move = np.where(np.abs(flux)[:, None] > 0, step[:, 1:] / flux[:, None], 0.0)
        move = np.clip(np.nan_to_num(move), -_MAX_STEP, _MAX_STEP)
        dx = np.where(free, _within(dx + move[:, 0], start_dx), dx)
        dy = np.where(free, _within(dy + move[:, 1], start_dy), dy)
        if not np.any(np.abs(move[free]) > 1e-3):
            break
    phi = shift_stamps(centred, dx, dy) * good
    flux = project(phi, data)
    norm = (phi**2).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        flux_error = np.sqrt((phi**2 * variance).sum(axis=(1, 2))) / norm
        residual = data - flux[:, None, None] * phi
        chi2 = np.where(variance > 0, residual**2 / np.where(variance > 0, variance, 1), 0)
    x_error, y_error = _position_errors(phi, good, variance, flux)
    stuck = free & ((np.abs(dx - start_dx) >= _MAX_SHIFT) | (np.abs(dy - start_dy) >= _MAX_SHIFT))
    share = norm / np.maximum((shift_stamps(centred, dx, dy) ** 2).sum(axis=(1, 2)), 1e-300)
    return {
        "x": xi + dx,
        "y": yi + dy,
        "x_error": x_error,
        "y_error": y_error,
        "flux": flux,
        "flux_error": flux_error,
        "chi2": chi2.sum(axis=(1, 2)),
        "n_data": good.sum(axis=(1, 2)),
        "area": np.where(norm > 0, phi.sum(axis=(1, 2)) ** 2 / np.where(norm > 0, norm, 1), 0.0),
        "bad_position": stuck,
        "bad_flux": ~np.isfinite(flux) | ~(flux_error > 0) | (share < 0.5),
    }


def _within(value, start):
    return np.clip(value, start - _MAX_SHIFT, start + _MAX_SHIFT)


def project(phi, data):
    """Least-squares amplitude of phi in the data."""
    norm = (phi**2).sum(axis=(1, 2))
    return (phi * data).sum(axis=(1, 2)) / np.where(norm > 0, norm, np.inf)


def _gradients(phi):
    """Minus the derivatives of stamps along x and y: what a shift by +1 px adds, to first order."""
    gy, gx = np.gradient(phi, axis=(1, 2))
    return -gx, -gy


def _position_system(phi, gx, gy, data, flux):
    """Normal equations of (flux, flux dx, flux dy), scaled rows, slightly damped."""
    rows = flat(np.stack([phi, gx, gy], axis=1))
    residual = flat(data - flux[:, None, None] * phi)
    matrix = rows @ rows.transpose(0, 2, 1)
    trace = np.trace(matrix, axis1=1, axis2=2)
    matrix = matrix + (1e-9 * trace + 1e-30)[:, None, None] * np.eye(3)
    return matrix, np.einsum("nkp,np->nk", rows, residual)


def _position_errors(phi, good, variance, flux):
    """Standard errors of x and y for equal weights and the given pixel variances."""
    gx, gy = _gradients(phi)
    rows = flat(np.stack([phi, gx * good, gy * good], axis=1))
    matrix = rows @ rows.transpose(0, 2, 1)
    trace = np.trace(matrix, axis1=1, axis2=2)
    inverse = np.linalg.inv(matrix + (1e-9 * trace + 1e-30)[:, None, None] * np.eye(3))
    noise = (rows * flat(variance)[:, None]) @ rows.transpose(0, 2, 1)
    covariance = inverse @ noise @ inverse
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1.0 / np.abs(flux)
        return (
            np.sqrt(covariance[:, 1, 1]) * scale,
            np.sqrt(covariance[:, 2, 2]) * scale,
        )


def _refit_blends(pixels, psf, sources, fits, blended, half):
    """One round over the blended sources, brightest first, each on the others' residual."""
    order = blended[np.argsort(-np.abs(fits["flux"][blended]), kind="stable")]
    groups = {}
    for k in order:
        groups.setdefault(int(sources["footprint"][k]), []).append(k)
    for members in groups.values():
        for k in members:
            x, y = fits["x"][[k]], fits["y"][[k]]
            xi, yi = pixel(x, pixels), pixel(y, pixels, axis=0)
            data, variance, good = pixels.stamps(xi, yi, half)
            reach = half + psf.size // 2
            for other in members:
                apart = max(abs(fits["x"][other] - x[0]), abs(fits["y"][other] - y[0]))
                if other != k and apart <= reach:
                    data = data - _model_on(psf, fits, other, xi[0], yi[0], half) * good
            result = fit_stamps(
                (data, variance, good), psf, x, y, xi, yi, half, sources["is_dipole"][[k]]
            )
            for name, value in result.items():
                fits[name][k] = value[0]


def _model_on(psf, fits, k, xi, yi, half):
    """The fitted model of source k on the stamp about pixel (xi, yi)."""
    out = np.zeros((2 * half + 1, 2 * half + 1))
    if not np.isfinite(fits["flux"][k]):
        return out
    images, x0, y0 = psf.images([fits["x"][k]], [fits["y"][k]])
    left, bottom = xi - half, yi - half
    size = psf.size
    xa, xb = max(left, x0[0]), min(left + 2 * half + 1, x0[0] + size)
    ya, yb = max(bottom, y0[0]), min(bottom + 2 * half + 1, y0[0] + size)
    if xa < xb and ya < yb:
        out[ya - bottom : yb - bottom, xa - left : xb - left] = (
            fits["flux"][k] * images[0][ya - y0[0] : yb - y0[0], xa - x0[0] : xb - x0[0]]
        )
    return out
