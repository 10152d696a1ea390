"""The noise of the stamps, and what the stars' flux ratios say of the kernel's own error."""

import numpy as np


class NoiseModel:
    """Pixel variances of the stamps as a function of the model, free of the data's own noise.

    Parameters
    ----------
    stamps
        skydelta.kernel_stamps.Stamps.
    model_error
        Least relative error of a model pixel.
    """

    def __init__(self, stamps, model_error):
        n = len(stamps)
        self.good = stamps.good.reshape(n, -1)
        data = stamps.target.reshape(n, -1)
        self._sky, self._slope = _sky_and_slope(data, stamps.variance.reshape(n, -1), self.good)
        self.sky, self.slope = self._sky, self._slope
        self.source_sky, self._source_slope, self.model_sky = None, 0.0, np.zeros((n, 1))
        if stamps.source_variance is not None:
            margin = (stamps.source.shape[-1] - stamps.target.shape[-1]) // 2
            cut = slice(margin, margin + stamps.target.shape[-1])
            inner = stamps.source[:, cut, cut].reshape(n, -1)
            variance = stamps.source_variance.reshape(n, -1)
            self.source_sky, self._source_slope = _sky_and_slope(inner, variance, self.good)
        self.least_error = self.model_error = model_error

    def add_source(self, kernel_sum, power):
        """Count the noise of the convolved image in.

        Parameters
        ----------
        kernel_sum
            Sum of the kernel.
        power
            Sum of its squares, the correlation of the noise included.
        """
        if self.source_sky is not None and kernel_sum > 0:
            self.model_sky = power * self.source_sky
            self.sky = self._sky + self.model_sky
            self.slope = self._slope + power / kernel_sum * self._source_slope

    def learn(self, ratio, weights, model, used):
        """Raise the model error to what the scatter of the stars' flux ratios shows.

        A flux error e common to the pixels of a star counts, for weights that take pixels as
        independent, as a pixel error of e (sum m^2) / sqrt(sum m^4).
        """
        if used.sum() < 3:
            return
        noise = flux_ratio_noise(weights, self.good / self.variance(model), model)
        error = excess_scatter((ratio - 1.0)[used], noise[used])
        square = np.where(self.good, np.maximum(model, 0.0) ** 2, 0.0)[used]
        pixels = square.sum(axis=1) / np.sqrt(np.maximum((square**2).sum(axis=1), 1e-300))
        self.model_error = max(self.least_error, error * float(np.median(pixels)))

    def variance(self, model):
        """Sky and photon noise for a noiseless model above the background."""
        return self.sky + self.slope * np.maximum(model, 0.0)

    def weights(self, model):
        """Inverse variances, model error included; zero on bad pixels."""
        positive = np.maximum(model, 0.0)
        return self.good / (self.variance(model) + (self.model_error * positive) ** 2)


def _sky_and_slope(data, variance, good):
    """(n, 1) sky variance of each stamp, and the variance that a count of star adds."""
    known = good.any(axis=1, keepdims=True)
    sky = median_rows(variance, good)
    sky = np.where(known, sky, np.median(sky[known]) if known.any() else 1.0)
    level = median_rows(data, good)
    bright = good & (data - level > 5 * np.sqrt(sky))
    # 1 / gain, or 0 if the plane has no photon noise.
    slope = ((variance - sky) / np.where(bright, data - level, 1.0))[bright]
    return sky, max(float(np.median(slope)), 0.0) if slope.size else 0.0


def median_rows(values, good):
    """(n, 1) median of each row's good values; 0 where there is none."""
    ordered = np.sort(np.where(good, values, np.inf).astype(np.float32), axis=1)
    count = good.sum(axis=1)
    rows = np.arange(len(ordered))
    low, high = (ordered[rows, np.maximum(k, 0)] for k in ((count - 1) // 2, count // 2))
    with np.errstate(invalid="ignore"):  # rows of infinities alone
        middle = 0.5 * (low.astype(float) + high)
    return np.where(count > 0, middle, 0.0)[:, None]


def flux_ratio(model, background, data, weights, model_variance=0.0):
    """Weighted least-squares scale of the model at each star, free of the model's own noise.

    Parameters
    ----------
    model, background, data, weights
        (n, pixels), the background (n, 1).
    model_variance
        (n, 1) variance of a model pixel: its share of sum w m^2 says nothing of the star.
    """
    top = (weights * model * (data - background)).sum(axis=1)
    square = (weights * model * model).sum(axis=1)
    bottom = np.maximum(square - (weights * model_variance).sum(axis=1), 0.1 * square)
    return top / np.where(bottom > 0, bottom, np.inf)


def flux_ratio_noise(weights, pure_weights, model):
    """Standard error of `flux_ratio` from the pixels' noise alone."""
    safe = np.where(pure_weights > 0, pure_weights, np.inf)
    top = (weights**2 * model**2 / safe).sum(axis=1)
    bottom = (weights * model**2).sum(axis=1)
    return np.sqrt(top) / np.where(bottom > 0, bottom, np.inf)


def excess_scatter(deviation, noise):
    """The scatter e for which sum d^2 / (n^2 + e^2) equals its expectation; 0 if noise suffices.

    The method of Paule & Mandel (1982), on deviations clipped at 4 robust sigmas.
    """
    noise = np.maximum(noise, 1e-12)
    limit = 4.0 * max(robust_sigma(deviation), np.median(noise))
    kept = np.abs(deviation - np.median(deviation)) <= limit
    deviation, noise = deviation[kept], noise[kept]

    def excess(e):
        return (deviation**2 / (noise**2 + e**2)).sum() - deviation.size

    low, high = 0.0, float(np.abs(deviation).max())
    if excess(low) <= 0:
        return 0.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def robust_sigma(values):
    """1.4826 times the median absolute deviation."""
    return 1.4826 * np.median(np.abs(values - np.median(values)))
