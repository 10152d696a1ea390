"""CPU time of LSST's PSFs: of each class, and of a coadd's at the nodes of a template.

    python benchmarks/lsst.py [--inputs 50] [--positions 1000] [--profile]

The PSFEx models have 6 components (degree 2). As obs_lsst configures psfex, one of a FWHM below
3 px is sampled at half a pixel, one above at one: 83 x 83 samples are 41 x 41 or 83 x 83 px. The
inputs of the coadd are turned at random, as a telescope on an altazimuth mount turns them, so that
41 px become up to 59. In memory, one core.
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

from skydelta.lsst.coadd_psf import CoaddPsf, CoaddPsfInput
from skydelta.lsst.gaussian_psf import DoubleGaussianPsf
from skydelta.lsst.psfex_psf import PsfexPsf
from skydelta.lsst.sky_wcs import AstSkyWcs, FitsSkyWcs

CENTRE, SCALE = (56.0, -31.0), 0.2 / 3600
SENSOR = (0, 0, 4071, 3999)
NODES = 49


def tan(at, crpix, turn=0.0):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = at, crpix
    c, s = np.cos(turn), np.sin(turn)
    wcs.wcs.cd = SCALE * np.array([[-c, s], [s, c]])
    wcs.wcs.set()
    return wcs


def psfex(rng, fwhm=3.5, pixstep=0.5, samples=83):
    y, x = (np.mgrid[:samples, :samples] - samples // 2) * pixstep
    first = (1 + (x**2 + y**2) / (1.2 * fwhm) ** 2) ** -3.0
    shapes = [x, y, x**2, x * y, y**2]
    rest = [rng.normal(0, 0.01) * shape / fwhm**2 * first for shape in shapes]
    context = ((2036.0, 2000.0), (2000.0, 2000.0))
    return PsfexPsf(np.array([first, *rest], np.float32), (2,), (0, 0), context, pixstep)


def coadd(rng, count, pixstep, kind=FitsSkyWcs):
    def turned():
        at = np.add(CENTRE, rng.normal(0, 0.01, 2))
        wcs = tan(at, (2036, 2000), rng.uniform(0, 2 * np.pi))
        return kind(wcs) if kind is FitsSkyWcs else kind.from_fits(wcs)

    inputs = [
        CoaddPsfInput(psfex(rng, rng.uniform(3, 4), pixstep), turned(), rng.uniform(0.5, 2), SENSOR)
        for _ in range(count)
    ]
    return CoaddPsf(FitsSkyWcs(tan(CENTRE, (2000, 2000))), inputs, (2000.0, 2000.0))


def measure(title, function, count, bound, budget=None):
    start = time.process_time()
    function()
    spent = time.process_time() - start
    limit = f"{budget:8.1f}" if budget else " " * 8
    print(f"{title:46}{count:6}{spent:9.3f}{limit}{1e3 * spent / count:10.3f}   {bound}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=50)
    parser.add_argument("--positions", type=int, default=1000)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    x, y = rng.uniform(800, 3200, (2, options.positions))
    n = x.size
    small, large = psfex(rng), psfex(rng, 4.0, 1.0)
    print(f"{'':46}{'number':>6}{'CPU s':>9}{'budget':>8}{'ms each':>10}   bound by")
    measure("PsfexPsf 41 px, centred", lambda: small.stamps(x, y), n, "memory", 1.0)
    measure("PsfexPsf 41 px, sub-pixel", lambda: small.images(x, y), n, "matrix products", 1.0)
    measure("PsfexPsf 83 px, sub-pixel", lambda: large.images(x, y), n, "matrix products", 1.0)
    double = DoubleGaussianPsf(41, 41, 1.5, 3.0, 0.1)
    measure("DoubleGaussianPsf 41 px, sub-pixel", lambda: double.images(x, y), n, "matrix products")
    gather = "gathering pixels"
    for kind in (FitsSkyWcs, AstSkyWcs):
        psf = coadd(rng, options.inputs, 0.5, kind)
        title = f"CoaddPsf of {options.inputs}, {kind.__name__}"
        measure(f"{title}: size", lambda psf=psf: psf.size, 1, "WCS")
        measure(f"{title}: {psf.size} px", lambda psf=psf: psf.stamps(x, y), n, gather, 20.0)
        measure(f"{title}: nodes", lambda psf=psf: psf.stamps(x[:NODES], y[:NODES]), NODES, gather)
    wide = coadd(rng, options.inputs, 1.0)
    title = f"CoaddPsf of {options.inputs}, 83 px inputs: nodes"
    measure(title, lambda: wide.stamps(x[:NODES], y[:NODES]), NODES, gather)
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(psf.stamps, x, y)
        pstats.Stats(profile).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
