"""The noise of a stamp: weights for its fit, and errors of what is summed on the difference."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import convolve
from scipy.signal import fftconvolve

from skydelta.kernel_stamps import Stamps
from skydelta.star_noise import NoiseModel, robust_sigma

_TINY = 1e-12


class MeasuredNoise:
    """Sky noise from the residual of the fainter half of the pixels, photon noise from the gain.

    Parameters
    ----------
    pair
        StampPair.
    convolve
        ``"template"`` or ``"science"``: the source. The other is the target.
    options
        StampOptions.
    basis
        Basis.
    good
        (pixels,) bool of the valid part.

    Attributes
    ----------
    source_variance
        Of the pixels of the valid part, as far as known: a number, (pixels,), or None.
    """

    def __init__(self, pair, convolve, options, basis, good):
        self.pair, self.convolve, self.options = pair, convolve, options
        self.sky, self.source_variance = np.nan, None

    def first(self, data):
        """(pixels,) variances to begin with."""
        side = int(np.sqrt(data.size))
        step = np.diff(data.reshape(side, side), axis=1)
        # A noiseless stamp has equal weights, whatever they are.
        return np.full(data.size, max(0.5 * robust_sigma(step) ** 2, _TINY * np.var(data), _TINY))

    def learned(self, residual, light, kernel, fitted):
        """(pixels,) variances, the model's error included, after a fit."""
        middle = np.median(light[fitted])
        above = np.maximum(light - middle, 0.0)
        faint = fitted & (light <= middle)
        least = _TINY * max(np.var(light[fitted]), _TINY)
        self.sky = max(robust_sigma(residual[faint]) ** 2, least)
        if self.convolve == "science":  # next to it the template is taken as noiseless
            self.source_variance = self.sky / (kernel**2).sum()
        photons = 0.0
        if self.pair.gain:
            photons = above / self.pair.gain
            if self.convolve == "science":
                photons = photons * (kernel**2).sum() / max(abs(kernel.sum()), _TINY)
        return self.sky + photons + (self.options.model_error * above) ** 2

    def planes(self, kernel):
        """(side, side) variances of target and source, counts squared; None for no noise."""
        science = self.pair.science
        turned = self.convolve == "science"
        plane = np.full(science.shape, self.sky / ((kernel**2).sum() if turned else 1.0))
        if self.pair.gain:
            seen = ~self.pair.missing_science
            above = science - np.median(science[seen])
            plane += np.maximum(above, 0.0) / self.pair.gain
        return (np.zeros(science.shape), plane) if turned else (plane, None)


class KnownNoise:
    """Noise from variance planes, made a function of the model so that weights follow no noise.

    Parameters and attributes are those of MeasuredNoise.
    """

    def __init__(self, pair, convolve, options, basis, good):
        self.pair, self.convolve = pair, convolve
        source, _, target, _ = pair.turned(convolve)
        planes = pair.template_variance, pair.variance
        source_variance, variance = planes if convolve == "template" else planes[::-1]
        half, side = basis.half, len(target)
        cut = (slice(half, side - half),) * 2
        variance = np.zeros((side, side)) if variance is None else variance
        self.target_variance, self.source_variance_plane = variance, source_variance
        noisy = source_variance is not None
        self.source_variance = source_variance[cut].ravel() if noisy else None
        position = np.array([(side - 1) // 2])
        stamps = Stamps(
            x=position,
            y=position,
            target=target[cut][None],
            variance=variance[cut][None],
            source=source[None],
            good=good.reshape(1, side - 2 * half, side - 2 * half),
            source_variance=source_variance[cut][None] if noisy else None,
        )
        self.model = NoiseModel(stamps, options.model_error)
        scale = np.std(target[cut]) / max(np.std(source[cut]), _TINY)
        self.model.add_source(scale, scale**2 * float((basis.functions[0] ** 2).sum()))

    def first(self, data):
        """(pixels,) variances to begin with."""
        return self._variance(np.zeros(data.size))

    def learned(self, residual, light, kernel, fitted):
        """(pixels,) variances, the model's error included, after a fit."""
        self.model.add_source(kernel.sum(), float((kernel**2).sum()))
        return self._variance(light - np.median(light[fitted]))

    def _variance(self, light):
        """Variance with the model's error, of bad pixels, too."""
        error = self.model.least_error * np.maximum(light, 0.0)
        return np.maximum(self.model.variance(light[None])[0] + error**2, _TINY)

    def planes(self, kernel):
        """(side, side) variances of target and source, counts squared; None for no noise."""
        return self.target_variance, self.source_variance_plane


def spread(variance, kernel):
    """A variance plane averaged with the squared kernel."""
    weight = kernel**2 / (kernel**2).sum()
    return np.maximum(convolve(variance, weight, mode="nearest"), 0.0)


@dataclass(frozen=True)
class LinearErrors:
    """The fit as a linear function of the pixels, for errors that know how noise is correlated.

    Parameters
    ----------
    design
        (k, pixels) of the valid part.
    response
        (k, pixels): the unknowns are response @ data.
    kernel
        (size, size) that the source was convolved with.
    target_variance
        (pixels,) counts squared.
    source_variance
        (side, side), or None for a noiseless source.
    inflation
        Square root of chi2 where that is above 1.
    """

    design: np.ndarray
    response: np.ndarray
    kernel: np.ndarray
    target_variance: np.ndarray
    source_variance: np.ndarray | None
    inflation: float

    def error(self, weights):
        """Standard error of sum weights * (data - kernel conv source), data and source noisy."""
        total = (weights**2 * self.target_variance).sum()
        if self.source_variance is not None:
            side = round(np.sqrt(weights.size))
            image = weights.reshape(side, side)
            carried = fftconvolve(image, self.kernel[::-1, ::-1], mode="full")
            total += (carried**2 * self.source_variance).sum()
        return float(np.sqrt(total))

    def of_unknown(self, k):
        """Standard error of the k-th unknown."""
        return float(self.error(self.response[k]) * self.inflation)

    def sum_errors(self, weights):
        """Errors of sum weights * residual: (that of the pixels, that of the fitted model)."""
        model = (self.design @ weights) @ self.response
        return self.error(weights), float(self.error(model) * self.inflation)
