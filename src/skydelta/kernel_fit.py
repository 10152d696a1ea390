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
from skydelta.principal_components import principal_components
from skydelta.star_noise import (
    NoiseModel,
    excess_scatter,
    flux_ratio,
    flux_ratio_noise,
    median_rows,
    robust_sigma,
)
from skydelta.whitening import convolve_stamps

log = logging.getLogger(__name__)

REJECT_REASONS = {0: "", 1: "flux ratio", 2: "residual", 3: "no weight"}

_MAX_FLUX_ERROR = 0.25
"""A kernel that predicts the stars' fluxes no better than this has matched nothing."""

_POOR_FLUX_ERROR = 0.03
"""A worse one is noted: with good images it is below 0.01."""

_PENALTIES = tuple(10.0 ** np.arange(-6, 1.5, 1.0))
"""Strengths of the roughness prior that are tried, relative to the stars' information."""

_DESIGN_BYTES = 4e8
"""The design matrix of the stamps may take this much memory."""


@dataclass(frozen=True)
class Stamps:
    """Cut-outs of two images about the stars of the fit.

    Parameters
    ----------
    x, y
        (n,) integer pixel of each stamp's centre.
    target, variance
        (n, s, s): counts of the image to be matched and their variance.
    source
        (n, s + 2 half, s + 2 half): counts of the image that is convolved, wider by the half
        kernel on every side.
    good
        (n, s, s) bool, pixels to be fitted.
    source_variance
        (n, s, s) variance of the image that is convolved, or None for a noiseless one.
    source_correlation
        Autocorrelation of its noise, sum 1, or None for white noise.
    """

    x: np.ndarray
    y: np.ndarray
    target: np.ndarray
    variance: np.ndarray
    source: np.ndarray
    good: np.ndarray
    source_variance: np.ndarray | None = None
    source_correlation: np.ndarray | None = None

    def __len__(self):
        return len(self.x)

    def first(self, n):
        """The first n stamps."""
        rows = ("x", "y", "target", "variance", "source", "good", "source_variance")
        planes = {name: getattr(self, name) for name in rows}
        return replace(self, **{k: v[:n] for k, v in planes.items() if v is not None})


def smoothed(stamps, sigma):
    """Stamps of both images convolved with a Gaussian, narrower by what it reaches.

    A kernel that sharpens amplifies the source's noise at the highest frequencies, where it has no
    light; smoothed alike, both images have the same kernel and the fit does not look there.

    Parameters
    ----------
    stamps
        Stamps.
    sigma
        Width of the Gaussian, px.
    """
    from scipy.ndimage import gaussian_filter1d, minimum_filter

    reach = int(np.ceil(3.0 * sigma))
    inner = slice(reach, -reach)

    def smooth(planes):
        for axis in (1, 2):
            planes = gaussian_filter1d(planes, sigma, axis=axis, radius=reach)
        return planes[:, inner, inner]

    width = 2 * reach + 1
    point = np.zeros((1, 4 * reach + 1, 4 * reach + 1))
    point[0, 2 * reach, 2 * reach] = 1.0
    filter_ = smooth(point)[0]
    correlation = convolve_stamps(filter_, filter_, 4 * reach + 1)
    if stamps.source_correlation is not None:
        size = 4 * reach + stamps.source_correlation.shape[0]
        correlation = convolve_stamps(correlation, stamps.source_correlation, size | 1)
    source_variance = stamps.source_variance
    return replace(
        stamps,
        target=smooth(stamps.target),
        variance=stamps.variance[:, inner, inner],
        source=smooth(stamps.source),
        good=minimum_filter(stamps.good, (1, width, width))[:, inner, inner],
        source_variance=None if source_variance is None else source_variance[:, inner, inner],
        source_correlation=correlation,
    )


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
    core = _core_pixels(stamps.target.shape[-1])
    level = model - median_rows(model, noise.good)
    left = _core_rms(rest, noise.variance(level), noise.good, core)
    noise.add_source(kernel.sum, _noise_power(kernel, stamps.source_correlation))
    residual = _core_rms(rest, noise.variance(level), noise.good, core)
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
    core = _core_pixels(stamps.target.shape[-1])
    ratio, typical = _raw_ratio(problem.design[:, 0], data, good)
    reason = _judge_ratio(ratio, weighable, options, 0.5)
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
        reason = _judge_ratio(ratio, weighable, options, 0.02)
        # The basis's own error is no fault of a bright star; that a star moved is.
        allowed = noise.variance(model) + (noise.least_error * np.maximum(model, 0.0)) ** 2
        residual = _core_rms(data - model - back, allowed, good, core)
        reason = _judge_residual(residual, reason, options)
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
    flux_error, sum_scatter = _left_out_errors(
        problem, equations, (weights, pure_weights, noise.model_sky), used, fit
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
        residual=_core_rms(data - model - back, noise.variance(model), good, core),
        iterations=iteration,
        basis=problem.basis.name,
        n_basis=len(problem.basis),
        penalty=problem.penalty,
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
            _left_out_residual(replace(problem, penalty=p), equations, weights, used)
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


def _folds(used, most=5):
    """Boolean masks of the used stars to leave out in turn."""
    members = np.flatnonzero(used)
    count = min(most, members.size)
    for fold in range(count):
        out = np.zeros(used.size, bool)
        out[members[fold::count]] = True
        yield out


def _left_out_residual(problem, equations, weights, used):
    """Mean weighted square residual of stars that the kernel was not fitted to."""
    total = 0.0
    orders = problem.orders(int(used.sum()))
    for out in _folds(used):
        trial = problem.solve(equations, used & ~out, orders)
        model, back = trial.model(problem.design, out)
        total += (weights[out] * (problem.data[out] - model - back) ** 2).sum()
    return total / (weights[used] > 0).sum()


def _left_out_errors(problem, equations, noise, used, fit):
    """What leaving stars out in turn shows: (flux error, error of the kernel sum).

    The first is the scatter of the flux ratios of stars that the kernel was not fitted to, noise
    taken off; the second the delete-a-group jackknife of the kernel sum.
    """
    if used.sum() < 3:
        return np.nan, 0.0
    weights, pure_weights, model_sky = noise
    deviation, expected, sums = np.zeros(used.size), np.zeros(used.size), []
    for out in _folds(used):
        trial = problem.solve(equations, used & ~out, (fit.order, fit.background_order))
        sums.append(trial.kernel.sum)
        model, back = trial.model(problem.design, out)
        ratio = flux_ratio(model, back, problem.data[out], weights[out], model_sky[out])
        deviation[out] = ratio - 1.0
        expected[out] = flux_ratio_noise(weights[out], pure_weights[out], model)
    jackknife = np.sqrt((len(sums) - 1) * np.var(sums))
    # A scatter known from few stars predicts with Student's variance, (n - 1) / (n - 3) times as
    # large.
    n = int(used.sum())
    student = np.sqrt((n - 1) / max(n - 3, 1))
    return student * excess_scatter(deviation[used], expected[used]), float(jackknife)


def _raw_ratio(source, data, good):
    """(flux of each star over that in the source, relative to their median; the median)."""
    t = np.where(good, source - median_rows(source, good), 0.0).sum(axis=1)
    s = np.where(good, data - median_rows(data, good), 0.0).sum(axis=1)
    ratio = s / np.where(t != 0, t, np.inf)
    middle = np.median(ratio)
    return ratio / (middle if middle != 0 else 1.0), float(middle)


def _core_pixels(width, fraction=0.5):
    """Flat mask of the central pixels of a stamp."""
    half = width // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    return (np.hypot(xx, yy) <= max(fraction * half, 2.0)).ravel()


def _core_rms(residual, variance, good, core):
    inside = good & core
    safe = np.where(inside, variance, 1.0)
    chi2 = np.where(inside, residual**2 / safe, 0.0).sum(axis=1)
    return np.sqrt(chi2 / np.maximum(inside.sum(axis=1), 1))


def _judge_ratio(ratio, weighable, options, floor):
    """Reasons after the flux-ratio cut: far from the median by clip x scatter, or the floor."""
    reason = np.where(weighable, 0, 3)
    if weighable.any():
        centre = np.median(ratio[weighable])
        limit = options.flux_ratio_clip * robust_sigma(ratio[weighable])
        limit = max(limit, floor * abs(centre))
        reason[weighable & ~(np.abs(ratio - centre) <= limit)] = 1
    return reason


def _judge_residual(residual, reason, options, *, floor=0.25):
    """Reasons after the residual cut: rms above the median by clip x scatter, or the floor."""
    used = reason == 0
    if not used.any():
        return reason
    centre = np.median(residual[used])
    limit = centre + max(options.residual_clip * robust_sigma(residual[used]), floor)
    return np.where(used & ~(residual <= limit), 2, reason)
