"""Subtraction by an external engine, whitened and measured like our own."""

import logging

import numpy as np

from skydelta.combine import propagated_variance, with_calibration, without_background
from skydelta.difference import Difference
from skydelta.kernel import SpatialKernel
from skydelta.mask import PLANES, Mask, add_planes

log = logging.getLogger(__name__)


def external(science, template, noise_correlation, options, catalogue=None):
    """The difference that hotpants or sfft makes, on the flux scale of the science image.

    Pixels and kernel are the engine's; variance, mask and calibration follow from them as they
    do for Alard-Lupton. Engines choose their own stars.

    Parameters
    ----------
    science, template
        Exposures with PSF on one grid.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None.
    options
        SubtractOptions of method ``"hotpants"`` or ``"sfft"``.
    catalogue
        Not used.

    Returns
    -------
    Difference

    Raises
    ------
    EngineMissingError
        If it is not installed.
    EngineFailedError
        If it gives no image.
    """
    result = _run(science, template, options)
    log.info("%s: %.1f CPU s\n%s", options.method, result.cpu_seconds, result.log)
    places = result.kernel_x, result.kernel_y
    kernel = SpatialKernel.through(*places, result.kernels, result.order, science.shape)
    ratio = kernel.sum
    spread = float(np.std(result.kernels.sum(axis=(1, 2)))) / ratio
    moved = propagated_variance(template.variance, kernel, noise_correlation)
    variance = (science.variance + moved).astype(np.float32, copy=False)
    bits, planes = _mask(science, template, result.lost)
    variance[result.lost] = np.nan
    exposure = science.replace(
        image=np.where(result.lost, np.float32(0), result.image),
        variance=variance,
        mask=Mask(bits, planes),
    )
    exposure = without_background(exposure, options.background_cell)
    exposure = with_calibration(exposure, science, template, ratio, spread)
    middle = [
        e.psf.compute_shape(*(0.5 * (n - 1) for n in science.shape[::-1]))
        for e in (science, template)
    ]
    meta = {
        "METHOD": (options.method, "external engine"),
        "CONVOLVE": ("template", "the image that was convolved"),
        "KSUM": (ratio, "science counts per template count"),
        "KSUMERR": (ratio * spread, "its scatter over the image"),
        "KORDER": (result.order, "degree of the kernel's spatial polynomial"),
        "KSIZE": (kernel.size, "[pix] kernel width"),
        "ENGCPU": (round(result.cpu_seconds, 2), "[s] CPU time of the engine"),
        "SCIFWHM": (middle[0].fwhm, "[pix] FWHM of the science PSF"),
        "TMPFWHM": (middle[1].fwhm, "[pix] FWHM of the template PSF"),
    }
    if template.photo_calib is not None:
        meta["TMPSCALE"] = (template.photo_calib.scale, "nJy per count of the template")
    exposure = exposure.replace(meta={**exposure.meta, **meta}).noted(*result.notes)
    return Difference(exposure, kernel, "template", ratio, stars=_stars(result))


def _run(science, template, options):
    if options.method == "hotpants":
        from skydelta.engines.hotpants import HotpantsOptions, run_hotpants

        return run_hotpants(science, template, HotpantsOptions(**options.hotpants))
    from skydelta.engines.sfft import SfftOptions, run_sfft

    return run_sfft(science, template, SfftOptions(**options.sfft))


def _mask(science, template, lost):
    planes = add_planes(dict(PLANES), science.mask.planes)
    bits = science.mask.canonical().array.copy()
    bits[lost] |= np.int32((1 << planes["NO_DATA"]) | (1 << planes["EDGE"]))
    for plane, names in (("SAT_TEMPLATE", ("SAT", "SAT_TEMPLATE")), ("CR_TEMPLATE", ("CR",))):
        bits[template.mask.any(*names)] |= np.int32(1 << planes[plane])
    return bits, planes


def _stars(result):
    """The stars' table, as far as the engine tells."""
    x, y = np.zeros((2, 0)) if result.stars is None else np.asarray(result.stars, float).T
    n = len(x)
    unknown = np.full(n, np.nan)
    return {
        "x": x,
        "y": y,
        "flux": unknown,
        "snr": unknown,
        "used": np.ones(n, bool),
        "reason": np.full(n, "", dtype="U12"),
        "flux_ratio": unknown,
        "residual": unknown,
    }
