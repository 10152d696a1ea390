"""Subtraction of one small stamp from another, where there is no field of stars to learn from.

Alerts come as cut-outs of a minute of arc: science, reference, no WCS, often nothing but a galaxy
under the transient. One Alard-Lupton kernel and one background polynomial are then fitted to all
the light of the stamp, galaxies included, outside the pixels that the caller masks.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import convolve as convolve_image
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from skydelta.bases import GaussianBasis
from skydelta.errors import BadImageError, BadKernelError, BadVarianceError, InputError
from skydelta.fill import fill_holes
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import DEFAULT_SIGMAS, BasisSpec, scaled_spec
from skydelta.kernel_fit import Stamps
from skydelta.kernel_problem import Problem
from skydelta.kernel_solver import solve
from skydelta.polynomial import chebyshev
from skydelta.star_noise import NoiseModel, robust_sigma

log = logging.getLogger(__name__)

STAMP_DEGREES = (4, 2, 2)
"""Three Gaussians: a stamp holds neither the pixels nor the stars for the fourth, wide one."""

_SIZE_SHARE = 4
"""The kernel is at most this fraction of the stamp across: half of it is lost at every edge."""

_MIN_SIZE = 7
_PIXELS_PER_TERM = 3
_MIN_SIGNAL = 5.0
"""Least significance of the kernel sum; below it the stamp shows nothing to be matched."""

_SHARPENS = 2.0
"""A kernel that amplifies the variance of noise by more than this undoes the template's seeing."""

_MISSING = 1e-3
"""A difference pixel is void if more than this share of the kernel fell on missing pixels."""

_FLAT = 1e-12
"""A template whose variation holds less than this share of its square is flat."""

_TINY = 1e-12


@dataclass(frozen=True)
class StampOptions:
    """How a stamp is matched.

    Parameters
    ----------
    spec
        BasisSpec of the kernel; None for the rule of `stamp_spec`.
    background_order
        Total degree of the background polynomial.
    ridge
        Prior width of each normalised basis coefficient in units of the kernel sum; 0 is none.
    model_error
        Relative error of a model pixel, in the weights, so that a bright nucleus does not outvote
        everything else.
    clip
        Pixels whose residual is above this many sigmas are left out.
    max_iterations
        Rounds of weights and clipping.
    """

    spec: BasisSpec | None = None
    background_order: int = 1
    ridge: float = 1.0
    model_error: float = 0.005
    clip: float = 4.0
    max_iterations: int = 8


@dataclass(frozen=True)
class StampMatch:
    """A stamp subtracted from another.

    Parameters
    ----------
    difference
        (ny, nx) science counts, whichever image was convolved; NaN where the kernel reaches
        beyond the stamp or onto missing pixels.
    variance
        (ny, nx) counts squared: that of the equivalent white noise, which gives sums over
        apertures wider than the kernel their right error; NaN where the difference is.
    fitted
        (ny, nx) bool, the pixels the kernel rests on.
    kernel
        SpatialKernel, constant over the stamp, and the background fitted with it.
    kernel_sum_error
        Standard error of the kernel sum.
    convolved
        ``"template"`` or ``"science"``.
    chi2
        Mean square residual of the fitted pixels over their variance. Near 1 by construction if
        the variance was measured from the residual.
    condition
        Condition number of the scaled normal matrix.
    """

    difference: np.ndarray
    variance: np.ndarray
    fitted: np.ndarray
    kernel: SpatialKernel
    kernel_sum_error: float
    convolved: str
    chi2: float
    condition: float
    _linear: "_Linear" = field(repr=False)

    @property
    def kernel_sum(self):
        """Sum of the kernel."""
        return self.kernel.sum

    @property
    def kernel_power(self):
        """Variance of white noise after the kernel, normalised to sum 1; above 1 it sharpens."""
        middle = self.kernel.middle
        return float((middle**2).sum() / middle.sum() ** 2)

    @property
    def flux_ratio(self):
        """Science counts per template count."""
        return self.kernel_sum if self.convolved == "template" else 1.0 / self.kernel_sum

    @property
    def background(self):
        """(ny, nx) background of the difference that was fitted and taken off, science counts."""
        ny, nx = self.difference.shape
        level = self.kernel.background.box(0, ny, 0, nx)
        return level if self.convolved == "template" else -level / self.kernel_sum


@dataclass(frozen=True)
class ApertureFlux:
    """Flux in a circle on a difference.

    Parameters
    ----------
    flux
        Science counts.
    noise
        Standard error from the variance of the pixels.
    model
        Standard error of the matched image and the background inside the circle: where it was
        masked they are extrapolated from the rest of the stamp.
    """

    flux: float
    noise: float
    model: float

    @property
    def error(self):
        """Standard error, both parts together."""
        return float(np.hypot(self.noise, self.model))


def stamp_spec(side, sigma_science=None, sigma_template=None):
    """Basis of a kernel for stamps of `side` px.

    Parameters
    ----------
    side
        Length of the shorter axis, px.
    sigma_science, sigma_template
        Gaussian sigmas of the two PSFs, px. If either is unknown the widths are the general ones,
        0.7, 1.5 and 3 px.

    Returns
    -------
    BasisSpec
        At most a quarter of the stamp across.
    """
    limit = max((side // _SIZE_SHARE - 1) | 1, _MIN_SIZE)
    if sigma_science is None or sigma_template is None:
        return BasisSpec(DEFAULT_SIGMAS[: len(STAMP_DEGREES)], STAMP_DEGREES, limit)
    if not (sigma_science > 0 and sigma_template > 0):
        msg = f"PSF sigmas must be positive, got {sigma_science} and {sigma_template} px"
        raise ValueError(msg)
    spec = scaled_spec(sigma_science, sigma_template, degrees=STAMP_DEGREES)
    return replace(spec, size=min(spec.size, limit))


def match_stamp(
    science,
    template,
    *,
    variance=None,
    template_variance=None,
    gain=None,
    mask=None,
    sigma_science=None,
    sigma_template=None,
    convolve="auto",
    options=None,
):
    """Subtract a template stamp from a science stamp of the same pixels.

    Parameters
    ----------
    science, template
        (ny, nx) counts on one grid; NaN for missing pixels.
    variance, template_variance
        (ny, nx) or a number, counts squared, of the two images' noise. Without `variance` the
        noise is measured from the residual, and `template_variance` is not used.
    gain
        Electrons per science count; adds the photon noise of sources to a measured noise.
    mask
        (ny, nx) bool, science pixels that the fit must not see: the transient, out to where it is
        lost in the noise. They are subtracted all the same. If the science image is convolved
        they count as masked as far as the kernel carries them.
    sigma_science, sigma_template
        Gaussian sigmas of the two PSFs, px, if known: they set the kernel's widths and say which
        image is convolved.
    convolve
        ``"template"``, ``"science"``, or ``"auto"``: the one of the smaller sigma; where these
        are unknown the template, unless its kernel sharpens (more than doubles the variance of
        noise) and that of the science image does so less.
    options
        StampOptions.

    Returns
    -------
    StampMatch

    Raises
    ------
    InputError
        If the shapes differ or the stamp is too small for the kernel.
    BadImageError
        If too few pixels are left to fit.
    BadVarianceError
        If a variance is negative or not known where its image is.
    BadKernelError
        If the stamps hold no light in common.
    """
    options = options or StampOptions()
    if convolve not in ("auto", "template", "science"):
        msg = f'convolve must be "auto", "template" or "science", got {convolve!r}'
        raise ValueError(msg)
    if gain is not None and not gain > 0:
        msg = f"the gain must be positive, got {gain} electrons per count"
        raise ValueError(msg)
    pair = _Pair.of(science, template, variance, template_variance, mask, gain)
    spec = options.spec or stamp_spec(min(pair.shape), sigma_science, sigma_template)
    basis = GaussianBasis(spec)
    if min(pair.shape) <= 2 * spec.size:
        msg = (
            f"a stamp of {pair.shape} px is too small for a kernel of {spec.size} px: "
            "cut larger stamps, or give a smaller options.spec"
        )
        raise InputError(msg)
    if convolve == "auto" and None not in (sigma_science, sigma_template):
        convolve = "template" if sigma_template <= sigma_science else "science"
    match = _fit(pair, basis, convolve if convolve != "auto" else "template", options)
    if convolve == "auto" and match.kernel_power > _SHARPENS:
        try:
            other = _fit(pair, basis, "science", options)
        except (BadImageError, BadKernelError) as error:
            log.info("the science stamp cannot be convolved instead: %s", error)
        else:
            match = min(match, other, key=lambda one: one.kernel_power)
    log.info(
        "stamp: %s convolved, kernel sum %.4f +- %.4f, power %.2f, chi2 %.2f, %d pixels",
        match.convolved,
        match.kernel_sum,
        match.kernel_sum_error,
        match.kernel_power,
        match.chi2,
        match.fitted.sum(),
    )
    return match


def aperture_flux(match, x, y, radius):
    """Flux within a circle on a difference, edge pixels by their exact share.

    Nothing is corrected for the light outside the circle.

    Parameters
    ----------
    match
        StampMatch.
    x, y
        Centre, 0-based px of the stamp.
    radius
        px.

    Returns
    -------
    ApertureFlux
        NaN if the circle leaves the valid part of the difference.
    """
    from photutils.aperture import CircularAperture

    ny, nx = match.difference.shape
    if not (radius - 0.5 <= x <= nx - 0.5 - radius and radius - 0.5 <= y <= ny - 0.5 - radius):
        return ApertureFlux(np.nan, np.nan, np.nan)
    weight = CircularAperture((x, y), radius).to_mask(method="exact").to_image((ny, nx))
    inside = weight > 0
    flux = float((weight[inside] * match.difference[inside]).sum())
    if not np.isfinite(flux):
        return ApertureFlux(np.nan, np.nan, np.nan)
    side, half = max(ny, nx), match.kernel.half
    square = np.zeros((side, side))
    square[:ny, :nx] = weight
    noise, model = match._linear.sum_errors(square[half : side - half, half : side - half].ravel())
    scale = 1.0 if match.convolved == "template" else 1.0 / match.kernel_sum
    return ApertureFlux(flux, scale * noise, scale * model)


@dataclass(frozen=True)
class _Linear:
    """The fit as a linear function of the pixels, for errors that know how noise is correlated.

    Parameters
    ----------
    design
        (k, pixels) of the valid part.
    response
        (k, pixels): the unknowns are response @ data.
    kernel
        (size, size) that the source was convolved with.
    target_variance
        (pixels,) counts squared.
    source_variance
        (side, side), or None for a noiseless source.
    inflation
        Square root of chi2 where that is above 1.
    """

    design: np.ndarray
    response: np.ndarray
    kernel: np.ndarray
    target_variance: np.ndarray
    source_variance: np.ndarray | None
    inflation: float

    def error(self, weights):
        """Standard error of sum weights * (data - kernel conv source), data and source noisy."""
        total = (weights**2 * self.target_variance).sum()
        if self.source_variance is not None:
            side = round(np.sqrt(weights.size))
            image = weights.reshape(side, side)
            carried = fftconvolve(image, self.kernel[::-1, ::-1], mode="full")
            total += (carried**2 * self.source_variance).sum()
        return float(np.sqrt(total))

    def sum_errors(self, weights):
        """Errors of sum weights * residual: (that of the pixels, that of the fitted model)."""
        model = (self.design @ weights) @ self.response
        return self.error(weights), self.error(model) * self.inflation


@dataclass(frozen=True)
class _Pair:
    """Both stamps, made square, without NaN, and what is known of their pixels."""

    shape: tuple
    science: np.ndarray
    template: np.ndarray
    missing_science: np.ndarray
    missing_template: np.ndarray
    mask: np.ndarray
    variance: np.ndarray | None
    template_variance: np.ndarray | None
    gain: float | None

    @classmethod
    def of(cls, science, template, variance, template_variance, mask, gain):
        science, template = np.asarray(science, float), np.asarray(template, float)
        shape = science.shape
        if science.ndim != 2 or template.shape != shape:
            msg = f"the stamps must be 2-d and of one shape, got {shape} and {template.shape}"
            raise InputError(msg)
        mask = np.zeros(shape, bool) if mask is None else np.asarray(mask, bool)
        if mask.shape != shape:
            msg = f"the mask must have the stamps' shape {shape}, got {mask.shape}"
            raise InputError(msg)
        for name, image in (("science", science), ("template", template)):
            if not np.isfinite(image).any():
                msg = f"the {name} stamp has no finite pixel"
                raise BadImageError(msg)
        known = np.isfinite(science)
        variance = _variance_plane(variance, shape, known, "variance")
        known = np.isfinite(template)
        extra = _variance_plane(template_variance, shape, known, "template_variance")
        lost_science, lost_template = _square(science), _square(template)
        missing = ~np.isfinite(lost_science), ~np.isfinite(lost_template)
        filled = _filled(lost_science, missing[0]), _filled(lost_template, missing[1])
        return cls(
            shape,
            *filled,
            *missing,
            _square(mask, fill=True),
            None if variance is None else _square(variance, fill=1.0),
            None if extra is None else _square(extra, fill=1.0),
            gain,
        )

    def turned(self, convolve):
        """(source, its missing pixels, target, its missing pixels) for a direction."""
        template = self.template, self.missing_template
        science = self.science, self.missing_science
        return (*template, *science) if convolve == "template" else (*science, *template)


def _variance_plane(variance, shape, known, name):
    if variance is None:
        return None
    if np.ndim(variance) and np.shape(variance) != shape:
        msg = f"{name} must have the stamps' shape {shape}, got {np.shape(variance)}"
        raise InputError(msg)
    plane = np.broadcast_to(np.asarray(variance, float), shape)
    if not (plane[known] > 0).all() or not np.isfinite(plane[known]).all():
        msg = f"{name} must be positive and finite wherever the stamp is finite"
        raise BadVarianceError(msg)
    return np.where(known, plane, np.median(plane[known]))


def _filled(image, missing):
    """The image without NaN; `fill_holes` expects no background."""
    level = np.median(image[~missing])
    return fill_holes(np.where(missing, 0.0, image - level), missing) + level


def _square(image, fill=np.nan):
    """The image padded at its far edges to equal axes."""
    ny, nx = image.shape
    side = max(ny, nx)
    return np.pad(image, ((0, side - ny), (0, side - nx)), constant_values=fill)


def _fit(pair, basis, convolve, options):
    """The StampMatch of one direction."""
    source, lost, target, lost_target = pair.turned(convolve)
    side, half, n = len(target), basis.half, len(basis)
    cut = (slice(half, side - half),) * 2
    middle = np.array([(side - 1) // 2])
    yy, xx = np.mgrid[cut]
    terms = chebyshev(options.background_order, xx.ravel(), yy.ravel(), (side, side)).T
    kernels = basis.design(source[None], middle, middle)[0][:-1]
    design = np.concatenate([kernels, terms])
    data = target[cut].ravel()
    masked = pair.mask if convolve == "template" else _grown(pair.mask, basis.size)
    good = ~(masked | lost_target | _grown(lost, basis.size))[cut].ravel()
    if good.sum() < _PIXELS_PER_TERM * len(design):
        msg = (
            f"{good.sum()} usable pixels for {len(design)} unknowns, need "
            f"{_PIXELS_PER_TERM * len(design)}: mask less, or give a smaller kernel in options.spec"
        )
        raise BadImageError(msg)
    known = pair.variance is not None
    _require_signal(design, good.astype(float), n)
    noise = (_KnownNoise if known else _MeasuredNoise)(pair, convolve, options, basis, good)
    values, solved, weights, sigma2 = _iterate(design, data, good, noise, basis, options)
    fitted, background = weights > 0, values[n:]
    kernel = SpatialKernel.polynomial(
        basis.functions, values[:n, None], 0, background, options.background_order, (side, side)
    )
    residual = data - values @ design
    chi2 = float((residual[fitted] ** 2 / sigma2[fitted]).sum() / (fitted.sum() - len(design)))
    target_variance, source_variance = noise.planes(kernel.middle)
    linear = _Linear(
        design=design,
        response=np.stack([solved.apply_inverse(row) for row in (design * weights).T], axis=1),
        kernel=kernel.middle,
        target_variance=target_variance[cut].ravel(),
        source_variance=source_variance,
        inflation=np.sqrt(max(chi2, 1.0)),
    )
    total = kernel.sum
    error = linear.error(linear.response[0]) * linear.inflation
    if not total > _MIN_SIGNAL * error:
        msg = (
            f"the kernel sum is {total:.4g} +- {error:.2g}: the stamps show no light in common "
            "outside the mask"
        )
        raise BadKernelError(msg, kernel_sum=total)
    power = np.abs(kernel.middle)
    share = convolve_image(lost.astype(float), power / power.sum(), mode="nearest")
    void = (lost_target | (share > _MISSING))[cut].ravel()
    scale = 1.0 if convolve == "template" else -1.0 / total
    white = target_variance
    if source_variance is not None:
        white = white + total**2 * _spread(source_variance, kernel.middle)
    planes = {
        "difference": np.where(void, np.nan, scale * residual),
        "variance": np.where(void, np.nan, scale**2 * white[cut].ravel()),
        "fitted": fitted,
    }
    return StampMatch(
        **{name: _uncut(plane, pair.shape, side, cut) for name, plane in planes.items()},
        kernel=kernel,
        kernel_sum_error=error,
        convolved=convolve,
        chi2=chi2,
        condition=solved.condition,
        _linear=linear,
    )


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


class _MeasuredNoise:
    """Sky noise from the residual of the fainter half of the pixels, photon noise from the gain."""

    def __init__(self, pair, convolve, options, basis, good):
        self.pair, self.convolve, self.options = pair, convolve, options
        self.sky, self.source_variance = np.nan, None

    def first(self, data):
        side = int(np.sqrt(data.size))
        step = np.diff(data.reshape(side, side), axis=1)
        # A noiseless stamp has equal weights, whatever they are.
        return np.full(data.size, max(0.5 * robust_sigma(step) ** 2, _TINY * np.var(data), _TINY))

    def learned(self, residual, light, kernel, fitted):
        middle = np.median(light[fitted])
        above = np.maximum(light - middle, 0.0)
        faint = fitted & (light <= middle)
        least = _TINY * max(np.var(light[fitted]), _TINY)
        self.sky = max(robust_sigma(residual[faint]) ** 2, least)
        if self.convolve == "science":  # next to it the template is taken as noiseless
            self.source_variance = self.sky / (kernel**2).sum()
        photons = 0.0
        if self.pair.gain:
            photons = above / self.pair.gain
            if self.convolve == "science":
                photons = photons * (kernel**2).sum() / max(abs(kernel.sum()), _TINY)
        return self.sky + photons + (self.options.model_error * above) ** 2

    def planes(self, kernel):
        """(side, side) variances of target and source, counts squared; None for no noise."""
        science = self.pair.science
        turned = self.convolve == "science"
        plane = np.full(science.shape, self.sky / ((kernel**2).sum() if turned else 1.0))
        if self.pair.gain:
            seen = ~self.pair.missing_science
            above = science - np.median(science[seen])
            plane += np.maximum(above, 0.0) / self.pair.gain
        return (np.zeros(science.shape), plane) if turned else (plane, None)


class _KnownNoise:
    """Noise from variance planes, made a function of the model so that weights follow no noise."""

    def __init__(self, pair, convolve, options, basis, good):
        self.pair, self.convolve = pair, convolve
        source, _, target, _ = pair.turned(convolve)
        planes = pair.template_variance, pair.variance
        source_variance, variance = planes if convolve == "template" else planes[::-1]
        half, side = basis.half, len(target)
        cut = (slice(half, side - half),) * 2
        variance = np.zeros((side, side)) if variance is None else variance
        self.target_variance, self.source_variance_plane = variance, source_variance
        noisy = source_variance is not None
        self.source_variance = source_variance[cut].ravel() if noisy else None
        position = np.array([(side - 1) // 2])
        stamps = Stamps(
            x=position,
            y=position,
            target=target[cut][None],
            variance=variance[cut][None],
            source=source[None],
            good=good.reshape(1, side - 2 * half, side - 2 * half),
            source_variance=source_variance[cut][None] if noisy else None,
        )
        self.model = NoiseModel(stamps, options.model_error)
        scale = np.std(target[cut]) / max(np.std(source[cut]), _TINY)
        self.model.add_source(scale, scale**2 * float((basis.functions[0] ** 2).sum()))

    def first(self, data):
        return self._variance(np.zeros(data.size))

    def learned(self, residual, light, kernel, fitted):
        self.model.add_source(kernel.sum(), float((kernel**2).sum()))
        return self._variance(light - np.median(light[fitted]))

    def _variance(self, light):
        """Variance with the model's error, of bad pixels, too."""
        error = self.model.least_error * np.maximum(light, 0.0)
        return np.maximum(self.model.variance(light[None])[0] + error**2, _TINY)

    def planes(self, kernel):
        """(side, side) variances of target and source, counts squared; None for no noise."""
        return self.target_variance, self.source_variance_plane


def _spread(variance, kernel):
    """A variance plane averaged with the squared kernel."""
    weight = kernel**2 / (kernel**2).sum()
    return np.maximum(convolve_image(variance, weight, mode="nearest"), 0.0)


def _require_signal(design, weights, n):
    """The template must show something that a background does not.

    Raises
    ------
    BadKernelError
        If its variation is lost in rounding.
    """
    terms = design[n:]
    matrix = (terms * weights) @ terms.T
    flat = np.linalg.lstsq(matrix, (terms * weights) @ design[0])[0] @ terms
    if not ((design[0] - flat) ** 2 @ weights) > _FLAT * ((design[0] ** 2) @ weights):
        msg = "the image to be convolved is a plain background outside the mask: nothing to match"
        raise BadKernelError(msg)


def _grown(mask, size):
    """The mask carried as far as a kernel of `size` px reaches."""
    return maximum_filter(mask, size) if mask.any() else mask


def _uncut(plane, shape, side, cut):
    """A plane of the valid part as one of the stamp's shape, NaN or False around."""
    out = np.full((side, side), False if plane.dtype == bool else np.nan)
    out[cut] = plane.reshape(out[cut].shape)
    return out[: shape[0], : shape[1]]
