"""The section that holds detections against the truth of a simulation."""

import numpy as np

from skydelta.report import plots
from skydelta.report.html import Column, figure, number, table, tag, text
from skydelta.report.truth import (
    RADIUS,
    SNR_EDGES,
    completeness,
    join,
    magnitude,
    magnitude_edges,
)

_FALSE_COLUMNS = (
    Column("exposure", "Exposure"),
    Column("events", "events", "true changes on usable pixels", "d", "Truth"),
    Column("hidden", "hidden", "on or beside unusable pixels, not counted", "d", "Truth"),
    Column("found", "found", "events with a detection", "d", "Truth"),
    Column("bright", "≥ 10σ", "events of expected S/N 10 or more", "d", "Truth"),
    Column("bright_found", "found", "of these, with a detection", "d", "Truth"),
    Column("false_clean", "unflagged", "detections without an event, not flagged", "d", "False"),
    Column("false_flagged", "flagged", "detections without an event, flagged", "d", "False"),
)


def truth_section(comparisons):
    """HTML of the comparison.

    Parameters
    ----------
    comparisons
        {exposure name: skydelta.report.truth.Comparison}, at least one.
    """
    total = join(list(comparisons.values()))
    events = total.events
    intro = (
        f"An event is found if a detection, flagged or not, lies within {RADIUS:g} px. Events on "
        "or beside unusable pixels and those of failed exposures are not counted. Bars hold 68 % "
        "(Wilson). Fluxes and positions: found events whose detection is neither flagged nor a "
        "dipole."
    )
    rows = [_row(name, c) for name, c in comparisons.items()]
    if len(rows) > 1:
        rows.append(_row("all", total))
    return "".join(
        (
            tag("h2", "Against the truth"),
            tag("p", text(intro), class_="hint"),
            tag("div", _completeness(events) + _accuracy(events), class_="graphs"),
            table(_FALSE_COLUMNS, rows),
        )
    )


def _row(name, comparison):
    events = comparison.events
    bright = events["snr_expected"] >= 10
    return {
        "exposure": name,
        "events": len(events["found"]),
        "hidden": comparison.hidden,
        "found": int(events["found"].sum()),
        "bright": int(bright.sum()),
        "bright_found": int((bright & events["found"]).sum()),
        "false_clean": comparison.false_clean,
        "false_flagged": comparison.false_flagged,
    }


def _completeness(events):
    on_host = events["on_host"]
    samples = {"all": np.ones(len(on_host), bool), "on a host": on_host, "off hosts": ~on_host}
    samples = {name: which for name, which in samples.items() if which.any()}
    mag = magnitude(events["flux"])
    out = ""
    for value, edges, label, options in (
        (events["snr_expected"], SNR_EDGES, "expected S/N", {"log": True, "threshold": 5}),
        (mag, magnitude_edges(mag), "AB magnitude of the change", {}),
    ):
        curves = {
            name: completeness(value[which], events["found"][which], edges)
            for name, which in samples.items()
        }
        svg = plots.completeness_curves(curves, label, **options)
        out += _plot(svg, f"truth-{len(out)}", f"<b>Completeness</b> against {label}")
    return out


def _accuracy(events):
    clean = events["clean"]
    if not clean.any():
        return ""
    pull, ratio = events["pull"][clean], events["ratio"][clean]
    dx, dy = events["dx"][clean], events["dy"][clean]
    # The pull's error is that of the flux, so that ratio / pull is the relative error.
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.nan_to_num(np.abs(ratio / pull))
    return "".join(
        (
            _plot(
                plots.pull_histogram(pull),
                "truth-pull",
                f"<b>Flux pulls</b> of {pull.size}: mean {number(pull.mean(), '+.2f')}, "
                f"width {number(pull.std(), '.2f')}",
            ),
            _plot(
                plots.flux_bias(magnitude(events["flux"][clean]), ratio, error),
                "truth-bias",
                f"<b>Flux error</b>; bars: medians per magnitude. "
                f"Median {number(100 * np.median(ratio), '+.2f')} %",
            ),
            _plot(
                plots.position_scatter(dx, dy),
                "truth-position",
                f"<b>Positions</b>, measured − true: mean {number(dx.mean(), '+.3f')}, "
                f"{number(dy.mean(), '+.3f')} px; "
                f"median distance {number(np.median(np.hypot(dx, dy)), '.3f')} px",
            ),
        )
    )


def _plot(svg, prefix, caption):
    return figure(plots.with_unique_ids(svg, prefix), caption, class_="plot")
