"""How good a difference image is: its noise, its stars, and what was found of the truth."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from skydelta.mask import UNUSABLE

PIXELS = 4096 * 4096
"""False detections are counted per so many pixels."""

RADIUS = 3.0
"""px; an event and a detection further apart are not the same."""

FALSE_SCORE = 5.5
"""Detections of no event count as false from this |score| on."""

_CLIP = 6.0
"""sigma; noise is clipped there: a transient is not noise."""

_LAPSE = 0.01
"""Share of events taken to be found or lost for reasons other than their S/N."""

_MIN_EVENTS = 5
"""Events found, and events lost, that a 50 % completeness needs."""


def source_free(science, template):
    """Pixels far from anything seen on either image.

    Parameters
    ----------
    science, template
        Exposures on one grid.

    Returns
    -------
    ndarray
        (ny, nx) bool: farther than 6 px from pixels that rise 4 sigma above the local median after
        smoothing with a Gaussian of 2 px.
    """
    near = np.zeros(science.shape, bool)
    for exposure in (science, template):
        smooth = ndimage.gaussian_filter(exposure.image, 2.0)
        level = ndimage.median_filter(smooth[::16, ::16], 15).repeat(16, 0).repeat(16, 1)
        smooth = smooth - level[: smooth.shape[0], : smooth.shape[1]]
        sigma = 1.4826 * np.median(np.abs(smooth[::4, ::4]))
        near |= smooth > 4 * sigma
    return ~ndimage.binary_dilation(near, iterations=6)


def noise_figures(exposure, blank):
    """Noise: rms of D / sqrt(V) and its mean correlation with the next pixel.

    Parameters
    ----------
    exposure
        Difference.
    blank
        (ny, nx) bool, pixels without sources.

    Returns
    -------
    rms
        1 if the variance is right.
    neighbour
        Mean product of pixels one apart along x and along y over rms^2: 0 for white noise.
    """
    good = blank & _usable(exposure)
    z = np.where(good, exposure.image / np.sqrt(np.where(good, exposure.variance, 1)), np.nan)
    z = np.clip(z, -_CLIP, _CLIP)
    if not good.any():
        return np.nan, np.nan
    rms = np.nanstd(z)
    lag = 0.5 * (np.nanmean(z[:, 1:] * z[:, :-1]) + np.nanmean(z[1:] * z[:-1]))
    return rms, lag / rms**2


def star_residual_rms(exposure, x, y, fwhm):
    """Residuals: rms of D / sqrt(V) within one FWHM of given stars.

    Parameters
    ----------
    exposure
        Difference.
    x, y
        (n,) 0-based positions, px.
    fwhm
        px.

    Returns
    -------
    float
        1 if they subtract to their noise; NaN without a usable pixel.
    """
    yy, xx = np.mgrid[: exposure.shape[0], : exposure.shape[1]]
    near = np.zeros(exposure.shape, bool)
    reach = int(np.ceil(fwhm))
    for i, j in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        box = slice(max(j - reach, 0), j + reach + 1), slice(max(i - reach, 0), i + reach + 1)
        near[box] |= np.hypot(xx[box] - i, yy[box] - j) <= fwhm
    near &= _usable(exposure)
    if not near.any():
        return np.nan
    return np.std(exposure.image[near] / np.sqrt(exposure.variance[near]))


def far_from_saturation(science, template, distance=10.0):
    """(ny, nx) bool: pixels farther than `distance` px from any saturated one of either image."""
    saturated = science.mask.any("SAT") | template.mask.any("SAT")
    if not saturated.any():
        return ~saturated
    return ndimage.distance_transform_edt(~saturated) > distance


def _usable(exposure):
    return ~exposure.mask.any(*UNUSABLE) & (exposure.variance > 0)


def apart_from(x, y, x_events, y_events, distance):
    """(n,) bool: positions farther than `distance` px from every event."""
    if len(x_events) == 0:
        return np.ones(len(x), bool)
    events = cKDTree(np.column_stack([x_events, y_events]))
    return events.query(np.column_stack([x, y]))[0] > distance


def spurious(columns, truth):
    """(n,) bool: detections of |score| 5.5 or more without an event within 3 px.

    Parameters
    ----------
    columns
        Measurements by name, from `skydelta.measure.measure`.
    truth
        Columns x, y of all events, px.
    """
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    apart = apart_from(x, y, truth["x"], truth["y"], RADIUS)
    return apart & (np.abs(columns["detect_score"]) >= FALSE_SCORE)


def at_pixels(plane, x, y):
    """Values of a plane at the pixels nearest to positions, those of the edge beyond it."""
    ny, nx = plane.shape
    i = np.clip(np.rint(x).astype(int), 0, nx - 1)
    j = np.clip(np.rint(y).astype(int), 0, ny - 1)
    return plane[j, i]


@dataclass(frozen=True)
class Matches:
    """True changes, and the detection nearest to each.

    Parameters
    ----------
    snr
        (n,) S/N that the event was expected to have.
    found
        (n,) bool: on good pixels, with a detection within 3 px.
    observable
        (n,) bool: on good pixels, with a template under it.
    clean
        (n,) bool: found, isolated and hostless, its detection not a blend.
    ratio
        (n,) measured over true flux; NaN unless found.
    pull
        (n,) (measured - true flux) / error; NaN unless found.
    """

    snr: np.ndarray
    found: np.ndarray
    observable: np.ndarray
    clean: np.ndarray
    ratio: np.ndarray
    pull: np.ndarray

    def expected(self, min_snr):
        """(n,) bool: observable events above an S/N."""
        return self.observable & (self.snr > min_snr)

    def completeness(self, min_snr):
        """Fraction found of the observable events above an S/N; 0 without any."""
        expected = self.expected(min_snr)
        return (self.found & expected).sum() / max(expected.sum(), 1)

    def bias(self, min_snr):
        """(median of flux over truth less 1, its standard error, events), clean above an S/N."""
        ratio = self.ratio[self.clean & (self.snr > min_snr)]
        if ratio.size == 0:
            return np.nan, np.nan, 0
        error = 1.25 * np.std(ratio) / np.sqrt(ratio.size)
        return np.median(ratio - 1), error, ratio.size

    def pulls(self, min_snr):
        """Pulls of the clean events above an S/N."""
        return self.pull[self.clean & (self.snr > min_snr)]


def match_events(truth, columns, difference, scale):
    """The Matches of one difference.

    Parameters
    ----------
    truth
        Columns x, y (0-based px), flux_nJy, snr_expected; and masked, on_host, kind where known:
        masked events are not looked for, variables and events on hosts are not clean.
    columns
        Measurements by name, from `skydelta.measure.measure`.
    difference
        Exposure they were made on.
    scale
        nJy per count.
    """
    x_true, y_true = (np.asarray(truth[name], float) for name in ("x", "y"))
    n = len(x_true)
    hidden = np.asarray(truth["masked"]) != 0 if "masked" in truth else np.zeros(n, bool)
    lonely = np.asarray(truth["on_host"]) == 0 if "on_host" in truth else np.ones(n, bool)
    if "kind" in truth:  # variables sit on a star of their own
        lonely = lonely & (np.asarray(truth["kind"]) != "variable")
    lost = at_pixels(difference.mask.any("EDGE", "NO_DATA", "SAT_TEMPLATE"), x_true, y_true)
    found, ratio, pull, clean = _nearest(truth, columns, scale, ~hidden)
    return Matches(
        snr=np.asarray(truth["snr_expected"], float),
        found=found,
        observable=~hidden & ~lost,
        clean=found & lonely & clean,
        ratio=ratio,
        pull=pull,
    )


def _nearest(truth, columns, scale, seen):
    """(found, flux ratio, pull, not a blend) of each event from its nearest detection."""
    n = len(truth["x"])
    x, y = columns["base_NaiveCentroid_x"], columns["base_NaiveCentroid_y"]
    if n == 0 or len(x) == 0:
        return np.zeros(n, bool), np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, bool)
    tree = cKDTree(np.column_stack([x, y]))
    distance, index = tree.query(np.column_stack([truth["x"], truth["y"]]))
    found = (distance < RADIUS) & seen
    true_flux = np.asarray(truth["flux_nJy"]) / scale
    flux, error = columns["base_PsfFlux_instFlux"], columns["base_PsfFlux_instFluxErr"]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(found, flux[index] / true_flux, np.nan)
        pull = np.where(found, (flux[index] - true_flux) / error[index], np.nan)
    return found, ratio, pull, ~columns["deblend_blended"][index]


def half_completeness_snr(snr, found):
    """Expected S/N at which half of the events are found.

    The maximum of the likelihood of P(S/N) = 0.01 + 0.98 Phi(S/N - s), Phi the normal
    distribution: a score has unit noise, and one event in a hundred goes its own way.

    Parameters
    ----------
    snr
        (n,) expected S/N.
    found
        (n,) bool.

    Returns
    -------
    float
        s, or NaN with fewer than 5 events found or lost below S/N 20.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import ndtr

    snr, found = np.asarray(snr, float), np.asarray(found, bool)
    near = snr < 20
    snr, found = snr[near], found[near]
    if min(found.sum(), (~found).sum()) < _MIN_EVENTS:
        return np.nan

    def cost(middle):
        p = _LAPSE + (1 - 2 * _LAPSE) * ndtr(snr - middle)
        return -np.log(np.where(found, p, 1 - p)).sum()

    grid = np.arange(1.0, 15.0, 0.25)
    start = grid[int(np.argmin([cost(s) for s in grid]))]
    return float(minimize_scalar(cost, bounds=(start - 0.5, start + 0.5), method="bounded").x)
