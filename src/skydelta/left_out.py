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


def left_out_errors(problem, equations, noise, used, fit):
    """What leaving stars out in turn shows: (flux error, error of the kernel sum).

    The first is the scatter of the flux ratios of stars that the kernel was not fitted to, noise
    taken off; the second the delete-a-group jackknife of the kernel sum.
    """
    if used.sum() < 3:
        return np.nan, 0.0
    weights, pure_weights, model_sky = noise
    deviation, expected, sums = np.zeros(used.size), np.zeros(used.size), []
    for out in _folds(used):
        trial = problem.solve(equations, used & ~out, (fit.order, fit.background_order))
        sums.append(trial.kernel.sum)
        model, back = trial.model(problem.design, out)
        ratio = flux_ratio(model, back, problem.data[out], weights[out], model_sky[out])
        deviation[out] = ratio - 1.0
        expected[out] = flux_ratio_noise(weights[out], pure_weights[out], model)
    jackknife = np.sqrt((len(sums) - 1) * np.var(sums))
    # A scatter known from few stars predicts with Student's variance, (n - 1) / (n - 3) times as
    # large.
    n = int(used.sum())
    student = np.sqrt((n - 1) / max(n - 3, 1))
    return student * excess_scatter(deviation[used], expected[used]), float(jackknife)
