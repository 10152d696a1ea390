"""The resampler against reproject's, on one rotated image of stars.

    python benchmarks/resampling.py [--size 2048]

For each method: CPU seconds (image alone; ours does variance and mask besides), the error of
stars' fluxes, the largest error of a pixel in units of the star's peak against the same stars drawn
on the target grid, and how many pixels one NaN of the input spoils. reproject works in surface
brightness: its results are multiplied with the area ratio before the comparison.
"""

import argparse
import os
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import reproject
from astropy.wcs import WCS

from skydelta.exposure import Exposure
from skydelta.mask import Mask
from skydelta.pixelmap import PixelMap
from skydelta.resample import resample

FWHM_ARCSEC = 0.75


def tan(size, scale, rotation_deg):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [57.0, -31.0]
    wcs.wcs.crpix = [(size + 1) / 2] * 2
    c, s = np.cos(np.radians(rotation_deg)), np.sin(np.radians(rotation_deg))
    wcs.wcs.cd = scale / 3600 * np.array([[-c, s], [s, c]])
    return wcs


def draw(shape, x, y, scale, half=14):
    """Unit-flux Gaussian stars at pixel positions."""
    image = np.zeros(shape)
    sigma = FWHM_ARCSEC / scale / 2.3548
    for xs, ys in zip(x, y, strict=True):
        xi, yi = round(xs), round(ys)
        rows, columns = np.mgrid[yi - half : yi + half + 1, xi - half : xi + half + 1]
        image[rows, columns] += np.exp(
            -0.5 * ((columns - xs) ** 2 + (rows - ys) ** 2) / sigma**2
        ) / (2 * np.pi * sigma**2)
    return image


def ours(image, source_wcs, target_wcs, shape):
    mask = Mask.empty(image.shape)
    exposure = Exposure(
        image.astype(np.float32), np.ones(image.shape, np.float32), mask, source_wcs
    )
    pixel_map = PixelMap.between(target_wcs, shape, source_wcs)
    result = resample(exposure, pixel_map, shape)
    out = np.zeros(shape)
    out[result.slices] = np.where(result.mask.any("NO_DATA"), np.nan, result.image)
    return out


def theirs(function, area, **options):
    def run(image, source_wcs, target_wcs, shape):
        out, _ = function((image, source_wcs), target_wcs, shape_out=shape, **options)
        return out * area

    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    size = parser.parse_args().size
    source_scale, target_scale = 0.2, 0.21
    source_size = int(1.45 * size)
    source_wcs, target_wcs = tan(source_size, source_scale, 0), tan(size, target_scale, 30)
    rng = np.random.default_rng(1)
    grid = np.arange(60, size - 60, 60.0)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(grid, grid))
    u, v = source_wcs.all_world2pix(*target_wcs.all_pix2world(x, y, 0), 0)
    image = draw((source_size, source_size), u, v, source_scale)
    expected = draw((size, size), x, y, target_scale)
    area = (target_scale / source_scale) ** 2
    methods = {
        "skydelta Lanczos-3": ours,
        "interp bilinear": theirs(reproject.reproject_interp, area, order=1),
        "interp bicubic": theirs(reproject.reproject_interp, area, order=3),
        "adaptive Gaussian": theirs(reproject.reproject_adaptive, area, conserve_flux=False),
        "exact": theirs(reproject.reproject_exact, area),
    }
    print(f"{'method':>20} {'CPU s':>7} {'flux %':>8} {'peak %':>8} {'NaN px':>8}")
    holed = image.copy()
    holed[source_size // 2, source_size // 2] = np.nan
    for name, method in methods.items():
        start = time.process_time()
        result = method(image, source_wcs, target_wcs, (size, size))
        seconds = time.process_time() - start
        spoilt = np.isnan(method(holed, source_wcs, target_wcs, (size, size))).sum()
        spoilt -= np.isnan(result).sum()
        fluxes, errors = [], []
        for xs, ys in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
            cut = slice(ys - 14, ys + 15), slice(xs - 14, xs + 15)
            fluxes.append(result[cut].sum())
            errors.append(np.abs(result[cut] - expected[cut]).max() / expected[cut].max())
        flux = 100 * np.nanmean(np.array(fluxes) - 1)
        print(
            f"{name:>20} {seconds:7.2f} {flux:8.3f} {100 * np.nanmedian(errors):8.3f} {spoilt:8d}",
            flush=True,
        )


if __name__ == "__main__":
    main()
