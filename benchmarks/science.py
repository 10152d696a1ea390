"""Noise, photometry, depth and false detections on simulated pairs whose truth is known.

    python benchmarks/science.py [--size 2048] [--seeds 1 2] [--pairs 0.9:0.75 0.65:0.75]

Each pair (FWHM of science and template in arcsec, 0.2 arcsec pixels) is a science exposure and a
rotated coadd with stars, galaxies, saturated stars, bleed trails, cosmic rays, bad columns, a
background gradient and 10 mas of registration error. The chain runs in memory with its defaults.
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
"""

import argparse
import os
import time

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from skydelta.decorrelate import decorrelate
from skydelta.detect import detect
from skydelta.mask import UNUSABLE
from skydelta.measure import measure
from skydelta.simulate import simulate_pair
from skydelta.subtract import subtract
from skydelta.template import build_template
from skydelta.whitening import transform

PIXELS = 4096 * 4096


def run_chain(pair, options=None):
    """The whole chain in memory: (template, raw difference, difference, detections, columns)."""
    science = pair.science
    coadds = [coadd for _, _, coadd in pair.coadds]
    template = build_template(science.wcs, science.shape, coadds, band=science.band)
    correlation = template.noise_correlation
    raw = subtract(science, template.exposure, correlation, options=options)
    white = decorrelate(raw, science, template.exposure, correlation)
    result = white.exposure
    found = detect(result, psf=white.detection_psf, score=white.score)
    columns = measure(
        result,
        science,
        template.exposure,
        found,
        kernel_sum=raw.flux_ratio,
        kernel_error=raw.flux_error,
    )
    return template, raw, result, found, columns


def source_free(science, template):
    """Pixels far from anything seen on either image."""
    near = np.zeros(science.shape, bool)
    for exposure in (science, template):
        smooth = ndimage.gaussian_filter(exposure.image, 2.0)
        level = ndimage.median_filter(smooth[::16, ::16], 15).repeat(16, 0).repeat(16, 1)
        smooth = smooth - level[: smooth.shape[0], : smooth.shape[1]]
        sigma = 1.4826 * np.median(np.abs(smooth[::4, ::4]))
        near |= smooth > 4 * sigma
    return ~ndimage.binary_dilation(near, iterations=6)


def noise_figures(exposure, blank):
    """rms of D / sqrt(V) and its mean correlation with the next pixel."""
    good = blank & ~exposure.mask.any(*UNUSABLE) & (exposure.variance > 0)
    z = np.where(good, exposure.image / np.sqrt(np.where(good, exposure.variance, 1)), np.nan)
    z = np.clip(z, -6, 6)  # a transient is not noise
    rms = np.nanstd(z)
    lag = 0.5 * (np.nanmean(z[:, 1:] * z[:, :-1]) + np.nanmean(z[1:] * z[:-1]))
    return rms, lag / rms**2


def star_figure(exposure, raw, truth, fwhm):
    """rms of D / sqrt(V) within one FWHM of isolated unsaturated stars that do not vary."""
    events = cKDTree(np.column_stack([truth["x"], truth["y"]]))
    x, y = raw.stars["x"], raw.stars["y"]
    apart = events.query(np.column_stack([x, y]))[0] > 3 * fwhm
    yy, xx = np.mgrid[: exposure.shape[0], : exposure.shape[1]]
    near = np.zeros(exposure.shape, bool)
    reach = int(np.ceil(fwhm))
    for i, j in zip(np.rint(x[apart]).astype(int), np.rint(y[apart]).astype(int), strict=True):
        box = slice(max(j - reach, 0), j + reach + 1), slice(max(i - reach, 0), i + reach + 1)
        near[box] |= np.hypot(xx[box] - i, yy[box] - j) <= fwhm
    near &= ~exposure.mask.any(*UNUSABLE) & (exposure.variance > 0)
    return np.std(exposure.image[near] / np.sqrt(exposure.variance[near]))


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


def far_from_saturation(science, template, distance=10.0):
    """Pixels farther than `distance` px from any saturated one."""
    saturated = science.mask.any("SAT") | template.mask.any("SAT")
    return ndimage.distance_transform_edt(~saturated) > distance


def figures(pair, options=None):
    """All figures of one pair."""
    start = time.process_time()
    template, raw, result, found, columns = run_chain(pair, options)
    seconds = time.process_time() - start
    science = pair.science
    blank = source_free(science, template.exposure)
    rms, lag = noise_figures(result, blank)
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    flux, error = columns["base_PsfFlux_instFlux"], columns["base_PsfFlux_instFluxErr"]
    truth = pair.truth
    scale = science.photo_calib.scale
    tree = cKDTree(np.column_stack([x, y]))
    distance, index = tree.query(np.column_stack([truth["x"], truth["y"]]))
    matched = (distance < 3.0) & (np.asarray(truth["masked"]) == 0)
    true_flux = np.asarray(truth["flux_nJy"]) / scale
    hostless = np.asarray(truth["on_host"]) == 0
    snr = np.asarray(truth["snr_expected"])
    isolated = np.asarray(truth["kind"]) != "variable"  # those sit on a star of their own
    clean = matched & hostless & isolated & ~columns["deblend_blended"][index]
    pulls = (flux[index] - true_flux)[clean & (snr > 8)] / error[index][clean & (snr > 8)]
    bright = clean & (snr > 20)
    every = cKDTree(np.column_stack([truth["x"], truth["y"]]))
    apart = every.query(np.column_stack([x, y]))[0] > 3.0
    far = far_from_saturation(science, template.exposure)
    xi, yi = np.rint(x).astype(int), np.rint(y).astype(int)
    ny, nx = science.shape
    xi, yi = np.clip(xi, 0, nx - 1), np.clip(yi, 0, ny - 1)
    false = apart & (np.abs(columns["detect_score"]) >= 5.5) & far[yi, xi]
    expected = (snr > 8) & (np.asarray(truth["masked"]) == 0)
    expected &= ~result.mask.any("EDGE", "NO_DATA", "SAT_TEMPLATE")[
        np.clip(np.rint(truth["y"]).astype(int), 0, ny - 1),
        np.clip(np.rint(truth["x"]).astype(int), 0, nx - 1),
    ]
    fwhm = science.psf.compute_shape(nx / 2, ny / 2).fwhm
    return {
        "rms": rms,
        "lag1": lag,
        "stars": star_figure(result, raw, truth, fwhm),
        "ksum": raw.flux_ratio / pair.flux_scale - 1,
        "bias": np.median(flux[index][bright] / true_flux[bright] - 1),
        "biaserr": 1.25 * np.std(flux[index][bright] / true_flux[bright]) / np.sqrt(bright.sum()),
        "pull": np.std(pulls),
        "n": int(bright.sum()),
        "dm": 2.5 * np.log10(found.score_rms * found.flux_sigma / ideal_flux_error(pair)),
        "false": false.sum() * PIXELS / (ny * nx),
        "falseall": (apart & (np.abs(columns["detect_score"]) >= 5.5)).sum() * PIXELS / (ny * nx),
        "found": (matched & expected).sum() / max(expected.sum(), 1),
        "cpu": seconds,
    }, (science, template, raw, result, columns, false)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--pairs", nargs="+", default=["0.9:0.75", "0.65:0.75"])
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
            row, _ = figures(pair)
            if header is None:
                header = " ".join(f"{k:>8}" for k in row)
                print(f"{'pair':>10} {'seed':>4} {header}")
            values = " ".join(
                f"{v:8d}" if isinstance(v, int) else f"{v:8.4f}" for v in row.values()
            )
            print(f"{text:>10} {seed:4d} {values}", flush=True)


if __name__ == "__main__":
    main()
