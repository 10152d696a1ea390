"""Alard-Lupton matching: one of the images convolved with a fitted kernel, in either direction.

Three ways to the same kind of difference: the template convolved to the PSF of the science image;
the science image convolved to that of the template; or the kernel fitted where both images went
through the filter that detection uses, so that it matches best what detection sees.
"""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.bases import DeltaBasis, GaussianBasis, PsfBasis
from skydelta.combine import (
    apply_kernel,
    on_flux_scale,
    with_calibration,
    without_background,
)
from skydelta.convolve import convolve_spatial
from skydelta.difference import Difference
from skydelta.errors import InputError
from skydelta.kernel import SpatialKernel
from skydelta.kernel_basis import (
    DEFAULT_DEGREES,
    DEFAULT_SIGMAS,
    SIZE_LIMITS,
    BasisSpec,
    kernel_size,
    scaled_spec,
)
from skydelta.kernel_fit import fit_kernel, with_residuals
from skydelta.kernel_stamps import cut_stamps, smoothed
from skydelta.kernel_stars import kernel_stars
from skydelta.left_out import student
from skydelta.matching import psf_kernels
from skydelta.star_judgement import REJECT_REASONS
from skydelta.whitening import convolve_stamps

log = logging.getLogger(__name__)

DELTA_SIZE = 15
"""Width of a delta basis, px, where none is given."""

_FIRST_ORDER, _FIRST_NODES, _FIRST_SIZE = 2, 5, 21
"""Degree of the polynomial through the kernels that the PSF models imply, at so many places along
each axis; their width, px."""

_SMOOTHING = 0.5
"""Both images are smoothed by so much of the target's PSF width for the fit of such a kernel."""

_CORRECTION = BasisSpec((0.7, 1.5, 3.0), (2, 2, 0), SIZE_LIMITS[0])
"""What corrects them: little and narrow. Measured: with more, stars keep more."""


@dataclass(frozen=True)
class BasisOptions:
    """The kernel's basis functions.

    Parameters
    ----------
    kind
        ``"gaussian"`` or ``"delta"``.
    from_psf
        Whether the first function is the kernel that the two PSF models imply; ``"auto"``: where
        the image to be convolved is not the sharper one, if that leaves less on the stars.
    scale_by_fwhm
        Widths and size of the Gaussians from the two seeings; otherwise those given.
    sigmas
        Gaussian widths, px, where not scaled.
    degrees
        Polynomial degree on each Gaussian.
    size
        Odd kernel width, px; None for the size rule, or `DELTA_SIZE`.
    components, regularisation
        See `skydelta.kernel_fit.fit_kernel`.
    """

    kind: str = "gaussian"
    from_psf: bool | str = "auto"
    scale_by_fwhm: bool = True
    sigmas: tuple = DEFAULT_SIGMAS
    degrees: tuple = DEFAULT_DEGREES
    size: int | None = None
    components: int | None = None
    regularisation: float | str = "auto"

    def spec(self, sigma_target, sigma_source):
        """The BasisSpec of the Gaussians for two PSF widths in px."""
        if self.scale_by_fwhm:
            spec = scaled_spec(sigma_target, sigma_source, degrees=tuple(self.degrees))
        else:
            size = kernel_size(self.sigmas)
            spec = BasisSpec(tuple(self.sigmas), tuple(self.degrees), size)
        return BasisSpec(spec.sigmas, spec.degrees, self.size) if self.size else spec

    def correction(self):
        """The Basis of corrections to a kernel that matches already."""
        if self.kind == "delta":
            return DeltaBasis(self.size or DELTA_SIZE)
        return GaussianBasis(_CORRECTION)

    def basis(self, sigma_target, sigma_source):
        """The Basis for two PSF widths in px, its first function not from the PSFs."""
        if self.kind == "delta":
            return DeltaBasis(self.size or DELTA_SIZE)
        return GaussianBasis(self.spec(sigma_target, sigma_source))


def alard_lupton(science, template, noise_correlation, options, catalogue=None):
    """The difference with a fitted, spatially varying kernel.

    Parameters
    ----------
    science, template
        Exposures with PSF on one grid.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None for white noise.
    options
        SubtractOptions.
    catalogue
        StarCatalogue, where the options ask for one.

    Returns
    -------
    Difference

    Raises
    ------
    TooFewStarsError, BadKernelError
        From the fit.
    """
    shapes = [e.central_psf_shape for e in (science, template)]
    direction = "template"
    if options.preconvolve == "none":
        direction = _direction(options.convolve, *shapes)
    prefilter = _prefilter(science, shapes[0], options.preconvolve)
    target, source, correlation = science, template, noise_correlation
    if direction == "science":
        target, source, correlation = template, science, None
    elif prefilter is not None:
        target, source = (_prefiltered(e, prefilter) for e in (target, source))
        correlation = _filtered_correlation(correlation, prefilter)
    fit = _Matching(target, source, correlation, shapes, direction, options)
    stars = fit.stars(science, template, catalogue)
    solution = fit.best(stars)
    notes = list(solution.notes)
    kernel, ratio = solution.kernel, solution.kernel.sum
    if direction == "science":
        # target = K conv source + b becomes K conv source / sum - target / sum + b / sum.
        kernel, ratio = kernel.scaled(1.0 / kernel.sum), 1.0 / kernel.sum
        kernel = SpatialKernel(
            kernel.images, kernel.fields, kernel.background.scaled(-1.0), kernel.shape
        )
        template = on_flux_scale(template, ratio)
    exposure = apply_kernel(science, template, kernel, noise_correlation, convolved=direction)
    exposure = without_background(exposure, options.background_cell)
    relative = solution.sum_error / solution.kernel.sum
    unscaled = template if direction == "template" else on_flux_scale(template, 1.0 / ratio)
    exposure = with_calibration(exposure, science, unscaled, ratio, relative)
    meta = _cards(solution, kernel, stars, options) | {
        "METHOD": ("AL", f"Alard-Lupton, {direction} convolved"),
        "CONVOLVE": (direction, "the image that was convolved"),
        "PRECONV": (options.preconvolve, "pre-convolution of the science image"),
        "KSUM": (ratio, "science counts per template count"),
        "KSUMERR": (ratio * relative, "its standard error"),
        "SCIFWHM": (shapes[0].fwhm, "[pix] FWHM of the science PSF"),
        "TMPFWHM": (shapes[1].fwhm, "[pix] FWHM of the template PSF"),
    }
    if unscaled.photo_calib is not None:
        meta["TMPSCALE"] = (unscaled.photo_calib.scale, "nJy per count of the template")
    notes += _fallback_notes(solution, options)
    for note in notes:
        log.warning(note)
    exposure = exposure.replace(meta={**exposure.meta, **meta}).noted(*notes)
    return Difference(
        exposure=exposure,
        kernel=kernel,
        convolved=direction,
        flux_ratio=ratio,
        stars=_star_columns(stars, solution),
        flux_error=solution.flux_error,
        solution=solution,
        detection_filter=prefilter,
        science_psf=science.psf if direction == "science" else None,
    )


@dataclass(frozen=True)
class _Matching:
    """The kernel fit that turns `source` into `target`."""

    target: object
    source: object
    correlation: np.ndarray | None
    shapes: tuple
    direction: str
    options: object

    def _widths(self):
        """Determinant radii of the PSFs of target and source, px."""
        science, template = (s.determinant_radius for s in self.shapes)
        if self.direction == "science":
            return template, science
        return science, template

    @cached_property
    def plain(self):
        """The Basis that asks nothing of the PSF models but their widths."""
        return self.options.basis.basis(*self._widths())

    @cached_property
    def _from_psf(self):
        """Whether the kernel of the PSF models is tried: where a kernel has to sharpen something.

        A convolved science image is sharpened again by the decorrelation.
        """
        options, fit = self.options.basis, self.options.fit
        simple = fit.flux_scale == "constant" and options.components is None
        if options.from_psf is True and not simple:
            msg = "subtract.basis.from_psf goes with a constant flux scale and no components"
            raise InputError(msg)
        if options.from_psf != "auto":
            return options.from_psf
        target, source = self._widths()
        return simple and (source >= target or self.direction == "science")

    def _informed(self, plain):
        """The PsfBasis, registered as the kernel fitted without it tells."""
        shape, psfs = self.target.shape, (self.source.psf, self.target.psf)

        def shift(x, y):
            _, _, kernels = psf_kernels(*psfs, shape, _FIRST_SIZE, _FIRST_NODES)
            return (_centroids(plain.kernel.at(x, y)) - _centroids(kernels)).T

        x, y, kernels = psf_kernels(*psfs, shape, _FIRST_SIZE, _FIRST_NODES, shift)
        kernels /= kernels.sum(axis=(1, 2), keepdims=True)
        first = SpatialKernel.through(x, y, kernels, _FIRST_ORDER, shape)
        return PsfBasis(self.options.basis.correction(), first)

    @property
    def half(self):
        """Half width of the widest kernel, px."""
        if not self._from_psf:
            return self.plain.half
        return max(self.plain.half, self.options.basis.correction().half + _FIRST_SIZE // 2)

    @property
    def stamp_half(self):
        """Half width of the fitted stamps, px."""
        ny, nx = self.target.shape
        wanted = max(int(np.ceil(3.0 * max(s.fwhm for s in self.shapes))), 8)
        return min(wanted, max(min(ny, nx) // 2 - self.half - 1, 8))

    def stars(self, science, template, catalogue):
        """The stars of the fit."""
        return kernel_stars(
            science, template, self.half, self.stamp_half, self.options.stars, catalogue
        )

    def best(self, stars):
        """The KernelSolution; of two bases that which leaves less on the stars."""
        if not self._from_psf:
            return self._fit(self.plain, self._stamps(self.plain, stars))
        plain, left = self._fit_smoothed(self.plain, stars)
        informed, left_then = self._fit_smoothed(self._informed(plain), stars)
        log.info("left on the stars: %.3f without the PSFs' kernel, %.3f with it", left, left_then)
        asked = self.options.basis.from_psf is True
        return informed if asked or left_then <= left else plain

    def _fit_smoothed(self, basis, stars):
        """(KernelSolution from stamps smoothed alike, what it leaves on the stars as they are)."""
        sigma = _SMOOTHING * self._widths()[0]
        wide = self._stamps(basis, stars, int(np.ceil(3.0 * sigma)))
        solution = self._fit(basis, smoothed(wide, sigma))
        return with_residuals(solution, self._stamps(basis, stars), self.options.fit)

    def _stamps(self, basis, stars, wider=0):
        return cut_stamps(
            self.target,
            self.source,
            stars,
            basis.half,
            self.stamp_half + wider,
            self.correlation,
            source_is_science=self.direction == "science",
        )

    def _fit(self, basis, stamps):
        return fit_kernel(
            stamps,
            basis,
            self.target.shape,
            self.options.fit,
            components=self.options.basis.components,
            regularisation=self.options.basis.regularisation,
        )


def _centroids(kernels):
    """(n, 2) centroids x, y of kernels about their middle pixel, px."""
    half = kernels.shape[-1] // 2
    u = np.arange(-half, half + 1)
    moments = np.stack([(kernels * u).sum(axis=(1, 2)), (kernels * u[:, None]).sum(axis=(1, 2))])
    return (moments / kernels.sum(axis=(1, 2))).T


def _direction(asked, science, template):
    """The image to convolve: as LSST, the template unless its PSF is wider both ways."""
    if asked != "auto":
        return asked
    wider = template.ixx > science.ixx and template.iyy > science.iyy
    return "science" if wider else "template"


def _prefilter(science, shape, kind):
    """The pre-convolution kernel, unit sum, or None."""
    if kind == "none":
        return None
    size = science.psf.size
    if kind == "gaussian":
        u = np.arange(size) - size // 2
        profile = np.exp(-0.5 * (u / shape.determinant_radius) ** 2)
        stamp = np.outer(profile, profile)
    else:
        ny, nx = science.shape
        # Correlation with the PSF: convolution with its reflection.
        stamp = science.psf.stamp((nx - 1) / 2.0, (ny - 1) / 2.0)[::-1, ::-1]
    return stamp / stamp.sum()


def _prefiltered(exposure, prefilter):
    """The image convolved; its variance stays that of equivalent white noise."""
    kernel = SpatialKernel.polynomial(
        prefilter[None], np.ones((1, 1)), 0, np.zeros(1), 0, exposure.shape
    )
    return exposure.replace(image=convolve_spatial(exposure.image, kernel))


def _filtered_correlation(correlation, prefilter):
    """Autocorrelation of noise after a filter of unit sum."""
    size = 2 * prefilter.shape[0] - 1
    own = convolve_stamps(prefilter, prefilter[::-1, ::-1], size)
    if correlation is None:
        return own
    return convolve_stamps(own, correlation, size + correlation.shape[0] - 1)


def _star_columns(stars, solution):
    """Columns of the stars' table: positions, fluxes, and how each fared."""
    n = len(solution.used)
    return {
        **{name: stars[name][:n] for name in ("x", "y", "flux", "snr")},
        "used": solution.used,
        "reason": np.array([REJECT_REASONS[int(r)] for r in solution.reason], dtype="U12"),
        "flux_ratio": solution.flux_ratio,
        "residual": solution.residual,
    }


def _cards(solution, kernel, stars, options):
    used = int(solution.used.sum())
    cards = {
        "KORDER": (solution.order, "degree of the kernel's spatial polynomial"),
        "KBGORDER": (solution.background_order, "degree of the background"),
        "KORDREQ": (options.fit.order, "degree asked for"),
        "KCOND": (solution.condition, "condition number of the scaled normal matrix"),
        "KNSTAR": (used, "stars in the final fit"),
        "KNREJ": (len(stars) - used, "stars rejected"),
        "KSIZE": (kernel.size, "[pix] kernel width"),
        "KBASIS": (solution.basis, "basis functions of the kernel"),
        "KNBASIS": (solution.n_basis, "their number"),
        "KPENALTY": (solution.penalty, "strength of the roughness prior"),
        "KITER": (solution.iterations, "rejection rounds"),
        "KRESID": (solution.median_residual, "median core residual of the stars, in sigma"),
    }
    if np.isfinite(error := solution.flux_error):
        cards["KFLUXERR"] = (error, "relative flux error of the matched image")
        cards["KSCATTER"] = (error / student(used), "scatter of the stars behind KFLUXERR")
    rms = zip("XY", solution.registration_rms, strict=True)
    cards |= {f"ASTRMS{a}": (r, "[pix] registration noise") for a, r in rms if np.isfinite(r)}
    return cards


def _fallback_notes(solution, options):
    notes, used = [], int(solution.used.sum())
    if not np.isfinite(solution.flux_error):
        notes.append(
            f"{used} stars are too few to tell the kernel's own flux error: errors hold noise only"
        )
    for what, got, asked in (
        ("kernel", solution.order, options.fit.order),
        ("background", solution.background_order, options.fit.background_order or 0),
    ):
        if got < asked:
            notes.append(
                f"{what} order lowered from {asked} to {got}: {used} stars carry no more terms"
            )
    return notes
