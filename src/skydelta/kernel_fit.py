"""Least-squares solution of the spatially varying matching kernel from stamps of stars.

Alard & Lupton (1998), with the spatial polynomials of Alard (2000) in Chebyshev form and a kernel
sum that does not vary over the image. All stamps are treated at once: the separable basis makes
their convolutions matrix products, and the normal equations are batched.
"""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.errors import BadKernelError, TooFewStarsError
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import gaussian_basis
from skydelta.kernel_solver import convolved_stamps, normal_equations, solve, spatial_system
from skydelta.polynomial import chebyshev, n_terms

log = logging.getLogger(__name__)

REJECT_REASONS = {0: "", 1: "flux ratio", 2: "residual", 3: "no weight"}


_MAX_FLUX_ERROR = 0.5
"""A kernel that predicts the stars' fluxes no better than this has matched nothing."""


@dataclass(frozen=True)
class Stamps:
    """Cut-outs of science and template about the stars of the fit.

    Parameters
    ----------
    x, y
        (n,) integer pixel of each stamp's centre.
    science, variance
        (n, s, s): science counts and their variance.
    template
        (n, s + 2 half, s + 2 half): template counts, wider by the half kernel on every side.
    good
        (n, s, s) bool, pixels to be fitted.
    """

    x: np.ndarray
    y: np.ndarray
    science: np.ndarray
    variance: np.ndarray
    template: np.ndarray
    good: np.ndarray

    def __len__(self):
        return len(self.x)


@dataclass(frozen=True)
class FitOptions:
    """How the kernel is fitted.

    Parameters
    ----------
    order
        Total degree of the kernel's spatial polynomial; lowered when the stars cannot carry it.
    background_order
        Total degree of the background fitted with the kernel; lowered likewise.
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
    background_order: int = 2
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
    sum_error
        Standard error of the kernel sum: the formal one or, if larger, that of a jackknife over
        the stars.
    flux_error
        Relative error of the matched template's fluxes beyond the noise, from stars left out of
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
    """

    kernel: SpatialKernel
    sum_error: float
    flux_error: float
    condition: float
    used: np.ndarray
    reason: np.ndarray
    flux_ratio: np.ndarray
    residual: np.ndarray
    iterations: int


def affordable_order(requested, n_stars, stars_per_term):
    """Highest polynomial degree up to `requested` with enough stars for each of its terms."""
    for order in range(requested, 0, -1):
        if n_terms(order) * stars_per_term <= n_stars:
            return order
    return 0


def fit_kernel(stamps, spec, shape, options=None):
    """The kernel that turns the template into the science image, with stars rejected as needed.

    Rounds of: fit; flux ratio of every star against the model (variable stars leave); rms residual
    in its core (blends, artefacts leave); until nothing changes.

    Parameters
    ----------
    stamps
        Stamps.
    spec
        BasisSpec.
    shape
        (ny, nx) of the image.
    options
        FitOptions.

    Returns
    -------
    KernelSolution

    Raises
    ------
    TooFewStarsError
        If fewer than `options.min_stars` stars are or remain usable.
    BadKernelError
        If the kernel sum is not positive, or stars left out of the fit are not predicted.
    """
    options = options or FitOptions()
    n = len(stamps)
    if n < options.min_stars:
        raise _too_few(n, options)
    design = _with_constant(convolved_stamps(stamps.template, spec))
    data = stamps.science.reshape(n, -1)
    problem = _Problem(design, data, stamps.x, stamps.y, spec, shape, options)
    good = stamps.good.reshape(n, -1)
    variance = stamps.variance.reshape(n, -1)
    noise = _NoiseModel(data, variance, good, options.model_error)
    weights = noise.weights(data)
    weighable = good.mean(axis=1) > 0.5
    core = _core_pixels(stamps.science.shape[-1])
    reason = _judge_ratio(_raw_ratio(design[:, 0], data, good), weighable, options, floor=0.5)
    for iteration in range(1, options.max_iterations + 1):
        used = reason == 0
        if used.sum() < options.min_stars:
            raise _too_few(int(used.sum()), options)
        fit = problem.solve(problem.equations(weights), used)
        model, back = fit.model(design)
        ratio = _flux_ratio(model, back, data, weights)
        noise.learn(ratio, weights, model, used)
        weights = noise.weights(model)
        reason = _judge_ratio(ratio, weighable, options, floor=0.02)
        # The basis's own error is no fault of a bright star; that a star moved is.
        allowed = noise.variance(model) + (noise.least_error * np.maximum(model, 0.0)) ** 2
        residual = _core_rms(data - model - back, allowed, good, core)
        reason = _judge_residual(residual, reason, options)
        if iteration > 1 and np.array_equal(used, reason == 0):
            break
    used = reason == 0
    if used.sum() < options.min_stars:
        raise _too_few(int(used.sum()), options)
    equations = problem.equations(weights)
    fit = problem.solve(equations, used)
    model, back = fit.model(design)
    if not fit.kernel.sum > 0:
        msg = f"the kernel sum is {fit.kernel.sum:.4g}: the images do not show the same sky"
        raise BadKernelError(msg, kernel_sum=fit.kernel.sum)
    pure_weights = good / noise.variance(model)
    flux_error, sum_scatter = _left_out_errors(problem, equations, weights, pure_weights, used, fit)
    sum_error = max(fit.sum_error, sum_scatter)
    if flux_error > _MAX_FLUX_ERROR:
        msg = (
            f"stars left out of the fit are predicted to {flux_error:.0%} only: the images do not "
            "show the same sky; check the registration and the coadd"
        )
        raise BadKernelError(msg, flux_error=flux_error)
    log.info(
        "kernel: %d of %d stars, order %d, sum %.6g +- %.2g, flux error %.4f, condition %.3g, "
        "%d rounds",
        used.sum(),
        n,
        fit.kernel.order,
        fit.kernel.sum,
        sum_error,
        flux_error,
        fit.condition,
        iteration,
    )
    return KernelSolution(
        kernel=fit.kernel,
        sum_error=sum_error,
        flux_error=flux_error,
        condition=fit.condition,
        used=used,
        reason=reason,
        flux_ratio=_flux_ratio(model, back, data, weights),
        residual=_core_rms(data - model - back, noise.variance(model), good, core),
        iterations=iteration,
    )


def _too_few(n, options):
    msg = (
        f"{n} usable stars for the kernel, need {options.min_stars}: lower "
        "subtract.stars.min_snr or subtract.stars.min_stars"
    )
    return TooFewStarsError(msg, n_stars=n, n_required=options.min_stars)


def _with_constant(design):
    n, _, pixels = design.shape
    return np.concatenate([design, np.ones((n, 1, pixels))], axis=1)


class _NoiseModel:
    """Pixel variances of the stamps as a function of the model, free of the data's own noise."""

    def __init__(self, data, variance, good, model_error):
        known = good.any(axis=1, keepdims=True)
        sky = _median_rows(variance, good)
        self.sky = np.where(known, sky, np.median(sky[known]) if known.any() else 1.0)
        level = _median_rows(data, good)
        bright = good & (data - level > 5 * np.sqrt(self.sky))
        # Counts of variance per count of star: 1 / gain, or 0 if the plane has no photon noise.
        slope = ((variance - self.sky) / np.where(bright, data - level, 1.0))[bright]
        self.slope = max(float(np.median(slope)), 0.0) if slope.size else 0.0
        self.good = good
        self.least_error = self.model_error = model_error

    def learn(self, ratio, weights, model, used):
        """Raise the model error to what the scatter of the stars' flux ratios shows.

        A flux error e common to the pixels of a star counts, for weights that take pixels as
        independent, as a pixel error of e (sum m^2) / sqrt(sum m^4).
        """
        if used.sum() < 3:
            return
        noise = _flux_ratio_noise(weights, self.good / self.variance(model), model)
        error = _excess_scatter((ratio - 1.0)[used], noise[used])
        square = np.where(self.good, np.maximum(model, 0.0) ** 2, 0.0)[used]
        pixels = square.sum(axis=1) / np.sqrt(np.maximum((square**2).sum(axis=1), 1e-300))
        self.model_error = max(self.least_error, error * float(np.median(pixels)))

    def variance(self, model):
        """Sky and photon noise for a noiseless model above the background."""
        return self.sky + self.slope * np.maximum(model, 0.0)

    def weights(self, model):
        """Inverse variances, model error included; zero on bad pixels."""
        positive = np.maximum(model, 0.0)
        return self.good / (self.variance(model) + (self.model_error * positive) ** 2)


@dataclass(frozen=True)
class _Fit:
    kernel: SpatialKernel
    kernel_at: np.ndarray
    background_at: np.ndarray
    sum_error: float
    condition: float

    def model(self, design, rows=slice(None)):
        """(template part, background), each (n, pixels), at the stamps."""
        part = (self.kernel_at[rows, None, :] @ design[rows, :-1])[:, 0]
        return part, self.background_at[rows, None]


def _left_out_errors(problem, equations, weights, pure_weights, used, fit, folds=5):
    """What leaving stars out in turn shows: (flux error, error of the kernel sum).

    The first is the scatter of the flux ratios of stars that the kernel was not fitted to, noise
    taken off; the second the delete-a-group jackknife of the kernel sum.
    """
    members = np.flatnonzero(used)
    if members.size < 3:
        return np.nan, 0.0
    folds = min(folds, members.size)
    orders = fit.kernel.order, fit.kernel.background_order
    deviation, noise = np.empty(members.size), np.empty(members.size)
    sums = []
    for fold in range(folds):
        out = np.arange(members.size) % folds == fold
        rows = members[out]
        kept = used.copy()
        kept[rows] = False
        trial = problem.solve(equations, kept, orders)
        sums.append(trial.kernel.sum)
        model, back = trial.model(problem.design, rows)
        ratio = _flux_ratio(model, back, problem.data[rows], weights[rows])
        deviation[out] = ratio - 1.0
        noise[out] = _flux_ratio_noise(weights[rows], pure_weights[rows], model)
    jackknife = np.sqrt((folds - 1) * np.var(sums))
    return _excess_scatter(deviation, noise), float(jackknife)


def _excess_scatter(deviation, noise):
    """The scatter e for which sum d^2 / (n^2 + e^2) equals its expectation; 0 if noise suffices.

    The method of Paule & Mandel (1982), on deviations clipped at 4 robust sigmas.
    """
    noise = np.maximum(noise, 1e-12)
    limit = 4.0 * max(_robust_sigma(deviation), np.median(noise))
    kept = np.abs(deviation - np.median(deviation)) <= limit
    deviation, noise = deviation[kept], noise[kept]

    def excess(e):
        return (deviation**2 / (noise**2 + e**2)).sum() - deviation.size

    low, high = 0.0, float(np.abs(deviation).max())
    if excess(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


@dataclass(frozen=True)
class _Problem:
    """The stamps of a fit, convolved, and how to solve for any subset of them."""

    design: np.ndarray
    data: np.ndarray
    x: np.ndarray
    y: np.ndarray
    spec: object
    shape: tuple
    options: FitOptions

    def equations(self, weights):
        """Normal equations of every stamp."""
        return normal_equations(self.design, self.data, weights)

    def solve(self, equations, used, orders=None):
        """The _Fit to the `used` stamps; orders by their number unless given."""
        options, count = self.options, int(used.sum())
        order, background_order = orders or (
            affordable_order(options.order, count, options.stars_per_term),
            affordable_order(options.background_order, count, options.stars_per_term),
        )
        p = chebyshev(order, self.x, self.y, self.shape)
        q = chebyshev(background_order, self.x, self.y, self.shape)
        matrices, vectors = (part[used] for part in equations)
        system, right = spatial_system(matrices, vectors, p[used], q[used])
        n_basis, terms = self.design.shape[1] - 1, p.shape[1]
        varying = slice(1, 1 + (n_basis - 1) * terms)
        prior = None
        if options.ridge > 0:
            light = matrices[:, 0, 0].sum()
            level = max(abs(vectors[:, 0].sum() / light) if light > 0 else 0.0, 1e-30)
            prior = np.zeros(len(right))
            prior[varying] = 1.0 / (options.ridge * level) ** 2
        solution, covariance, condition = solve(system, right, prior)
        coefficients = np.zeros((n_basis, terms))
        coefficients[0, 0] = solution[0]
        coefficients[1:] = solution[varying].reshape(n_basis - 1, -1)
        background = solution[varying.stop :]
        kernel = SpatialKernel(
            basis=gaussian_basis(self.spec),
            coefficients=coefficients,
            order=order,
            background=background,
            background_order=background_order,
            shape=tuple(self.shape),
        )
        sum_error = float(np.sqrt(covariance[0, 0]))
        return _Fit(kernel, p @ coefficients.T, q @ background, sum_error, condition)


def _raw_ratio(template, data, good):
    """Flux of each star over its template's, before any kernel is known, median 1."""
    t = np.where(good, template - _median_rows(template, good), 0.0).sum(axis=1)
    s = np.where(good, data - _median_rows(data, good), 0.0).sum(axis=1)
    ratio = s / np.where(t != 0, t, np.inf)
    middle = np.median(ratio)
    return ratio / (middle if middle != 0 else 1.0)


def _median_rows(values, good):
    masked = np.where(good, values, np.nan)
    masked[~good.any(axis=1)] = 0.0
    return np.nanmedian(masked, axis=1, keepdims=True)


def _flux_ratio(model, background, data, weights):
    """Weighted least-squares scale of the model at each star."""
    top = (weights * model * (data - background)).sum(axis=1)
    bottom = (weights * model * model).sum(axis=1)
    return top / np.where(bottom > 0, bottom, np.inf)


def _flux_ratio_noise(weights, pure_weights, model):
    """Standard error of `_flux_ratio` from the pixels' noise alone."""
    safe = np.where(pure_weights > 0, pure_weights, np.inf)
    top = (weights**2 * model**2 / safe).sum(axis=1)
    bottom = (weights * model**2).sum(axis=1)
    return np.sqrt(top) / np.where(bottom > 0, bottom, np.inf)


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


def _robust_sigma(values):
    return 1.4826 * np.median(np.abs(values - np.median(values)))


def _judge_ratio(ratio, weighable, options, *, floor):
    """Reasons after the flux-ratio cut: far from the median by clip x scatter, or the floor."""
    reason = np.where(weighable, 0, 3)
    if weighable.any():
        centre = np.median(ratio[weighable])
        limit = options.flux_ratio_clip * _robust_sigma(ratio[weighable])
        limit = max(limit, floor * abs(centre))
        reason[weighable & ~(np.abs(ratio - centre) <= limit)] = 1
    return reason


def _judge_residual(residual, reason, options, *, floor=0.25):
    """Reasons after the residual cut: rms above the median by clip x scatter, or the floor."""
    used = reason == 0
    if not used.any():
        return reason
    centre = np.median(residual[used])
    limit = centre + max(options.residual_clip * _robust_sigma(residual[used]), floor)
    return np.where(used & ~(residual <= limit), 2, reason)
