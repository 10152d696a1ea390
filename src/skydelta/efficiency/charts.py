"""The page's graphs."""

import numpy as np

from skydelta.compare.charts import COLOURS, MARKERS
from skydelta.report.plots import INK, canvas, plain_log_axis

LABELS = {
    "snr": "expected S/N",
    "mag": "AB magnitude",
    "host_surface_brightness": "surface brightness of the host (mag / arcsec²)",
}
"""Names of the quantities on axes."""


_MIN_CLEAN = 3
"""Sources that a bin of fluxes needs to be drawn."""

_MIN_FOUND = 0.5
"""Least completeness of such a bin."""


def judged(rows):
    """The bins that tell of fluxes: of few sources, or where noise chooses what is found, none."""
    return [
        row for row in rows if row["n_clean"] >= _MIN_CLEAN and row["completeness"] >= _MIN_FOUND
    ]


def completeness(samples, quantity, *, threshold=None):
    """Fraction found against a quantity, with Wilson's intervals, and the fitted curves.

    Parameters
    ----------
    samples
        {name: (rows of skydelta.efficiency.statistics.BIN_COLUMNS, CompletenessFit or None)}.
    quantity
        One of LABELS.
    threshold
        S/N to mark, or None.
    """
    with canvas(4.6, 3.0) as ((axes,), result):
        for k, (name, (rows, fit)) in enumerate(samples.items()):
            x, y = _values(rows, "centre"), _values(rows, "completeness")
            low, high = _values(rows, "completeness_low"), _values(rows, "completeness_high")
            fitted = fit is not None and np.isfinite(fit.half)
            axes.errorbar(
                x,
                y,
                yerr=np.maximum([y - low, high - y], 0),
                color=COLOURS[k % len(COLOURS)],
                marker=MARKERS[k % len(MARKERS)],
                linestyle="none" if fitted else "-",
                ms=3.8,
                linewidth=0.9,
                elinewidth=0.8,
                label=f"{name} ({int(_values(rows, 'n').sum())})",
            )
            if fitted and len(x):
                fine = np.linspace(
                    min(x.min(), 1.0) if quantity == "snr" else x.min(), x.max(), 800
                )
                axes.plot(fine, fit(fine), color=COLOURS[k % len(COLOURS)], linewidth=1.2)
        axes.axhline(0.5, color=INK, linewidth=0.5, linestyle=(0, (1, 3)))
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
        if quantity == "snr":
            plain_log_axis(axes)
            axes.set_xlim(left=1.8)
        axes.set(xlabel=LABELS[quantity], ylabel="fraction found", ylim=(-0.03, 1.05))
        axes.legend(loc="best", handlelength=1.2)
    return result[0]


def fluxes(samples, quantity):
    """Median flux error in per cent, mean and scatter of the pulls against a quantity.

    Parameters
    ----------
    samples
        {name: rows of skydelta.efficiency.statistics.BIN_COLUMNS}, not all of them empty.
    quantity
        One of LABELS.
    """
    with canvas(8.6, 2.9, 3) as (panels, result):
        bias, mean, scatter = panels
        for k, (name, rows) in enumerate(samples.items()):
            look = {
                "color": COLOURS[k % len(COLOURS)],
                "marker": MARKERS[k % len(MARKERS)],
                "ms": 3.8,
                "linewidth": 0.9,
                "elinewidth": 0.8,
                "label": name,
            }
            x = _values(rows, "centre")
            n = np.maximum(_values(rows, "n_clean"), 1)
            pulls = _values(rows, "pull_scatter")
            bias.errorbar(
                x,
                100 * _values(rows, "flux_bias"),
                yerr=100 * _values(rows, "flux_bias_error"),
                **look,
            )
            mean.errorbar(x, _values(rows, "pull_mean"), yerr=pulls / np.sqrt(n), **look)
            # The standard error of a standard deviation of normal deviates.
            scatter.errorbar(x, pulls, yerr=pulls / np.sqrt(2 * n), **look)
        for axes, label, ideal in (
            (bias, "median flux error (%)", 0),
            (mean, "mean of the pulls", 0),
            (scatter, "scatter of the pulls", 1),
        ):
            axes.axhline(ideal, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
            axes.set(xlabel=LABELS[quantity], ylabel=label)
            if quantity == "snr":
                plain_log_axis(axes)
        bias.set_xlabel("")
        scatter.set_xlabel("")
        bias.legend(loc="best", handlelength=1.2)
    return result[0]


def pulls(columns):
    """Histogram of pulls off and on hosts against a unit Gaussian.

    Parameters
    ----------
    columns
        Of clean sources far above the threshold.
    """
    edges = np.linspace(-5, 5, 41)
    x = np.linspace(-5, 5, 201)
    with canvas(3.6, 2.9) as ((axes,), result):
        for hosted, colour, name in (
            (False, COLOURS[0], "off hosts"),
            (True, COLOURS[1], "on hosts"),
        ):
            pull = columns["pull"][columns["on_host"] == hosted]
            if not pull.size:
                continue
            density = np.histogram(np.clip(pull, -4.99, 4.99), edges)[0] / pull.size
            label = f"{name} ({pull.size})"
            axes.stairs(density / np.diff(edges), edges, color=colour, linewidth=1.4, label=label)
        gauss = np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi)
        axes.plot(x, gauss, color=INK, linewidth=0.9, ls=(0, (4, 3)))
        axes.set(xlabel="(measured − true flux) / error", ylabel="density", xlim=(-5, 5))
        axes.legend(loc="upper left", handlelength=1.2)
    return result[0]


def _values(rows, key):
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], float)
