"""Which stars a kernel does not describe: variable ones, blends, those hit by artefacts."""

import numpy as np

from skydelta.star_noise import median_rows, robust_sigma

REJECT_REASONS = {0: "", 1: "flux ratio", 2: "residual", 3: "no weight"}


def raw_ratio(source, data, good):
    """(flux of each star over that in the source, relative to their median; the median)."""
    t = np.where(good, source - median_rows(source, good), 0.0).sum(axis=1)
    s = np.where(good, data - median_rows(data, good), 0.0).sum(axis=1)
    ratio = s / np.where(t != 0, t, np.inf)
    middle = np.median(ratio)
    return ratio / (middle if middle != 0 else 1.0), float(middle)


def core_pixels(width, fraction=0.5):
    """Flat mask of the central pixels of a stamp."""
    half = width // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    return (np.hypot(xx, yy) <= max(fraction * half, 2.0)).ravel()


def core_rms(residual, variance, good, core):
    inside = good & core
    safe = np.where(inside, variance, 1.0)
    chi2 = np.where(inside, residual**2 / safe, 0.0).sum(axis=1)
    return np.sqrt(chi2 / np.maximum(inside.sum(axis=1), 1))


def judge_ratio(ratio, weighable, options, floor):
    """Reasons after the flux-ratio cut: far from the median by clip x scatter, or the floor."""
    reason = np.where(weighable, 0, 3)
    if weighable.any():
        centre = np.median(ratio[weighable])
        limit = options.flux_ratio_clip * robust_sigma(ratio[weighable])
        limit = max(limit, floor * abs(centre))
        reason[weighable & ~(np.abs(ratio - centre) <= limit)] = 1
    return reason


def judge_residual(residual, reason, options, *, floor=0.25):
    """Reasons after the residual cut: rms above the median by clip x scatter, or the floor."""
    used = reason == 0
    if not used.any():
        return reason
    centre = np.median(residual[used])
    limit = centre + max(options.residual_clip * robust_sigma(residual[used]), floor)
    return np.where(used & ~(residual <= limit), 2, reason)
