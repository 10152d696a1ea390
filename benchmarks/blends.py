"""Fluxes of blended sources: joint PSF fits, fits in turn, and photutils' deblender with sums.

    python benchmarks/blends.py [--pairs 400] [--seed 1]

Each row is one case: separation in FWHM, flux ratio, S/N of the brighter member alone. The image
is the white noise of a decorrelated difference, its PSF that of a difference whose template was
convolved from 3.5 to 4.5 px FWHM and holds as much noise as the science exposure: sharpened, with
a faint ring. Positions start from peaks 0.3 px off, one axis each. Figures of the fainter member
(of both if they are equal):

  bias     mean of flux over truth, minus 1, %
  rms      robust scatter of flux - truth, over the error of a single source
  pull     robust scatter of (flux - truth) / error (sums have none)
  bad      part of the members with an error above 5 sigma, or no flux

photutils' deblender needs scikit-image (pip install scikit-image); without it that column is left
out.
"""

import argparse
import os
from importlib.util import find_spec

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from astropy.wcs import WCS

from skydelta.blends import blend_groups, fit_blends
from skydelta.cutouts import Pixels, pixel
from skydelta.exposure import Exposure
from skydelta.mask import Mask
from skydelta.psf import FWHM_PER_SIGMA, GridPsf
from skydelta.psf_fit import fit_stamps

SIZE, SPACING, HALF = 1024, 50, 12
SIGMA_SCIENCE, SIGMA_TEMPLATE = 4.5 / FWHM_PER_SIGMA, 3.5 / FWHM_PER_SIGMA
METHODS = ("joint", "in turn", "photutils")


def difference_psf(size=51):
    """PSF of a decorrelated difference: the science PSF times the whitening filter."""
    k = 2 * np.pi * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    science = np.exp(-0.5 * (k * SIGMA_SCIENCE) ** 2)
    matching = np.exp(-0.5 * k**2 * (SIGMA_SCIENCE**2 - SIGMA_TEMPLATE**2))
    whitening = np.sqrt(2.0 / (1.0 + matching**2))
    return GridPsf.constant(np.fft.fftshift(np.fft.ifft2(science * whitening).real))


def blends(psf, separation, ratio, snr, rng):
    """One image of many pairs: the exposure, true positions and fluxes, (n, 2) each."""
    norm = np.sqrt((psf.stamp(0, 0) ** 2).sum())
    fwhm = psf.compute_shape(0, 0).fwhm
    grid = np.arange(SPACING, SIZE - SPACING // 2, SPACING)
    yy, xx = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(grid, grid))
    angle = rng.uniform(0, 2 * np.pi, xx.size)
    apart = 0.5 * separation * fwhm
    x = np.column_stack([xx + apart * np.cos(angle), xx - apart * np.cos(angle)])
    y = np.column_stack([yy + apart * np.sin(angle), yy - apart * np.sin(angle)])
    flux = np.broadcast_to(np.array([1.0, 1.0 / ratio]) * snr / norm, x.shape)
    image = rng.normal(0, 1, (SIZE, SIZE))
    stamps, x0, y0 = psf.images(x.ravel(), y.ravel())
    for stamp, left, bottom, f in zip(stamps, x0, y0, flux.ravel(), strict=True):
        box = np.s_[bottom : bottom + psf.size, left : left + psf.size]
        image[box] += f * stamp
    exposure = Exposure(
        image=image.astype(np.float32),
        variance=np.ones((SIZE, SIZE), np.float32),
        mask=Mask.empty((SIZE, SIZE)),
        wcs=WCS(naxis=2),
        psf=psf,
    )
    return exposure, x, y, flux


def fit_joint(exposure, x, y, fwhm):
    """(flux, error) of the simultaneous fit."""
    groups = blend_groups(x, y, np.arange(x.size), 3 * fwhm)
    fits = fit_blends(Pixels(exposure), exposure.psf, x, y, groups, HALF, fwhm)
    return fits["flux"], fits["flux_error"]


def fit_in_turn(exposure, x, y, _, rounds=3):
    """Each member to the image less the other's model, brightest first; pairs are rows 2i, 2i+1."""
    pixels, psf = Pixels(exposure), exposure.psf
    fixed = np.zeros(x.size // 2, bool)

    def fitted(at, model):
        xi, yi = pixel(at[0], pixels), pixel(at[1], pixels, axis=0)
        data, variance, good = pixels.stamps(xi, yi, HALF)
        if model is not None:
            reach = psf.size // 2
            stamps, x0, y0 = psf.images(model["x"], model["y"])
            rows = np.arange(2 * HALF + 1) + (yi - HALF - y0)[:, None]
            cols = np.arange(2 * HALF + 1) + (xi - HALF - x0)[:, None]
            inside = ((rows >= 0) & (rows <= 2 * reach))[:, :, None]
            inside = inside & ((cols >= 0) & (cols <= 2 * reach))[:, None]
            rows, cols = np.clip(rows, 0, 2 * reach), np.clip(cols, 0, 2 * reach)
            there = stamps[np.arange(len(xi))[:, None, None], rows[:, :, None], cols[:, None]]
            data = data - np.where(inside, there, 0) * model["flux"][:, None, None] * good
        return fit_stamps((data, variance, good), psf, *at, xi, yi, HALF, fixed)

    one, two = (fitted((x[i::2], y[i::2]), None) for i in (0, 1))
    for _ in range(rounds):
        one = fitted((one["x"], one["y"]), two)
        two = fitted((two["x"], two["y"]), one)
    return tuple(np.column_stack([one[name], two[name]]).ravel() for name in ("flux", "flux_error"))


def sum_photutils(exposure, x, y, _):
    """Sums over deblended segments of the image above 1.5 sigma after the PSF's filter."""
    from photutils.segmentation import deblend_sources, detect_sources
    from scipy.signal import fftconvolve

    stamp = exposure.psf.stamp(0, 0)
    smooth = fftconvolve(exposure.image, stamp[::-1, ::-1], mode="same")
    smooth /= np.sqrt((stamp**2).sum())
    segments = deblend_sources(
        smooth,
        detect_sources(smooth, 1.5, n_pixels=5),
        n_pixels=5,
        n_levels=32,
        contrast=0.001,
        progress_bar=False,
    )
    labels = segments.data[np.rint(y).astype(int), np.rint(x).astype(int)]
    flux = np.bincount(segments.data.ravel(), exposure.image.ravel())[labels]
    # Both members in one segment, or none: no flux of a member.
    flux[(labels == 0) | (labels == labels.reshape(-1, 2)[:, ::-1].ravel())] = np.nan
    return flux, np.full(flux.shape, np.nan)


def spread(values):
    """Half the distance of the 16th and 84th percentile of the finite values."""
    values = values[np.isfinite(values)]
    if values.size < 5:
        return np.nan
    return 0.5 * np.diff(np.percentile(values, [15.865, 84.135]))[0]


def figures(flux, error, truth, sigma):
    """(bias %, rms over sigma, pull, part beyond 5 sigma) of fluxes."""
    found = np.isfinite(flux)
    with np.errstate(invalid="ignore"):
        bias = 100 * (np.median(flux[found] / truth[found]) - 1) if found.sum() > 4 else np.nan
        wrong = ~(np.abs(flux - truth) < 5 * np.where(np.isfinite(error), error, sigma))
        return bias, spread(flux - truth) / sigma, spread((flux - truth) / error), wrong.mean()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    psf = difference_psf()
    fwhm = psf.compute_shape(0, 0).fwhm
    sigma = 1 / np.sqrt((psf.stamp(0, 0) ** 2).sum())
    calls = dict(zip(METHODS, (fit_joint, fit_in_turn, sum_photutils), strict=True))
    if find_spec("skimage") is None:
        del calls["photutils"]
    print(f"FWHM {fwhm:.2f} px; bias %, rms / sigma, pull, part beyond 5 sigma of each method")
    print(f"{'sep':>4} {'ratio':>5} {'S/N':>4} | " + " | ".join(f"{m:^27}" for m in calls))
    for separation in (1.0, 1.5, 2.0, 2.5):
        for ratio in (1, 3):
            for snr in (10, 30, 100):
                rng = np.random.default_rng([arguments.seed, snr, ratio, int(10 * separation)])
                text = case(psf, (separation, ratio, snr), arguments.pairs, rng, calls, sigma)
                print(f"{separation:4.1f} {ratio:5d} {snr:4d} | {text}", flush=True)


def case(psf, setting, pairs, rng, calls, sigma):
    """The figures of one case as text."""
    fwhm = psf.compute_shape(0, 0).fwhm
    gathered = {name: [] for name in calls}
    while sum(len(part[0]) for part in gathered["joint"]) < pairs:
        exposure, x, y, truth = blends(psf, *setting, rng)
        start = (a.ravel() + rng.normal(0, 0.3, a.size) for a in (x, y))
        start = tuple(start)
        for name, call in calls.items():
            flux, error = (a.reshape(-1, 2) for a in call(exposure, *start, fwhm))
            gathered[name].append((flux, error, truth))
    out = []
    members = slice(1, 2) if setting[1] != 1 else slice(None)
    for parts in gathered.values():
        flux, error, true = (
            np.concatenate(a)[:, members].ravel() for a in zip(*parts, strict=True)
        )
        bias, rms, pull, bad = figures(flux, error, true, sigma)
        out.append(f"{bias:7.2f} {rms:6.2f} {pull:6.2f} {bad:5.3f}")
    return " | ".join(out)


if __name__ == "__main__":
    main()
