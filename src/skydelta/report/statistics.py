"""Numbers about the noise of a difference image and about counted successes."""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from skydelta.cells import cell_medians, upsample
from skydelta.photocalib import nanojansky_to_magnitude

LAGS = 6
"""Largest lag of the noise autocorrelation, px."""

_CELL = 64
"""px; the local background of an image is the median of cells of this width."""

_SMOOTHING = 1.5
"""px; Gaussian that images are smoothed with before their sources are sought."""

_MAX_SIDE = 2048
"""The autocorrelation is measured on the central square of at most this width, px."""


@dataclass(frozen=True)
class Noise:
    """The noise of D / sqrt(V) in blank sky.

    Parameters
    ----------
    rms
        Root mean square about zero; 1 if the variance plane is right.
    mean
        Mean; 0 if the backgrounds agree and the variance does not follow the noise itself.
    neighbour
        Correlation of pixels one apart, mean of the x and y directions; 0 for white noise.
    autocorrelation
        (2 LAGS + 1, 2 LAGS + 1), 1 at its centre.
    count
        Number of blank pixels.
    """

    rms: float
    mean: float
    neighbour: float
    autocorrelation: np.ndarray
    count: int


def blank_sky(science, template, unusable, detected, *, fwhm=4.0, threshold=3.0):
    """Usable pixels away from the sources of the two images and from detections.

    Sources are sought on S / sigma_S^2 + T / sigma_T^2, the one sum of the two whose noise is
    independent of that of S - T: sky that is blank by the science image alone would lack the
    positive tail of the difference's noise.

    Parameters
    ----------
    science, template
        (ny, nx) counts, on one photometric scale; pixels without a finite value do not count.
    unusable
        (ny, nx) bool.
    detected
        (ny, nx) bool, the footprints of detections.
    fwhm
        Sources are grown by so many px, their PSF's FWHM.
    threshold
        A pixel this many sigmas above the local background belongs to a source.

    Returns
    -------
    ndarray
        (ny, nx) bool.
    """
    bad = unusable | ~np.isfinite(science) | ~np.isfinite(template)
    if bad.all():
        return ~bad
    total = np.zeros(science.shape, np.float32)
    for image in (science, template):
        smooth = _smooth_above_sky(image, bad)
        sigma = robust_sigma(smooth[~bad])
        if sigma > 0:
            total += smooth / sigma**2
    sources = total > threshold * robust_sigma(total[~bad])
    reach = 2 * int(np.ceil(fwhm)) + 1
    near = ndimage.maximum_filter((sources | detected).astype(np.uint8), reach) > 0
    return ~(bad | near)


def _smooth_above_sky(image, bad):
    filled = np.where(bad, np.float32(np.nan), image).astype(np.float32)
    flat = np.where(bad, np.float32(0), filled - local_background(filled))
    return ndimage.gaussian_filter(flat, _SMOOTHING)


def local_background(image):
    """Medians of cells of about 64 px, bilinear between their centres; NaN pixels are ignored."""
    # Every second pixel: a median of a thousand values is good to 4 % of sigma.
    cells = np.nan_to_num(cell_medians(image, None, _CELL, step=2))
    return upsample(cells, image.shape)


def robust_sigma(values):
    """Half the width of the central 68.27 %; NaN without values."""
    if len(values) == 0:
        return np.nan
    low, high = np.percentile(values[:: max(len(values) // 200_000, 1)], [15.865, 84.135])
    return 0.5 * (high - low)


def normalised(image, variance, unusable):
    """D / sqrt(V), zero where it cannot be had."""
    good = ~unusable & (variance > 0)
    out = np.zeros(image.shape, np.float32)
    np.divide(image, np.sqrt(np.where(good, variance, 1)), out=out, where=good)
    return out


def noise_of(values, blank):
    """The Noise of normalised pixels.

    Parameters
    ----------
    values
        (ny, nx), D / sqrt(V).
    blank
        (ny, nx) bool.
    """
    count = int(np.count_nonzero(blank))
    if count == 0:
        empty = np.full((2 * LAGS + 1, 2 * LAGS + 1), np.nan)
        return Noise(np.nan, np.nan, np.nan, empty, 0)
    correlation = autocorrelation(values, blank)
    return Noise(
        rms=float(np.sqrt(np.mean(np.square(values[blank], dtype=float)))),
        mean=float(np.mean(values[blank], dtype=float)),
        neighbour=float(0.5 * (correlation[LAGS, LAGS + 1] + correlation[LAGS + 1, LAGS])),
        autocorrelation=correlation,
        count=count,
    )


def autocorrelation(values, blank):
    """Correlation of pixel pairs of which both are blank, by their distance.

    Returns
    -------
    ndarray
        (2 LAGS + 1, 2 LAGS + 1), element [LAGS + dy, LAGS + dx]; NaN where no pair is left.
    """
    values, blank = _central(values), _central(blank)
    shape = tuple(fft.next_fast_len(n + LAGS, real=True) for n in values.shape)

    def pair_sums(plane):
        power = np.abs(fft.rfft2(plane, s=shape)) ** 2
        return fft.irfft2(power, s=shape)

    lags = np.arange(-LAGS, LAGS + 1)
    at = np.ix_(lags, lags)
    products = pair_sums(np.where(blank, values, np.float32(0)).astype(np.float32))[at]
    pairs = np.rint(pair_sums(blank.astype(float))[at])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(pairs > 0, products / pairs, np.nan)
        return mean / mean[LAGS, LAGS]


def _central(plane):
    ny, nx = plane.shape
    y0, x0 = max((ny - _MAX_SIDE) // 2, 0), max((nx - _MAX_SIDE) // 2, 0)
    return plane[y0 : y0 + _MAX_SIDE, x0 : x0 + _MAX_SIDE]


def limiting_magnitude(flux_sigma, score_rms, scale, *, threshold=5.0):
    """AB magnitude of a point source at the threshold.

    Parameters
    ----------
    flux_sigma
        Median error of a PSF flux, counts.
    score_rms
        Scatter of the score in blank sky: corrects the error for a variance that is off.
    scale
        nJy per count.
    threshold
        In sigma.
    """
    flux = threshold * score_rms * flux_sigma * scale
    return float(nanojansky_to_magnitude(flux)) if np.isfinite(flux) else np.nan


def wilson_interval(successes, trials, *, z=1.0):
    """Wilson's interval of a success rate; z = 1 holds 68 % of the probability.

    Returns
    -------
    low, high
        Same shape as the input; NaN without trials.
    """
    k, n = np.asarray(successes, float), np.asarray(trials, float)
    n = np.where(n > 0, n, np.nan)
    rate = k / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)
