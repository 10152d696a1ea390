"""What stars that were left out of a fit tell of it."""

import numpy as np

from skydelta.star_noise import excess_scatter, flux_ratio, flux_ratio_noise


def _folds(used, most=5):
    """Boolean masks of the used stars to leave out in turn."""
    members = np.flatnonzero(used)
    count = min(most, members.size)
    for fold in range(count):
        out = np.zeros(used.size, bool)
        out[members[fold::count]] = True
        yield out


def left_out_residual(problem, equations, weights, used):
    """Mean weighted square residual of stars that the kernel was not fitted to."""
    total = 0.0
    orders = problem.orders(int(used.sum()))
    for out in _folds(used):
        trial = problem.solve(equations, used & ~out, orders)
        model, back = trial.model(problem.design, out)
        total += (weights[out] * (problem.data[out] - model - back) ** 2).sum()
    return total / (weights[used] > 0).sum()


def left_out_models(problem, equations, used, fit):
    """Each star as predicted by a fit that did not know it.

    Returns
    -------
    model
        (n, pixels) the convolved source; of stars that are not used, by the fit to all others.
    background
        (n, 1).
    jackknife
        Delete-a-group jackknife error of the kernel sum; 0 for fewer than 3 stars.
    """
    model, background = fit.model(problem.design)
    if used.sum() < 3:
        return model, background, 0.0
    model, background, sums = model.copy(), background.copy(), []
    for out in _folds(used):
        trial = problem.solve(equations, used & ~out, (fit.order, fit.background_order))
        sums.append(trial.kernel.sum)
        model[out], background[out] = trial.model(problem.design, out)
    return model, background, float(np.sqrt((len(sums) - 1) * np.var(sums)))


def left_out_flux_error(model, background, data, noise, used):
    """Scatter of the flux ratios of stars the kernel was not fitted to, noise taken off.

    Parameters
    ----------
    model, background
        From `left_out_models`.
    data
        (n, pixels).
    noise
        (weights, weights without the model's error, variance (n, 1) of a model pixel).
    used
        (n,) bool.
    """
    if used.sum() < 3:
        return np.nan
    weights, pure_weights, model_sky = (part[used] for part in noise)
    model, background, data = model[used], background[used], data[used]
    deviation = flux_ratio(model, background, data, weights, model_sky) - 1.0
    expected = flux_ratio_noise(weights, pure_weights, model)
    return student(int(used.sum())) * excess_scatter(deviation, expected)


def student(n):
    """A scatter known from n stars predicts with Student's: sqrt((n - 1) / (n - 3)) as large."""
    return float(np.sqrt((n - 1) / max(n - 3, 1)))
