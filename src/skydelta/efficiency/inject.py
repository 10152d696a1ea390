"""Point sources added to an exposure: local PSF, photon noise, saturation."""

import numpy as np

_CHUNK = 256
"""Stamps made at a time."""


def inject(exposure, x, y, counts, rng):
    """An exposure with point sources as its detector would have seen them.

    A source of flux F gives F times the PSF's stamp, which holds the enclosed part of the flux. Its
    photons are drawn from the Poisson distribution of F stamp gain electrons, and the variance
    grows by F stamp / gain. Negative light (a negative source, or a ring of the PSF model below
    zero) is taken off without noise: light that is missing has none, and what remains keeps its
    own. Pixels that reach the saturation level are cut there and get SAT; pixels that are
    saturated already, or without data, stay as they are.

    Parameters
    ----------
    exposure
        Exposure with PSF. Without a gain no photon noise is added, and a note says so.
    x, y
        (n,) 0-based px.
    counts
        (n,) flux, counts; negative for sources that fade.
    rng
        numpy Generator of the photons.

    Returns
    -------
    Exposure
    """
    light, shade = _expected(exposure, x, y, np.asarray(counts, float))
    fixed = exposure.mask.any("SAT", "NO_DATA")
    light[fixed] = shade[fixed] = 0
    gain = exposure.gain
    if np.isfinite(gain) and gain > 0:
        lit = light > 0
        added = np.zeros_like(light)
        added[lit] = rng.poisson(light[lit] * gain) / gain
        variance = exposure.variance + (light / gain).astype(np.float32)
    else:
        added, variance = light, exposure.variance
        exposure = exposure.noted("no gain is known: injected sources carry no photon noise")
    image = (exposure.image + added + shade).astype(np.float32)
    full = (light > 0) & (image >= exposure.saturate)
    if full.any():
        image[full] = np.float32(exposure.saturate)
    return exposure.replace(
        image=image, variance=variance, mask=exposure.mask.with_plane("SAT", full)
    )


def _expected(exposure, x, y, counts):
    """Expected counts of all sources, split by sign: two (ny, nx) float64 planes."""
    size = exposure.psf.size
    shape = tuple(n + 2 * size for n in exposure.shape)
    light, shade = np.zeros(shape), np.zeros(shape)
    for first in range(0, len(x), _CHUNK):
        some = slice(first, first + _CHUNK)
        stamps, x0, y0 = exposure.psf.images(x[some], y[some])
        for stamp, left, low, flux in zip(stamps, x0, y0, counts[some], strict=True):
            box = slice(low + size, low + 2 * size), slice(left + size, left + 2 * size)
            model = flux * stamp
            light[box] += np.maximum(model, 0)
            shade[box] += np.minimum(model, 0)
    inner = slice(size, -size), slice(size, -size)
    return light[inner].copy(), shade[inner].copy()
