"""The page's graphs: CPU time by step, completeness and false detections by method."""

import numpy as np

from skydelta.quality import PIXELS
from skydelta.report.plots import ACCENT, INK, MUTED, POSITIVE, canvas, plain_log_axis
from skydelta.report.truth import SNR_EDGES, completeness

_STEPS = (
    ("cpu_subtract", "subtract", ACCENT),
    ("cpu_decorrelate", "whiten", MUTED),
    ("cpu_detect_measure", "detect, measure", POSITIVE),
)

COLOURS = (
    *("#3b82b0", "#d9822b", "#4f9d69", "#b2485a", "#8a63b8"),
    *("#8c7a4f", "#2aa198", "#c06fa8", "#7d8794"),
)
"""Of the methods' curves; each is legible on light and on dark paper."""

MARKERS = "os^Dv<>ph"
"""Of the same."""


def cpu_bars(rows):
    """Stacked bars of CPU seconds, one a method, from rows of `skydelta.compare.summary`."""
    rows = [row for row in rows if row.get("cpu_total") is not None]
    names = [row["method"] for row in rows]
    with canvas(4.5, 0.75 + 0.32 * max(len(rows), 1)) as ((axes,), result):
        left = np.zeros(len(rows))
        for key, label, colour in _STEPS:
            values = np.array([row[key] for row in rows])
            axes.barh(names, values, left=left, height=0.62, color=colour, alpha=0.75, label=label)
            left += values
        for k, total in enumerate(left):
            axes.text(total, k, f" {total:.1f}", va="center", fontsize=8, color=INK)
        axes.invert_yaxis()
        axes.set(xlabel="CPU seconds an exposure (median)", xlim=(0, 1.12 * max([*left, 0.1])))
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), handlelength=1.0)
    return result[0]


def completeness_lines(events):
    """Fraction found against expected S/N, one line a method.

    Parameters
    ----------
    events
        {method: {event_snr, event_found}}.
    """
    with canvas(4.2, 2.9) as ((axes,), result):
        for k, (name, event) in enumerate(events.items()):
            curve = completeness(event["event_snr"], event["event_found"], SNR_EDGES)
            errors = np.maximum([curve.fraction - curve.low, curve.high - curve.fraction], 0)
            # Side by side, and one interval for all: the methods share their events.
            shift = 1.0 + 0.012 * (k - (len(events) - 1) / 2)
            axes.errorbar(
                curve.centre * shift,
                curve.fraction,
                yerr=errors if k == 0 else None,
                color=COLOURS[k % len(COLOURS)],
                marker=MARKERS[k % len(MARKERS)],
                ms=3.5,
                linewidth=1.1,
                elinewidth=0.6,
                label=name,
            )
        plain_log_axis(axes)
        axes.set(xlabel="expected S/N", ylabel="fraction found", ylim=(-0.03, 1.05))
        axes.legend(loc="lower right", handlelength=1.4)
    return result[0]


def false_bars(rows):
    """False detections per 4096 x 4096 px with the Poisson error of their number, by method."""
    rows = [row for row in rows if row.get("false_rate") is not None]
    counts = np.array([row["n_false"] for row in rows], float)
    scale = np.array([PIXELS / row["n_pixels"] for row in rows])
    names = [row["method"] for row in rows]
    with canvas(3.5, 0.75 + 0.32 * max(len(rows), 1)) as ((axes,), result):
        axes.barh(
            names,
            counts * scale,
            xerr=np.sqrt(counts) * scale,
            height=0.62,
            color=ACCENT,
            alpha=0.75,
            error_kw={"elinewidth": 0.8, "ecolor": INK},
        )
        axes.invert_yaxis()
        for k, row in enumerate(rows):
            end = (counts[k] + np.sqrt(counts[k])) * scale[k]
            axes.text(end, k, f" {row['n_false']}", va="center", fontsize=8, color=INK)
        axes.set(xlabel="false detections per 4096 × 4096 px")
        axes.set_xlim(0, max(1.15 * max([*((counts + np.sqrt(counts)) * scale), 0.0]), 1.0))
    return result[0]
