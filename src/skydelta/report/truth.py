"""Detections against what was truly there: completeness, fluxes, positions, false alarms."""

from dataclasses import dataclass

import numpy as np

from skydelta.mask import UNUSABLE
from skydelta.photocalib import nanojansky_to_magnitude
from skydelta.report.entries import is_flagged
from skydelta.report.statistics import wilson_interval

RADIUS = 2.0
"""px; an event and a detection further apart are not the same."""

SNR_EDGES = (0, 2, 3, 4, 5, 6, 7, 8, 10, 14, 20, 30, 50, 100, np.inf)
"""Edges of the bins in expected S/N."""


@dataclass(frozen=True)
class Comparison:
    """Events and detections of one exposure, or of many joined.

    Parameters
    ----------
    events
        Arrays by name, one element an event that could be found: ``snr_expected``, ``flux``
        (nJy), ``on_host``, ``found``; and, NaN where not found, ``pull``, ``ratio`` (measured
        over true flux, less 1), ``dx``, ``dy`` (px, measured less true) and ``clean`` (found, and
        the detection neither flagged nor a dipole).
    hidden
        Events left out: on or beside unusable pixels.
    false_clean, false_flagged
        Detections without an event, by whether they are flagged.
    """

    events: dict
    hidden: int
    false_clean: int
    false_flagged: int


def read_truth(path):
    """The truth table as arrays by column name."""
    import pandas as pd

    table = pd.read_csv(path, dtype={"band": str})
    return {name: table[name].to_numpy() for name in table.columns}


def match_truth(x_true, y_true, x, y, *, radius=RADIUS):
    """Detections of events, one to one, the closest pairs first.

    Parameters
    ----------
    x_true, y_true
        (n,) positions of events, px.
    x, y
        (m,) positions of detections, px.
    radius
        Largest distance of a pair, px.

    Returns
    -------
    ndarray
        (n,) int: index of each event's detection, -1 for none.
    """
    from scipy.spatial import cKDTree

    match = np.full(len(x_true), -1)
    usable = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(x_true) == 0 or usable.size == 0:
        return match
    x, y = np.asarray(x, float)[usable], np.asarray(y, float)[usable]
    near = cKDTree(np.column_stack([x, y])).query_ball_point(
        np.column_stack([x_true, y_true]), radius
    )
    pairs = [
        (np.hypot(x[j] - x_true[i], y[j] - y_true[i]), i, j)
        for i, some in enumerate(near)
        for j in some
    ]
    taken = set()
    for _, i, j in sorted(pairs):
        if match[i] < 0 and j not in taken:
            match[i] = usable[j]
            taken.add(j)
    return match


def compare(truth, loaded):
    """The Comparison of one exposure that was done."""
    entry, catalogue = loaded.entry, loaded.catalogue
    here = (
        (truth["visit"] == entry.visit)
        & (truth["detector"] == entry.detector)
        & (truth["band"] == entry.band)
    )
    events = {name: values[here] for name, values in truth.items()}
    match = match_truth(events["x"], events["y"], catalogue["x"], catalogue["y"])
    flagged = is_flagged(catalogue)
    unmatched = np.ones(len(catalogue["x"]), bool)
    unmatched[match[match >= 0]] = False
    seen = _observable(events, loaded.difference)
    return Comparison(
        events=_event_columns({k: v[seen] for k, v in events.items()}, match[seen], catalogue),
        hidden=int(np.count_nonzero(~seen)),
        false_clean=int(np.count_nonzero(unmatched & ~flagged)),
        false_flagged=int(np.count_nonzero(unmatched & flagged)),
    )


def _observable(events, difference):
    """Events on usable pixels of the difference."""
    ny, nx = difference.shape
    x, y = np.rint(events["x"]).astype(int), np.rint(events["y"]).astype(int)
    inside = (x >= 0) & (y >= 0) & (x < nx) & (y < ny)
    unusable = difference.mask.any(*UNUSABLE)[np.clip(y, 0, ny - 1), np.clip(x, 0, nx - 1)]
    return inside & ~unusable & ~np.asarray(events["masked"], bool)


def _event_columns(events, match, catalogue):
    found = match >= 0

    def matched(name):
        out = np.full(len(match), np.nan)
        out[found] = np.asarray(catalogue[name], float)[match[found]]
        return out

    flux, true = matched("psfFlux"), np.asarray(events["flux_nJy"], float)
    clean = found.copy()
    dubious = is_flagged(catalogue) | np.asarray(catalogue["isDipole"], bool)
    clean[found] = ~dubious[match[found]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "snr_expected": np.asarray(events["snr_expected"], float),
            "flux": true,
            "on_host": np.asarray(events["on_host"], bool),
            "found": found,
            "clean": clean,
            "pull": (flux - true) / matched("psfFluxErr"),
            "ratio": flux / true - 1.0,
            "dx": matched("x") - events["x"],
            "dy": matched("y") - events["y"],
        }


def join(comparisons):
    """Many Comparisons as one."""
    names = comparisons[0].events
    return Comparison(
        {name: np.concatenate([c.events[name] for c in comparisons]) for name in names},
        *(sum(getattr(c, n) for c in comparisons) for n in ("hidden", "false_clean")),
        sum(c.false_flagged for c in comparisons),
    )


@dataclass(frozen=True)
class Completeness:
    """Fraction found in bins; bins without events are left out.

    Parameters
    ----------
    centre
        Mean of the binned value over the events of each bin.
    found, total
        Events found, and all of them.
    low, high
        Wilson's 68 % interval of the fraction.
    """

    centre: np.ndarray
    found: np.ndarray
    total: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def fraction(self):
        """Fraction of the events that was found."""
        return self.found / self.total


def completeness(value, found, edges):
    """The Completeness against a value, in bins [edge, next edge)."""
    value, found = np.asarray(value, float), np.asarray(found, bool)
    index = np.digitize(value, edges) - 1
    inside = (index >= 0) & (index < len(edges) - 1)
    index, value, found = index[inside], value[inside], found[inside]
    total = np.bincount(index, minlength=len(edges) - 1)
    hits = np.bincount(index, weights=found, minlength=len(edges) - 1).astype(int)
    sums = np.bincount(index, weights=value, minlength=len(edges) - 1)
    some = total > 0
    low, high = wilson_interval(hits[some], total[some])
    return Completeness(sums[some] / total[some], hits[some], total[some], low, high)


def magnitude(flux):
    """AB magnitude of the absolute value of a flux in nJy."""
    return nanojansky_to_magnitude(np.abs(flux))


def magnitude_edges(values, step=0.5):
    """Bin edges at multiples of `step` that hold all finite values."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return np.array([20.0, 25.0])
    first, last = np.floor(values.min() / step), np.floor(values.max() / step) + 1
    return step * np.arange(first, last + 1)
