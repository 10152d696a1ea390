"""Decorrelation of a difference image, in tiles that blend without seams."""

import logging
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.background_variances import BackgroundVariances
from skydelta.combine import fill_variance
from skydelta.convolve import kernel_transform
from skydelta.exposure import Exposure
from skydelta.mask import UNUSABLE
from skydelta.parallel import map_tiles
from skydelta.psf import GridPsf, Psf, grid_nodes
from skydelta.tiling import blended_tiles, filtered_tile, tile_inverse, tile_transform
from skydelta.whitening import convolve_stamps, whitened

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecorrelateOptions:
    """How the noise is made white.

    Parameters
    ----------
    enabled
        Whether it is; otherwise the difference stays as it was subtracted.
    spatially_varying
        One decorrelation kernel a tile, or that of the image centre everywhere.
    psf_nodes
        The new PSF is sampled on psf_nodes x psf_nodes positions.
    """

    enabled: bool = True
    spatially_varying: bool = True
    psf_nodes: int = 7


@dataclass(frozen=True)
class Decorrelated:
    """A difference image of white noise.

    Parameters
    ----------
    exposure
        Image, variance and PSF updated.
    kernel
        (n, n) decorrelation kernel at the image centre.
    detection_psf
        Psf to detect with where it is not that of the exposure, or None.
    score
        ScoreMap of methods that have one of their own, or None.
    """

    exposure: Exposure
    kernel: np.ndarray
    detection_psf: Psf | None = None
    score: object = None


def decorrelate(difference, science, template, noise_correlation=None, *, options=None):
    """Whiten the noise of a difference.

    Every tile has its own kernel, from the matching kernel at its centre and the background
    variances of the two images inside it; neighbouring tiles overlap and are blended linearly.
    The variance is that of the two images carried through the filters,
    g_s V_s conv (f_s conv psi)^2 + g_t V_t conv (f_t conv psi)^2, and the PSF is that of the
    science image convolved with f_s conv psi. Unusable pixels are set to zero first, or they would
    ring.

    Parameters
    ----------
    difference
        skydelta.difference.Difference. One that is white already is passed on.
    science, template
        The two images it was made of.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None.
    options
        DecorrelateOptions.

    Returns
    -------
    Decorrelated
    """
    options = options or DecorrelateOptions()
    exposure = difference.exposure
    if difference.white or not options.enabled:
        why = "inherent" if difference.white else False
        meta = {**exposure.meta, "DECORR": (why, "noise decorrelated")}
        exposure = exposure.replace(meta=meta)
        detection_psf = None
        if difference.detection_filter is not None:
            detection_psf = GridPsf.constant(difference.detection_filter[::-1, ::-1])
        return Decorrelated(exposure, np.ones((1, 1)), detection_psf, difference.score)
    local = _LocalFilters(difference, science, template, noise_correlation, options)
    unusable = exposure.mask.any(*UNUSABLE)
    source = np.where(unusable, np.float32(0), exposure.image)
    image, variance = _filter_tiles(source, science, template, local)
    no_data = exposure.mask.any("NO_DATA")
    variance[no_data] = np.nan
    image[no_data] = 0.0
    ny, nx = exposure.shape
    middle = local.at((nx - 1) / 2, (ny - 1) / 2)
    log.info(
        "decorrelation: psi peak %.4f, template noise gain %.4f",
        middle.psi.max(),
        middle.template_gain,
    )
    psf, detection_psf = _psfs(science.psf, exposure.shape, local, difference, options.psf_nodes)
    exposure = exposure.replace(
        image=image,
        variance=variance,
        psf=psf,
        meta={
            **exposure.meta,
            "DECORR": (True, "noise decorrelated"),
            "DCPEAK": (float(middle.psi.max()), "peak of the decorrelation kernel, centre"),
            "DCGAIN": (middle.template_gain, "gain of the template noise correlation"),
        },
    )
    return Decorrelated(exposure, middle.psi, detection_psf)


class _LocalFilters:
    """The filters at any place, from maps of the background variances."""

    def __init__(self, difference, science, template, noise_correlation, options):
        self.kernel = difference.kernel
        self.convolved = difference.convolved
        self.ratio = difference.flux_ratio
        self.noise_correlation = noise_correlation
        self.varying = options.spatially_varying
        self.size = 2 * self.kernel.size + 1
        self.shape = science.shape
        self.variances = BackgroundVariances.of((science, template), difference.exposure.mask)

    @property
    def half(self):
        """Half width of the widest filter, K conv psi, px."""
        return self.size // 2 + self.kernel.half

    def at(self, x, y):
        """The Whitened at a place; that of the image centre unless varying."""
        if not self.varying:
            return self._middle
        return self._computed(x, y)

    @cached_property
    def _middle(self):
        ny, nx = self.shape
        return self._computed((nx - 1) / 2, (ny - 1) / 2)

    def _computed(self, x, y):
        kernel = self.kernel.image(x, y)
        point = np.ones((1, 1))
        template = self.convolved == "template"
        filters = (point, kernel) if template else (kernel, self.ratio * point)
        return whitened(filters, self.variances.at(x, y), (None, self.noise_correlation), self.size)


def _filter_tiles(source, science, template, local):
    """Blended (image, variance) of the whole frame."""
    half = local.half
    v_science, v_template = fill_variance(science.variance), fill_variance(template.variance)
    image, variance = np.zeros(source.shape, np.float32), np.zeros(source.shape, np.float32)

    def filtered(tile):
        filters = local.at(*tile.centre)
        spread = tile_transform(v_science, tile, half, "edge")
        spread *= kernel_transform(_squared(filters.science, filters.science_gain, half), tile.size)
        other = tile_transform(v_template, tile, half, "edge")
        other *= kernel_transform(
            _squared(filters.template, filters.template_gain, half), tile.size
        )
        spread += other
        part = tile.window * filtered_tile(source, filters.psi, tile, half)
        return tile, part, tile.window * tile_inverse(spread, tile, half, half)

    for tile, part, spread in map_tiles(filtered, blended_tiles(source.shape, half)):
        image[tile.inside] += part
        variance[tile.inside] += spread
    return image, variance


def _squared(kernel, gain, half):
    """The kernel squared, times its gain, padded to a half width."""
    return np.pad(gain * kernel**2, half - kernel.shape[0] // 2)


def _psfs(psf, shape, local, difference, nodes):
    """(PSF of the difference, that to detect with or None), on a grid of nodes.

    The science PSF convolved with what the science image went through; a pre-convolution filter
    with the decorrelation kernel.
    """
    ny, nx = shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, nodes), grid_nodes(ny, nodes)))
    size = psf.size + 2 * min(local.kernel.half, 5)
    filters = [local.at(a, b) for a, b in zip(x, y, strict=True)]
    through = np.stack([f.science for f in filters])
    own = GridPsf(x, y, convolve_stamps(psf.stamps(x, y), through, size))
    if difference.detection_filter is None:
        return own, None
    psis = np.stack([f.psi for f in filters])
    # What is correlated with, as any PSF: the reflection of what was convolved with.
    reflected = difference.detection_filter[None, ::-1, ::-1]
    detection = convolve_stamps(reflected, psis, size)
    return own, GridPsf(x, y, detection)
