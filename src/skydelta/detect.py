"""Detection on a difference image: peaks of the score, both signs, footprints, blends."""

import logging
from dataclasses import dataclass, field

import numpy as np
from scipy import fft, ndimage

from skydelta.errors import BadSubtractionError
from skydelta.mask import UNUSABLE
from skydelta.psf import FWHM_PER_SIGMA
from skydelta.score import score_image

log = logging.getLogger(__name__)

SOURCE_DTYPE = np.dtype(
    [
        *((name, "f8") for name in ("x", "y", "score", "x_negative", "y_negative")),
        ("score_negative", "f8"),
        *((name, "i4") for name in ("footprint", "n_peaks")),
        *((name, "?") for name in ("is_negative", "is_dipole", "is_deblended")),
    ]
)
"""A detected source: peak position in 0-based px, its score, and for a dipole the other lobe's."""

SPAN_DTYPE = np.dtype([(name, "i4") for name in ("footprint", "y", "x0", "x1")])
"""A run of footprint pixels: row y, columns x0 to x1 inclusive."""


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
    """

    threshold: float = 5.0
    grow_sigma: float = 2.4
    polarity: str = "both"
    dipole_separation: float = 1.5
    min_separation: float = 1.0
    ripple: float = 0.05
    min_good_weight: float = 0.5
    max_fraction: float = 0.1


@dataclass(frozen=True)
class Detections:
    """Sources of one difference image.

    Parameters
    ----------
    sources
        Structured array of SOURCE_DTYPE.
    spans
        Structured array of SPAN_DTYPE: the pixels of the footprints.
    score_rms
        Robust scatter of the score over usable pixels without sources; 1 if the variance is right.
    flux_sigma
        Median error of a PSF flux at one pixel, counts.
    rejected
        Number of peaks dropped by reason.
    """

    sources: np.ndarray
    spans: np.ndarray
    score_rms: float
    flux_sigma: float
    rejected: dict = field(default_factory=dict)


def detect(exposure, *, psf=None, score=None, options=None):
    """Sources of a difference image.

    Parameters
    ----------
    exposure
        Decorrelated difference with PSF.
    psf
        Psf to filter with; default that of the exposure.
    score
        skydelta.difference.ScoreMap of methods that have one of their own; default the matched
        filter's.
    options
        DetectOptions.

    Returns
    -------
    Detections

    Raises
    ------
    BadSubtractionError
        If more than `options.max_fraction` of the pixels are above the threshold.
    """
    options = options or DetectOptions()
    if score is None:
        score, sigma = score_image(exposure, psf=psf, min_good_weight=options.min_good_weight)
    else:
        score, sigma = score.score, score.flux_sigma
    ny, nx = exposure.shape
    middle = exposure.psf.stamp((nx - 1) / 2, (ny - 1) / 2)
    width = exposure.psf.compute_shape((nx - 1) / 2, (ny - 1) / 2).determinant_radius
    above = _above(score, options)
    fraction = float(above.mean())
    if fraction > options.max_fraction:
        msg = (
            f"{fraction:.1%} of the pixels are above {options.threshold} sigma: the subtraction "
            "failed; look at the kernel's stars and at the registration of the two images"
        )
        raise BadSubtractionError(msg, fraction_above=fraction)
    peaks, rejected = _peaks(score, above, exposure.mask, options)
    peaks, ripples = _without_ripples(peaks, middle, width * FWHM_PER_SIGMA, options)
    rejected["ripple"] = ripples
    labels = _grown_labels(above, int(np.ceil(options.grow_sigma * width)))
    sources = _sources(peaks, labels, width * FWHM_PER_SIGMA, options)
    spans, sources = _spans_of(labels, sources)
    finite = np.isfinite(sigma)
    quiet = finite & (labels == 0)
    log.info(
        "%d sources (%d negative, %d dipoles) from %d peaks, rejected: %s",
        len(sources),
        sources["is_negative"].sum(),
        sources["is_dipole"].sum(),
        len(peaks),
        rejected,
    )
    return Detections(
        sources=sources,
        spans=spans,
        score_rms=_robust_rms(score[quiet]),
        flux_sigma=float(np.median(sigma[finite][::7])) if finite.any() else np.inf,
        rejected=rejected,
    )


def _robust_rms(values):
    if values.size == 0:
        return np.nan
    low, high = np.percentile(values[:: max(values.size // 500_000, 1)], [15.865, 84.135])
    return float(0.5 * (high - low))


def _above(score, options):
    if options.polarity == "positive":
        return score >= options.threshold
    if options.polarity == "negative":
        return score <= -options.threshold
    return np.abs(score) >= options.threshold


_PEAK_DTYPE = np.dtype([("x", "f8"), ("y", "f8"), ("score", "f8"), ("ix", "i4"), ("iy", "i4")])


def _peaks(score, above, mask, options):
    """Local extrema of the score, brightest first, and the number rejected by mask plane."""
    ny, nx = score.shape
    iy, ix = np.nonzero(above)
    value = score[iy, ix]
    sign = np.sign(value)
    is_peak = np.ones(iy.size, bool)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            if dy == dx == 0:
                continue
            y, x = np.clip(iy + dy, 0, ny - 1), np.clip(ix + dx, 0, nx - 1)
            # Of two equal neighbours the later one is the peak, so that exactly one is.
            later = (dy, dx) > (0, 0)
            neighbour = sign * score[y, x]
            itself = (y == iy) & (x == ix)
            beaten = neighbour >= sign * value if later else neighbour > sign * value
            is_peak &= ~beaten | itself
    iy, ix, value = iy[is_peak], ix[is_peak], value[is_peak]
    rejected = {}
    keep = np.ones(iy.size, bool)
    for plane in UNUSABLE:
        hit = keep & ((mask.array[iy, ix] & np.int32(mask.bits(plane))) != 0)
        if hit.any():
            rejected[plane.lower()] = int(hit.sum())
        keep &= ~hit
    iy, ix, value = iy[keep], ix[keep], value[keep]
    peaks = np.zeros(iy.size, _PEAK_DTYPE)
    peaks["ix"], peaks["iy"], peaks["score"] = ix, iy, value
    peaks["x"] = ix + _vertex(score, iy, ix, 0, 1)
    peaks["y"] = iy + _vertex(score, iy, ix, 1, 0)
    return peaks[np.lexsort((ix, iy, -np.abs(value)))], rejected


def _vertex(score, iy, ix, dy, dx):
    """Offset of the extremum of the parabola through three pixels, within half a pixel."""
    ny, nx = score.shape
    before = score[np.clip(iy - dy, 0, ny - 1), np.clip(ix - dx, 0, nx - 1)].astype(float)
    after = score[np.clip(iy + dy, 0, ny - 1), np.clip(ix + dx, 0, nx - 1)].astype(float)
    curvature = before + after - 2.0 * score[iy, ix]
    offset = 0.5 * (before - after) / np.where(curvature == 0, np.inf, curvature)
    return np.clip(offset, -0.5, 0.5)


def _without_ripples(peaks, stamp, fwhm, options):
    """Peaks that stand out from the score pattern of the brighter ones beside them.

    A point source of score s makes the pattern s a(dx, dy) about it, with a the PSF's normalised
    autocorrelation: rings of a decorrelated PSF, shoulders and noise on them are no sources.
    """
    from scipy.spatial import cKDTree

    if len(peaks) < 2:
        return peaks, 0
    pattern = _autocorrelation(stamp)
    tree = cKDTree(np.column_stack([peaks["x"], peaks["y"]]))
    accepted = np.ones(len(peaks), bool)
    neighbours = [[] for _ in range(len(peaks))]
    for i, j in tree.query_pairs(0.9 * (pattern.shape[0] // 2)):
        neighbours[max(i, j)].append(min(i, j))
    for k, brighter in enumerate(neighbours):
        others = [i for i in brighter if accepted[i]]
        if not others:
            continue
        dx, dy = peaks["x"][k] - peaks["x"][others], peaks["y"][k] - peaks["y"][others]
        scores = peaks["score"][others]
        expected = (scores * _bilinear(pattern, dx, dy)).sum()
        envelope = np.exp(-0.5 * (dx**2 + dy**2) / fwhm**2)
        allowed = options.threshold + options.ripple * (np.abs(scores) * envelope).sum()
        near = np.hypot(dx, dy) < options.min_separation * fwhm
        blended = np.any(near & (scores * peaks["score"][k] > 0))
        accepted[k] = abs(peaks["score"][k] - expected) >= allowed and not blended
    return peaks[accepted], int((~accepted).sum())


def _autocorrelation(stamp):
    """Normalised autocorrelation of a stamp, centred, twice its size less one."""
    n = 2 * stamp.shape[0] - 1
    power = np.abs(fft.rfft2(stamp, s=(n, n))) ** 2
    return np.fft.fftshift(fft.irfft2(power, s=(n, n))) / (stamp**2).sum()


def _bilinear(pattern, dx, dy):
    half = pattern.shape[0] // 2
    return ndimage.map_coordinates(pattern, [dy + half, dx + half], order=1, mode="constant")


def _grown_labels(above, radius):
    """Labels of the connected regions above threshold, both signs together, grown by `radius`."""
    if not above.any():
        return np.zeros(above.shape, np.int32)
    grown = above.astype(np.uint8)
    for axis in (0, 1):
        grown = ndimage.maximum_filter1d(grown, 2 * radius + 1, axis=axis, mode="constant")
    return ndimage.label(grown, np.ones((3, 3)))[0].astype(np.int32, copy=False)


def _sources(peaks, labels, fwhm, options):
    """Peaks as sources; the two lobes of a dipole become one, companions count as deblended."""
    sources = np.zeros(len(peaks), SOURCE_DTYPE)
    sources["x"], sources["y"], sources["score"] = peaks["x"], peaks["y"], peaks["score"]
    sources["footprint"] = labels[peaks["iy"], peaks["ix"]]
    sources["is_negative"] = peaks["score"] < 0
    for name in ("x_negative", "y_negative", "score_negative"):
        sources[name] = np.nan
    partner = _dipole_partners(peaks, options.dipole_separation * fwhm)
    first = np.flatnonzero(partner > np.arange(len(peaks)))
    for k in first:
        pos, neg = (k, partner[k]) if peaks["score"][k] > 0 else (partner[k], k)
        row = sources[k]
        weights = np.abs([peaks["score"][pos], peaks["score"][neg]])
        row["x"] = np.average(peaks["x"][[pos, neg]], weights=weights)
        row["y"] = np.average(peaks["y"][[pos, neg]], weights=weights)
        row["score"] = peaks["score"][pos]
        row["x_negative"], row["y_negative"] = peaks["x"][neg], peaks["y"][neg]
        row["score_negative"] = peaks["score"][neg]
        row["is_negative"], row["is_dipole"] = False, True
        sources[k] = row
    second = (partner >= 0) & (partner < np.arange(len(peaks)))
    sources = sources[~second]
    counts = np.bincount(sources["footprint"]) if len(sources) else np.zeros(1, int)
    sources["n_peaks"] = counts[sources["footprint"]]
    sources["is_deblended"] = sources["n_peaks"] > 1
    return sources


def _dipole_partners(peaks, separation):
    """Index of each peak's nearest free peak of the other sign within `separation`, or -1."""
    from scipy.spatial import cKDTree

    partner = np.full(len(peaks), -1)
    if len(peaks) < 2:
        return partner
    tree = cKDTree(np.column_stack([peaks["x"], peaks["y"]]))
    pairs = tree.query_pairs(separation, output_type="ndarray")
    opposite = peaks["score"][pairs[:, 0]] * peaks["score"][pairs[:, 1]] < 0
    pairs = pairs[opposite]
    distance = np.hypot(
        peaks["x"][pairs[:, 0]] - peaks["x"][pairs[:, 1]],
        peaks["y"][pairs[:, 0]] - peaks["y"][pairs[:, 1]],
    )
    for i, j in pairs[np.lexsort((pairs[:, 1], pairs[:, 0], distance))]:
        if partner[i] < 0 and partner[j] < 0:
            partner[i], partner[j] = j, i
    return partner


def _spans_of(labels, sources):
    """Pixel runs of the footprints that hold a source, renumbered from 1 in their own order."""
    if len(sources) == 0:
        return np.zeros(0, SPAN_DTYPE), sources
    used = np.unique(sources["footprint"])
    number = np.zeros(labels.max() + 1, np.int32)
    number[used] = np.arange(1, used.size + 1)
    renumbered = sources.copy()
    renumbered["footprint"] = number[sources["footprint"]]
    flat = labels.ravel()
    index = np.flatnonzero(flat)
    kept = number[flat[index]]
    index, kept = index[kept > 0], kept[kept > 0]
    y, x = np.divmod(index, labels.shape[1])
    # A run ends where the next pixel is not its neighbour in the same row and footprint.
    broken = (np.diff(index) != 1) | (np.diff(y) != 0) | (np.diff(kept) != 0)
    first, last = np.r_[True, broken], np.r_[broken, True]
    spans = np.zeros(int(first.sum()), SPAN_DTYPE)
    spans["footprint"], spans["y"] = kept[first], y[first]
    spans["x0"], spans["x1"] = x[first], x[last]
    return spans, renumbered
