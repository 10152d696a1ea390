"""Detection on a difference image: artefacts marked, then peaks of the score of both signs."""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.artefacts import find_artefacts
from skydelta.detected_sources import make_sources
from skydelta.detections import Detections
from skydelta.errors import BadSubtractionError
from skydelta.footprints import footprint_spans, grown_labels
from skydelta.local_psf import reference_place, unknown_boxes
from skydelta.mask import UNUSABLE
from skydelta.matched_template import model_noise
from skydelta.peaks import above_threshold, find_peaks, sampling_loss, without_ripples
from skydelta.psf import FWHM_PER_SIGMA
from skydelta.score import score_image
from skydelta.sky_sources import add_sky_sources
from skydelta.spans import PLANE_DTYPE, plane_spans, with_spans

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectOptions:
    """How sources are found.

    Parameters
    ----------
    threshold
        Least |score|, in sigma.
    grow_sigma
        Footprints are grown by so many PSF sigmas.
    polarity
        ``"both"``, ``"positive"`` or ``"negative"``.
    dipole_separation
        A positive and a negative peak closer than this, in FWHM, are the lobes of one source.
    min_separation
        Two peaks of one sign closer than this, in FWHM, are one source: the noise on a broad
        maximum, as on a bright star whose photon noise takes the weight off its core.
    ripple
        Peaks beside one of score s must differ from its PSF pattern by this fraction of s.
    min_good_weight
        A score needs this fraction of the PSF's weight on usable pixels.
    max_fraction
        More pixels than this fraction above the threshold mean a failed subtraction.
    max_sources
        More peaks than this, too.
    model_error
        Relative error of the subtracted light at a star, beside what was measured: a residual of
        this part of a star is not significant.
    registration_error
        px along an axis, where the subtraction had too few stars to measure it.
    cosmic_ray_sigma
        Least core pixel of a cosmic ray, sigma; None to look for none.
    streak_sigma
        Least significance of a satellite trail, sigma; None to look for none.
    halos
        Whether the surroundings of saturated stars are marked.
    sky_sources
        Random empty positions on 4096 x 4096 px.
    """

    threshold: float = 5.0
    grow_sigma: float = 2.4
    polarity: str = "both"
    dipole_separation: float = 1.5
    min_separation: float = 1.0
    ripple: float = 0.05
    min_good_weight: float = 0.5
    max_fraction: float = 0.1
    max_sources: int = 50_000
    model_error: float = 0.005
    registration_error: float = 0.02
    cosmic_ray_sigma: float | None = 6.0
    streak_sigma: float | None = 8.0
    halos: bool = True
    sky_sources: int = 100


def detect(exposure, *, psf=None, score=None, matched=None, sky_seed=None, options=None):
    """Artefacts and sources of a difference image.

    Pixels hit by cosmic rays are unusable from here on; the other artefacts' planes only tell what
    a source there may be.

    Parameters
    ----------
    exposure
        Decorrelated difference with PSF.
    psf
        Psf to filter with; default that of the exposure.
    score
        skydelta.difference.ScoreMap of methods that have one of their own, in which the
        registration error is allowed for; default the matched filter's.
    matched
        skydelta.matched_template.MatchedTemplate, for the model error and the template's edges;
        None to leave both out.
    sky_seed
        int that the random places of the sky sources follow from; None for none of them.
    options
        DetectOptions.

    Returns
    -------
    Detections

    Raises
    ------
    BadSubtractionError
        If more than `options.max_fraction` of the pixels are above the threshold, or more than
        `options.max_sources` peaks.
    BadPsfError
        If the exposure has no usable PSF anywhere.
    """
    options = options or DetectOptions()
    _refuse_fraction(_fraction_above(exposure, options), options)
    place = reference_place(exposure.psf, exposure.shape)
    stamp = exposure.psf.stamp(*place)
    sigma_px = exposure.psf.compute_shape(*place).determinant_radius
    found = find_artefacts(
        exposure,
        cosmic_ray_sigma=options.cosmic_ray_sigma,
        streak_sigma=options.streak_sigma,
        halos=options.halos,
        matched=matched,
    )
    planes = np.concatenate([found.spans, _without_psf(psf or exposure.psf, exposure.shape)])
    exposure = exposure.replace(mask=with_spans(exposure.mask, planes))
    score, flux_sigma, has_own = _scores(exposure, psf, score, options)
    above = above_threshold(score, options.threshold, options.polarity)
    _refuse_fraction(float(above.mean()), options)
    peaks, rejected = find_peaks(
        score,
        exposure.mask,
        options.threshold,
        polarity=options.polarity,
        sampling_loss=sampling_loss(stamp),
    )
    _refuse_number(len(peaks), options)
    fwhm = sigma_px * FWHM_PER_SIGMA
    peaks, rejected["ripple"] = without_ripples(peaks, stamp, fwhm, options)
    values = _with_model_error(peaks, flux_sigma, matched, exposure.psf, has_own, options)
    significant = np.abs(values) >= options.threshold
    rejected["model_error"] = int((~significant).sum())
    above[peaks["iy"], peaks["ix"]] = True  # those that reach the threshold between pixels only
    labels = grown_labels(above, int(np.ceil(options.grow_sigma * sigma_px)))
    sources = make_sources(peaks[significant], values[significant], labels, fwhm, options)
    spans, sources = footprint_spans(labels, sources)
    quiet = np.isfinite(flux_sigma) & (labels == 0)
    detections = Detections(
        sources=sources,
        spans=spans,
        score_rms=_robust_rms(score[quiet]),
        flux_sigma=_median_finite(flux_sigma),
        rejected=rejected,
        planes=planes,
        artefacts=found.counts,
    )
    log.info(
        "%d sources (%d negative, %d dipoles), rejected: %s",
        len(sources),
        sources["is_negative"].sum(),
        sources["is_dipole"].sum(),
        rejected,
    )
    if sky_seed is None:
        return detections
    return add_sky_sources(detections, exposure, score, labels, fwhm, options.sky_sources, sky_seed)


def _scores(exposure, psf, own, options):
    """(score, flux error, whether the method brought them)."""
    if own is not None:
        return own.score, own.flux_sigma, True
    score, sigma = score_image(exposure, psf=psf, min_good_weight=options.min_good_weight)
    return score, sigma, False


def _without_psf(psf, shape):
    """PLANE_DTYPE runs of NO_PSF: where there is no PSF to detect with."""
    parts = [np.zeros(0, PLANE_DTYPE)]
    for y0, y1, x0, x1 in unknown_boxes(psf, shape):
        log.warning("no PSF in columns %d to %d, rows %d to %d: no detection there", x0, x1, y0, y1)
        rows = np.arange(y0, y1)
        parts.append(plane_spans("NO_PSF", rows, x0, x1 - 1))
    return np.concatenate(parts)


def _fraction_above(exposure, options):
    """Share of single pixels above the threshold, from every fourth row and column."""
    image, variance = exposure.image[::4, ::4], exposure.variance[::4, ::4]
    known = (variance > 0) & np.isfinite(variance) & ~exposure.mask.any(*UNUSABLE)[::4, ::4]
    return float(np.mean(known & (image**2 > np.float32(options.threshold**2) * variance)))


def _refuse_fraction(fraction, options):
    if fraction > options.max_fraction:
        msg = (
            f"{fraction:.1%} of the pixels are above {options.threshold} sigma: the subtraction "
            "failed; look at the kernel's stars and at the registration of the two images"
        )
        raise BadSubtractionError(msg, fraction_above=fraction)


def _refuse_number(count, options):
    if count > options.max_sources:
        msg = (
            f"{count} peaks above {options.threshold} sigma, more than detect.max_sources = "
            f"{options.max_sources}: the subtraction failed, or the limit is too low for the field"
        )
        raise BadSubtractionError(msg, n_peaks=count)


def _with_model_error(peaks, flux_sigma, matched, psf, has_own, options):
    """Scores of peaks with the error of the subtracted model."""
    if matched is None or len(peaks) == 0:
        return peaks["score"].copy()
    sigma = flux_sigma[peaks["iy"], peaks["ix"]].astype(float)
    noise = model_noise(
        matched,
        peaks["ix"],
        peaks["iy"],
        psf,
        sigma,
        model_error=options.model_error,
        registration_error=None if has_own else options.registration_error,
    )
    return peaks["score"] * sigma / noise


def _median_finite(plane):
    sample = plane[np.isfinite(plane)][::7]
    return float(np.median(sample)) if sample.size else np.inf


def _robust_rms(values):
    if values.size == 0:
        return np.nan
    low, high = np.percentile(values[:: max(values.size // 500_000, 1)], [15.865, 84.135])
    return float(0.5 * (high - low))
