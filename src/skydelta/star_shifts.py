"""How far single stars lie from where a matched image puts them."""

from copy import copy

import numpy as np

from skydelta.left_out import student
from skydelta.star_judgement import core_pixels
from skydelta.star_noise import excess_scatter, median_rows
from skydelta.whitening import convolve_stamps

_MIN_STARS = 10
"""Fewer tell more of the kernel's own error than of theirs: of 3 to 5 stars on real images 0.1 to
0.2 px came out where 185 on others gave 0.02."""


def registration_rms(model, background, data, weights, noise, kernel, correlation, chosen):
    """Scatter of single stars about a matched image beyond what noise explains, along each axis.

    A smooth shift is the kernel's; what is left is each star's own: proper motion, an astrometric
    solution that does not follow the atmosphere, chromatic refraction.

    Parameters
    ----------
    model, data
        (n, pixels) counts of square stamps: the matched image without its background, best from
        fits that did not know the star; and the image it is to match.
    background
        (n, 1) counts.
    weights
        (n, pixels) of the data, 0 on bad pixels.
    noise
        skydelta.star_noise.NoiseModel of the stamps.
    kernel
        SpatialKernel that made the model.
    correlation
        Autocorrelation of the noise before the kernel, sum 1, or None for white noise.
    chosen
        (n,) bool, the stars to measure: those of the fit. Of the ones it rejected few only moved;
        a galaxy or a supernova among them would decide.

    Returns
    -------
    tuple
        (along x, along y), px; NaN from fewer than 10 stars.
    """
    if chosen.sum() < _MIN_STARS:
        return np.nan, np.nan
    core = core_pixels(int(np.sqrt(model.shape[1])))
    own = model - median_rows(model, weights > 0)
    columns, typical = _columns(own[chosen], core)
    # A kernel passes more of slow noise than of all noise: its part as a star's gradient sees it.
    noise = copy(noise)
    noise.add_source(kernel.sum, _gradient_power(typical, kernel.middle, correlation))
    variance = noise.variance(own)[chosen][:, core]
    residual = (data - model - background)[chosen][:, core]
    shift, error = _fit(columns, residual, weights[chosen][:, core], variance)
    # A star without a good pixel in its core says nothing.
    known = np.isfinite(error).all(axis=1) & (error > 0).all(axis=1)
    n = int(known.sum())
    if n < _MIN_STARS:
        return np.nan, np.nan
    return tuple(student(n) * excess_scatter(shift[known, k], error[known, k]) for k in (0, 1))


def _columns(own, core):
    """(n, 4, core pixels): minus the derivatives by x and y, the star, 1; gradients of the sum."""
    n, pixels = own.shape
    width = int(np.sqrt(pixels))
    stamps = own.reshape(n, width, width)
    slopes = [_derivative(stamps, axis) for axis in (2, 1)]
    columns = np.ones((n, 4, int(core.sum())))
    for k, slope in enumerate(slopes):
        columns[:, k] = -slope.reshape(n, -1)[:, core]
    columns[:, 2] = own[:, core]
    inside = core.reshape(width, width)
    return columns, [slope.sum(axis=0) * inside for slope in slopes]


def _derivative(stamps, axis):
    """Derivative along an axis from five points, 0 on the two outermost ones.

    Too small by 1 / (8 sigma^4) of itself for a Gaussian star, 2.5 % at 3.5 px FWHM, and shifts as
    much too large; from three points it would be 1 / (4 sigma^2), 11 %.
    """
    stamps = np.moveaxis(stamps, axis, -1)
    out = np.zeros_like(stamps)
    near = stamps[..., 3:-1] - stamps[..., 1:-3]
    far = stamps[..., 4:] - stamps[..., :-4]
    out[..., 2:-2] = (8.0 * near - far) / 12.0
    return np.moveaxis(out, -1, axis)


def _gradient_power(gradients, kernel, correlation):
    """Variance of noise after the kernel, seen through a gradient, over that of white noise."""
    spread = convolve_stamps(kernel, kernel[::-1, ::-1], 2 * kernel.shape[0] - 1)
    if correlation is not None:
        size = spread.shape[0] + correlation.shape[0] - 1
        spread = convolve_stamps(spread, correlation, size)
    passed = white = 0.0
    for gradient in gradients:
        passed += (gradient * convolve_stamps(gradient, spread, gradient.shape[0])).sum()
        white += (gradient**2).sum()
    return float(passed / white) if white > 0 else 0.0


def _fit(columns, residual, weights, variance):
    """Shifts of n stars (n, 2) and their standard errors from the noise alone, px.

    Flux and level are fitted along: they do not pass for a shift where pixels are missing.
    """
    scale = np.sqrt((weights[:, None] * columns**2).sum(axis=2))
    safe = np.where(scale > 0, scale, 1.0)
    columns = columns / safe[:, :, None]
    weighted = columns * weights[:, None]
    normal = weighted @ columns.transpose(0, 2, 1)
    inverse = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)
    right = (weighted @ residual[:, :, None])[:, :, 0]
    covariance = inverse @ ((weighted * variance[:, None]) @ weighted.transpose(0, 2, 1)) @ inverse
    values = (inverse @ right[:, :, None])[:, :2, 0] / safe[:, :2]
    error = np.sqrt(np.einsum("nii->ni", covariance)[:, :2].clip(0.0)) / safe[:, :2]
    return values, error
