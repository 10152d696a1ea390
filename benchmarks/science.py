"""Noise, photometry, depth and false detections on simulated pairs whose truth is known.

    python benchmarks/science.py [--size 2048] [--seeds 1 2] [--pairs 0.9:0.75 0.65:0.75 ...]
                                 [--methods alard_lupton zogy ...]

Methods are named as `skydelta compare` names them. Each pair (FWHM of science and template in
arcsec, 0.2 arcsec pixels) is a science exposure and a rotated coadd with stars, galaxies, saturated
stars, bleed trails, cosmic rays, bad columns, a background gradient and 10 mas of registration
error. The chain runs in memory with its defaults.
Figures per pair:

  rms, lag1     of D / sqrt(V) in blank sky, after decorrelation
  stars         rms of D / sqrt(V) within 1 FWHM of unsaturated stars
  ksum          kernel sum over the true flux ratio, minus 1
  bias          median flux over truth minus 1, isolated transients above S/N 20
  pull          scatter of (flux - truth) / error, isolated transients above S/N 8
  dm            limiting magnitude shallower than the ideal one from true PSFs and noise
  false         unmatched detections above 5.5 sigma, farther than 10 px from saturated pixels,
                scaled to 4096 x 4096 px
  found         matched over expected transients above S/N 8
  agree         with more than one method: scatter of the fluxes of the same transients against
                those of the first method, in units of the first one's errors, and their largest
                difference
"""

import argparse
import os
import time

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from skydelta.compare.variants import BUILT_IN
from skydelta.decorrelate import decorrelate
from skydelta.detect import detect
from skydelta.detections import mask_with_planes
from skydelta.matched_template import MatchedTemplate
from skydelta.measure import measure
from skydelta.quality import (
    PIXELS,
    apart_from,
    at_pixels,
    far_from_saturation,
    match_events,
    noise_figures,
    source_free,
    spurious,
    star_residual_rms,
)
from skydelta.simulate import simulate_pair
from skydelta.subtract import subtract, subtract_options
from skydelta.template import build_template
from skydelta.whitening import transform

PAIRS = ["0.9:0.75", "0.65:0.75", "0.75:0.75", "1.2:0.7"]


def make_template(pair):
    """The template of a pair, which all methods share."""
    science = pair.science
    coadds = [coadd for _, _, coadd in pair.coadds]
    return build_template(science.wcs, science.shape, coadds, band=science.band)


def run_chain(pair, template, options=None):
    """The chain in memory: (raw difference, difference, detections, columns)."""
    science = pair.science
    correlation = template.noise_correlation
    raw = subtract(science, template.exposure, correlation, options=options)
    white = decorrelate(raw, science, template.exposure, correlation)
    result = white.exposure
    matched = MatchedTemplate.of(template.exposure, result.meta)
    found = detect(result, psf=white.detection_psf, score=white.score, matched=matched)
    result = result.replace(mask=mask_with_planes(result.mask, found))
    columns = measure(
        result,
        science,
        template.exposure,
        found,
        kernel_sum=raw.flux_ratio,
        kernel_error=raw.flux_error,
    )
    return raw, result, found, columns


def ideal_flux_error(pair):
    """Error of the optimal PSF flux from true PSFs and sky noise, science counts (ZOGY, eq. 15)."""
    ny, nx = pair.science.shape
    errors = []
    for fx, fy in ((0.25, 0.25), (0.5, 0.5), (0.75, 0.75)):
        x, y = fx * nx, fy * ny
        ra, dec = pair.science.wcs.all_pix2world(x, y, 0)
        u, v = pair.coadds[0][2].wcs.all_world2pix(ra, dec, 0)
        n = 128
        new = np.abs(transform(pair.psf_science_true.stamp(x, y), n)) ** 2
        ref = np.abs(transform(pair.psf_template_true.stamp(float(u), float(v)), n)) ** 2
        vs, vt = pair.sky_variance_science, pair.sky_variance_template * pair.flux_scale**2
        errors.append(np.mean(new * ref / (vs * ref + vt * new)) ** -0.5)
    return np.mean(errors)


def figures(pair, template, options=None):
    """All figures of one pair and method."""
    start = time.process_time()
    raw, result, found, columns = run_chain(pair, template, options)
    seconds = time.process_time() - start
    science, shape = pair.science, pair.science.shape
    rms, lag = noise_figures(result, source_free(science, template.exposure))
    truth = {name: np.asarray(pair.truth[name]) for name in pair.truth.colnames}
    events = match_events(truth, columns, result, science.photo_calib.scale)
    bias, bias_error, n_bright = events.bias(20)
    everywhere = spurious(columns, truth)
    far = far_from_saturation(science, template.exposure)
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    false = everywhere & at_pixels(far, x, y)
    fwhm = science.psf.compute_shape(shape[1] / 2, shape[0] / 2).fwhm
    stars = raw.stars["x"], raw.stars["y"]
    constant = apart_from(*stars, truth["x"], truth["y"], 3 * fwhm)
    return {
        "rms": rms,
        "lag1": lag,
        "stars": star_residual_rms(result, *(c[constant] for c in stars), fwhm),
        "ksum": raw.flux_ratio / pair.flux_scale - 1,
        "bias": bias,
        "biaserr": bias_error,
        "pull": np.std(events.pulls(8)),
        "n": int(n_bright),
        "dm": 2.5 * np.log10(found.score_rms * found.flux_sigma / ideal_flux_error(pair)),
        "false": false.sum() * PIXELS / (shape[0] * shape[1]),
        "falseall": everywhere.sum() * PIXELS / (shape[0] * shape[1]),
        "found": events.completeness(8),
        "cpu": seconds,
    }, (raw, result, columns, false)


def agreement(pair, first, other):
    """(scatter, largest) difference of two methods' fluxes of the isolated transients, in sigma."""
    truth = {name: np.asarray(pair.truth[name]) for name in pair.truth.colnames}
    one, two = (
        match_events(truth, *pick, pair.science.photo_calib.scale) for pick in (first, other)
    )
    both = one.clean & two.clean
    # In units of the first one's error, which is (ratio - 1) / pull of the true flux.
    apart = (two.ratio - one.ratio)[both] * (one.pull / (one.ratio - 1.0))[both]
    return float(np.std(apart)), float(np.abs(apart).max())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pairs", nargs="+", default=PAIRS)
    parser.add_argument("--methods", nargs="+", default=["alard_lupton", "zogy"])
    arguments = parser.parse_args()
    header = None
    for text in arguments.pairs:
        fwhm_science, fwhm_template = map(float, text.split(":"))
        for seed in arguments.seeds:
            pair = simulate_pair(
                (arguments.size, arguments.size),
                fwhm_science=fwhm_science,
                fwhm_template=fwhm_template,
                seed=seed,
                n_transients=round(400 * (arguments.size / 2048) ** 2),
            )
            template, first = make_template(pair), None
            for method in arguments.methods:
                options = subtract_options(BUILT_IN[method]["subtract"])
                row, (_, result, columns, _) = figures(pair, template, options)
                first = first or (columns, result)
                row["agree"], row["most"] = agreement(pair, first, (columns, result))
                if header is None:
                    header = " ".join(f"{k:>8}" for k in row)
                    print(f"{'pair':>10} {'seed':>4} {'method':>24} {header}")
                values = " ".join(
                    f"{v:8d}" if isinstance(v, int) else f"{v:8.4f}" for v in row.values()
                )
                print(f"{text:>10} {seed:4d} {method:>24} {values}", flush=True)


if __name__ == "__main__":
    main()
