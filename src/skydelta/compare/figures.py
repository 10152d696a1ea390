"""The figures of one difference: noise, stars, depth, detections and, where known, the truth."""

from dataclasses import dataclass

import numpy as np

from skydelta import quality
from skydelta.decorrelate import Decorrelated
from skydelta.detections import Detections
from skydelta.difference import Difference
from skydelta.mask import UNUSABLE
from skydelta.report.entries import card
from skydelta.report.statistics import limiting_magnitude, normalised

FOUND_SNR = 8.0
"""Events of an expected S/N above this should all be found; pulls are theirs, too."""

BRIGHT_SNR = 20.0
"""Flux biases are those of events above this expected S/N."""


@dataclass(frozen=True)
class Products:
    """What the stages made: raw and white difference, detections, measurements."""

    raw: Difference
    white: Decorrelated
    found: Detections
    columns: dict


def figures(prepared, products, config, sigmas=None):
    """Figures by column name, and arrays for plots and pictures.

    Parameters
    ----------
    prepared
        skydelta.compare.prepare.Prepared.
    products
        Products.
    config
        The whole configuration.
    sigmas
        Path for D / sqrt(V) as (ny, nx) float16 .npy, 0 where unusable; None for none.

    Returns
    -------
    row
        dict of numbers, None where there is none.
    details
        dict of arrays, see `skydelta.compare.method.MethodResult`.
    """
    exposure, raw, found = products.white.exposure, products.raw, products.found
    rms, neighbour = quality.noise_figures(exposure, np.load(prepared.folder / "blank.npy"))
    x, y, _ = prepared.stars
    scale = exposure.photo_calib.scale if exposure.photo_calib is not None else np.nan
    threshold = config["detect"]["threshold"]
    engine = card(raw.exposure, "ENGCPU", None)
    row = {
        "noise_rms": rms,
        "neighbour": neighbour,
        "score_rms": found.score_rms,
        "star_rms": quality.star_residual_rms(exposure, x, y, prepared.fwhm),
        "n_stars": len(x),
        "kernel_sum": raw.flux_ratio,
        "kernel_sum_error": None if engine is not None else card(raw.exposure, "KSUMERR"),
        "limit_mag": limiting_magnitude(
            found.flux_sigma, found.score_rms, scale, threshold=threshold
        ),
        "n_pixels": exposure.image.size,
        "cpu_engine": engine,
    }
    row |= _counts(found.sources)
    details = {
        "x": products.columns["base_NaiveCentroid_x"],
        "y": products.columns["base_NaiveCentroid_y"],
        "score": products.columns["detect_score"],
    }
    if prepared.events is not None:
        some, more = _against_truth(prepared, products, scale)
        row, details = row | some, details | more
    if sigmas is not None:
        unusable = exposure.mask.any(*UNUSABLE)
        plane = normalised(exposure.image, exposure.variance, unusable)
        np.save(sigmas, np.clip(plane, -6e4, 6e4).astype(np.float16))
    return {name: _plain(value) for name, value in row.items()}, details


def _counts(sources):
    dipole, negative = sources["is_dipole"], sources["is_negative"]
    return {
        "n_positive": np.count_nonzero(~dipole & ~negative),
        "n_negative": np.count_nonzero(~dipole & negative),
        "n_dipoles": np.count_nonzero(dipole),
    }


def _against_truth(prepared, products, scale):
    columns, events = products.columns, prepared.events
    matches = quality.match_events(events, columns, products.white.exposure, scale)
    expected = matches.expected(FOUND_SNR)
    far = np.load(prepared.folder / "far.npy")
    at = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    false = quality.spurious(columns, events) & quality.at_pixels(far, *at)
    bias, bias_error, n_bright = matches.bias(BRIGHT_SNR)
    pulls = matches.pulls(FOUND_SNR)
    seen = matches.observable
    snr, found = matches.snr[seen], matches.found[seen]
    row = {
        "n_events": np.count_nonzero(expected),
        "n_found": np.count_nonzero(expected & matches.found),
        "completeness": matches.completeness(FOUND_SNR) if expected.any() else None,
        "snr_half": quality.half_completeness_snr(snr, found),
        "n_false": np.count_nonzero(false),
        "false_rate": false.sum() * quality.PIXELS / far.size,
        "n_bright": n_bright,
        "flux_bias": bias,
        "flux_bias_error": bias_error if n_bright > 1 else None,
        "n_pulls": pulls.size,
        "pull_scatter": np.std(pulls) if pulls.size > 1 else None,
    }
    bright = matches.clean & (matches.snr > BRIGHT_SNR)
    details = {
        "event_snr": snr,
        "event_found": found,
        "pulls": pulls,
        "ratios": matches.ratio[bright],
    }
    return row, details


def _plain(value):
    """A number as Python's own; None for one that is not finite."""
    if value is None:
        return None
    if isinstance(value, int | np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None
