"""Decorrelation of a difference image, in tiles that blend without seams."""

import logging
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import fft

from skydelta.cells import cell_medians
from skydelta.convolve import kernel_transform, padded_cut
from skydelta.exposure import Exposure
from skydelta.mask import UNUSABLE
from skydelta.psf import GridPsf, grid_nodes
from skydelta.subtract import fill_variance
from skydelta.whitening import convolve_stamps, decorrelation_kernel

log = logging.getLogger(__name__)

_TRANSFORM = 512
_BLEND = 48


@dataclass(frozen=True)
class Decorrelated:
    """A difference image of white noise.

    Parameters
    ----------
    exposure
        Image, variance and PSF updated.
    kernel
        (n, n) decorrelation kernel at the image centre.
    """

    exposure: Exposure
    kernel: np.ndarray


def decorrelate(difference, science, template, kernel, noise_correlation=None, *, psf_nodes=7):
    """Whiten the noise of science - kernel conv template.

    Every tile has its own kernel, from the matching kernel at its centre and the background
    variances of the two images inside it; neighbouring tiles overlap and are blended linearly.
    The variance is that of the two images carried through the filters,
    V_s conv psi^2 + gain V_t conv (K conv psi)^2, and the PSF is that of the science image
    convolved with psi. Unusable pixels are set to zero first, or they would ring.

    Parameters
    ----------
    difference
        Exposure from the subtraction.
    science, template
        The two images it was made of.
    kernel
        SpatialKernel.
    noise_correlation
        Autocorrelation of the template's noise, sum 1, or None.
    psf_nodes
        The new PSF is sampled on psf_nodes x psf_nodes positions.

    Returns
    -------
    Decorrelated
    """
    local = _LocalFilters(science, template, kernel, noise_correlation)
    unusable = difference.mask.any(*UNUSABLE)
    source = np.where(unusable, np.float32(0), difference.image)
    image, variance = _filter_tiles(source, science, template, local)
    no_data = difference.mask.any("NO_DATA")
    variance[no_data] = np.nan
    image[no_data] = 0.0
    ny, nx = difference.shape
    middle = local.at((nx - 1) / 2, (ny - 1) / 2)
    log.info(
        "decorrelation: psi peak %.4f, template noise gain %.4f",
        middle.psi.max(),
        middle.gain,
    )
    exposure = difference.replace(
        image=image,
        variance=variance,
        psf=_difference_psf(science.psf, difference.shape, local, psf_nodes),
        meta={
            **difference.meta,
            "DECORR": (True, "noise decorrelated"),
            "DCPEAK": (float(middle.psi.max()), "peak of the decorrelation kernel, centre"),
            "DCGAIN": (middle.gain, "gain of the template noise correlation"),
        },
    )
    return Decorrelated(exposure, middle.psi)


@dataclass(frozen=True)
class _Filters:
    psi: np.ndarray
    matched: np.ndarray
    gain: float


class _LocalFilters:
    """The filters at any place, from maps of the background variances."""

    def __init__(self, science, template, kernel, noise_correlation):
        self.kernel = kernel
        self.noise_correlation = noise_correlation
        self.size = 2 * kernel.size + 1
        self.shape = science.shape
        usable = ~(science.mask.any(*UNUSABLE) | template.mask.any(*UNUSABLE))
        self.variances = [_variance_map(e.variance, usable) for e in (science, template)]

    @property
    def half(self):
        """Half width of the widest filter, K conv psi, px."""
        return self.size // 2 + self.kernel.half

    def background(self, x, y):
        """Background variances of science and template at a place."""
        cells = self.variances[0].shape
        j = min(int(y * cells[0] / self.shape[0]), cells[0] - 1)
        i = min(int(x * cells[1] / self.shape[1]), cells[1] - 1)
        return tuple(float(v[j, i]) for v in self.variances)

    def at(self, x, y):
        kernel = self.kernel.image(x, y)
        psi, gain = decorrelation_kernel(
            kernel, *self.background(x, y), self.noise_correlation, self.size
        )
        matched = convolve_stamps(kernel, psi, 2 * self.half + 1)
        return _Filters(psi, matched, gain)


def _variance_map(variance, usable, cell=512):
    """Background variance in cells of about `cell` px, from the usable pixels where there are."""
    medians = cell_medians(variance, usable, cell)
    return np.where(np.isfinite(medians), medians, np.nanmedian(variance))


def _tile_edges(length, step):
    """Starts and ends of tiles that cover an axis in near-equal parts of at most `step`."""
    count = max(int(np.ceil(length / step)), 1)
    edges = np.linspace(0, length, count + 1).astype(int)
    return list(pairwise(edges))


def _ramp(start, stop, length, blend):
    """Blending window of a tile widened by `blend` at each inner side: linear, summing to 1."""
    lo, hi = max(start - blend, 0), min(stop + blend, length)
    at = np.arange(lo, hi) + 0.5
    window = np.ones(hi - lo, np.float32)
    if start > 0:
        window = np.minimum(window, (at - (start - blend)) / (2 * blend))
    if stop < length:
        window = np.minimum(window, ((stop + blend) - at) / (2 * blend))
    return lo, hi, window.astype(np.float32)


def _filter_tiles(source, science, template, local):
    """Blended (image, variance) of the whole frame."""
    ny, nx = source.shape
    half = local.half
    v_science, v_template = fill_variance(science.variance), fill_variance(template.variance)
    image, variance = np.zeros((ny, nx), np.float32), np.zeros((ny, nx), np.float32)
    room = _TRANSFORM - 2 * half - 2 * _BLEND
    size = _TRANSFORM
    if room < 128:  # wide kernels: a larger transform wastes less on its margins
        size, room = 2 * _TRANSFORM, room + _TRANSFORM
    if min(ny, nx) < 4 * _BLEND:
        room = max(ny, nx)
        size = fft.next_fast_len(room + 2 * half, real=True)
    for y_start, y_stop in _tile_edges(ny, room):
        y0, y1, wy = _ramp(y_start, y_stop, ny, _BLEND)
        for x_start, x_stop in _tile_edges(nx, room):
            x0, x1, wx = _ramp(x_start, x_stop, nx, _BLEND)
            filters = local.at(0.5 * (x_start + x_stop - 1), 0.5 * (y_start + y_stop - 1))
            box = y0, y1, x0, x1
            filtered = _convolve_box(source, filters.psi, box, half, size)
            spread = _convolve_box(v_science, filters.psi**2, box, half, size, edge=True)
            spread += _convolve_box(
                v_template, filters.gain * filters.matched**2, box, half, size, edge=True
            )
            window = wy[:, None] * wx
            image[y0:y1, x0:x1] += window * filtered
            variance[y0:y1, x0:x1] += window * spread
    return image, variance


def _convolve_box(image, kernel, box, half, size, *, edge=False):
    """One box of image conv kernel; beyond the image zeros, or its edge values if `edge`."""
    y0, y1, x0, x1 = box
    cut = padded_cut(image, y0, y1, x0, x1, half)
    if edge:
        ny, nx = image.shape
        pads = ((half - y0, y1 + half - ny), (half - x0, x1 + half - nx))
        pads = tuple(tuple(max(p, 0) for p in pair) for pair in pads)
        if any(p for pair in pads for p in pair):
            inner = cut[
                pads[0][0] : cut.shape[0] - pads[0][1], pads[1][0] : cut.shape[1] - pads[1][1]
            ]
            cut = np.pad(inner, pads, mode="edge")
    own = kernel.shape[-1] // 2
    product = fft.rfft2(cut, s=(size, size))
    product *= kernel_transform(kernel, size)
    full = fft.irfft2(product, s=(size, size), overwrite_x=True)
    start = half + own
    return full[start : start + y1 - y0, start : start + x1 - x0]


def _difference_psf(psf, shape, local, nodes):
    """The science PSF convolved with the local decorrelation kernel, on a grid of nodes."""
    ny, nx = shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, nodes), grid_nodes(ny, nodes)))
    size = psf.size + 2 * min(local.kernel.half, 5)
    psis = np.stack([local.at(a, b).psi for a, b in zip(x, y, strict=True)])
    return GridPsf(x, y, convolve_stamps(psf.stamps(x, y), psis, size))
