"""The difference of two images, one of them convolved: pixels, variance, mask, zero point."""

import logging
from itertools import groupby

import numpy as np
from scipy import fft

from skydelta.background import residual_background
from skydelta.convolve import (
    convolve_local,
    convolve_spatial,
    convolve_tile,
    kernel_transform,
    padded_cut,
    tile_size,
    tiles,
)
from skydelta.fill import fill_holes
from skydelta.mask import PLANES, UNUSABLE, Mask, add_planes
from skydelta.parallel import map_strips, map_tiles
from skydelta.photocalib import PhotoCalib
from skydelta.whitening import noise_gain

log = logging.getLogger(__name__)

_MASK_TILE = 128
"""Bad pixels are sparse: most small tiles hold none and need no transform."""

CONVOLVED = ("template", "science")

_MISSING_WEIGHT = 1e-3
"""A pixel is lost when more than this share of its kernel lies on pixels without data."""

_SATURATED_WEIGHT = 1e-5
"""The same for saturated pixels, whose values may be wrong by millions of counts."""


def apply_kernel(science, template, kernel, noise_correlation=None, *, convolved="template"):
    """The difference on the flux scale of the science image, with its variance and mask.

    science - kernel conv template - background or kernel conv science - template - background.

    Parameters
    ----------
    science, template
        Exposures on one grid; where the science image is convolved, with a template on its flux
        scale (`on_flux_scale`) and a kernel of unit sum.
    kernel
        SpatialKernel.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None.
    convolved
        ``"template"`` or ``"science"``: which of them.

    Returns
    -------
    Exposure
        With the calibration and WCS of the science image and the PSF of the image that was not
        convolved.
    """
    moved = template if convolved == "template" else science
    # Whatever stands in pixels without data must not travel with the kernel.
    filled = fill_holes(moved.image, _missing(moved))
    image = convolve_spatial(filled, kernel)
    if convolved == "template":
        variance = propagated_variance(template.variance, kernel, noise_correlation)
    else:
        variance = propagated_variance(science.variance, kernel)
    bits, planes = difference_mask(science, template, np.abs(kernel.middle), convolved)
    no_data = np.int32(1 << planes["NO_DATA"])

    def finish(y0, y1):
        part, spread = image[y0:y1], variance[y0:y1]
        if convolved == "template":
            np.subtract(science.image[y0:y1], part, out=part)
            spread += science.variance[y0:y1]
        else:
            part -= template.image[y0:y1]
            spread += template.variance[y0:y1]
        part -= kernel.background.box(y0, y1, 0, image.shape[1])
        lost = (bits[y0:y1] & no_data) != 0
        part[lost], spread[lost] = 0.0, np.nan

    map_strips(finish, len(image))
    return science.replace(
        image=image,
        variance=variance,
        mask=Mask(bits, planes),
        psf=science.psf if convolved == "template" else template.psf,
    )


def on_flux_scale(exposure, scale):
    """An exposure whose counts are multiplied with a number; the calibration goes along."""
    calib = exposure.photo_calib
    if calib is not None:
        calib = calib.scaled(1.0 / scale)
    return exposure.replace(
        image=exposure.image * np.float32(scale),
        variance=exposure.variance * np.float32(scale**2),
        photo_calib=calib,
        saturate=exposure.saturate * scale,
    )


def without_background(exposure, cell):
    """The difference without the background that the stars' stamps did not show.

    Parameters
    ----------
    exposure
        Exposure.
    cell
        Cells of the mesh, px; None to leave the background.
    """
    if cell is None:
        return exposure
    level, rms = residual_background(exposure.image, exposure.mask.any(*UNUSABLE), cell)
    return exposure.replace(
        image=np.where(exposure.mask.any("NO_DATA"), np.float32(0), exposure.image - level),
        meta={**exposure.meta, "RESBGRMS": (rms, "[count] rms of the residual background")},
    )


def with_calibration(exposure, science, template, flux_ratio, relative_error):
    """The template's zero point through the flux ratio, where the exposure has none.

    Parameters
    ----------
    exposure
        The difference.
    science, template
        What it was made of.
    flux_ratio
        Science counts per template count.
    relative_error
        Its relative standard error.
    """
    if science.photo_calib is not None or template.photo_calib is None:
        source = "exposure" if science.photo_calib is not None else "none"
        return exposure.replace(meta={**exposure.meta, "ZPSOURCE": (source, "of the zero point")})
    scale = template.photo_calib.scale / flux_ratio
    relative = np.hypot(relative_error, template.photo_calib.scale_err / template.photo_calib.scale)
    note = (
        f"no zero point given: took the template's through the kernel sum {flux_ratio:.6g}, "
        f"{PhotoCalib(scale).zero_point:.4f} mag"
    )
    log.info(note)
    return exposure.replace(
        photo_calib=PhotoCalib(scale, scale * relative),
        meta={**exposure.meta, "ZPSOURCE": ("kernel sum", "of the zero point")},
    ).noted(note)


def propagated_variance(variance, kernel, noise_correlation=None):
    """K^2 conv V, scaled for the correlation of the noise."""
    filled = fill_variance(variance)
    gain = noise_gain(noise_correlation, kernel.middle)
    squared = convolve_local(filled, lambda x, y: gain * kernel.image(x, y) ** 2, kernel.half)
    return np.maximum(squared, 0.0, out=squared)


def fill_variance(variance):
    """The variance with its median where it is not known."""
    known = np.isfinite(variance)
    if known.all():
        return variance
    return np.where(known, variance, np.float32(np.median(variance[known])))


def difference_mask(science, template, magnitude, convolved="template"):
    """Planes of the science image, and the template's under new names.

    Bad pixels of the convolved image count wherever the kernel reaches them.

    Parameters
    ----------
    science, template
        Exposures on one grid.
    magnitude
        (size, size) |kernel|.
    convolved
        ``"template"`` or ``"science"``.

    Returns
    -------
    bits
        (ny, nx) int32.
    planes
        Bit numbers by name.
    """
    planes = add_planes(dict(PLANES), science.mask.planes)
    bits = science.mask.canonical().array.copy()
    moved, other = (template, science) if convolved == "template" else (science, template)
    magnitude = magnitude / magnitude.sum()
    lost = _reach(_missing(moved), magnitude, _MISSING_WEIGHT, outside=True)
    if convolved == "science":
        lost |= _missing(other)
    bits[lost] |= np.int32((1 << planes["NO_DATA"]) | (1 << planes["EDGE"]))
    reached = _reach(moved.mask.any("SAT", "SAT_TEMPLATE"), magnitude, _SATURATED_WEIGHT)
    bits[reached] |= np.int32(1 << planes["SAT_TEMPLATE" if moved is template else "SAT"])
    if moved is science:
        saturated = template.mask.any("SAT", "SAT_TEMPLATE")
        bits[saturated] |= np.int32(1 << planes["SAT_TEMPLATE"])
    bits[template.mask.any("CR")] |= np.int32(1 << planes["CR_TEMPLATE"])
    return bits, planes


def _missing(exposure):
    return exposure.mask.any("NO_DATA", "BAD") | ~np.isfinite(exposure.variance)


def _reach(bad, magnitude, limit, outside=False):
    """Where more than `limit` of the kernel's magnitude falls on bad pixels."""
    half = magnitude.shape[0] // 2
    size = tile_size(bad.shape, half, _MASK_TILE)
    hat = kernel_transform(magnitude, size)
    out = np.zeros(bad.shape, bool)

    def reach(row):
        for y0, y1, x0, x1 in row:
            cut = padded_cut(bad, y0, y1, x0, x1, half, value=outside)
            if cut.any():
                transform = fft.rfft2(cut.astype(np.float32), s=(size, size))
                share = convolve_tile(transform, hat, size, (y1 - y0, x1 - x0), half)
                np.greater(share, limit, out=out[y0:y1, x0:x1])

    # A row of tiles at a time: single ones are over before a thread has begun.
    rows = groupby(tiles(bad.shape, half, size), key=lambda box: box[0])
    for _ in map_tiles(reach, [list(row) for _, row in rows]):
        pass
    return out
