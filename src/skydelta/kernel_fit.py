"""Least-squares fit of the spatially varying matching kernel to stamps of stars.

Alard & Lupton (1998), with the spatial polynomials of Alard (2000) in Chebyshev form and, by
default, a kernel sum that does not vary over the image. All stamps are treated at once: the
separable basis makes their convolutions matrix products, and the normal equations are batched.
"""

import logging
from dataclasses import dataclass, replace

import numpy as np

from skydelta.bases import CombinedBasis, convolved_with
from skydelta.errors import BadKernelError, TooFewStarsError
from skydelta.kernel import SpatialKernel
from skydelta.kernel_problem import Problem
from skydelta.left_out import left_out_flux_error, left_out_models, left_out_residual
from skydelta.principal_components import principal_components
from skydelta.star_judgement import (
    core_pixels,
    core_rms,
    judge_ratio,
    judge_residual,
    raw_ratio,
)
from skydelta.star_noise import NoiseModel, flux_ratio, median_rows
from skydelta.star_shifts import registration_rms
from skydelta.whitening import convolve_stamps

log = logging.getLogger(__name__)

_MAX_FLUX_ERROR = 0.25
"""A kernel that predicts the stars' fluxes no better than this has matched nothing."""

_POOR_FLUX_ERROR = 0.03
"""A worse one is noted: with good images it is below 0.01."""

_PENALTIES = tuple(10.0 ** np.arange(-6, 1.5, 1.0))
"""Strengths of the roughness prior that are tried, relative to the stars' information."""

_DESIGN_BYTES = 4e8
"""The design matrix of the stamps may take this much memory."""


def with_residuals(solution, stamps, options=None):
    """A solution with the residuals on other stamps of the same stars, and what it leaves there.

    Returns
    -------
    KernelSolution
    float
        Median rms of the stars used in units of the target's noise alone: what a kernel makes of
        the source's noise counts, or of two kernels the noisier would look the better.
    """
    options, n = options or FitOptions(), len(solution.used)
    stamps = stamps.first(n)
    noise = NoiseModel(stamps, options.model_error)
    kernel = solution.kernel
    model = convolved_with(stamps.source, kernel.at(stamps.x, stamps.y)).reshape(n, -1)
    rest = stamps.target.reshape(n, -1) - model
    rest -= kernel.background.at(stamps.x, stamps.y)[:, None]
    core = core_pixels(stamps.target.shape[-1])
    level = model - median_rows(model, noise.good)
    left = core_rms(rest, noise.variance(level), noise.good, core)
    noise.add_source(kernel.sum, _noise_power(kernel, stamps.source_correlation))
    residual = core_rms(rest, noise.variance(level), noise.good, core)
    return replace(solution, residual=residual), float(np.median(left[solution.used]))


@dataclass(frozen=True)
class FitOptions:
    """How the kernel is fitted.

    Parameters
    ----------
    order
        Total degree of the kernel's spatial polynomial; lowered when the stars cannot carry it.
    background_order
        Total degree of the background fitted with the kernel; lowered likewise. None for none.
    flux_scale
        How the kernel sum varies over the image: ``"constant"``, ``"polynomial"`` or ``"bspline"``.
    flux_scale_order
        Degree of that polynomial, or spans of the cubic B-spline along each axis.
    min_stars
        Fewest stars of a fit.
    stars_per_term
        Stars asked for each term of a spatial polynomial.
    model_error
        Least relative error of a model pixel, added to the weights so that the brightest stars,
        which are limited by it and not by noise, do not outvote all others. It is raised to what
        the scatter of the stars' flux ratios shows.
    ridge
        Prior width of each normalised basis coefficient in units of the kernel sum; 0 is none.
    max_iterations
        Rejection rounds.
    flux_ratio_clip
        Stars whose flux ratio is this many robust sigmas from the kernel sum are variable.
    residual_clip
        Stars whose rms residual is this many robust sigmas above the median are rejected.
    """

    order: int = 2
    background_order: int | None = 2
    flux_scale: str = "constant"
    flux_scale_order: int = 1
    min_stars: int = 3
    stars_per_term: float = 3.0
    model_error: float = 0.005
    ridge: float = 1.0
    max_iterations: int = 5
    flux_ratio_clip: float = 4.0
    residual_clip: float = 4.0


@dataclass(frozen=True)
class KernelSolution:
    """A fitted kernel and how it came about.

    Parameters
    ----------
    kernel
        SpatialKernel.
    order, background_order
        Degrees of its polynomials.
    sum_error
        Standard error of the kernel sum: the formal one or, if larger, that of a jackknife over
        the stars.
    flux_error
        Relative error of the matched image's fluxes beyond the noise, from stars left out of
        the fit in turn: what registration, PSF variation and the basis leave over.
    condition
        Condition number of the scaled normal matrix.
    used
        (n,) bool, stars of the final fit.
    reason
        (n,) int, why a star was rejected: a key of REJECT_REASONS.
    flux_ratio
        (n,) best flux scale of the model at each star, 1 for a constant star.
    residual
        (n,) rms of the residual over its noise, core pixels of each star.
    iterations
        Rounds of rejection.
    basis
        Name of the basis.
    n_basis
        Functions of the basis.
    penalty
        Strength of the roughness prior.
    registration_rms
        (x, y), px: scatter of the stars used about the matched image beyond the noise, left out of
        the fit in turn; NaN for too few.
    notes
        What was not as asked, one sentence each.
    """

    kernel: SpatialKernel
    order: int
    background_order: int
    sum_error: float
    flux_error: float
    condition: float
    used: np.ndarray
    reason: np.ndarray
    flux_ratio: np.ndarray
    residual: np.ndarray
    iterations: int
    basis: str
    n_basis: int
    penalty: float = 0.0
    registration_rms: tuple = (np.nan, np.nan)
    notes: tuple = ()

    @property
    def median_residual(self):
        """Median core residual of the stars used, in sigma."""
        return float(np.median(self.residual[self.used]))


def fit_kernel(stamps, basis, shape, options=None, *, components=None, regularisation="auto"):
    """The kernel that turns the source image into the target, with stars rejected as needed.

    Rounds of: fit; flux ratio of every star against the model (variable stars leave); rms residual
    in its core (blends, artefacts leave); until nothing changes.

    Parameters
    ----------
    stamps
        Stamps.
    basis
        skydelta.bases.Basis.
    shape
        (ny, nx) of the image.
    options
        FitOptions.
    components
        Fit in the basis of so many principal components of the single-star kernels; None for the
        basis itself.
    regularisation
        Strength of the roughness prior relative to the stars' information, or ``"auto"``: none for
        a Gaussian basis, for a delta basis that which predicts left-out stars best.

    Returns
    -------
    KernelSolution
        `used` and its companions have the length of `stamps`.

    Raises
    ------
    TooFewStarsError
        If fewer than `options.min_stars` stars are or remain usable.
    BadKernelError
        If the kernel sum is not positive, or stars left out of the fit are not predicted.
    """
    options = options or FitOptions()
    n, notes = len(stamps), []
    if n < options.min_stars:
        raise _too_few(n, options)
    room = max(int(_DESIGN_BYTES / (8 * (len(basis) + 1) * stamps.target[0].size)), 1)
    if room < n:
        notes.append(f"the first {room} of {n} stars were fitted: more do not fit into memory")
        stamps, n = stamps.first(room), room
    noise = NoiseModel(stamps, options.model_error)
    problem = _problem(stamps, basis, shape, options, regularisation)
    data, good = problem.data, noise.good
    weighable = good.mean(axis=1) > 0.5
    core = core_pixels(stamps.target.shape[-1])
    ratio, typical = raw_ratio(problem.design[:, 0], data, good)
    reason = judge_ratio(ratio, weighable, options, 0.5)
    noise.add_source(typical, typical**2 * float((basis.functions[0] ** 2).sum()))
    weights = noise.weights(data)
    for iteration in range(1, options.max_iterations + 1):
        used = _enough(reason, options)
        equations = problem.equations(weights, used)
        if iteration == 2 or (iteration == 1 and options.max_iterations == 1):
            chosen = components, regularisation
            problem, equations = _refined(problem, equations, weights, used, *chosen)
        fit = problem.solve(equations, used)
        noise.add_source(fit.kernel.sum, _noise_power(fit.kernel, stamps.source_correlation))
        model, back = fit.model(problem.design)
        ratio = flux_ratio(model, back, data, weights, noise.model_sky)
        noise.learn(ratio, weights, model, used)
        weights = noise.weights(model)
        reason = judge_ratio(ratio, weighable, options, 0.02)
        # The basis's own error is no fault of a bright star; that a star moved is.
        allowed = noise.variance(model) + (noise.least_error * np.maximum(model, 0.0)) ** 2
        residual = core_rms(data - model - back, allowed, good, core)
        reason = judge_residual(residual, reason, options)
        if iteration > 1 and np.array_equal(used, reason == 0):
            break
    used = _enough(reason, options)
    equations = problem.equations(weights, used)
    fit = problem.solve(equations, used)
    model, back = fit.model(problem.design)
    if not fit.kernel.sum > 0:
        msg = f"the kernel sum is {fit.kernel.sum:.4g}: the images do not show the same sky"
        raise BadKernelError(msg, kernel_sum=fit.kernel.sum)
    pure_weights = good / noise.variance(model)
    *predicted, sum_scatter = left_out_models(problem, equations, used, fit)
    flux_error = left_out_flux_error(
        *predicted, data, (weights, pure_weights, noise.model_sky), used
    )
    sum_error = max(fit.sum_error, sum_scatter)
    if flux_error > _MAX_FLUX_ERROR:
        msg = (
            f"stars left out of the fit are predicted to {flux_error:.0%} only: the images do not "
            "show the same sky; check the registration and the coadd"
        )
        raise BadKernelError(msg, flux_error=flux_error)
    if flux_error > _POOR_FLUX_ERROR:
        notes.append(
            f"the kernel is poor: stars left out of the fit are predicted to {flux_error:.1%} only"
        )
    log.info(
        "kernel: %s, %d of %d stars, order %d, sum %.6g +- %.2g, flux error %.4f, condition %.3g, "
        "%d rounds",
        problem.basis.name,
        used.sum(),
        n,
        fit.order,
        fit.kernel.sum,
        sum_error,
        flux_error,
        fit.condition,
        iteration,
    )
    return KernelSolution(
        kernel=fit.kernel,
        order=fit.order,
        background_order=fit.background_order,
        sum_error=sum_error,
        flux_error=flux_error,
        condition=fit.condition,
        used=used,
        reason=reason,
        flux_ratio=flux_ratio(model, back, data, weights, noise.model_sky),
        residual=core_rms(data - model - back, noise.variance(model), good, core),
        iterations=iteration,
        basis=problem.basis.name,
        n_basis=len(problem.basis),
        penalty=problem.penalty,
        registration_rms=registration_rms(
            *predicted, data, weights, noise, fit.kernel, stamps.source_correlation, used
        ),
        notes=tuple(notes),
    )


def _enough(reason, options):
    used = reason == 0
    if used.sum() < options.min_stars:
        raise _too_few(int(used.sum()), options)
    return used


def _too_few(n, options):
    msg = (
        f"{n} usable stars for the kernel, need {options.min_stars}: lower "
        "subtract.stars.min_snr or subtract.fit.min_stars"
    )
    return TooFewStarsError(msg, n_stars=n, n_required=options.min_stars)


def _problem(stamps, basis, shape, options, regularisation):
    n = len(stamps)
    noisy = stamps.source_variance is not None
    return Problem(
        basis=basis,
        design=basis.design(stamps.source, stamps.x, stamps.y),
        data=stamps.target.reshape(n, -1),
        x=stamps.x,
        y=stamps.y,
        shape=shape,
        options=options,
        noise_gram=basis.gram(stamps.source_correlation) if noisy else None,
        source_variance=stamps.source_variance.reshape(n, -1) if noisy else None,
        penalty=0.0 if regularisation == "auto" else float(regularisation),
    )


def _refined(problem, equations, weights, used, components, regularisation):
    """The problem in its final basis and with its final prior, once variable stars are out."""
    if components is not None:
        matrix = principal_components(problem, equations, used, components)
        gram = problem.noise_gram
        design = np.empty((len(problem.design), len(matrix) + 1, problem.design.shape[2]))
        np.matmul(matrix, problem.design[:, :-1], out=design[:, :-1])
        design[:, -1] = 1.0
        problem = replace(
            problem,
            basis=CombinedBasis(problem.basis, matrix),
            design=design,
            noise_gram=None if gram is None else matrix @ gram @ matrix.T,
        )
        equations = problem.equations(weights, used)
    if regularisation == "auto" and "delta" in problem.basis.name:
        scores = [
            left_out_residual(replace(problem, penalty=p), equations, weights, used)
            for p in _PENALTIES
        ]
        problem = replace(problem, penalty=_PENALTIES[int(np.argmin(scores))])
        log.info(
            "roughness prior %.1e, left-out residuals %s", problem.penalty, np.round(scores, 3)
        )
    return problem, equations


def _noise_power(kernel, correlation):
    """What the kernel makes of unit noise: the variance of a convolved pixel."""
    middle = kernel.middle
    if correlation is None:
        return float((middle**2).sum())
    return float((convolve_stamps(middle, correlation, middle.shape[0]) * middle).sum())
