"""Alard-Lupton subtraction: the template, matched to the science image, taken away from it."""

import logging
from dataclasses import dataclass, field

import numpy as np

from skydelta.background import estimate_background
from skydelta.convolve import convolve_local, convolve_spatial
from skydelta.exposure import Exposure
from skydelta.kernel_basis import (
    DEFAULT_DEGREES,
    DEFAULT_SIGMAS,
    BasisSpec,
    kernel_size,
    scaled_spec,
)
from skydelta.kernel_fit import FitOptions, KernelSolution, fit_kernel
from skydelta.kernel_stars import StarOptions, cut_stamps, kernel_stars
from skydelta.mask import PLANES, UNUSABLE, Mask, add_planes
from skydelta.photocalib import PhotoCalib
from skydelta.whitening import grid_size, transform

log = logging.getLogger(__name__)

_MISSING_WEIGHT = 1e-3
"""A pixel is lost when more than this share of its kernel lies on template pixels without data."""

_SATURATED_WEIGHT = 1e-5
"""The same for saturated template pixels, whose values may be wrong by millions of counts."""


@dataclass(frozen=True)
class BasisOptions:
    """The kernel's basis functions.

    Parameters
    ----------
    scale_by_fwhm
        Widths and size from the two seeings; otherwise those given.
    sigmas
        Gaussian widths, px, where not scaled.
    degrees
        Polynomial degree on each Gaussian.
    size
        Odd kernel width, px; None for the size rule.
    """

    scale_by_fwhm: bool = True
    sigmas: tuple = DEFAULT_SIGMAS
    degrees: tuple = DEFAULT_DEGREES
    size: int | None = None

    def spec(self, sigma_science, sigma_template):
        """The BasisSpec for two PSF widths in px."""
        if self.scale_by_fwhm:
            spec = scaled_spec(sigma_science, sigma_template, degrees=tuple(self.degrees))
        else:
            size = kernel_size(self.sigmas)
            spec = BasisSpec(tuple(self.sigmas), tuple(self.degrees), size)
        return BasisSpec(spec.sigmas, spec.degrees, self.size) if self.size else spec


@dataclass(frozen=True)
class SubtractOptions:
    """All choices of the subtraction.

    Parameters
    ----------
    basis, stars, fit
        Of the kernel.
    background_cell
        Cells of the mesh, px, on which the background that the fit left over is measured and
        taken off the difference; None to leave it.
    """

    basis: BasisOptions = field(default_factory=BasisOptions)
    stars: StarOptions = field(default_factory=StarOptions)
    fit: FitOptions = field(default_factory=FitOptions)
    background_cell: int | None = 128


def subtract_options(section):
    """SubtractOptions from the configuration's section (basis, stars, fit)."""
    stars = dict(section["stars"])
    if stars["max_snr"] is None:
        stars["max_snr"] = np.inf
    basis = {k: tuple(v) if isinstance(v, list) else v for k, v in section["basis"].items()}
    return SubtractOptions(
        BasisOptions(**basis),
        StarOptions(**stars),
        FitOptions(**section["fit"]),
        section["background_cell"],
    )


@dataclass(frozen=True)
class Difference:
    """A raw difference and the kernel behind it.

    Parameters
    ----------
    exposure
        Science minus matched template; its noise is still correlated.
    solution
        KernelSolution.
    stars
        Structured array of the candidate stars, aligned with the solution's.
    spec
        BasisSpec of the kernel.
    """

    exposure: Exposure
    solution: KernelSolution
    stars: np.ndarray
    spec: BasisSpec


def subtract(science, template, noise_correlation=None, *, options=None):
    """Science minus the template convolved with a fitted, spatially varying kernel.

    Parameters
    ----------
    science
        Exposure with PSF.
    template
        Exposure on the same grid, with PSF.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None for white noise.
    options
        SubtractOptions.

    Returns
    -------
    Difference

    Raises
    ------
    TooFewStarsError, BadKernelError
        From the fit.
    """
    options = options or SubtractOptions()
    ny, nx = science.shape
    centre = (nx - 1) / 2.0, (ny - 1) / 2.0
    science_shape = science.psf.compute_shape(*centre)
    template_shape = template.psf.compute_shape(*centre)
    spec = options.basis.spec(science_shape.determinant_radius, template_shape.determinant_radius)
    fwhm = max(science_shape.fwhm, template_shape.fwhm)
    stamp_half = min(max(int(np.ceil(3.0 * fwhm)), 8), max(min(ny, nx) // 2 - spec.half - 1, 8))
    stars = kernel_stars(science, template, spec.half, stamp_half, options.stars)
    stamps = cut_stamps(science, template, stars, spec.half, stamp_half)
    solution = fit_kernel(stamps, spec, science.shape, options.fit)
    exposure = apply_kernel(science, template, solution.kernel, noise_correlation)
    exposure = _without_background(exposure, options.background_cell)
    exposure = _with_calibration(exposure, science, template, solution)
    meta = _kernel_cards(solution, stars, spec, options)
    meta |= {
        "SCIFWHM": (science_shape.fwhm, "[pix] FWHM of the science PSF"),
        "TMPSCALE": (template.photo_calib.scale, "nJy per count of the template"),
        "TMPFWHM": (template_shape.fwhm, "[pix] FWHM of the template PSF"),
    }
    notes = _fallback_notes(solution, options)
    for note in notes:
        log.warning(note)
    exposure = exposure.replace(meta={**exposure.meta, **meta}).noted(*notes)
    return Difference(exposure, solution, stars, spec)


def apply_kernel(science, template, kernel, noise_correlation=None):
    """Science - kernel conv template - background, with its variance and mask.

    Parameters
    ----------
    science, template
        Exposures on one grid.
    kernel
        SpatialKernel.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None.

    Returns
    -------
    Exposure
        With the science image's PSF, calibration and WCS.
    """
    ny = science.shape[0]
    matched = convolve_spatial(template.image, kernel)
    image = science.image - matched
    for y0 in range(0, ny, 256):
        rows = np.arange(y0, min(y0 + 256, ny))
        image[rows[0] : rows[-1] + 1] -= kernel.background_rows(rows)
    variance = science.variance + _template_variance(template, kernel, noise_correlation)
    bits, planes = _difference_mask(science, template, kernel)
    no_data = (bits & np.int32(1 << planes["NO_DATA"])) != 0
    image[no_data] = 0.0
    variance[no_data] = np.nan
    return science.replace(
        image=image,
        variance=variance.astype(np.float32, copy=False),
        mask=Mask(bits, planes),
    )


def _without_background(exposure, cell):
    """The difference without the background that the stars' stamps did not show."""
    if cell is None:
        return exposure
    unusable = exposure.mask.any(*UNUSABLE)
    cell = min(cell, max(min(exposure.shape) // 2, 32))
    level = estimate_background(exposure.image, unusable, cell=cell, passes=1).level
    rms = float(np.std(level[::8, ::8]))
    return exposure.replace(
        image=np.where(exposure.mask.any("NO_DATA"), np.float32(0), exposure.image - level),
        meta={**exposure.meta, "RESBGRMS": (rms, "[count] rms of the residual background")},
    )


def _template_variance(template, kernel, noise_correlation):
    """K^2 conv V_t, scaled for the correlation of the template's noise."""
    filled = fill_variance(template.variance)
    gain = 1.0
    if noise_correlation is not None:
        ny, nx = kernel.shape
        middle = kernel.image((nx - 1) / 2, (ny - 1) / 2)
        n = grid_size(2 * middle.shape[0], noise_correlation.shape[0])
        power = np.abs(transform(middle, n)) ** 2
        rho = transform(noise_correlation, n).real
        gain = float((rho * power).mean() / power.mean())
    squared = convolve_local(filled, lambda x, y: gain * kernel.image(x, y) ** 2, kernel.half)
    return np.maximum(squared, 0.0)


def fill_variance(variance):
    """The variance with its median where it is not known."""
    known = np.isfinite(variance)
    if known.all():
        return variance
    return np.where(known, variance, np.float32(np.median(variance[known])))


def _difference_mask(science, template, kernel):
    """Planes of the science image, and the template's under new names where the kernel reaches."""
    planes = add_planes(dict(PLANES), science.mask.planes)
    bits = science.mask.canonical().array.copy()
    half = kernel.half
    magnitude = _magnitude(kernel)
    missing = template.mask.any("NO_DATA", "BAD") | ~np.isfinite(template.variance)
    lost = _reach(missing, magnitude, half, _MISSING_WEIGHT, outside=1.0)
    bits[lost] |= np.int32((1 << planes["NO_DATA"]) | (1 << planes["EDGE"]))
    saturated = template.mask.any("SAT", "SAT_TEMPLATE")
    if saturated.any():
        hit = _reach(saturated, magnitude, half, _SATURATED_WEIGHT)
        bits[hit] |= np.int32(1 << planes["SAT_TEMPLATE"])
    bits[template.mask.any("CR")] |= np.int32(1 << planes["CR_TEMPLATE"])
    return bits, planes


def _magnitude(kernel):
    """|K| at the image centre, of unit sum."""
    ny, nx = kernel.shape
    middle = np.abs(kernel.image((nx - 1) / 2, (ny - 1) / 2))
    return middle / middle.sum()


def _reach(bad, magnitude, half, limit, outside=0.0):
    """Where more than `limit` of the kernel's magnitude falls on bad pixels."""
    if not bad.any() and outside == 0.0:
        return np.zeros(bad.shape, bool)
    padded = np.pad(bad.astype(np.float32), half, constant_values=np.float32(outside))
    share = convolve_local(padded, lambda _x, _y: magnitude, half)
    cut = slice(half, -half) if half else slice(None)
    return share[cut, cut] > limit


def _with_calibration(exposure, science, template, solution):
    """The template's zero point through the kernel sum, where the exposure has none."""
    if science.photo_calib is not None or template.photo_calib is None:
        source = "exposure" if science.photo_calib is not None else "none"
        return exposure.replace(meta={**exposure.meta, "ZPSOURCE": (source, "of the zero point")})
    ksum = solution.kernel.sum
    scale = template.photo_calib.scale / ksum
    relative = np.hypot(
        solution.sum_error / ksum, template.photo_calib.scale_err / template.photo_calib.scale
    )
    note = (
        f"no zero point given: took the template's through the kernel sum {ksum:.6g}, "
        f"{PhotoCalib(scale).zero_point:.4f} mag"
    )
    log.info(note)
    return exposure.replace(
        photo_calib=PhotoCalib(scale, scale * relative),
        meta={**exposure.meta, "ZPSOURCE": ("kernel sum", "of the zero point")},
    ).noted(note)


def _kernel_cards(solution, stars, spec, options):
    used = int(solution.used.sum())
    median = float(np.median(solution.residual[solution.used]))
    cards = {
        "METHOD": ("AL", "Alard-Lupton, template convolved"),
        "KSUM": (solution.kernel.sum, "science counts per template count"),
        "KSUMERR": (solution.sum_error, "its standard error"),
        "KORDER": (solution.kernel.order, "degree of the kernel's spatial polynomial"),
        "KBGORDER": (solution.kernel.background_order, "degree of the background"),
        "KORDREQ": (options.fit.order, "degree asked for"),
        "KCOND": (solution.condition, "condition number of the scaled normal matrix"),
        "KNSTAR": (used, "stars in the final fit"),
        "KNREJ": (len(stars) - used, "stars rejected"),
        "KSIZE": (spec.size, "[pix] kernel width"),
        "KNBASIS": (len(spec.terms), "basis functions"),
        "KITER": (solution.iterations, "rejection rounds"),
        "KRESID": (median, "median core residual of the stars, in sigma"),
    }
    if np.isfinite(solution.flux_error):
        text = "relative flux error of the matched template"
        cards["KFLUXERR"] = (solution.flux_error, text)
    return cards


def _fallback_notes(solution, options):
    notes = []
    used = int(solution.used.sum())
    if not np.isfinite(solution.flux_error):
        notes.append(
            f"{used} stars are too few to tell the kernel's own flux error: errors hold noise only"
        )
    for what, got, asked in (
        ("kernel", solution.kernel.order, options.fit.order),
        ("background", solution.kernel.background_order, options.fit.background_order),
    ):
        if got < asked:
            notes.append(
                f"{what} order lowered from {asked} to {got}: {used} stars carry no more terms"
            )
    return notes
