"""Peaks as sources: lobes of opposite sign side by side are one, and share a footprint's number."""

import numpy as np

SOURCE_DTYPE = np.dtype(
    [
        *((name, "f8") for name in ("x", "y", "score", "x_negative", "y_negative")),
        *((name, "f8") for name in ("score_negative", "score_noise")),
        *((name, "i4") for name in ("footprint", "n_peaks")),
        *((name, "?") for name in ("is_negative", "is_dipole", "is_deblended", "is_sky")),
    ]
)
"""A detected source: peak position in 0-based px, its score, and for a dipole the other lobe's.

`score` allows for what the subtraction may have got wrong, `score_noise` knows the pixels' noise
only; `is_sky` marks random empty positions."""


def make_sources(peaks, score, labels, fwhm, options):
    """Peaks as sources; the two lobes of a dipole become one, companions count as deblended.

    Parameters
    ----------
    peaks
        Array of skydelta.peaks.PEAK_DTYPE.
    score
        (n,) their scores with the model error.
    labels
        (ny, nx) int32, footprints.
    fwhm
        Of the PSF, px.
    options
        DetectOptions: dipole_separation.

    Returns
    -------
    ndarray
        Of SOURCE_DTYPE.
    """
    sources = np.zeros(len(peaks), SOURCE_DTYPE)
    sources["x"], sources["y"] = peaks["x"], peaks["y"]
    sources["score"], sources["score_noise"] = score, peaks["score"]
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
        row["score"], row["score_noise"] = score[pos], peaks["score"][pos]
        row["x_negative"], row["y_negative"] = peaks["x"][neg], peaks["y"][neg]
        row["score_negative"] = score[neg]
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
