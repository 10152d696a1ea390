"""Small synthetic images with everything about them known, for the tests."""

import numpy as np
from astropy.wcs import WCS
from scipy.ndimage import maximum_filter

from skydelta.exposure import Exposure
from skydelta.mask import UNUSABLE, Mask
from skydelta.photocalib import PhotoCalib
from skydelta.pixelmap import PixelMap
from skydelta.psf import GridPsf


def gaussian(shape, x, y, sigma, flux=1.0, *, sigma_y=None, angle=0.0):
    """A sampled elliptical Gaussian of given flux at 0-based (x, y), position angle in radians."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    dx, dy = xx - x, yy - y
    c, s = np.cos(angle), np.sin(angle)
    a, b = sigma, sigma if sigma_y is None else sigma_y
    r2 = ((c * dx + s * dy) / a) ** 2 + ((c * dy - s * dx) / b) ** 2
    return flux * np.exp(-0.5 * r2) / (2 * np.pi * a * b)


def gaussian_stamp(sigma, size=41, dx=0.0, dy=0.0, **shape):
    """A Gaussian PSF stamp, (dx, dy) px off its middle pixel."""
    return gaussian((size, size), size // 2 + dx, size // 2 + dy, sigma, **shape)


def gaussian_psf(sigma, size=41, **shape):
    return GridPsf.constant(gaussian_stamp(sigma, size, **shape))


def star_field(shape, x, y, flux, sigma, **ellipse):
    """Noiseless Gaussian stars; each is drawn on a box of 8 sigma."""
    image = np.zeros(shape)
    half = int(np.ceil(8 * sigma))
    for xs, ys, fs in zip(x, y, flux, strict=True):
        x0, y0 = max(int(xs) - half, 0), max(int(ys) - half, 0)
        x1, y1 = min(int(xs) + half + 1, shape[1]), min(int(ys) + half + 1, shape[0])
        image[y0:y1, x0:x1] += gaussian((y1 - y0, x1 - x0), xs - x0, ys - y0, sigma, fs, **ellipse)
    return image


def tan_wcs(shape=(200, 200), *, scale=0.2, rotation=0.0, ra=55.0, dec=-30.0, shift=(0.0, 0.0)):
    """TAN, `scale` arcsec per px, centred on the image; `shift` moves the grid by so many px."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [shape[1] / 2 + 0.5 - shift[0], shape[0] / 2 + 0.5 - shift[1]]
    c, s = np.cos(np.radians(rotation)), np.sin(np.radians(rotation))
    wcs.wcs.cd = scale / 3600 * np.array([[-c, s], [s, c]])
    wcs.wcs.set()
    return wcs


def linear_map(jacobian, shape, target=(0.0, 0.0), source=(0.0, 0.0)):
    """A PixelMap with (u, v) - source = jacobian @ ((x, y) - target)."""
    x = np.linspace(0, shape[1] - 1, 5)
    y = np.linspace(0, shape[0] - 1, 5)
    xx, yy = np.meshgrid(x - target[0], y - target[1])
    (ux, uy), (vx, vy) = np.asarray(jacobian, float)
    return PixelMap(x, y, source[0] + ux * xx + uy * yy, source[1] + vx * xx + vy * yy, 0.0)


def rotation_matrix(degrees, scale=1.0):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * np.array([[c, -s], [s, c]])


def make_exposure(image, variance=1.0, *, sigma=2.0, psf=None, wcs=None, mask=None, **fields):
    """An exposure with a Gaussian PSF, 1 nJy per count, on a TAN grid."""
    image = np.asarray(image, np.float32)
    fields = {"band": "i", "photo_calib": PhotoCalib(1.0), **fields}
    return Exposure(
        image=image,
        variance=np.broadcast_to(np.float32(variance), image.shape).copy(),
        mask=mask or Mask.empty(image.shape),
        wcs=wcs or tan_wcs(image.shape),
        psf=psf or gaussian_psf(sigma),
        **fields,
    )


def white_noise(shape, seed, variance=1.0):
    return np.random.default_rng(seed).normal(0, np.sqrt(variance), shape)


def correlation(image, dx, dy, where=None):
    """Mean product of pixels (dx, dy) apart, dx, dy >= 0, over its finite (and chosen) pixels."""
    image = np.where(np.isfinite(image) if where is None else where, image, np.nan)
    ny, nx = image.shape
    return np.nanmean(image[: ny - dy, : nx - dx] * image[dy:, dx:])


def robust_sigma(values):
    low, high = np.percentile(values, [15.865, 84.135])
    return 0.5 * (high - low)


def blank_sky(chain, exposure):
    """Usable pixels of a simulated pair's difference far from all light of the template."""
    template = chain.template.exposure
    light = maximum_filter(template.image - np.median(template.image), 15)
    blank = ~exposure.mask.any(*UNUSABLE) & (light < 5 * np.sqrt(np.nanmedian(template.variance)))
    for span in chain.detections.spans:
        blank[span["y"], span["x0"] : span["x1"] + 1] = False
    return blank


def pull_of(exposure):
    """D / sigma, NaN where unusable."""
    good = ~exposure.mask.any(*UNUSABLE)
    return np.where(good, exposure.image / np.sqrt(np.where(good, exposure.variance, 1)), np.nan)
