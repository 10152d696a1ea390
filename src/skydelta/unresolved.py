"""Single peaks that are two sources: closer than detection can part them.

The score of two sources of one sign less than about 1.5 FWHM apart has one peak. One PSF describes
them badly; two that stand apart describe them well. A PSF model that is itself a little wrong also
leaves residuals on bright stars, but two PSFs mend these only when they nearly coincide, or when
one is a small part of the other: such pairs are no pairs.
"""

import numpy as np

from skydelta.blends import fit_blends
from skydelta.cutouts import CHUNK, flat, pixel
from skydelta.moments import adaptive_moments
from skydelta.psf_fit import psf_shifter

_LEAST_SIGMA = 10.0
"""Least S/N of a source that is looked at."""

_CORE_FWHM = 1.5
"""Radius within which one PSF must fail."""

_EXCESS_SIGMA = 3.0
"""By so much must chi2 in the core exceed its expectation for two PSFs to be tried."""

_GAIN = 35.0
"""Least gain in chi2 of three more parameters, in units of the reduced chi2 that two PSFs leave.
A chance of 1e-7 with a perfect PSF, less than one single source in a million."""

_MOST_LEFT = 0.25
"""Most of a single PSF's excess in chi2 that two may leave."""

_LEAST_SEPARATION_FWHM = 0.6

_LEAST_RATIO = 0.15

_LEAST_PART_SIGMA = 5.0


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
    with np.errstate(invalid="ignore"):
        bright = np.abs(fits["flux"]) > _LEAST_SIGMA * fits["flux_error"]
    good = np.flatnonzero(chosen & bright & ~fits["bad_flux"] & ~fits["bad_position"])
    found = [
        _split(pixels, psf, fits, good[start : start + CHUNK], half, fwhm)
        for start in range(0, max(good.size, 1), CHUNK)
    ]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def _split(pixels, psf, fits, index, half, fwhm):
    single = tuple(fits[name][index] for name in ("x", "y", "flux"))
    core = _Core(pixels, psf, *single[:2], half, fwhm)
    one = core.chi2([single])
    tried = one > core.count + _EXCESS_SIGMA * np.sqrt(2.0 * core.count)
    index, core, one = index[tried], core.take(tried), one[tried]
    single = tuple(values[tried] for values in single)
    if index.size == 0:
        return index, np.zeros((0, 2)), np.zeros((0, 2))
    pairs = [
        _fit_pairs(pixels, psf, start, half, fwhm)
        for start in (core.along_axis(single[2]), core.beside(single))
    ]
    chi2 = np.array([core.chi2([tuple(v[:, i] for v in p[:3]) for i in (0, 1)]) for p in pairs])
    better = chi2[1] < chi2[0]
    x, y, flux, error, bad = (
        np.where(better.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(*pairs, strict=True)
    )
    two = chi2.min(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain = (one - two) / np.maximum(two / np.maximum(core.count - 6, 1), 1.0)
        ratio = np.abs(flux).min(axis=1) / np.abs(flux).max(axis=1)
    apart = np.hypot(x[:, 0] - x[:, 1], y[:, 0] - y[:, 1])
    split = ~bad & (gain > _GAIN) & (flux.prod(axis=1) > 0)
    # An extended source is no pair: two PSFs leave much of what one leaves.
    noise = _EXCESS_SIGMA * np.sqrt(2.0 * core.count)
    split &= two - core.count < _MOST_LEFT * (one - core.count) + noise
    split &= (np.abs(flux) > _LEAST_PART_SIGMA * error).all(axis=1)
    split &= (ratio > _LEAST_RATIO) & (apart > _LEAST_SEPARATION_FWHM * fwhm)
    order = np.argsort(-np.abs(flux[split]), axis=1, kind="stable")
    x, y = (np.take_along_axis(a[split], order, axis=1) for a in (x, y))
    return index[split], x, y


def _fit_pairs(pixels, psf, start, half, fwhm):
    """(x, y, flux, flux error), (n, 2) each, and (n,) failures of joint fits of two."""
    x, y = start
    groups = np.repeat(np.arange(len(x)), 2)
    fits = fit_blends(pixels, psf, x.ravel(), y.ravel(), groups, half, fwhm)
    values = [fits[name].reshape(-1, 2) for name in ("x", "y", "flux", "flux_error")]
    bad = (fits["bad_flux"] | fits["bad_position"]).reshape(-1, 2).any(axis=1)
    return *values, bad


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

    def beside(self, single):
        """The place of the single PSF, and the highest residual of its sign, (n, 2) x and y."""
        x, y, flux = single
        model = self.shifter.shifted(x - self.xi, y - self.yi) * flux[:, None, None]
        residual = (self.data - model) * np.sign(flux)[:, None, None] * (self.weight > 0)
        smooth = residual[:, 1:-1, 1:-1] + 0.5 * (
            residual[:, :-2, 1:-1]
            + residual[:, 2:, 1:-1]
            + residual[:, 1:-1, :-2]
            + residual[:, 1:-1, 2:]
        )
        row, column = np.divmod(np.argmax(flat(smooth), axis=1), smooth.shape[-1])
        half = smooth.shape[-1] // 2
        other = self.xi + column - half, self.yi + row - half
        return np.column_stack([x, other[0]]), np.column_stack([y, other[1]])

    def along_axis(self, flux):
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
