"""Values for the bad pixels of a pair of images, before they go through Fourier filters."""

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter1d

_BLOCK = 128
_MARGIN = 24
_WIDTHS = (2.0, 8.0, 32.0)
_LEAST = 0.02
"""Share of the smoothing weight on good pixels below which a wider smoothing is used."""


def fill_pair(science, template, bad, bad_template, kernel):
    """Both images with their bad pixels replaced, so that their matched difference is smooth there.

    Bad template pixels are interpolated from their surroundings. Then, wherever the difference is
    void, science = kernel conv template + the interpolated difference of the two: what is masked
    anyway has nothing to ring, be it a saturated star, a bad column or a hole.

    Parameters
    ----------
    science, template
        (ny, nx) float32, finite, without background.
    bad
        (ny, nx) bool, pixels where the difference is void; wider than the bad template pixels by
        the reach of the kernel.
    bad_template
        (ny, nx) bool.
    kernel
        SpatialKernel from template to science counts.

    Returns
    -------
    science, template
        New arrays where anything was replaced.
    """
    if not (bad.any() or bad_template.any()):
        return science, template
    science, template = science.copy(), template.copy()
    ny, nx = science.shape
    margin = _MARGIN + kernel.half
    sources = template.copy(), science.copy()
    for y0 in range(0, ny, _BLOCK):
        for x0 in range(0, nx, _BLOCK):
            inner = np.s_[y0 : y0 + _BLOCK, x0 : x0 + _BLOCK]
            if not (bad[inner].any() or bad_template[inner].any()):
                continue
            ya, xa = max(y0 - margin, 0), max(x0 - margin, 0)
            outer = np.s_[ya : y0 + _BLOCK + margin, xa : x0 + _BLOCK + margin]
            stamp = kernel.image(min(x0 + _BLOCK / 2, nx - 1), min(y0 + _BLOCK / 2, ny - 1))
            whole = interpolated(sources[0][outer], bad_template[outer])
            matched = _convolved(whole, stamp)
            rest = interpolated(sources[1][outer] - matched, bad[outer])
            cut = np.s_[y0 - ya : y0 - ya + _BLOCK, x0 - xa : x0 - xa + _BLOCK]
            template[inner] = whole[cut]
            science[inner] = np.where(bad[inner], (matched + rest)[cut], science[inner])
    return science, template


def _convolved(image, kernel):
    """Image conv kernel, of the image's shape; its edge values go on beyond it."""
    half = kernel.shape[0] // 2
    padded = np.pad(image, half, mode="edge")
    size = [fft.next_fast_len(n, real=True) for n in padded.shape]
    product = fft.rfft2(padded, s=size) * fft.rfft2(kernel.astype(np.float32), s=size)
    ny, nx = image.shape
    return fft.irfft2(product, s=size)[2 * half : 2 * half + ny, 2 * half : 2 * half + nx]


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
        plane = gaussian_filter1d(plane, width, axis=axis, mode="nearest", truncate=2.5)
    return plane
