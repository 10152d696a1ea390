"""Single peaks that are two sources: closer than detection can part them.

The score of two sources of one sign less than about 1.5 FWHM apart has one peak. One PSF describes
them badly; two that stand apart describe them well. A PSF model that is itself a little wrong also
leaves residuals on bright stars, but two PSFs mend these only when they nearly coincide, or when
one is a small part of the other: such pairs are no pairs.
"""

import numpy as np

from skydelta.blends import fit_blends
from skydelta.cutouts import CHUNK, pixel
from skydelta.psf_fit import psf_shifter
from skydelta.stars import adaptive_moments

_LEAST_SIGMA = 10.0
"""Least S/N of a source that is looked at."""

_CORE_FWHM = 1.2
"""Radius within which one PSF must fail."""

_EXCESS_SIGMA = 3.0
"""By so much must chi2 in the core exceed its expectation for two PSFs to be tried."""

_GAIN = 35.0
"""Least gain in chi2 of three more parameters, in units of the reduced chi2 that two PSFs leave.
A chance of 1e-7 with a perfect PSF, less than one single source in a million."""

_LEAST_SEPARATION_FWHM = 0.6

_LEAST_RATIO = 0.15


def split_unresolved(pixels, psf, fits, chosen, half, fwhm):
    """Sources to be split in two, and where their parts are.

    Parameters
    ----------
    pixels
        skydelta.cutouts.Pixels.
    psf
        Psf.
    fits
        Columns of the fits of all sources by one PSF each.
    chosen
        (n,) bool: sources to look at, without neighbours.
    half
        Half width of the stamps, px.
    fwhm
        Of the PSF, px.

    Returns
    -------
    index
        (k,) sources to be split.
    x, y
        (k, 2) positions of their parts, px, the brighter one first.
    """
    found = [(np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, 2)))]
    with np.errstate(invalid="ignore"):
        bright = np.abs(fits["flux"]) > _LEAST_SIGMA * fits["flux_error"]
    good = np.flatnonzero(chosen & bright & ~fits["bad_flux"] & ~fits["bad_position"])
    for start in range(0, good.size, CHUNK):
        found.append(_split(pixels, psf, fits, good[start : start + CHUNK], half, fwhm))
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _split(pixels, psf, fits, index, half, fwhm):
    core = _Core(pixels, psf, fits["x"][index], fits["y"][index], half, fwhm)
    one = core.chi2([(fits["x"][index], fits["y"][index], fits["flux"][index])])
    tried = one > core.count + _EXCESS_SIGMA * np.sqrt(2.0 * core.count)
    index, core, one = index[tried], core.take(tried), one[tried]
    if index.size == 0:
        return index, np.zeros((0, 2)), np.zeros((0, 2))
    x, y = core.start(fits["flux"][index])
    pairs = fit_blends(
        pixels, psf, x.ravel(), y.ravel(), np.repeat(np.arange(index.size), 2), half, fwhm
    )
    x, y, flux = (pairs[name].reshape(-1, 2) for name in ("x", "y", "flux"))
    bad = (pairs["bad_flux"] | pairs["bad_position"]).reshape(-1, 2).any(axis=1)
    two = core.chi2([(x[:, i], y[:, i], flux[:, i]) for i in (0, 1)])
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = (one - two) / np.maximum(two / np.maximum(core.count - 6, 1), 1.0)
        ratio = np.abs(flux).min(axis=1) / np.abs(flux).max(axis=1)
        significant = np.abs(flux) > 5.0 * pairs["flux_error"].reshape(-1, 2)
    apart = np.hypot(x[:, 0] - x[:, 1], y[:, 0] - y[:, 1])
    split = ~bad & (gain > _GAIN) & significant.all(axis=1) & (flux.prod(axis=1) > 0)
    split &= (ratio > _LEAST_RATIO) & (apart > _LEAST_SEPARATION_FWHM * fwhm)
    order = np.argsort(-np.abs(flux[split]), axis=1, kind="stable")
    x, y = (np.take_along_axis(a[split], order, axis=1) for a in (x, y))
    return index[split], x, y


class _Core:
    """Stamps of sources and their pixels near the centre."""

    def __init__(self, pixels, psf, x, y, half, fwhm):
        self.xi, self.yi = pixel(x, pixels), pixel(y, pixels, axis=0)
        self.data, variance, good = pixels.stamps(self.xi, self.yi, half)
        offset = np.arange(-half, half + 1)
        inside = np.hypot(offset[:, None], offset) <= _CORE_FWHM * fwhm
        self.weight = np.where(good & inside, 1.0 / np.where(good, variance, 1.0), 0.0)
        self.count = (self.weight > 0).sum(axis=(1, 2))
        self.shifter, _ = psf_shifter(psf, x, y, half)
        self.fwhm = fwhm

    def take(self, chosen):
        """The same for some of the sources."""
        part = object.__new__(_Core)
        for name in ("xi", "yi", "data", "weight", "count"):
            setattr(part, name, getattr(self, name)[chosen])
        part.shifter, part.fwhm = self.shifter.take(chosen), self.fwhm
        return part

    def chi2(self, parts):
        """Of the sum of PSFs (x, y, flux)."""
        residual = self.data.copy()
        for x, y, flux in parts:
            residual -= flux[:, None, None] * self.shifter.shifted(x - self.xi, y - self.yi)
        return (residual**2 * self.weight).sum(axis=(1, 2))

    def start(self, flux):
        """Two places 1 FWHM apart along the long axis of each source, (n, 2) x and y."""
        light = self.data * np.sign(flux)[:, None, None]
        centre, (xx, yy, xy), _ = adaptive_moments(light, 0.5 * self.fwhm)
        angle = np.nan_to_num(0.5 * np.arctan2(2 * xy, xx - yy))
        step = 0.5 * self.fwhm * np.array([-1.0, 1.0])
        # Beyond a pixel or two the moments are of something else.
        middle = np.clip(np.nan_to_num(centre), -2.0, 2.0)
        x = (self.xi + middle[0])[:, None] + np.cos(angle)[:, None] * step
        y = (self.yi + middle[1])[:, None] + np.sin(angle)[:, None] * step
        return x, y
