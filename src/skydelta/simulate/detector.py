"""From noiseless counts to an exposure: photon and read noise, saturation, cosmic rays, defects."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from skydelta.mask import Mask
from skydelta.simulate.astrometry import PIXEL_SCALE

GAIN = 1.5
"""Electrons per count of a single exposure."""

READ_NOISE = 9.0
"""Electrons."""

FULL_WELL = 1e5
"""Electrons."""

EXPTIME = 30.0
"""s."""

COADD_ZERO_POINT = 27.0

# LSST: AB magnitude of 1 electron in 1 s, and dark sky in magnitudes per arcsec^2.
_ELECTRON_PER_SECOND = {"u": 26.5, "g": 28.4, "r": 28.2, "i": 27.9, "z": 27.5, "y": 26.7}
_SKY = {"u": 22.9, "g": 22.2, "r": 21.2, "i": 20.5, "z": 19.6, "y": 18.6}

_GRADIENT_COUNTS = 40.0
_GRADIENT_OF_SKY = 0.3
"""Peak to peak of the background that is left: counts, but never more than this part of the sky."""

_COSMIC_RAYS_PER_PIXEL = 2e-5
_BAD_COLUMNS = 2


@dataclass(frozen=True)
class Conditions:
    """What turns a flux into counts and noise.

    Parameters
    ----------
    zero_point
        AB magnitude of 1 count.
    sky
        Counts per px that are subtracted from the image in the end.
    gain
        Electrons per count.
    read_noise
        Electrons.
    full_well
        Electrons.
    exptime
        s.
    """

    zero_point: float
    sky: float
    gain: float = GAIN
    read_noise: float = READ_NOISE
    full_well: float = FULL_WELL
    exptime: float = EXPTIME

    @property
    def counts_per_njy(self):
        return 10.0 ** ((self.zero_point - 31.4) / 2.5)

    @property
    def sky_variance(self):
        """Variance of a blank pixel, counts^2."""
        return self.variance_of(0.0)

    @property
    def saturate(self):
        """Level of a full pixel in the sky-subtracted image, counts."""
        return self.full_well / self.gain - self.sky

    def variance_of(self, counts):
        """Poisson and read noise variance (counts^2) of sky-subtracted counts per px."""
        photons = np.maximum(counts + self.sky, 0.0)
        return photons / self.gain + (self.read_noise / self.gain) ** 2

    def point_source_error(self, fwhm_arcsec):
        """Standard error, in nJy, of the PSF flux of a faint star under a Gaussian PSF."""
        sigma = fwhm_arcsec / PIXEL_SCALE / 2.355
        return np.sqrt(4 * np.pi * sigma**2 * self.sky_variance) / self.counts_per_njy


def exposure_conditions(band, zero_point=None):
    """Dark time: 30 s of LSST.

    Parameters
    ----------
    band
        One of ugrizy.
    zero_point
        AB magnitude of 1 count; by default that of LSST, which in i is 31.1. The gain stays, so
        a lower number is a smaller telescope under the same sky.
    """
    if zero_point is None:
        zero_point = _ELECTRON_PER_SECOND[band] + 2.5 * np.log10(EXPTIME / GAIN)
    sky = 10 ** ((zero_point - _SKY[band]) / 2.5) * PIXEL_SCALE**2
    return Conditions(zero_point=float(zero_point), sky=float(sky))


def coadd_conditions(exposure, n_visits):
    """The mean of `n_visits` exposures taken under these conditions, at zero point 27."""
    counts_ratio = 10 ** ((COADD_ZERO_POINT - exposure.zero_point) / 2.5)
    return Conditions(
        zero_point=COADD_ZERO_POINT,
        sky=exposure.sky * counts_ratio,
        gain=exposure.gain * n_visits / counts_ratio,
        read_noise=exposure.read_noise * np.sqrt(n_visits),
        full_well=exposure.full_well * n_visits,
        exptime=exposure.exptime * n_visits,
    )


@dataclass(frozen=True)
class Defects:
    """What else happens to an image; all of it by default.

    Cosmic rays can also be ``"unmasked"``: the same hits, not one of them in the mask.
    """

    saturation: bool = True
    bleeding: bool = True
    cosmic_rays: bool | str = True
    bad_columns: bool = True
    gradient: bool = True


COADD_DEFECTS = Defects(bleeding=False, cosmic_rays=False, bad_columns=False, gradient=False)
"""Averaging rotated, dithered visits leaves saturated cores only."""


@dataclass(frozen=True)
class Readout:
    """What a detector gives: sky-subtracted image, variance, mask; and the expected variance.

    `variance` follows from the noisy image, as in real pipelines, so that it is correlated with
    the noise; `expected_variance` from the noiseless one. `cosmic_rays` is where hits fell, masked
    or not.
    """

    image: np.ndarray
    variance: np.ndarray
    mask: Mask
    expected_variance: np.ndarray
    cosmic_rays: np.ndarray


def read_out(source, conditions, rng, defects, *, detector_rng=None):
    """Observe a noiseless sky.

    Parameters
    ----------
    source
        (ny, nx) noiseless counts, without sky.
    conditions
        Conditions.
    rng
        Generator of this exposure's noise.
    defects
        Defects.
    detector_rng
        Generator of what stays with the detector, its bad columns; default `rng`.
    """
    level = source + np.float32(conditions.sky)
    if defects.gradient:
        peak_to_peak = min(_GRADIENT_COUNTS, _GRADIENT_OF_SKY * conditions.sky)
        level += background_residual(source.shape, rng, peak_to_peak)
    mask = Mask.empty(source.shape)
    full = conditions.full_well / conditions.gain
    saturated = np.zeros(source.shape, bool)
    if defects.saturation:
        if defects.bleeding:
            bleed(level, full)
        saturated = level >= full
        np.minimum(level, np.float32(full), out=level)
    expected_variance = conditions.variance_of(level - np.float32(conditions.sky))
    image = _with_noise(level, conditions, rng)
    hit = np.zeros(source.shape, bool)
    if defects.cosmic_rays:
        hit = add_cosmic_rays(image, conditions.gain, rng)
        if defects.cosmic_rays != "unmasked":
            mask = mask.with_plane("CR", hit)
    if defects.saturation:
        # Charge also spills over to the pixels next to full ones.
        saturated = ndimage.binary_dilation(saturated | (image >= full))
        np.minimum(image, np.float32(full), out=image)
        mask = mask.with_plane("SAT", saturated)
    if defects.bad_columns:
        columns = add_bad_columns(image, detector_rng or rng)
        mask = mask.with_plane("BAD", columns)
    image -= np.float32(conditions.sky)
    return Readout(image, conditions.variance_of(image), mask, expected_variance, hit)


def background_residual(shape, rng, peak_to_peak):
    """A smooth background of zero mean and `peak_to_peak` counts, (ny, nx) float32."""
    ny, nx = shape
    u = np.linspace(-1, 1, nx, dtype=np.float32)[None, :]
    v = np.linspace(-1, 1, ny, dtype=np.float32)[:, None]
    c = rng.normal(size=5).astype(np.float32) * np.array([1, 1, 0.5, 0.5, 0.5], np.float32)
    surface = c[0] * u + c[1] * v + c[2] * u * v + c[3] * u * u + c[4] * v * v
    return (surface - surface.mean()) * np.float32(peak_to_peak / np.ptp(surface))


def bleed(level, full):
    """Spread, in place, the charge above `full` along the columns, half of it to each side."""
    for x in np.flatnonzero((level > full).any(axis=0)):
        column = level[:, x].astype(float)
        runs, n_runs = ndimage.label(column > full)
        for run in range(1, n_runs + 1):
            rows = np.flatnonzero(runs == run)
            excess = (column[rows] - full).sum() / 2
            column[rows] = full
            _fill(column[rows[-1] + 1 :], excess, full)
            _fill(column[: rows[0]][::-1], excess, full)
        level[:, x] = column


def _fill(pixels, charge, full):
    """Fill pixels (a view) up to `full`, from the first on, until the charge is used up."""
    room = np.maximum(full - pixels, 0.0)
    before = np.cumsum(room) - room
    pixels += np.clip(charge - before, 0.0, room)


def _with_noise(level, conditions, rng):
    """Photons counted and read out, (ny, nx) float32 counts."""
    image = np.empty(level.shape, np.float32)
    gain, read_noise = np.float32(conditions.gain), np.float32(conditions.read_noise)
    # Row blocks keep the 64-bit photon counts of a large tract out of memory.
    for start in range(0, level.shape[0], 512):
        block = level[start : start + 512]
        electrons = rng.poisson(np.maximum(block, 0) * gain).astype(np.float32)
        electrons += read_noise * rng.standard_normal(block.shape, np.float32)
        image[start : start + 512] = electrons / gain
    return image


def add_cosmic_rays(image, gain, rng):
    """Straight tracks of charge, added in place; returns the (ny, nx) bool of pixels hit."""
    ny, nx = image.shape
    hit = np.zeros(image.shape, bool)
    for _ in range(rng.poisson(_COSMIC_RAYS_PER_PIXEL * image.size)):
        length = 1.0 + rng.exponential(8.0)
        angle = rng.uniform(0, np.pi)
        along = np.arange(0.0, length, 0.5)
        x = np.round(rng.uniform(0, nx) + along * np.cos(angle)).astype(int)
        y = np.round(rng.uniform(0, ny) + along * np.sin(angle)).astype(int)
        inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
        pixels = np.unique(np.column_stack([y, x])[inside], axis=0)
        charge = rng.lognormal(np.log(1500.0), 0.7) * rng.uniform(0.6, 1.4, len(pixels))
        image[pixels[:, 0], pixels[:, 1]] += (charge / gain).astype(np.float32)
        hit[pixels[:, 0], pixels[:, 1]] = True
    return hit


def add_bad_columns(image, rng):
    """Dead or hot (parts of) columns, set in place; returns their (ny, nx) bool."""
    ny, nx = image.shape
    bad = np.zeros(image.shape, bool)
    for x in rng.choice(nx, _BAD_COLUMNS, replace=False):
        top = ny if rng.random() < 0.5 else int(rng.uniform(0.2, 0.9) * ny)
        hot = rng.random() < 0.5
        image[:top, x] = image[:top, x] + 3000.0 if hot else 0.1 * image[:top, x]
        bad[:top, x] = True
    return bad
