"""Peaks of a score image: sub-pixel extrema, without those on bad pixels and beside bright ones."""

import numpy as np
from scipy import fft, ndimage

from skydelta.mask import UNUSABLE

PEAK_DTYPE = np.dtype([("x", "f8"), ("y", "f8"), ("score", "f8"), ("ix", "i4"), ("iy", "i4")])
"""A peak: sub-pixel position and score there, and its pixel."""


def find_peaks(score, mask, threshold, *, polarity="both", sampling_loss=1.0):
    """Local extrema of the score whose value between the pixels reaches the threshold.

    A source between pixels has its score's maximum between them: a parabola through each pixel and
    its neighbours along both axes recovers what the sampling lost, in place and in height.

    Parameters
    ----------
    score
        (ny, nx) float32, sigma.
    mask
        Mask; peaks on unusable pixels are rejected.
    threshold
        Least |score|, sigma.
    polarity
        ``"both"``, ``"positive"`` or ``"negative"``.
    sampling_loss
        Smallest part of a source's score that is left at the best pixel, see `sampling_loss`.

    Returns
    -------
    peaks
        Array of PEAK_DTYPE, largest |score| first.
    rejected
        Number of those on unusable pixels, by plane.
    """
    iy, ix = np.nonzero(above_threshold(score, threshold * sampling_loss, polarity))
    is_peak = _extrema(score, iy, ix)
    iy, ix = iy[is_peak], ix[is_peak]
    (dx, gain_x), (dy, gain_y) = _vertex(score, iy, ix, 0, 1), _vertex(score, iy, ix, 1, 0)
    value = score[iy, ix].astype(float) + gain_x + gain_y
    keep = np.abs(value) >= threshold
    rejected = {}
    for plane in UNUSABLE:
        hit = keep & ((mask.array[iy, ix] & np.int32(mask.bits(plane))) != 0)
        if hit.any():
            rejected[plane.lower()] = int(hit.sum())
        keep &= ~hit
    peaks = np.zeros(int(keep.sum()), PEAK_DTYPE)
    peaks["ix"], peaks["iy"], peaks["score"] = ix[keep], iy[keep], value[keep]
    peaks["x"], peaks["y"] = (ix + dx)[keep], (iy + dy)[keep]
    return peaks[np.lexsort((peaks["ix"], peaks["iy"], -np.abs(peaks["score"])))], rejected


def above_threshold(score, threshold, polarity="both"):
    """(ny, nx) bool: where the score of the wanted sign reaches the threshold."""
    if polarity == "positive":
        return score >= threshold
    if polarity == "negative":
        return score <= -threshold
    return np.abs(score) >= threshold


def sampling_loss(stamp):
    """Part of its score that a source in the corner of a pixel leaves at the nearest pixels.

    The score falls off as the PSF's autocorrelation; half a pixel away along both axes.
    """
    pattern = autocorrelation(stamp)
    return float(np.clip(_bilinear_gaussian(pattern), 0.5, 1.0))


def _bilinear_gaussian(pattern):
    """A pattern of unit peak half a pixel off along both axes, as a Gaussian between pixels."""
    half = pattern.shape[0] // 2
    beside = [pattern[half, half + 1], pattern[half, half - 1]]
    above = [pattern[half + 1, half], pattern[half - 1, half]]
    # exp(-d^2 / 2 w^2) at d = 1/2 is the fourth root of that at 1.
    return max(min(beside), 0.0) ** 0.25 * max(min(above), 0.0) ** 0.25


def _extrema(score, iy, ix):
    """Which of the pixels exceed, with their sign, all their neighbours."""
    ny, nx = score.shape
    value = score[iy, ix]
    sign = np.sign(value)
    is_peak = np.ones(iy.size, bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == dx == 0:
                continue
            y, x = np.clip(iy + dy, 0, ny - 1), np.clip(ix + dx, 0, nx - 1)
            # Of two equal neighbours the later one is the peak, so that exactly one is.
            later = (dy, dx) > (0, 0)
            neighbour = sign * score[y, x]
            itself = (y == iy) & (x == ix)
            beaten = neighbour >= sign * value if later else neighbour > sign * value
            is_peak &= ~beaten | itself
    return is_peak


def _vertex(score, iy, ix, dy, dx):
    """Offset, within half a pixel, and gain of the extremum of the parabola through three pixels.

    At the edge of the image and beside a void score, which is 0, there is no third pixel.
    """
    ny, nx = score.shape
    y0, y1, x0, x1 = iy - dy, iy + dy, ix - dx, ix + dx
    inside = (y0 >= 0) & (y1 < ny) & (x0 >= 0) & (x1 < nx)
    before = score[np.maximum(y0, 0), np.maximum(x0, 0)].astype(float)
    after = score[np.minimum(y1, ny - 1), np.minimum(x1, nx - 1)].astype(float)
    inside &= (before != 0) & (after != 0)
    curvature = before + after - 2.0 * score[iy, ix]
    offset = 0.5 * (before - after) / np.where(curvature == 0, np.inf, curvature)
    offset = np.where(inside, np.clip(offset, -0.5, 0.5), 0.0)
    return offset, 0.5 * (after - before) * offset + 0.5 * curvature * offset**2


def without_ripples(peaks, stamp, fwhm, options):
    """Peaks that stand out from the score pattern of the brighter ones beside them.

    A point source of score s makes the pattern s a(dx, dy) about it, with a the PSF's normalised
    autocorrelation: rings of a decorrelated PSF, shoulders and noise on them are no sources.

    Parameters
    ----------
    peaks
        Array of PEAK_DTYPE, largest |score| first.
    stamp
        PSF.
    fwhm
        Its width, px.
    options
        DetectOptions: threshold, ripple and min_separation.

    Returns
    -------
    peaks
        Those that stand out.
    count
        Number of the others.
    """
    from scipy.spatial import cKDTree

    if len(peaks) < 2:
        return peaks, 0
    pattern = autocorrelation(stamp)
    tree = cKDTree(np.column_stack([peaks["x"], peaks["y"]]))
    accepted = np.ones(len(peaks), bool)
    neighbours = [[] for _ in range(len(peaks))]
    for i, j in tree.query_pairs(0.9 * (pattern.shape[0] // 2)):
        neighbours[max(i, j)].append(min(i, j))
    for k, brighter in enumerate(neighbours):
        others = [i for i in brighter if accepted[i]]
        if not others:
            continue
        dx, dy = peaks["x"][k] - peaks["x"][others], peaks["y"][k] - peaks["y"][others]
        scores = peaks["score"][others]
        expected = (scores * _bilinear(pattern, dx, dy)).sum()
        envelope = np.exp(-0.5 * (dx**2 + dy**2) / fwhm**2)
        allowed = options.threshold + options.ripple * (np.abs(scores) * envelope).sum()
        near = np.hypot(dx, dy) < options.min_separation * fwhm
        blended = np.any(near & (scores * peaks["score"][k] > 0))
        accepted[k] = abs(peaks["score"][k] - expected) >= allowed and not blended
    return peaks[accepted], int((~accepted).sum())


def autocorrelation(stamp):
    """Normalised autocorrelation of a stamp, centred, twice its size less one."""
    n = 2 * stamp.shape[0] - 1
    power = np.abs(fft.rfft2(stamp, s=(n, n))) ** 2
    return np.fft.fftshift(fft.irfft2(power, s=(n, n))) / (stamp**2).sum()


def _bilinear(pattern, dx, dy):
    half = pattern.shape[0] // 2
    return ndimage.map_coordinates(pattern, [dy + half, dx + half], order=1, mode="constant")
