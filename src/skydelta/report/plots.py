"""Graphs as inline SVG whose ink and accents follow the page's colours, light or dark."""

import io
import re
from contextlib import contextmanager

import numpy as np

_ACCENTS = {
    "#000000": "currentColor",
    "#111111": "var(--muted)",
    "#222222": "var(--positive)",
    "#333333": "var(--negative)",
    "#444444": "var(--accent)",
}
"""Colours drawn with, and what the page makes of them."""

INK, MUTED, POSITIVE, NEGATIVE, ACCENT = _ACCENTS

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "skydelta",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.labelsize": 9,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.2,
    "savefig.transparent": True,
    "axes.unicode_minus": True,
}

_MAX_VECTOR_POINTS = 500
"""More points than this are drawn as pixels."""


@contextmanager
def canvas(width, height, columns=1):
    """Axes to draw on, `width` x `height` inches, and a list that receives the SVG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(1, columns, squeeze=False)[0]
        result = []
        yield axes, result
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    result.append(_inline(buffer.getvalue()))


def _inline(svg):
    """The <svg> element alone, with the page's colours in place of the drawn ones."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'xmlns:xlink="[^"]*" ?', "", svg).replace("xlink:href", "href")
    svg = re.sub(r' xmlns="[^"]*"', "", svg, count=1)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    for drawn, wanted in _ACCENTS.items():
        svg = svg.replace(drawn, wanted)
    return re.sub(r">\s+<", "><", svg)


def with_unique_ids(svg, prefix):
    """The SVG with its ids, and references to them, made the page's own."""
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    return svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')


def plain_log_axis(axes):
    """A logarithmic x axis labelled 1, 2, 5, 10..."""
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:.5g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _powers_of_ten(axis):
    """Labels 10⁻³ as plain text: mathematical typesetting takes most of a plot's time."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    axis.set_major_formatter(lambda x, _: "10" + str(round(np.log10(x))).translate(raised))


def noise_histogram(before, after):
    """Histogram of D / sqrt(V) in blank sky against a Gaussian of unit width.

    Parameters
    ----------
    before, after
        (n,) values of the raw and of the decorrelated difference.
    """
    edges = np.linspace(-7, 7, 71)
    centre = 0.5 * (edges[1:] + edges[:-1])
    with canvas(4.2, 2.6) as ((axes,), result):
        for values, colour, label in (
            (before, MUTED, "before whitening"),
            (after, ACCENT, "after whitening"),
        ):
            density = np.histogram(values, edges)[0] / (max(values.size, 1) * np.diff(edges))
            axes.stairs(np.where(density > 0, density, np.nan), edges, color=colour, label=label)
        axes.plot(
            centre,
            np.exp(-0.5 * centre**2) / np.sqrt(2 * np.pi),
            color=INK,
            linestyle=(0, (4, 3)),
            linewidth=0.9,
            label="unit Gaussian",
        )
        axes.set_yscale("log")
        _powers_of_ten(axes.yaxis)
        axes.set(ylim=(0.3 / max(after.size, 100), 1.0), xlim=(-7, 7))
        axes.set(xlabel="D / √V in blank sky (sigma)", ylabel="density")
        axes.legend(loc="upper right", bbox_to_anchor=(1.02, 1.05), handlelength=1.4)
    return result[0]


def lag_profile(before, after, lags):
    """Noise correlation against distance, mean over the directions.

    Parameters
    ----------
    before, after
        (2 lags + 1, 2 lags + 1) autocorrelations.
    lags
        Largest lag, px.
    """
    offset = np.arange(-lags, lags + 1)
    distance = np.hypot(offset, offset[:, None])
    edges = np.arange(0.5, lags + 1)
    bins = np.digitize(distance, edges)
    with canvas(2.6, 2.6) as ((axes,), result):
        axes.axhline(0, color=INK, linewidth=0.6)
        for plane, colour, marker, label in (
            (before, MUTED, "o", "before"),
            (after, ACCENT, "s", "after"),
        ):
            mean = [np.nanmean(plane[bins == k]) for k in range(1, lags + 1)]
            axes.plot(
                np.arange(1, lags + 1), mean, color=colour, marker=marker, ms=3.5, label=label
            )
        axes.set(xlabel="distance (px)", ylabel="noise correlation")
        axes.legend(handlelength=1.4)
    return result[0]


def star_residuals(stars):
    """Flux ratio and residual of the stars of the kernel fit against their S/N."""
    used = np.asarray(stars["used"], bool)
    raster = used.size > _MAX_VECTOR_POINTS
    with canvas(5.6, 2.6, 2) as (axes, result):
        percent = 100 * (np.asarray(stars["flux_ratio"], float) - 1)
        panels = (percent, "flux ratio − 1 (%)", 0), (stars["residual"], "residual (sigma)", 1)
        for ax, (values, label, ideal) in zip(axes, panels, strict=True):
            ax.axhline(ideal, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
            limits = _limits(np.asarray(values, float)[used], ideal)
            shown = np.clip(values, *limits)
            for which, colour, marker, name in (
                (used, ACCENT, "o", "used"),
                (~used, POSITIVE, "x", "rejected"),
            ):
                ax.plot(
                    stars["snr"][which],
                    shown[which],
                    marker,
                    color=colour,
                    ms=3.2,
                    mew=0.8,
                    mfc="none",
                    label=name,
                    rasterized=raster,
                    clip_on=False,
                )
            plain_log_axis(ax)
            ax.set(xlabel="S/N of the star", ylabel=label, ylim=limits)
        axes[0].legend(handlelength=1, loc="best")
    return result[0]


def _limits(values, ideal):
    """Limits about the values of the used stars; the others are drawn at the edge."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return ideal - 1, ideal + 1
    room = 1.6 * max(np.max(np.abs(values - ideal)), 1e-3)
    return (max(ideal - room, 0) if ideal else ideal - room), ideal + room


def completeness_curves(curves, label, *, log=False, threshold=None):
    """Fraction found against a value, one line a sample.

    Parameters
    ----------
    curves
        {name: skydelta.report.truth.Completeness}; the first is drawn as the main one.
    label
        Of the horizontal axis.
    log
        Whether that axis is logarithmic.
    threshold
        Value to mark, or None.
    """
    looks = ((INK, "o", 1.6), (ACCENT, "s", 1.0), (POSITIVE, "^", 1.0))
    with canvas(4.4, 2.8) as ((axes,), result):
        for (name, curve), (colour, marker, width) in zip(curves.items(), looks, strict=False):
            errors = curve.fraction - curve.low, curve.high - curve.fraction
            axes.errorbar(
                curve.centre,
                curve.fraction,
                yerr=np.maximum(errors, 0),
                color=colour,
                marker=marker,
                ms=3.5,
                linewidth=width,
                elinewidth=0.8,
                label=f"{name} ({curve.total.sum()})",
            )
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
        if log:
            plain_log_axis(axes)
        axes.set(xlabel=label, ylabel="fraction found", ylim=(-0.03, 1.05))
        axes.legend(loc="best")
    return result[0]


def pull_histogram(pull):
    """Histogram of (measured - true flux) / error against a unit Gaussian."""
    edges = np.linspace(-5, 5, 26)
    x = np.linspace(-5, 5, 101)
    with canvas(3.2, 2.6) as ((axes,), result):
        axes.hist(np.clip(pull, -4.99, 4.99), edges, color=ACCENT, alpha=0.55)
        scale = pull.size * (edges[1] - edges[0]) / np.sqrt(2 * np.pi)
        axes.plot(x, scale * np.exp(-0.5 * x**2), color=INK, linewidth=0.9, ls=(0, (4, 3)))
        axes.set(xlabel="(measured − true flux) / error", ylabel="events", xlim=(-5, 5))
    return result[0]


def flux_bias(mag, ratio, error):
    """Relative flux error of each event against its magnitude, and medians in bins.

    Parameters
    ----------
    mag
        (n,) AB, of the true change.
    ratio
        (n,) measured over true flux, less 1.
    error
        (n,) its standard error.
    """
    with canvas(3.8, 2.6) as ((axes,), result):
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.errorbar(
            mag, 100 * ratio, 100 * error, fmt="o", color=ACCENT, ms=2.5, elinewidth=0.6, mew=0
        )
        centre, median = _binned_median(mag, 100 * ratio)
        axes.plot(centre, median, "_", color=POSITIVE, ms=16, mew=2)
        axes.set(xlabel="AB magnitude of the change", ylabel="flux error (%)")
        room = 1.3 * np.percentile(np.abs(100 * ratio), 95) if mag.size else 10
        axes.set_ylim(-max(room, 1), max(room, 1))
    return result[0]


def _binned_median(x, y, minimum=3):
    bins = np.floor(x)
    kept = [b for b in np.unique(bins) if np.count_nonzero(bins == b) >= minimum]
    return [b + 0.5 for b in kept], [np.median(y[bins == b]) for b in kept]


def position_scatter(dx, dy, limit=1.0):
    """Measured less true positions, px."""
    with canvas(2.8, 2.6) as ((axes,), result):
        axes.axhline(0, color=INK, linewidth=0.6)
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.plot(
            np.clip(dx, -limit, limit), np.clip(dy, -limit, limit), "o", color=ACCENT, ms=2.5, mew=0
        )
        axes.set(xlabel="Δx (px)", ylabel="Δy (px)", xlim=(-limit, limit), ylim=(-limit, limit))
        axes.set_aspect("equal")
    return result[0]
