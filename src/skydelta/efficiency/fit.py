"""The completeness curve: a cumulative normal distribution with a plateau, by maximum likelihood.

P(found | s) = c Phi((s - l) / w), with Phi the normal distribution and c <= 1 the plateau. The
score of a source of expected S/N s is s plus noise of unit variance, so w is 1 in S/N where the
errors are right; against magnitude w also holds the depths of the exposures. The value asked for is
that of P = 1/2: h = l + w Phi^-1(1 / 2c), which is l where nothing is lost.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

_MIN_EVENTS = 5
"""Sources found, and sources lost, that a fit needs."""

_LEAST_PLATEAU = 0.6
_TINY = 1e-9
_DEGENERATE = 1e12


@dataclass(frozen=True)
class CompletenessFit:
    """A fitted completeness curve; NaN without enough sources found and lost.

    Parameters
    ----------
    half, half_error
        Value at which half of the sources are found; its standard error.
    width, width_error
        w, positive where completeness rises with the value, negative where it falls.
    plateau
        c, the completeness far on the bright side.
    """

    half: float = np.nan
    half_error: float = np.nan
    width: float = np.nan
    width_error: float = np.nan
    plateau: float = np.nan

    def __call__(self, value):
        """The completeness at values."""
        return _curve(
            np.sign(self.width) * np.asarray(value, float),
            np.sign(self.width) * self.half,
            abs(self.width),
            self.plateau,
        )

    def level(self, fraction):
        """Value at which a fraction of the sources is found; NaN if the plateau is below it."""
        if not self.plateau > fraction:
            return np.nan
        steps = ndtri(fraction / self.plateau) - ndtri(0.5 / self.plateau)
        return float(self.half + self.width * steps)


def _curve(value, half, width, plateau):
    return plateau * ndtr((value - half) / width + ndtri(0.5 / plateau))


def fit_completeness(value, found, *, falling=False):
    """The CompletenessFit of sources.

    Parameters
    ----------
    value
        (n,) S/N, or magnitudes with `falling`.
    found
        (n,) bool.
    falling
        Whether the completeness falls with the value.
    """
    sign = -1.0 if falling else 1.0
    value, found = sign * np.asarray(value, float), np.asarray(found, bool)
    known = np.isfinite(value)
    value, found = value[known], found[known]
    if min(found.sum(), (~found).sum()) < _MIN_EVENTS or np.ptp(value) == 0:
        return CompletenessFit()
    parameters, at_bound = _most_likely(value, found)
    half, log_width, plateau = parameters
    errors = _standard_errors(value, parameters, at_bound)
    width = float(np.exp(log_width))
    return CompletenessFit(
        half=float(sign * half),
        half_error=float(errors[0]),
        width=sign * width,
        width_error=float(width * errors[1]),
        plateau=float(plateau),
    )


def _most_likely(value, found):
    """Half, log width and plateau of greatest likelihood; whether the plateau is 1."""

    def cost(parameters):
        half, log_width, plateau = parameters
        p = np.clip(_curve(value, half, np.exp(log_width), plateau), _TINY, 1 - _TINY)
        return -np.log(np.where(found, p, 1 - p)).sum()

    low, high = value.min(), value.max()
    room = high - low
    bounds = [
        (low - room, high + room),
        (np.log(1e-3 * room), np.log(10 * room)),
        (_LEAST_PLATEAU, 1.0),
    ]
    starts = [
        (half, np.log(width), plateau)
        for half in np.unique(np.quantile(value, np.linspace(0.05, 0.95, 13)))
        for width in room * np.array([0.005, 0.02, 0.08, 0.3])
        for plateau in (1.0, 0.95)
    ]
    start = min(starts, key=cost)
    for _ in range(2):  # the second simplex starts fresh where the first one ended
        result = minimize(
            cost,
            start,
            method="Nelder-Mead",
            bounds=bounds,
            options={"xatol": 1e-5, "fatol": 1e-7, "maxiter": 4000},
        )
        start = result.x
    return result.x, bool(result.x[2] > 1 - 1e-4)


def _standard_errors(value, parameters, at_bound):
    """From the expected information; a plateau at its bound of 1 is taken as known."""
    count = 2 if at_bound else 3

    def curve(changed):
        return _curve(value, changed[0], np.exp(changed[1]), changed[2])

    p = curve(parameters)
    slopes = []
    for k, step in zip(range(count), (1e-4 * np.exp(parameters[1]), 1e-4, -1e-5), strict=False):
        moved = np.array(parameters, float)
        moved[k] += step
        slopes.append((curve(moved) - p) / step)
    slopes = np.array(slopes)
    weight = 1 / np.clip(p * (1 - p), _TINY, None)
    information = (slopes * weight) @ slopes.T
    if np.linalg.cond(information) > _DEGENERATE:
        # All found above a step between two values of the grid: no width, and no error of one.
        return np.array([np.nan, np.nan])
    return np.sqrt(np.diag(np.linalg.inv(information)))[:2]
