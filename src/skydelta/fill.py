"""Values for the bad pixels of a pair of images, before they go through Fourier filters."""

import numpy as np
from scipy.ndimage import gaussian_filter1d

_BLOCK = 512
_MARGIN = 32
_WIDTHS = (2.0, 6.0, 18.0)
_LEAST = 0.02
"""Share of the smoothing weight on good pixels below which a wider smoothing is used."""


def fill_pair(science, template, bad_science, bad_template, ratio):
    """Both images with their bad pixels replaced, so that their difference stays smooth there.

    A pixel that is bad in the template is interpolated from its surroundings; then, of all bad
    pixels, science = ratio * template + the interpolated difference of the two. A star that is
    lost in one image keeps the shape that the other shows, and one that is saturated in both
    leaves little to ring. Where the template alone is bad the same is done the other way round.

    Parameters
    ----------
    science, template
        (ny, nx) float32.
    bad_science, bad_template
        (ny, nx) bool.
    ratio
        Science counts per template count.

    Returns
    -------
    science, template
        New arrays where anything was replaced.
    """
    if not (bad_science.any() or bad_template.any()):
        return science, template
    science, template = science.copy(), template.copy()
    ny, nx = science.shape
    for y0 in range(0, ny, _BLOCK):
        for x0 in range(0, nx, _BLOCK):
            inner = np.s_[y0 : y0 + _BLOCK, x0 : x0 + _BLOCK]
            if not (bad_science[inner].any() or bad_template[inner].any()):
                continue
            ya, xa = max(y0 - _MARGIN, 0), max(x0 - _MARGIN, 0)
            outer = np.s_[ya : y0 + _BLOCK + _MARGIN, xa : x0 + _BLOCK + _MARGIN]
            planes = (p[outer] for p in (science, template, bad_science, bad_template))
            new = _filled_block(*planes, np.float32(ratio))
            cut = np.s_[y0 - ya : y0 - ya + _BLOCK, x0 - xa : x0 - xa + _BLOCK]
            for image, bad, values in zip(
                (science, template), (bad_science, bad_template), new, strict=True
            ):
                where = bad[inner]
                image[inner][where] = values[cut][where]
    return science, template


def _filled_block(science, template, bad_science, bad_template, ratio):
    either, both = bad_science | bad_template, bad_science & bad_template
    first = np.where(both, interpolated(template, bad_template), template)
    rest = np.where(either, np.float32(0), science - ratio * first)
    rest = interpolated(rest, either)
    new_template = np.where(bad_template & ~both, (science - rest) / ratio, first)
    return ratio * new_template + rest, new_template


def interpolated(image, bad):
    """Bad pixels replaced by Gaussian-weighted means of good ones; 0 where none is near."""
    out = np.where(bad, np.float32(0), image)
    left = bad
    values, weight = out, (~bad).astype(np.float32)
    for width in _WIDTHS:
        if not left.any():
            break
        mean, share = _smooth(values, width), _smooth(weight, width)
        enough = left & (share > _LEAST)
        out = np.where(enough, mean / np.where(enough, share, 1), out)
        left = left & ~enough
    return out


def _smooth(plane, width):
    for axis in (0, 1):
        plane = gaussian_filter1d(plane, width, axis=axis, mode="nearest", truncate=3.0)
    return plane
