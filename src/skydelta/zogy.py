"""Proper image subtraction: Zackay, Ofek & Gal-Yam (2016), in tiles with the PSFs of each place.

The two images are brought to one flux scale and registration with their own stars; bad pixels are
filled so that nothing rings; D, its variance and PSF, and the score S_corr with the noise of the
sources and of the registration come out of one pass over the tiles.
"""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.background import estimate_background
from skydelta.cells import cell_medians
from skydelta.combine import (
    difference_mask,
    fill_variance,
    with_calibration,
    without_background,
)
from skydelta.convolve import convolve_local, convolve_spatial, kernel_transform
from skydelta.difference import Difference, ScoreMap
from skydelta.fill import fill_pair
from skydelta.kernel import SpatialKernel
from skydelta.kernel_stars import kernel_stars
from skydelta.mask import UNUSABLE, Mask
from skydelta.matching import psf_kernels
from skydelta.psf import GridPsf, grid_nodes
from skydelta.registration import register
from skydelta.tiling import blended_tiles, tile_inverse, tile_transform
from skydelta.whitening import centred, convolve_stamps, grid_size, power_gain, spectrum, transform
from skydelta.zogy_filters import zogy_filters

log = logging.getLogger(__name__)

_NODES, _ORDER = 5, 3
"""Places along each axis and degree of the polynomials that PSF kernels, and in image space all
filters, are given on."""

_KERNEL_SIZE = 33
"""Width, px, of the kernel between the two PSFs."""

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
    # The science image's sources are left out twice, as the search for stars needs it.
    levels = [_background(science, 2), _background(template, 1)]
    flat = [
        e.replace(image=e.image - level.level)
        for e, level in zip((science, template), levels, strict=True)
    ]
    fwhms = [_fwhm(e) for e in flat]
    searched = levels[1] if options.stars.source == "template" else levels[0]
    half = int(np.ceil(1.5 * max(fwhms)))
    stars = kernel_stars(science, template, half, half, options.stars, catalogue, searched)
    registration = register(*flat, stars, min_stars=options.fit.min_stars)
    kernel = _psf_kernel(flat)
    field = _FilterField(flat, kernel, registration, noise_correlation)
    bits, names = difference_mask(science, template, np.abs(kernel.middle))
    mask = Mask(bits, names)
    planes = _Planes.of(flat, mask, kernel.scaled(registration.flux_ratio))
    noise = options.zogy.astrometric_noise
    shift_rms = (registration.rms_x, registration.rms_y) if noise is None else (noise, noise)
    combine = _in_image_space if options.zogy.image_space else _in_tiles
    image, variance, score, score_variance = combine(planes, field, shift_rms)
    no_data = mask.any("NO_DATA")
    image[no_data], variance[no_data] = 0.0, np.nan
    exposure = science.replace(
        image=image, variance=variance, mask=mask, psf=field.difference_psf()
    )
    exposure = without_background(exposure, options.background_cell)
    ratio = registration.flux_ratio
    relative = registration.flux_ratio_error / ratio
    exposure = with_calibration(exposure, science, template, ratio, relative)
    exposure = exposure.replace(
        meta={**exposure.meta, **_cards(registration, template, fwhms, shift_rms, options)}
    )
    return Difference(
        exposure=exposure,
        kernel=kernel.scaled(ratio),
        convolved="template",
        flux_ratio=ratio,
        stars=registration.stars,
        flux_error=relative,
        score=_score_map(score, score_variance, field, exposure),
        white=True,
        science_psf=science.psf,
    )


def _background(exposure, passes):
    return estimate_background(exposure.image, exposure.mask.any(*UNUSABLE), passes=passes)


def _psf_kernel(pair):
    """The kernel from the template's PSF to that of the science image, of unit sum."""
    shape = pair[0].shape
    x, y, kernels = psf_kernels(pair[1].psf, pair[0].psf, shape, _KERNEL_SIZE, _NODES)
    return SpatialKernel.through(x, y, kernels, _ORDER, shape)


def _fwhm(exposure):
    ny, nx = exposure.shape
    return exposure.psf.compute_shape((nx - 1) / 2, (ny - 1) / 2).fwhm


@dataclass(frozen=True)
class _Planes:
    """The pixels that go through the filters: no background, no holes."""

    science: np.ndarray
    template: np.ndarray
    science_variance: np.ndarray
    template_variance: np.ndarray

    @classmethod
    def of(cls, pair, mask, kernel):
        """Of the two images, the mask of their difference and the kernel between them."""
        bad_template = pair[1].mask.any(*UNUSABLE) | ~np.isfinite(pair[1].variance)
        void = mask.any(*UNUSABLE) | ~np.isfinite(pair[0].variance)
        images = fill_pair(pair[0].image, pair[1].image, void, bad_template, kernel)
        return cls(*images, *(fill_variance(e.variance) for e in pair))


@dataclass(frozen=True)
class _Kernels:
    """c_n, c_r and P_D as centred stamps, and sum P_D^2.

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
    def halves(self):
        """Half widths of the filters of D and of the score, px."""
        own = self.template.shape[0] // 2
        return own, own + self.psf.shape[0] // 2

    def squares(self):
        """Filters of the variance planes for D: (science, template)."""
        wide = np.pad(self.science, self.halves[0] - self.science.shape[0] // 2)
        return [g * c**2 for g, c in zip(self.gains, (wide, self.template), strict=True)]

    def score_squares(self):
        """The same for the score; twice as wide."""
        return [
            g * convolve_stamps(c, self.psf[::-1, ::-1], 2 * self.halves[1] + 1) ** 2
            for g, c in zip(self.score_gains, (self.science, self.template), strict=True)
        ]


class _FilterField:
    """The filters of every place, from PSFs, background variances and registration there."""

    def __init__(self, pair, kernel, registration, noise_correlation):
        self.pair, self.kernel, self.registration = pair, kernel, registration
        self.shape = pair[0].shape
        self.correlations = None, noise_correlation
        self.size = kernel.size + 10
        self.psf_size = pair[0].psf.size + 2 * min(kernel.half, 5)
        rho = 1 if noise_correlation is None else noise_correlation.shape[0]
        self.n = grid_size(2 * self.size, self.psf_size, rho)
        usable = ~(pair[0].mask.any(*UNUSABLE) | pair[1].mask.any(*UNUSABLE))
        self.variances = [_cells(e.variance, usable) for e in pair]

    @property
    def half(self):
        """Half width of the widest filter, that of the score, px."""
        return self.size // 2 + self.kernel.half + self.psf_size // 2

    def at(self, x, y):
        """ZogyFilters of a place."""
        return zogy_filters(
            transform(self.kernel.image(x, y), self.n),
            transform(self.pair[0].psf.stamp(x, y), self.n),
            self.background(x, y),
            self.registration.flux_ratio,
            correlations=self.correlations,
            shift=[float(d[0]) for d in self.registration.shift(x, y)],
        )

    def background(self, x, y):
        """Background variances of the two images at a place."""
        ny, nx = self.variances[0].shape
        j = min(int(y * ny / self.shape[0]), ny - 1)
        i = min(int(x * nx / self.shape[1]), nx - 1)
        return [float(v[j, i]) for v in self.variances]

    def kernels(self, x, y):
        """The _Kernels of a place."""
        filters = self.at(x, y)
        gains = [
            [
                power_gain(spectrum(rho, self.n), f)
                for rho, f in zip(self.correlations, pair, strict=True)
            ]
            for pair in (
                (filters.science, filters.template),
                (filters.score_science, filters.score_template),
            )
        ]
        own = centred(filters.science, self.size)
        # Not cut from its own transform: as K conv c_n it cancels constant sources whatever the cut
        # took from c_n.
        other = centred(
            transform(own, self.n) * (filters.template / filters.science),
            self.size + 2 * self.kernel.half,
        )
        psf = centred(filters.psf, self.psf_size)
        return _Kernels(own / own.sum(), other / own.sum(), psf, filters.power, *gains)

    def difference_psf(self, nodes=7):
        """The PSF of D on a grid of positions."""
        ny, nx = self.shape
        x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, nodes), grid_nodes(ny, nodes)))
        stamps = [self.kernels(a, b).psf for a, b in zip(x, y, strict=True)]
        return GridPsf(x, y, np.stack(stamps))


def _cells(variance, usable, cell=512):
    medians = cell_medians(variance, usable, cell)
    return np.where(np.isfinite(medians), medians, np.nanmedian(variance))


def _in_tiles(planes, field, shift_rms):
    """(D, its variance, numerator and variance of the score), each tile with its own filters."""
    out = [np.zeros(field.shape, np.float32) for _ in range(4)]
    rng = np.random.default_rng(_SEED)
    for tile in blended_tiles(field.shape, field.half + 1):
        kernels = field.kernels(*tile.centre)
        sigma = np.sqrt(field.background(*tile.centre))
        # One pixel more than the output, for the gradients of the score.
        parts = _tile(planes, _grown(tile), kernels, (rng, sigma), shift_rms)
        for plane, part in zip(out, parts, strict=True):
            plane[tile.inside] += tile.window * part
    return out


def _tile(planes, tile, kernels, noise, shift_rms):
    (rng, sigma), size = noise, tile.size
    half = [k.shape[0] // 2 for k in (kernels.science, kernels.template)]
    reach, margin = kernels.halves
    new = tile_transform(planes.science, tile, margin, (rng, sigma[0]))
    ref = tile_transform(planes.template, tile, margin, (rng, sigma[1]))
    # Both of the wider one's size, so that their results are aligned.
    new *= kernel_transform(np.pad(kernels.science, half[1] - half[0]), size)
    ref *= kernel_transform(kernels.template, size)
    image = tile_inverse(new - ref, tile, margin, reach)
    # Correlation with the PSF is convolution with its reflection.
    matched = kernel_transform(kernels.psf[::-1, ::-1], size)
    scores = [tile_inverse(part * matched, tile, margin, margin) for part in (new, ref)]
    v_new = tile_transform(planes.science_variance, tile, margin, "edge")
    v_ref = tile_transform(planes.template_variance, tile, margin, "edge")
    sums = []
    for k_new, k_ref in (kernels.squares(), kernels.score_squares()):
        total = v_new * kernel_transform(k_new, size)
        total += v_ref * kernel_transform(k_ref, size)
        sums.append(tile_inverse(total, tile, margin, k_new.shape[0] // 2)[1:-1, 1:-1])
    variance, score_variance = sums
    score_variance = score_variance + _astrometric(scores, shift_rms)
    return image[1:-1, 1:-1], variance, (scores[0] - scores[1])[1:-1, 1:-1], score_variance


def _grown(tile):
    y0, y1, x0, x1 = tile.box
    return type(tile)((y0 - 1, y1 + 1, x0 - 1, x1 + 1), tile.centre, tile.window, tile.size)


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
    places = [field.kernels(a, b) for a, b in zip(x, y, strict=True)]

    def spatial(of):
        return SpatialKernel.through(x, y, np.stack([of(k) for k in places]), _ORDER, shape)

    psf = spatial(lambda k: k.psf[::-1, ::-1])
    new = convolve_spatial(planes.science, spatial(lambda k: k.science))
    ref = convolve_spatial(planes.template, spatial(lambda k: k.template))
    scores = [convolve_local(part, psf.image, psf.half) for part in (new, ref)]
    sums = []
    for of in (_Kernels.squares, _Kernels.score_squares):
        total = 0.0
        for which, plane in enumerate((planes.science_variance, planes.template_variance)):
            square = spatial(lambda k, of=of, which=which: of(k)[which])
            total = total + convolve_local(plane, square.image, square.half)
        sums.append(total)
    variance, score_variance = sums
    wide = [np.pad(score, 1, mode="edge") for score in scores]
    score_variance = score_variance + _astrometric(wide, shift_rms)
    return new - ref, variance, scores[0] - scores[1], score_variance.astype(np.float32)


def _score_map(score, variance, field, exposure):
    """Significance and flux error; void where too much of the PSF lies on unusable pixels."""
    ny, nx = field.shape
    middle = field.kernels((nx - 1) / 2, (ny - 1) / 2)
    psf, power = middle.psf, middle.power
    weight = (psf**2 / (psf**2).sum())[::-1, ::-1]
    unusable = exposure.mask.any(*UNUSABLE).astype(np.float32)
    lost = convolve_local(unusable, lambda _x, _y: weight, psf.shape[0] // 2)
    void = (lost > 1 - _MIN_GOOD_WEIGHT) | ~(variance > 0)
    sigma = np.sqrt(np.maximum(variance, np.float32(1e-30)))
    score /= sigma
    sigma /= np.float32(power)
    score[void], sigma[void] = 0.0, np.inf
    return ScoreMap(score, sigma)


def _cards(registration, template, fwhms, shift_rms, options):
    used = int(registration.stars["used"].sum())
    cards = {
        "METHOD": ("ZOGY", "proper image subtraction"),
        "ZOGYIMG": (options.zogy.image_space, "in image space, not in Fourier tiles"),
        "KSUM": (registration.flux_ratio, "science counts per template count"),
        "KSUMERR": (registration.flux_ratio_error, "its standard error"),
        "KFLUXERR": (
            registration.flux_ratio_error / registration.flux_ratio,
            "relative flux error of the matched template",
        ),
        "KNSTAR": (used, "stars of flux ratio and registration"),
        "KNREJ": (registration.stars["used"].size - used, "stars rejected"),
        "SHIFTORD": (registration.order, "degree of the registration's polynomial"),
        "ASTRMSX": (shift_rms[0], "[pix] registration noise of the score along x"),
        "ASTRMSY": (shift_rms[1], "[pix] registration noise of the score along y"),
        "SCIFWHM": (fwhms[0], "[pix] FWHM of the science PSF"),
        "TMPFWHM": (fwhms[1], "[pix] FWHM of the template PSF"),
    }
    if template.photo_calib is not None:
        cards["TMPSCALE"] = (template.photo_calib.scale, "nJy per count of the template")
    return cards
