"""Scenes for the tests of measurement: exposures with stars, detections without a detection."""

from functools import cache

import numpy as np
from scenes import gaussian_stamp, make_exposure, star_field, white_noise

from skydelta.detected_sources import SOURCE_DTYPE
from skydelta.detections import Detections
from skydelta.footprints import SPAN_DTYPE
from skydelta.measure import measure
from skydelta.psf import FWHM_PER_SIGMA

SIGMA = 2.0
FWHM = FWHM_PER_SIGMA * SIGMA
NORM = np.sqrt((gaussian_stamp(SIGMA) ** 2).sum())
SHAPE = (300, 300)


def detections_of(x, y, *, score=20.0, spans=None, **columns):
    """What `detect` would hand over for given peaks, each in a footprint of its own."""
    sources = np.zeros(len(x), SOURCE_DTYPE)
    sources["x"], sources["y"], sources["score"] = x, y, score
    sources["footprint"] = np.arange(1, len(x) + 1)
    sources["n_peaks"] = 1
    for name in ("x_negative", "y_negative", "score_negative"):
        sources[name] = np.nan
    for name, value in columns.items():
        sources[name] = value
    if spans is None:
        spans = np.zeros(len(x), SPAN_DTYPE)
        spans["footprint"] = sources["footprint"]
        spans["y"] = np.clip(np.rint(y), 0, None)
        spans["x0"] = spans["x1"] = np.clip(np.rint(x), 0, None)
    return Detections(sources, spans, 1.0, 1.0)


def exposure_of(x, y, flux, *, noise=1.0, seed=0, shape=SHAPE, **fields):
    image = star_field(shape, x, y, flux, SIGMA)
    if noise:
        image = image + white_noise(shape, seed, noise**2)
    return make_exposure(image, max(noise, 1e-3) ** 2, sigma=SIGMA, **fields)


def run(exposure, detections, **options):
    return measure(exposure, exposure, exposure, detections, **options)


@cache
def many_sources():
    """600 sources of S/N 20 on white noise, each started 0.3 px off its place."""
    shape = (1000, 1000)
    rng = np.random.default_rng(4)
    y, x = (a.ravel() + rng.uniform(-4, 4, 576) for a in np.mgrid[30:971:40, 30:971:40])
    sign = np.where(np.arange(576) % 3 == 0, -1.0, 1.0)
    flux = sign * 20 / NORM
    exposure = exposure_of(x, y, flux, shape=shape)
    start = rng.normal(0, 0.3, (2, 576))
    columns = run(exposure, detections_of(x + start[0], y + start[1], score=20 * sign))
    return x, y, flux, columns
