"""Injected sources and the detections of them, one to one; what else appeared and disappeared."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs.utils import proj_plane_pixel_area

from skydelta.efficiency.columns import INJECTED, RECOVERED, typed
from skydelta.quality import apart_from, at_pixels
from skydelta.report.entries import FLAG_COLUMNS, is_flagged
from skydelta.report.truth import match_truth

_NEAR = 3.0
"""FWHM; a known source this close to an injected one may be hidden by it."""


@dataclass(frozen=True)
class Recovery:
    """One realisation of one exposure.

    Parameters
    ----------
    columns
        {name: (n,) array} in the order of INJECTED and RECOVERED.
    numbers
        Plain numbers: n_detected, n_known, n_new (without an injected or a known source),
        n_lost (known, not detected again), area (deg^2 of usable pixels), fwhm (px).
    """

    columns: dict
    numbers: dict


def recover(injected, catalogue, known, depth, fwhm, *, radius):
    """Match detections to what was injected.

    Sources that the same exposure shows without injections are no discoveries and no false alarms:
    an injected source within the radius of one is not observable, and a detection of one is not
    counted.

    Parameters
    ----------
    injected
        Columns of INJECTED.
    catalogue
        DiaSource columns of the exposure with injections.
    known
        DiaSource columns of the exposure as it is.
    depth
        skydelta.efficiency.draw.Depth of the difference without injections.
    fwhm
        Of the science PSF, px.
    radius
        Greatest distance of a detection from its source, FWHM.

    Returns
    -------
    Recovery
    """
    reach = radius * fwhm
    known_x, known_y = _positions(known)
    x, y = _positions(catalogue)
    match = _matches(injected, catalogue, reach)
    sigma = at_pixels(depth.flux_sigma, injected["x"], injected["y"])
    observable = at_pixels(depth.usable, injected["x"], injected["y"])
    observable &= apart_from(injected["x"], injected["y"], known_x, known_y, reach)
    unmatched = np.ones(len(x), bool)
    unmatched[match[match >= 0]] = False
    new = unmatched & _apart(x, y, known_x, known_y, reach)
    again = ~_apart(known_x, known_y, x, y, reach)
    hidden = ~_apart(known_x, known_y, injected["x"], injected["y"], _NEAR * fwhm)
    area = depth.usable.sum() * proj_plane_pixel_area(depth.exposure.wcs)
    numbers = {
        "n_detected": len(x),
        "n_known": len(known_x),
        "n_new": int(np.count_nonzero(new)),
        "n_lost": int(np.count_nonzero(~again & ~hidden)),
        "area": float(area),
        "fwhm": float(fwhm),
    }
    # An infinite error, where nothing can be found, is an S/N of 0.
    values = {"snr_expected": np.abs(injected["counts"]) / sigma, "observable": observable}
    values |= _matched(injected, catalogue, match)
    return Recovery(typed(injected | values, (*INJECTED, *RECOVERED)), numbers)


def _positions(catalogue):
    return np.asarray(catalogue["x"], float), np.asarray(catalogue["y"], float)


def _apart(x, y, x_others, y_others, distance):
    """(n,) bool, also for positions that are not finite, which are apart from everything."""
    out = np.ones(len(x), bool)
    some = np.isfinite(x) & np.isfinite(y)
    others = np.isfinite(x_others) & np.isfinite(y_others)
    out[some] = apart_from(x[some], y[some], x_others[others], y_others[others], distance)
    return out


def _matches(injected, catalogue, reach):
    """Index of each source's detection of its own sign, -1 for none."""
    x, y = _positions(catalogue)
    match = np.full(len(injected["x"]), -1)
    for sign in (1, -1):
        sources = np.flatnonzero(np.sign(injected["counts"]) == sign)
        found = np.flatnonzero(np.sign(catalogue["detectScore"]) == sign)
        pairs = match_truth(
            injected["x"][sources], injected["y"][sources], x[found], y[found], radius=reach
        )
        hit = pairs >= 0
        match[sources[hit]] = found[pairs[hit]]
    return match


def _matched(injected, catalogue, match):
    found = match >= 0

    def taken(name, fill=np.nan, dtype=float):
        out = np.full(len(match), fill, dtype)
        out[found] = np.asarray(catalogue[name])[match[found]]
        return out

    flux, error = taken("psfFlux"), taken("psfFluxErr")
    dipole = taken("isDipole", False, bool)
    flagged = np.zeros(len(match), bool)
    flagged[found] = is_flagged(catalogue)[match[found]]
    with np.errstate(invalid="ignore", divide="ignore"):
        pull = (flux - injected["flux"]) / error
    return {
        "found": found,
        "clean": found & ~flagged & ~dipole,
        "dia_source_id": taken("diaSourceId", 0, np.int64),
        "detect_score": taken("detectScore"),
        "measured_flux": flux,
        "measured_flux_error": error,
        "pull": pull,
        "dx": taken("x") - injected["x"],
        "dy": taken("y") - injected["y"],
        "is_dipole": dipole,
        "flags": _flag_names(catalogue, match),
    }


def _flag_names(catalogue, match):
    names = [name for name in FLAG_COLUMNS if name in catalogue]
    return [" ".join(name for name in names if k >= 0 and bool(catalogue[name][k])) for k in match]
