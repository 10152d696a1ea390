"""Dipoles: which detections are two lobes of one misplaced star, and their fits.

A star that the template and the science image hold at slightly different places leaves a positive
and a negative lobe; a transient beside a star, or a star that varies, leaves one. Both hypotheses
have three free parameters on the difference once the science image and the matched template have
said how bright the star is and where (`skydelta.dipole_fit`): one PSF of any flux anywhere, or the
star's template image of any flux anywhere. The better one wins.
"""

import logging
from dataclasses import dataclass, fields, replace

import numpy as np

from skydelta.blends import near_pairs, sky_sources
from skydelta.cutouts import CHUNK, Pixels, flat, pixel
from skydelta.dipole_fit import cut_dipoles, fit_dipoles
from skydelta.psf_fit import fit_stamps

log = logging.getLogger(__name__)

RELATIVE_WEIGHT = 0.5
"""Of residuals on the science image and the matched template, as in the LSST stack."""

_SEARCH_FWHM = 1.2
"""The star of a dipole is looked for within this distance of the detection."""

_RADIUS_FWHM = 2.0
"""Radius of the pixels fitted."""

_LEAST_LIGHT = 1.5
"""A single peak is tried where the matched template's star is so much brighter than the peak: a
shift by d px leaves lobes of 0.6 d / sigma of its brightness."""

_LEAST_STAR_SIGMA = 5.0
"""... and its pixel stands out by so many sigma."""

PREFERENCE = 0.3
"""Least `DipoleFits.preference` of a dipole. Measured (docs/measurement.md): misregistered stars
have 0.4 to 0.7, transients and variables below 0.1, variables that are misregistered are between.
"""

_MAX_IMBALANCE = 0.3
"""Largest |F+ - F-| / (F+ + F-): one lobe has at most 0.65 of the light, as in the LSST stack."""

_LEAST_LOBE_SIGMA = 5.0

_MAX_SEPARATION_FWHM = 1.5
"""Lobes farther apart than detect pairs them are two sources."""

_LEAST_PIXELS = 20

_SAME_FWHM = 0.5
"""Dipoles closer than this are one, detected more than once."""


@dataclass(frozen=True)
class DipoleFits:
    """Dipole fits of n detections; NaN where none was tried.

    Parameters
    ----------
    attempted
        (n,) bool.
    is_dipole
        (n,) bool: two lobes of one star.
    failed, at_edge
        (n,) bool: the fit has no valid result; its stamp leaves the image.
    flux, flux_error
        (n, 2) of the positive and the negative lobe, counts, both positive.
    x, y
        (n, 2) positions of the lobes, 0-based px.
    mean_error, difference_error
        (n,) errors of the lobes' mean flux and of F+ - F-.
    chi2
        (n, 3) on the difference: without a model, of one PSF, of the dipole.
    n_data
        (n,) pixels of the fit.
    """

    attempted: np.ndarray
    is_dipole: np.ndarray
    failed: np.ndarray
    at_edge: np.ndarray
    flux: np.ndarray
    flux_error: np.ndarray
    x: np.ndarray
    y: np.ndarray
    mean_error: np.ndarray
    difference_error: np.ndarray
    chi2: np.ndarray
    n_data: np.ndarray

    @classmethod
    def none(cls, n):
        """No dipole tried among n detections."""
        no, nan = np.zeros(n, bool), np.full(n, np.nan)
        pair = np.full((n, 2), np.nan)
        return cls(
            attempted=no,
            is_dipole=no,
            failed=no,
            at_edge=no,
            flux=pair,
            flux_error=pair,
            x=pair,
            y=pair,
            mean_error=nan,
            difference_error=nan,
            chi2=np.full((n, 3), np.nan),
            n_data=np.zeros(n, np.int32),
        )

    def take(self, index):
        """The rows `index`, in that order."""
        return DipoleFits(**{item.name: getattr(self, item.name)[index] for item in fields(self)})

    def with_rows(self, index, part):
        """The same with the rows `index` replaced."""
        values = {}
        for item in fields(self):
            value = getattr(self, item.name).copy()
            value[index] = getattr(part, item.name)
            values[item.name] = value
        return DipoleFits(**values)

    @property
    def mean_flux(self):
        """(n,) mean of the lobes' fluxes."""
        return self.flux.mean(axis=1)

    @property
    def flux_difference(self):
        """(n,) F+ - F-: what a variable star adds."""
        return self.flux[:, 0] - self.flux[:, 1]

    @property
    def separation(self):
        """(n,) distance of the lobes, px."""
        return np.hypot(self.x[:, 0] - self.x[:, 1], self.y[:, 0] - self.y[:, 1])

    @property
    def orientation(self):
        """(n,) direction from the negative to the positive lobe, rad from +x towards +y."""
        return np.arctan2(self.y[:, 0] - self.y[:, 1], self.x[:, 0] - self.x[:, 1])

    @property
    def signal_to_noise(self):
        """(n,) of both lobes, in quadrature."""
        return np.hypot(*(self.flux / self.flux_error).T)

    @property
    def preference(self):
        """(n,) how much better the dipole describes the difference than one PSF, -1 to 1.

        (chi2 of one PSF - chi2 of the dipole) over what the better of them takes off.
        """
        none, one, two = self.chi2.T
        with np.errstate(invalid="ignore", divide="ignore"):
            return (one - two) / (none - np.minimum(one, two))


def fit_all_dipoles(difference, science, sources, fwhm, *, preference=PREFERENCE):
    """Dipole fits of the detections that may be one.

    Parameters
    ----------
    difference, science
        Exposures.
    sources
        Structured array of skydelta.detect.SOURCE_DTYPE.
    fwhm
        Of the difference's PSF, px.
    preference
        Least preference for two lobes over one PSF of what is called a dipole.

    Returns
    -------
    DipoleFits
    """
    fits = DipoleFits.none(len(sources))
    pixels = Pixels(difference), Pixels(science)
    for start in range(0, len(sources), CHUNK):
        part = sources[start : start + CHUNK]
        star, tried = _candidates(*pixels, part, fwhm)
        chosen = np.flatnonzero(tried)
        if chosen.size:
            result = _fit(*pixels, part[chosen], tuple(s[chosen] for s in star), fwhm)
            result = replace(result, is_dipole=_are_dipoles(result, fwhm, preference))
            fits = fits.with_rows(start + chosen, result)
    return fits


def resolve_dipoles(sources, fits, fwhm):
    """Detections as the dipole fits leave them.

    A dipole stands half way between its lobes; several detections of one dipole become one, the
    most significant. A pair of peaks that is no dipole becomes two sources, the positive one
    first. Where the fit failed a pair stays what `detect` made of it.

    Parameters
    ----------
    sources
        Structured array of skydelta.detect.SOURCE_DTYPE, (n,).
    fits
        DipoleFits of them.
    fwhm
        Of the PSF, px.

    Returns
    -------
    sources
        (n + pairs split - detections merged,).
    fits
        DipoleFits of the new rows.
    """
    decided = fits.attempted & ~fits.failed
    out = sources.copy()
    dipole = decided & fits.is_dipole
    out["x"][dipole], out["y"][dipole] = fits.x[dipole].mean(axis=1), fits.y[dipole].mean(axis=1)
    out["is_dipole"] = np.where(decided, fits.is_dipole, sources["is_dipole"])
    out["is_negative"] &= ~out["is_dipole"]
    copies = np.ones(len(sources), int)
    split = sources["is_dipole"] & ~out["is_dipole"]
    copies[split] = 2
    copies[_seen_again(out, dipole, fwhm)] = 0
    x, y = positive_peaks(sources)
    out["x"][split], out["y"][split] = x[split], y[split]
    change = np.bincount(
        out["footprint"], copies - 1, minlength=int(out["footprint"].max(initial=0)) + 1
    )
    out["n_peaks"] += change[out["footprint"]].astype(out["n_peaks"].dtype)
    out["is_deblended"] = out["n_peaks"] > 1
    if np.any(copies != 1):
        log.info("%d pairs split, %d dipoles merged", split.sum(), (copies == 0).sum())
    order = np.repeat(np.arange(len(sources)), copies)
    return _negative_halves(out[order], split[order], order), fits.take(order)


def _negative_halves(sources, split, order):
    """Split pairs: the second row of each is the negative peak, neither is a pair any more."""
    second = split & np.r_[False, order[1:] == order[:-1]][: len(order)]
    for name in ("x", "y", "score"):
        sources[name][second] = sources[f"{name}_negative"][second]
        sources[f"{name}_negative"][split] = np.nan
    sources["is_negative"][second] = True
    return sources


def _seen_again(sources, dipole, fwhm):
    """Indices of dipoles at the place of a more significant one."""
    index = np.flatnonzero(dipole)
    pairs = near_pairs(sources["x"][index], sources["y"][index], _SAME_FWHM * fwhm)
    score = np.fmax(np.abs(sources["score"]), np.abs(sources["score_negative"]))[index]
    fainter = np.where(score[pairs[:, 0]] >= score[pairs[:, 1]], pairs[:, 1], pairs[:, 0])
    return index[np.unique(fainter)]


def positive_peaks(sources):
    """(x, y) of the positive peak of each pair, and of the only peak of others.

    `detect` gives the centre of a pair weighted by the scores, and the negative peak.
    """
    other = np.abs(np.nan_to_num(sources["score_negative"]))
    share = np.where(sources["is_dipole"], other / np.maximum(np.abs(sources["score"]), 1e-9), 0.0)
    return tuple(
        sources[axis] + share * (sources[axis] - np.nan_to_num(sources[f"{axis}_negative"]))
        for axis in ("x", "y")
    )


def _are_dipoles(fits, fwhm, preference):
    """Two lobes of about equal flux that describe the difference better than one PSF."""
    with np.errstate(invalid="ignore", divide="ignore"):
        imbalance = np.abs(fits.flux_difference) / fits.flux.sum(axis=1)
        significant = (fits.flux > _LEAST_LOBE_SIGMA * fits.flux_error).all(axis=1)
        return (
            ~fits.failed
            & (fits.preference > preference)
            & significant
            & (imbalance < _MAX_IMBALANCE)
            & (fits.separation < _MAX_SEPARATION_FWHM * fwhm)
        )


def _candidates(difference, science, sources, fwhm):
    """Brightest pixels of S and of M near each detection, (x, y) each (n, 2), and which to try."""
    reach = int(np.ceil(_SEARCH_FWHM * fwhm))
    xi = pixel(sources["x"], difference)
    yi = pixel(sources["y"], difference, axis=0)
    d, variance, good = difference.stamps(xi, yi, reach + 1)
    s, _, seen = science.stamps(xi, yi, reach + 1)
    offset = np.arange(-reach, reach + 1)
    inside = np.hypot(offset[:, None], offset) <= _SEARCH_FWHM * fwhm
    usable = good & seen
    level = _lower_level(s, usable)
    x, y = (np.empty((len(xi), 2)) for _ in range(2))
    peaks = []
    for i, image in enumerate((s, s - d)):
        light = np.where(usable, image - level[:, None, None], 0.0)
        smooth = np.where(inside, _boxed(light), -np.inf)
        best = np.argmax(flat(smooth), axis=1)
        row, column = np.divmod(best, smooth.shape[-1])
        x[:, i], y[:, i] = xi + offset[column], yi + offset[row]
        peaks.append(flat(smooth)[np.arange(len(best)), best])
    middle = _boxed(np.where(good, d, 0.0))
    lobe = np.abs(flat(np.where(inside, middle, 0.0))).max(axis=1)
    # Nine pixels' mean: a third of a pixel's noise.
    sigma = np.sqrt(variance[:, reach + 1, reach + 1]) / 3
    bright = (peaks[1] > _LEAST_LIGHT * lobe) & (peaks[1] > _LEAST_STAR_SIGMA * sigma)
    bright &= ~sky_sources(sources)
    return (x, y), (sources["is_dipole"] | bright) & usable.any(axis=(1, 2))


def _lower_level(data, usable):
    """A quarter of the pixels are fainter: about the sky, in the light of a star."""
    values = flat(np.where(usable, data, np.nan))
    values[~usable.any(axis=(1, 2))] = 0.0
    return np.nanpercentile(values, 25, axis=1)


def _boxed(stamps):
    """Means over 3 x 3 px, one pixel less on each side."""
    rows = stamps[:, :-2] + stamps[:, 1:-1] + stamps[:, 2:]
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9.0


def _fit(difference, science, sources, star, fwhm):
    """DipoleFits of the chosen detections, all tried."""
    ny, nx = difference.shape
    # The middle pixel is between the stars.
    x0, y0 = (pixel(a.mean(axis=1), difference, axis=1 - i) for i, a in enumerate(star))
    half = min(int(np.ceil(_RADIUS_FWHM * fwhm)), difference.exposure.psf.size // 2)
    half = min(half, science.exposure.psf.size // 2)
    stamps = cut_dipoles(difference, science, x0, y0, half, _RADIUS_FWHM * fwhm)
    solution = fit_dipoles(
        stamps,
        difference.exposure.psf,
        science.exposure.psf,
        star,
        relative_weight=RELATIVE_WEIGHT,
        limit=fwhm,
    )
    single = _single(stamps, difference.exposure.psf, sources)
    data, variance, _ = stamps.difference
    used = stamps.weight & (variance > 0)
    nothing = np.where(used, data**2 / np.where(used, variance, 1.0), 0.0).sum(axis=(1, 2))
    covariance = solution.covariance
    errors = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    own, shared = errors[:, [0, 3]], covariance[:, 0, 3]
    total = own[:, 0] ** 2 + own[:, 1] ** 2
    failed = ~np.isfinite(solution.flux).all(axis=1) | ~(own > 0).all(axis=1)
    failed |= solution.n_data < _LEAST_PIXELS
    edge = (x0 < half) | (y0 < half) | (x0 >= nx - half) | (y0 >= ny - half)
    n = len(sources)
    return DipoleFits(
        attempted=np.ones(n, bool),
        is_dipole=np.zeros(n, bool),
        failed=failed,
        at_edge=edge,
        flux=solution.flux,
        flux_error=own,
        x=solution.x,
        y=solution.y,
        mean_error=0.5 * np.sqrt(np.maximum(total + 2 * shared, 0)),
        difference_error=np.sqrt(np.maximum(total - 2 * shared, 0)),
        chi2=np.column_stack([nothing, single, solution.chi2]),
        n_data=solution.n_data.astype(np.int32),
    )


def _single(stamps, psf, sources):
    """chi2 of the best single PSF on the same pixels, the detection's own or a brighter one.

    A detection may be the smaller residual beside a star that varies: then what it is measured
    against is the larger one.
    """
    stronger = np.abs(sources["score_negative"]) > np.abs(sources["score"])
    positive = positive_peaks(sources)
    own = tuple(
        np.where(stronger, sources[f"{axis}_negative"], positive[i])
        for i, axis in enumerate(("x", "y"))
    )
    data, variance, _ = stamps.difference
    good = stamps.weight
    cut = np.where(good, data, 0.0), np.where(good, variance, 0.0), good
    highest = np.argmax(flat(np.abs(_boxed(cut[0]))), axis=1)
    row, column = np.divmod(highest, 2 * stamps.half - 1)
    brightest = stamps.x + column - stamps.half + 1, stamps.y + row - stamps.half + 1
    free = np.zeros(len(sources), bool)
    return np.minimum(
        *(
            fit_stamps(cut, psf, *start, stamps.x, stamps.y, stamps.half, free)["chi2"]
            for start in (own, brightest)
        )
    )
