"""Proper image subtraction: Zackay, Ofek & Gal-Yam (2016), in tiles with the PSFs of each place.

The two images are brought to one flux scale and registration with their own stars; bad pixels are
filled so that nothing rings; D, its variance and PSF, and the score S_corr with the noise of the
sources and of the registration come out of one pass over the tiles.
"""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.background import residual_background
from skydelta.background_variances import BackgroundVariances
from skydelta.combine import (
    difference_mask,
    fill_variance,
    with_calibration,
)
from skydelta.convolve import convolve_local, convolve_spatial, kernel_transform
from skydelta.difference import Difference, ScoreMap
from skydelta.fill import fill_holes
from skydelta.kernel import SpatialKernel
from skydelta.kernel_stars import kernel_stars
from skydelta.mask import UNUSABLE, Mask
from skydelta.matching import psf_kernels
from skydelta.parallel import map_tiles
from skydelta.psf import GridPsf, grid_nodes, resize_stamps
from skydelta.registration import register
from skydelta.tiling import blended_tiles, tile_inverse, tile_transform
from skydelta.whitening import centred, convolve_stamps, grid_size, power_gain, spectrum, transform
from skydelta.zogy_filters import zogy_filters

log = logging.getLogger(__name__)

_NODES, _ORDER = 4, 2
"""Places along each axis and degree of the polynomials that PSF kernels, and in image space all
filters, are given on."""

_KERNEL_FWHM, _KERNEL_LIMITS = 7.0, (33, 43)
"""Width of the kernel between the two PSFs: so many times the larger FWHM, within limits in px."""

_MIN_GOOD_WEIGHT = 0.5
"""A score needs this share of the PSF's weight on usable pixels."""

_SEED = 20160727
"""Of the noise beyond the edges, so that the same input gives the same bytes."""


def zogy(science, template, noise_correlation, options, catalogue=None):
    """The proper difference, its variance, PSF and score.

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
        White, with a ScoreMap.

    Raises
    ------
    TooFewStarsError
        If too few stars are found on both images.
    """
    pair = science, template
    fwhms = [e.central_psf_shape.fwhm for e in pair]
    half = int(np.ceil(1.5 * max(fwhms)))
    stars = kernel_stars(science, template, half, half, options.stars, catalogue)
    registration = register(science, template, stars, min_stars=options.fit.min_stars)
    ratio = registration.flux_ratio
    kernel = _psf_kernel(pair, registration, max(fwhms))
    mask = Mask(*difference_mask(science, template, np.abs(kernel.middle)))
    planes, residual = _Planes.of(pair, mask, kernel, options.background_cell)
    field = _FilterField(pair, mask, kernel, ratio, noise_correlation)
    noise = options.zogy.astrometric_noise
    shift_rms = (registration.rms_x, registration.rms_y) if noise is None else (noise, noise)
    combine = _in_image_space if options.zogy.image_space else _in_tiles
    image, variance, score, score_variance = combine(planes, field, shift_rms)
    no_data = mask.any("NO_DATA")
    image[no_data], variance[no_data] = 0.0, np.nan
    exposure = science.replace(
        image=image, variance=variance, mask=mask, psf=field.difference_psf()
    )
    relative = registration.flux_ratio_error / ratio
    exposure = with_calibration(exposure, science, template, ratio, relative)
    exposure = exposure.replace(
        meta={
            **exposure.meta,
            **_cards(registration, template, fwhms, shift_rms, options),
            "RESBGRMS": (residual, "[count] rms of the background taken off"),
        }
    )
    return Difference(
        exposure=exposure,
        kernel=kernel,
        convolved="template",
        flux_ratio=ratio,
        stars=registration.stars,
        flux_error=relative,
        score=_score_map(score, score_variance, field, exposure),
        white=True,
        science_psf=science.psf,
    )


def _psf_kernel(pair, registration, fwhm):
    """K = beta P_n / P_r, shifted as the stars are, as a polynomial of the position."""
    shape = pair[0].shape
    psfs = pair[1].psf, pair[0].psf
    size = int(np.clip(int(_KERNEL_FWHM * fwhm) | 1, *_KERNEL_LIMITS))
    x, y, kernels = psf_kernels(*psfs, shape, size, _NODES, registration.shift)
    return SpatialKernel.through(x, y, kernels * registration.flux_ratio, _ORDER, shape)


@dataclass(frozen=True)
class _Planes:
    """What goes through the filters: S - K conv T without background and holes, K conv T, V."""

    difference: np.ndarray
    matched: np.ndarray
    science_variance: np.ndarray
    template_variance: np.ndarray

    @classmethod
    def of(cls, pair, mask, kernel, cell):
        """(planes, rms of the background) of two images, the mask of their difference, K."""
        science, template = pair
        bad = template.mask.any(*UNUSABLE) | ~np.isfinite(template.variance)
        matched = convolve_spatial(fill_holes(template.image, bad), kernel)
        difference = science.image - matched
        void = mask.any(*UNUSABLE) | ~np.isfinite(science.variance)
        residual = 0.0
        if cell is not None:
            # Stars are gone from it: the background of both images is nowhere better seen.
            level, residual = residual_background(difference, void, cell)
            difference -= level
        # Where the difference is void it is made smooth: a saturated star, a bad column, a hole
        # then has nothing to ring.
        difference = fill_holes(difference, void)
        variances = (fill_variance(e.variance) for e in pair)
        return cls(difference, matched, *variances), residual


@dataclass(frozen=True)
class _Kernels:
    """Filters of a place as centred stamps: c_n, K conv c_n and P_D, and sum P_D^2.

    The gains are what the correlation of each image's noise makes of its variance, propagated with
    the squared filters of D and of the score.
    """

    science: np.ndarray
    template: np.ndarray
    psf: np.ndarray
    power: float
    gains: tuple
    score_gains: tuple

    @property
    def matched_filter(self):
        """Correlation with the PSF is convolution with its reflection."""
        return self.psf[::-1, ::-1]

    def squares(self):
        """Filters of the variance planes for D: (science, template)."""
        return self._squared(self.gains, (self.science, self.template))

    def score_squares(self):
        """The same for the score."""
        size = self.template.shape[0]
        filters = (
            convolve_stamps(c, self.matched_filter, size) for c in (self.science, self.template)
        )
        return self._squared(self.score_gains, filters)

    def _squared(self, gains, filters):
        # Squares fall off twice as fast: beyond the width of P_D nothing is left of them.
        size = self.psf.shape[0]
        return [resize_stamps(g * c**2, size) for g, c in zip(gains, filters, strict=True)]


class _FilterField:
    """The filters of every place, from PSFs, kernel and background variances there."""

    def __init__(self, pair, mask, kernel, ratio, noise_correlation):
        self.psf, self.kernel, self.ratio = pair[0].psf, kernel, ratio
        self.shape = pair[0].shape
        self.size = kernel.size + 10
        self.psf_size = self.psf.size + 2 * min(kernel.half, 5)
        rho = 1 if noise_correlation is None else noise_correlation.shape[0]
        self.n = grid_size(2 * self.size, self.psf_size, rho)
        self.spectra = 1.0, spectrum(noise_correlation, self.n)
        self.variances = BackgroundVariances.of(pair, mask)

    @property
    def half(self):
        """Half width of what the images go through in a tile, c_n and P_D, px."""
        return self.size // 2 + self.psf_size // 2

    def at(self, x, y):
        """The _Kernels of a place."""
        kernel = self.kernel.image(x, y)
        filters = zogy_filters(
            transform(kernel / self.ratio, self.n),
            transform(self.psf.stamp(x, y), self.n),
            self.variances.at(x, y),
            self.ratio,
            spectra=self.spectra,
        )
        gains = [
            [power_gain(rho, f) for rho, f in zip(self.spectra, pair, strict=True)]
            for pair in (
                (filters.science, filters.template),
                (filters.score_science, filters.score_template),
            )
        ]
        own = centred(filters.science, self.size)
        own /= own.sum()
        other = convolve_stamps(own, kernel, self.size + 2 * self.kernel.half)
        psf = centred(filters.psf, self.psf_size)
        return _Kernels(own, other, psf, filters.power, *gains)

    def difference_psf(self, nodes=7):
        """The PSF of D on a grid of positions."""
        ny, nx = self.shape
        x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, nodes), grid_nodes(ny, nodes)))
        stamps = [self.at(a, b).psf for a, b in zip(x, y, strict=True)]
        return GridPsf(x, y, np.stack(stamps))


def _in_tiles(planes, field, shift_rms):
    """(D, its variance, numerator and variance of the score), each tile with its own filters."""
    out = [np.zeros(field.shape, np.float32) for _ in range(4)]

    def filtered(tile):
        kernels = field.at(*tile.centre)
        sigma = np.sqrt(field.variances.at(*tile.centre)[0])
        rng = np.random.default_rng((_SEED, *tile.box))
        # One pixel more than the output, for the gradients of the score.
        parts = _tile(planes, tile.grown(1), kernels, field.half, (rng, sigma), shift_rms)
        return tile, [tile.window * part for part in parts]

    for tile, parts in map_tiles(filtered, blended_tiles(field.shape, field.half + 1)):
        for plane, part in zip(out, parts, strict=True):
            plane[tile.inside] += part
    return out


def _tile(planes, tile, kernels, margin, noise, shift_rms):
    size, own = tile.size, kernels.science.shape[0] // 2
    science = kernel_transform(kernels.science, size)
    matched = kernel_transform(kernels.matched_filter, size)
    rest = tile_transform(planes.difference, tile, margin, noise)
    ref = tile_transform(planes.matched, tile, margin, "edge")
    rest *= science
    ref *= science
    image = tile_inverse(rest.copy(), tile, margin, own)
    rest *= matched
    ref *= matched
    score, score_ref = (tile_inverse(part, tile, margin, margin) for part in (rest, ref))
    v_new = tile_transform(planes.science_variance, tile, margin, "edge")
    v_ref = tile_transform(planes.template_variance, tile, margin, "edge")
    sums = []
    for k_new, k_ref in (kernels.squares(), kernels.score_squares()):
        total = v_new * kernel_transform(k_new, size)
        total += v_ref * kernel_transform(k_ref, size)
        sums.append(tile_inverse(total, tile, margin, k_new.shape[0] // 2)[1:-1, 1:-1])
    variance, score_variance = sums
    score_variance = score_variance + _astrometric((score + score_ref, score_ref), shift_rms)
    return image[1:-1, 1:-1], variance, score[1:-1, 1:-1], score_variance


def _astrometric(scores, shift_rms):
    """Variance of the score from registration noise, their equation (31), of the inner pixels.

    The measured noise is that of the one image against the other; half of it goes to either.
    """
    total = 0.0
    for score in scores:
        along_x = 0.5 * (score[1:-1, 2:] - score[1:-1, :-2])
        along_y = 0.5 * (score[2:, 1:-1] - score[:-2, 1:-1])
        for rms, gradient in zip(shift_rms, (along_x, along_y), strict=True):
            total = total + 0.5 * (rms * gradient) ** 2
    return total


def _in_image_space(planes, field, shift_rms):
    """The same with finite kernels that vary as polynomials of the position."""
    shape = field.shape
    x, y = (a.ravel() for a in np.meshgrid(*(grid_nodes(n, _NODES) for n in shape[::-1])))
    places = [field.at(a, b) for a, b in zip(x, y, strict=True)]

    def spatial(of):
        return SpatialKernel.through(x, y, np.stack([of(k) for k in places]), _ORDER, shape)

    psf, own = spatial(lambda k: k.matched_filter), spatial(lambda k: k.science)
    image, ref = (convolve_spatial(plane, own) for plane in (planes.difference, planes.matched))
    score, ref = (convolve_local(part, psf.image, psf.half) for part in (image, ref))
    sums = []
    for of in (_Kernels.squares, _Kernels.score_squares):
        total = 0.0
        for which, plane in enumerate((planes.science_variance, planes.template_variance)):
            square = spatial(lambda k, of=of, which=which: of(k)[which])
            total = total + convolve_local(plane, square.image, square.half)
        sums.append(total)
    variance, score_variance = sums
    wide = [np.pad(part, 1, mode="edge") for part in (score + ref, ref)]
    score_variance = score_variance + _astrometric(wide, shift_rms)
    return image, variance, score, score_variance.astype(np.float32)


def _score_map(score, variance, field, exposure):
    """Significance and flux error; void where too much of the PSF lies on unusable pixels."""
    ny, nx = field.shape
    middle = field.at((nx - 1) / 2, (ny - 1) / 2)
    weight = middle.matched_filter**2 / (middle.psf**2).sum()
    unusable = exposure.mask.any(*UNUSABLE).astype(np.float32)
    lost = convolve_local(unusable, lambda _x, _y: weight, weight.shape[0] // 2)
    power = np.float32(middle.power)
    for row in range(0, ny, 64):  # in place, and what is read twice stays in the cache
        rows = slice(row, row + 64)
        void = (lost[rows] > 1 - _MIN_GOOD_WEIGHT) | ~(variance[rows] > 0)
        sigma = np.sqrt(np.maximum(variance[rows], np.float32(1e-30)))
        score[rows] = np.where(void, 0, score[rows] / sigma)
        variance[rows] = np.where(void, np.inf, sigma / power)
    return ScoreMap(score, variance)


def _cards(registration, template, fwhms, shift_rms, options):
    used = int(registration.stars["used"].sum())
    cards = {
        "METHOD": ("ZOGY", "proper image subtraction"),
        "ZOGYIMG": (options.zogy.image_space, "in image space, not in Fourier tiles"),
        "KSUM": (registration.flux_ratio, "science counts per template count"),
        "KSUMERR": (registration.flux_ratio_error, "its standard error"),
        "KFLUXERR": (
            registration.flux_ratio_error / registration.flux_ratio,
            "relative flux error, matched template",
        ),
        "KNSTAR": (used, "stars of flux ratio and registration"),
        "KNREJ": (registration.stars["used"].size - used, "stars rejected"),
        "SHIFTORD": (registration.order, "degree of the registration's polynomial"),
        "ASTRMSX": (shift_rms[0], "[pix] registration noise along x"),
        "ASTRMSY": (shift_rms[1], "[pix] registration noise along y"),
        "SCIFWHM": (fwhms[0], "[pix] FWHM of the science PSF"),
        "TMPFWHM": (fwhms[1], "[pix] FWHM of the template PSF"),
    }
    if template.photo_calib is not None:
        cards["TMPSCALE"] = (template.photo_calib.scale, "nJy per count of the template")
    return cards
