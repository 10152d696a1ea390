"""PSF stamps continued beyond their edges.

The wings of seeing fall as a power of the radius (Moffat 1969; Kolmogorov's as its -11/3): what a
stamp of a few FWHM holds near its edge tells what follows. Two stamps that end at the same radius
end at different parts of their profiles, and a kernel between them fails every bright star.
"""

import numpy as np

from skydelta.psf import resize_stamps

_FROM, _BLEND = 0.75, 3.0
"""The power law is fitted from this part of the half width on, and set in over so many px."""

_FLATTEST = -2.0
"""Logarithmic slope: a flatter profile holds infinite light and is a sky left in the stamp."""


def with_wings(stamps, half):
    """Stamps continued to a half width by the power laws that their outer parts follow.

    Parameters
    ----------
    stamps
        (n, size, size), size odd, centred.
    half
        Half width of the result, px.

    Returns
    -------
    ndarray
        (n, 2 half + 1, 2 half + 1). Narrower stamps are cut. One whose outer rings are not all
        positive, or flatter than light, ends as it does.
    """
    own = stamps.shape[-1] // 2
    if half <= own:
        return resize_stamps(stamps, 2 * half + 1)
    u = np.arange(-half, half + 1)
    radius = np.hypot(u[:, None], u)
    wide = resize_stamps(stamps, 2 * half + 1)
    rings = np.arange(max(int(_FROM * own), 2), own + 1)
    inner = radius[half - own : half + own + 1, half - own : half + own + 1]
    means = np.stack([stamps[:, np.abs(inner - r) < 0.5].mean(axis=1) for r in rings], axis=1)
    positive = (means > 0).all(axis=1)
    logs = np.log(np.where(means > 0, means, 1.0))
    slope, level = np.polyfit(np.log(rings), logs.T, 1)
    positive &= slope < _FLATTEST
    wings = np.exp(level[:, None, None] + slope[:, None, None] * np.log(np.maximum(radius, 1.0)))
    share = np.clip((radius - (own - _BLEND)) / _BLEND, 0.0, 1.0)
    share = share * positive[:, None, None]
    return wide * (1.0 - share) + wings * share
