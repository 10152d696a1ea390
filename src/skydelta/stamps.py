"""Subtraction of one small stamp from another, where there is no field of stars to learn from.

Alerts come as cut-outs of a minute of arc: science, reference, no WCS, often nothing but a galaxy
under the transient. One Alard-Lupton kernel and one background polynomial are then fitted to all
the light of the stamp, galaxies included, outside the pixels that the caller masks.
"""

import logging
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import convolve as convolve_image

from skydelta.bases import GaussianBasis
from skydelta.errors import BadImageError, BadKernelError, InputError
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import DEFAULT_SIGMAS, BasisSpec, kernel_size, scaled_spec
from skydelta.stamp_fit import fit_stamp
from skydelta.stamp_noise import LinearErrors, spread
from skydelta.stamp_pair import StampPair

log = logging.getLogger(__name__)

STAMP_DEGREES = (4, 2, 2)
"""Three Gaussians: a stamp holds neither the pixels nor the stars for the fourth, wide one."""

_SIZE_SHARE = 4
"""The kernel is at most this fraction of the stamp across: half of it is lost at every edge."""

_MIN_SIZE = 7

_SHARPENS = 2.0
"""A kernel that amplifies the variance of noise by more than this undoes the template's seeing."""

_MISSING = 1e-3
"""A difference pixel is void if more than this share of the kernel fell on missing pixels."""


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
        SpatialKernel, constant over the stamp (padded to a square), and the background fitted
        with it, in counts of the image that was not convolved.
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
    _errors: LinearErrors = field(repr=False)

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
        sigmas = DEFAULT_SIGMAS[: len(STAMP_DEGREES)]
        return BasisSpec(sigmas, STAMP_DEGREES, min(kernel_size(sigmas), limit))
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
    pair = StampPair.of(science, template, variance, template_variance, mask, gain)
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
    match = _subtracted(pair, basis, convolve if convolve != "auto" else "template", options)
    if convolve == "auto" and match.kernel_power > _SHARPENS:
        try:
            other = _subtracted(pair, basis, "science", options)
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
    noise, model = match._errors.sum_errors(square[half : side - half, half : side - half].ravel())
    scale = 1.0 if match.convolved == "template" else 1.0 / match.kernel_sum
    return ApertureFlux(flux, scale * noise, scale * model)


def _subtracted(pair, basis, convolve, options):
    """The StampMatch of one direction."""
    fit = fit_stamp(pair, basis, convolve, options)
    _, lost, target, lost_target = pair.turned(convolve)
    side, middle, total = len(target), fit.kernel.middle, fit.kernel.sum
    inner = (slice(basis.half, side - basis.half),) * 2
    share = convolve_image(lost.astype(float), np.abs(middle) / np.abs(middle).sum())
    void = (lost_target | (share > _MISSING))[inner].ravel()
    variance = fit.target_variance
    if fit.source_variance is not None:
        variance = variance + total**2 * spread(fit.source_variance, middle)
    scale = 1.0 if convolve == "template" else -1.0 / total
    planes = {
        "difference": np.where(void, np.nan, scale * fit.residual),
        "variance": np.where(void, np.nan, scale**2 * variance[inner].ravel()),
        "fitted": fit.fitted,
    }
    return StampMatch(
        **{name: _whole(plane, pair.shape, inner) for name, plane in planes.items()},
        kernel=fit.kernel,
        kernel_sum_error=fit.sum_error,
        convolved=convolve,
        chi2=fit.chi2,
        condition=fit.condition,
        _errors=fit.errors,
    )


def _whole(plane, shape, inner):
    """A plane of the valid part as one of the stamp's shape, NaN or False around."""
    side = max(shape)
    out = np.full((side, side), False if plane.dtype == bool else np.nan)
    out[inner] = plane.reshape(out[inner].shape)
    return out[: shape[0], : shape[1]]
