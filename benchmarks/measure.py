"""CPU time of detection, measurement and calibration at 4096 x 4096, 1,000 and 20,000 sources.

    python benchmarks/measure.py [--sources 1000 20000] [--profile]

A tenth of the sources are misregistered stars (dipoles), three tenths are on stars of the template
that are ten times as bright (tried as dipoles), the rest is on empty sky; positions are random, so
that with 20,000 sources four in ten have a neighbour within 2.5 FWHM. In memory, one core;
`imports` is what a process of all three takes before it begins. benchmarks/chain.py has the stages
as the workflow runs them, reading and writing included.
"""

import argparse
import cProfile
import os
import pstats
import time

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from astropy.wcs import WCS

from skydelta.blends import add_models
from skydelta.calibrate import calibrate
from skydelta.detect import detect
from skydelta.detections import mask_with_planes
from skydelta.exposure import Exposure
from skydelta.local_calibration import local_columns
from skydelta.mask import Mask
from skydelta.matched_template import MatchedTemplate
from skydelta.measure import measure
from skydelta.photocalib import PhotoCalib
from skydelta.psf import FWHM_PER_SIGMA, GridPsf, grid_nodes

SIZE, SIGMA, NODES, STAMP = 4096, 4.5 / FWHM_PER_SIGMA, 7, 41


def varying_psf():
    """Gaussians, 5 % wider at one end of the image than at the other."""
    yy, xx = np.mgrid[:STAMP, :STAMP] - STAMP // 2
    x, y = (a.ravel() for a in np.meshgrid(*[grid_nodes(SIZE, NODES)] * 2))
    sigma = SIGMA * (1 + 0.05 * x / SIZE)[:, None, None]
    stamps = np.exp(-0.5 * (xx**2 + yy**2) / sigma**2)
    return GridPsf(x, y, stamps / stamps.sum(axis=(1, 2), keepdims=True))


def scene(n, seed=1):
    """(difference, science, template) with n sources of S/N 8 to 100."""
    rng = np.random.default_rng(seed)
    psf = varying_psf()
    sigma_flux = 1 / np.sqrt((psf.stamp(0, 0) ** 2).sum())
    x, y = rng.uniform(30, SIZE - 30, (2, n))
    flux = 10 ** rng.uniform(np.log10(8), 2, n) * sigma_flux * rng.choice([-1, 1], n)
    kind = np.arange(n) % 10
    star = np.where(kind < 4, 10 * np.abs(flux), 0.0)
    flux[kind == 0] = 0.0
    light = [np.zeros((SIZE, SIZE)) for _ in range(2)]
    for start in range(0, n, 1000):
        cut = slice(start, start + 1000)
        at = x[cut], y[cut]
        add_models(light[0], psf, *at, star[cut] + np.maximum(flux[cut], 0))
        moved = at[0] + np.where(kind[cut] == 0, 0.4, 0.0), at[1]
        add_models(light[1], psf, *moved, star[cut] + np.maximum(-flux[cut], 0))
    noise = [rng.normal(0, np.sqrt(0.5), (SIZE, SIZE)) for _ in range(2)]
    science, template = (a + b for a, b in zip(light, noise, strict=True))
    return tuple(
        exposure_of(image, variance, psf)
        for image, variance in ((science - template, 1.0), (science, 0.5), (template, 0.5))
    )


def exposure_of(image, variance, psf):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cdelt = ["RA---TAN", "DEC--TAN"], [5e-5, 5e-5]
    return Exposure(
        image=image.astype(np.float32),
        variance=np.full(image.shape, variance, np.float32),
        mask=Mask.empty(image.shape),
        wcs=wcs,
        psf=psf,
        photo_calib=PhotoCalib(1.0),
        band="i",
        mjd=60000.0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sources", type=int, nargs="+", default=[1000, 20000])
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    print(f"imports {time.process_time():.1f} CPU s")
    names = ("sources", "dipoles", "tried", "blended", "detect", "measure", "calibrate", "sum")
    print("".join(f"{name:>10}" for name in names))
    for n in arguments.sources:
        exposures = scene(n)
        profile = cProfile.Profile()
        if arguments.profile:
            profile.enable()
        columns, seconds = run(*exposures)
        if arguments.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
        counts = [
            columns[name].sum()
            for name in (
                "ip_diffim_DipoleFit_flag_classification",
                "ip_diffim_DipoleFit_flag_classificationAttempted",
                "deblend_blended",
            )
        ]
        print("".join(f"{k:10d}" for k in (len(columns["coord_ra"]), *counts)), end="")
        print("".join(f"{t:10.2f}" for t in (*seconds, sum(seconds))), flush=True)


def run(difference, science, template):
    """(measurements, CPU s of detect, measure and calibrate)."""
    times = [time.process_time()]
    matched = MatchedTemplate(template, kernel_sum=1.0, flux_error=0.002, reach=17)
    found = detect(difference, matched=matched, sky_seed=1)
    times.append(time.process_time())
    difference = difference.replace(mask=mask_with_planes(difference.mask, found))
    columns = measure(difference, science, template, found, kernel_sum=1.0, kernel_error=0.002)
    at = (columns[f"base_NaiveCentroid_{axis}"] for axis in "xy")
    columns |= local_columns(difference, *at)
    times.append(time.process_time())
    calibrate(columns, difference, 1, 0, template_scale=1.0)
    times.append(time.process_time())
    return columns, np.diff(times)


if __name__ == "__main__":
    main()
