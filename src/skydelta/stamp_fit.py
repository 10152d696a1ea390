"""The fit of one kernel and one background polynomial to all the light of a stamp."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from skydelta.errors import BadImageError, BadKernelError
from skydelta.kernel import SpatialKernel
from skydelta.kernel_problem import Problem
from skydelta.kernel_solver import solve
from skydelta.polynomial import chebyshev
from skydelta.stamp_noise import KnownNoise, LinearErrors, MeasuredNoise

_PIXELS_PER_TERM = 3

_MIN_SIGNAL = 5.0
"""Least significance of the kernel sum; below it the stamp shows nothing to be matched."""

_FLAT = 1e-12
"""A template whose variation holds less than this share of its square is flat."""


@dataclass(frozen=True)
class StampFit:
    """A fitted stamp; (pixels,) are those of the valid part, half a kernel inside the edges.

    Parameters
    ----------
    kernel
        SpatialKernel and background, from source to target counts.
    sum_error
        Standard error of the kernel sum.
    residual
        (pixels,) target less model, counts.
    fitted
        (pixels,) bool.
    chi2
        Mean square residual of the fitted pixels over their variance.
    condition
        Condition number of the scaled normal matrix.
    target_variance, source_variance
        (side, side) counts squared; None for a noiseless source.
    errors
        LinearErrors.
    """

    kernel: SpatialKernel
    sum_error: float
    residual: np.ndarray
    fitted: np.ndarray
    chi2: float
    condition: float
    target_variance: np.ndarray
    source_variance: np.ndarray | None
    errors: LinearErrors


def fit_stamp(pair, basis, convolve, options):
    """The kernel that turns one stamp of a pair into the other.

    Parameters
    ----------
    pair
        StampPair.
    basis
        Basis.
    convolve
        ``"template"`` or ``"science"``.
    options
        skydelta.stamps.StampOptions.

    Returns
    -------
    StampFit

    Raises
    ------
    BadImageError
        If too few pixels are left to fit.
    BadKernelError
        If the stamps hold no light in common.
    """
    n, side = len(basis), len(pair.science)
    design, data, good = _linear_problem(pair, basis, convolve, options.background_order)
    _require_signal(design, good.astype(float), n)
    measured = pair.variance is None
    noise = (MeasuredNoise if measured else KnownNoise)(pair, convolve, options, basis, good)
    values, solved, weights, sigma2 = _iterate(design, data, good, noise, basis, options)
    fitted, order = weights > 0, options.background_order
    shape = (side, side)
    kernel = SpatialKernel.polynomial(
        basis.functions, values[:n, None], 0, values[n:], order, shape
    )
    residual = data - values @ design
    chi2 = float((residual[fitted] ** 2 / sigma2[fitted]).sum() / (fitted.sum() - len(design)))
    target_variance, source_variance = noise.planes(kernel.middle)
    inner = (slice(basis.half, side - basis.half),) * 2
    errors = LinearErrors(
        design=design,
        response=np.stack([solved.apply_inverse(row) for row in (design * weights).T], axis=1),
        kernel=kernel.middle,
        target_variance=target_variance[inner].ravel(),
        source_variance=source_variance,
        inflation=np.sqrt(max(chi2, 1.0)),
    )
    sum_error = errors.of_unknown(0)
    _require_sum(kernel.sum, sum_error)
    _require_match(design[n:], data, residual, good / sigma2, options.clip)
    return StampFit(
        kernel=kernel,
        sum_error=sum_error,
        residual=residual,
        fitted=fitted,
        chi2=chi2,
        condition=solved.condition,
        target_variance=target_variance,
        source_variance=source_variance,
        errors=errors,
    )


def _linear_problem(pair, basis, convolve, background_order):
    """(design, data, good pixels) of the valid part, background terms last."""
    source, lost, target, lost_target = pair.turned(convolve)
    side, half = len(target), basis.half
    inner = (slice(half, side - half),) * 2
    middle = np.array([(side - 1) // 2])
    yy, xx = np.mgrid[inner]
    terms = chebyshev(background_order, xx.ravel(), yy.ravel(), (side, side)).T
    design = np.concatenate([basis.design(source[None], middle, middle)[0][:-1], terms])
    masked = pair.mask if convolve == "template" else _grown(pair.mask, basis.size)
    good = ~(masked | lost_target | _grown(lost, basis.size))[inner].ravel()
    need = _PIXELS_PER_TERM * len(design)
    if good.sum() < need:
        msg = (
            f"{good.sum()} usable pixels for {len(design)} unknowns, need {need}: mask less, or "
            "give a smaller kernel in options.spec"
        )
        raise BadImageError(msg)
    return design, target[inner].ravel(), good


def _grown(mask, size):
    """The mask carried as far as a kernel of `size` px reaches."""
    return maximum_filter(mask, size) if mask.any() else mask


def _iterate(design, data, good, noise, basis, options):
    """Rounds of weights and clipping: (values, Solved, its weights, variances of all pixels)."""
    n, least = len(basis), _PIXELS_PER_TERM * len(design)
    fitted, sigma2, level = good, noise.first(data), None
    for iteration in range(max(options.max_iterations, 1)):
        weights = fitted / sigma2
        matrices, vectors = _equations(design, data, weights, noise.source_variance, basis)
        if level is None:
            level = vectors[0, 0] / max(matrices[0, 0, 0], 1e-300)
        prior = np.zeros(len(design))
        if options.ridge > 0:
            prior[1:n] = 1.0 / (options.ridge * max(abs(level), 1e-6)) ** 2
        solved = solve(matrices[0], vectors[0], prior)
        values = solved.values
        level = values[0]
        light, residual = values[:n] @ design[:n], data - values @ design
        kernel = np.tensordot(values[:n], basis.functions, axes=1)
        sigma2 = noise.learned(residual, light, kernel, fitted)
        kept = good & (residual**2 <= options.clip**2 * sigma2)
        if kept.sum() < least:
            msg = f"{kept.sum()} of {good.sum()} pixels fit the kernel, need {least}"
            raise BadKernelError(msg)
        # The first weights know neither photon noise nor the noise of the convolved image.
        if iteration > 1 and np.array_equal(kept, fitted):
            break
        fitted = kept
    return values, solved, weights, sigma2


def _equations(design, data, weights, source_variance, basis):
    """Normal equations freed of the noise of the convolved image, those of one stamp."""
    pad = len(design) - 1 - len(basis)  # all rows but the last may hold noise: the background none
    noisy = source_variance is not None
    problem = Problem(
        basis=basis,
        design=design[None],
        data=data[None],
        x=np.zeros(1),
        y=np.zeros(1),
        shape=(1, 1),
        options=None,
        noise_gram=np.pad(basis.gram(), (0, pad)) if noisy else None,
        source_variance=np.broadcast_to(source_variance, (1, data.size)) if noisy else None,
    )
    return problem.equations(weights[None], np.ones(1, bool))


def _without_background(terms, data, weights):
    """What a weighted fit of the background's terms leaves of the data."""
    matrix = (terms * weights) @ terms.T
    return data - np.linalg.lstsq(matrix, (terms * weights) @ data)[0] @ terms


def _require_signal(design, weights, n):
    """The image to be convolved must show something that a background does not.

    Raises
    ------
    BadKernelError
        If its variation is lost in rounding.
    """
    light = _without_background(design[n:], design[0], weights)
    if not light**2 @ weights > _FLAT * (design[0] ** 2 @ weights):
        msg = "the image to be convolved is a plain background outside the mask: nothing to match"
        raise BadKernelError(msg)


def _require_match(terms, data, residual, weights, clip):
    """The fit must explain most of what stands out of the noise; noise can be bent to some of it.

    Every pixel counts up to the limit of clipping only, so that a transient that was not masked
    does not decide.

    Raises
    ------
    BadKernelError
        If more than half of the signal above noise and background is left.
    """
    light = _without_background(terms, data, weights)
    before, after = (np.minimum(weights * p**2, clip**2).sum() for p in (light, residual))
    count = np.count_nonzero(weights)
    left, tolerance = after - count, _MIN_SIGNAL * np.sqrt(2.0 * count)
    if left > 0.5 * max(before - count, 0.0) + tolerance:
        msg = (
            f"the kernel leaves {left / max(before - count, 1.0):.0%} of the light outside the "
            "mask unexplained: the stamps do not show the same sky"
        )
        raise BadKernelError(msg)


def _require_sum(total, error):
    """The kernel sum must stand out of its error.

    Raises
    ------
    BadKernelError
        If it does not.
    """
    if not total > _MIN_SIGNAL * error:
        msg = (
            f"the kernel sum is {total:.4g} +- {error:.2g}: the stamps show no light in common "
            "outside the mask"
        )
        raise BadKernelError(msg, kernel_sum=total)
