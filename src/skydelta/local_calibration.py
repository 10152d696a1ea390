"""WCS and photometric scale at the positions of sources."""

from dataclasses import replace

import numpy as np

from skydelta.errors import BadPsfError

_STEP = 0.5
"""px; half the base of the WCS's derivatives."""


def local_jacobian(wcs, x, y):
    """Derivatives of the position on the sky by that on the image.

    Parameters
    ----------
    wcs
        astropy.wcs.WCS.
    x, y
        (n,) positions, 0-based px.

    Returns
    -------
    ndarray
        (n, 2, 2), arcsec per px: rows east (ra times cos dec) and north, columns x and y.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    n = x.size
    jacobian = np.full((n, 2, 2), np.nan)
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return jacobian
    dx = np.array([_STEP, -_STEP, 0.0, 0.0])[:, None]
    dy = np.array([0.0, 0.0, _STEP, -_STEP])[:, None]
    ra, dec = wcs.all_pix2world((x[known] + dx).ravel(), (y[known] + dy).ravel(), 0)
    ra, dec = ra.reshape(4, -1), dec.reshape(4, -1)
    middle = np.cos(np.radians(dec.mean(axis=0)))
    for axis in (0, 1):
        east = (ra[2 * axis] - ra[2 * axis + 1] + 180.0) % 360.0 - 180.0
        north = dec[2 * axis] - dec[2 * axis + 1]
        scale = 3600.0 / (2 * _STEP)
        jacobian[known, 0, axis], jacobian[known, 1, axis] = scale * east * middle, scale * north
    return jacobian


def local_columns(exposure, x, y):
    """Instrumental columns of the local calibration, named as those of the LSST stack.

    Parameters
    ----------
    exposure
        Exposure.
    x, y
        (n,) positions, 0-based px.

    Returns
    -------
    dict
        base_LocalPhotoCalib and its error, nJy per count (NaN without a zero point);
        base_LocalWcs_CDMatrix_i_j, rad per px: derivatives of (ra cos dec, dec) by (x, y).
    """
    jacobian = np.radians(local_jacobian(exposure.wcs, x, y) / 3600.0)
    calib = exposure.photo_calib
    scale, error = calib.local(x, y) if calib is not None else np.full((2, len(x)), np.nan)
    columns = {"base_LocalPhotoCalib": scale, "base_LocalPhotoCalibErr": error}
    for i in (0, 1):
        for j in (0, 1):
            columns[f"base_LocalWcs_CDMatrix_{i + 1}_{j + 1}"] = jacobian[:, i, j]
    return columns


def sky_covariance(jacobian, x_err, y_err, xy_cov):
    """(n, 2, 2) covariance of (east, north), arcsec squared, from that of (x, y), px squared."""
    covariance = np.empty((len(jacobian), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = np.square(x_err), np.square(y_err)
    covariance[:, 0, 1] = covariance[:, 1, 0] = xy_cov
    return jacobian @ covariance @ jacobian.transpose(0, 2, 1)


def on_constant_scale(exposure):
    """An exposure whose photometric scale varies, multiplied so that it does not."""
    calib = exposure.photo_calib
    if calib is None or calib.field is None:
        return exposure
    ny, nx = exposure.shape
    factor = calib.field.box(0, ny, 0, nx)
    return exposure.replace(
        image=exposure.image * factor,
        variance=exposure.variance * factor**2,
        photo_calib=replace(calib, field=None),
        saturate=exposure.saturate * float(factor.min()),
    ).noted("the photometric scale varied over the image: multiplied with it")


def pixel_areas(jacobian):
    """(n,) arcsec squared."""
    (ex, ey), (nx, ny) = jacobian.transpose(1, 2, 0)
    return np.abs(ex * ny - ey * nx)


def on_sky(jacobian, length, angle):
    """A direction on the image as one on the sky.

    Parameters
    ----------
    jacobian
        (n, 2, 2), from `local_jacobian`.
    length
        (n,) px.
    angle
        (n,) rad, from x towards y.

    Returns
    -------
    length
        (n,) arcsec.
    bearing
        (n,) deg in [0, 360), from north over east.
    """
    step = np.stack([length * np.cos(angle), length * np.sin(angle)], axis=-1)
    east, north = np.einsum("nij,nj->in", jacobian, step)
    return np.hypot(east, north), np.degrees(np.arctan2(east, north)) % 360.0


def psf_moments(psf, shape, x, y, nodes=9):
    """Adaptive second moments of a PSF at many positions.

    They are measured on a grid over the image and are bilinear in between, as the PSF itself is.

    Parameters
    ----------
    psf
        Psf.
    shape
        (ny, nx) of the image.
    x, y
        (n,) positions, 0-based px.
    nodes
        Positions along each axis.

    Returns
    -------
    ndarray
        (3, n): xx, yy, xy, px squared; NaN beside a node where the PSF has no positive moments.
    """
    from skydelta.psf import grid_nodes

    gx, gy = grid_nodes(shape[1], nodes), grid_nodes(shape[0], nodes)
    grid = np.empty((3, gy.size, gx.size))
    for j, yj in enumerate(gy):
        for i, xi in enumerate(gx):
            grid[:, j, i] = _moments_at(psf, xi, yj)
    ix, fx = _between(gx, x)
    iy, fy = _between(gy, y)
    low = grid[:, iy, ix] * (1 - fx) + grid[:, iy, ix + 1] * fx
    high = grid[:, iy + 1, ix] * (1 - fx) + grid[:, iy + 1, ix + 1] * fx
    return low * (1 - fy) + high * fy


def _moments_at(psf, x, y):
    try:
        shape = psf.compute_shape(x, y)
    except BadPsfError:
        return np.nan, np.nan, np.nan
    return shape.ixx, shape.iyy, shape.ixy


def _between(nodes, at):
    """Index of the node below each position, and the fraction of the way to the next."""
    at = np.clip(at, nodes[0], nodes[-1])
    index = np.clip(np.searchsorted(nodes, at, side="right") - 1, 0, nodes.size - 2)
    return index, (at - nodes[index]) / (nodes[index + 1] - nodes[index])
