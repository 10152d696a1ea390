"""All exposures at a glance: headline numbers, the table, the failures."""

from collections import Counter

import numpy as np

from skydelta.report.exposure_section import status_badge
from skydelta.report.html import Column, number, table, tag, text

SURVEY_COLUMNS = (
    Column("exposure", "Exposure", "visit, band and detector; a link to its pictures", "html"),
    Column("status", "Status", "ok, or why there is no catalogue", "html"),
    Column("stars_used", "used", "stars the matching kernel was fitted to", ".0f", "Stars"),
    Column("stars_rejected", "rej.", "stars left out: variable, or badly fitted", ".0f", "Stars"),
    Column(
        "kernel_sum",
        "sum",
        "science counts per template count: the ratio of the two flux scales",
        ".5g",
        "Kernel",
    ),
    Column(
        "order",
        "order",
        "degree of the kernel's variation over the field; used / asked for where they differ",
        "html",
        "Kernel",
    ),
    Column("fwhm_science", "science", "width of the science PSF", ".2f", "FWHM (″)"),
    Column("fwhm_template", "template", "width of the template PSF", ".2f", "FWHM (″)"),
    Column("coverage", "Cover", "fraction of the exposure with template data", ".3f"),
    Column(
        "noise_before",
        "raw",
        "rms of D/√V in blank sky before whitening; below 1 as the noise is correlated",
        ".3f",
        "Noise rms",
    ),
    Column("noise_after", "white", "the same after whitening; 1 is right", ".3f", "Noise rms"),
    Column(
        "neighbour_before",
        "raw",
        "correlation of the noise of adjacent pixels before whitening",
        ".3f",
        "Neighbours",
    ),
    Column("neighbour_after", "white", "the same after whitening; 0 is right", ".3f", "Neighbours"),
    Column(
        "score_rms",
        "Score",
        "scatter of the detection significance in blank sky; 1 is right, more means false alarms",
        ".3f",
    ),
    Column(
        "sky_pull",
        "Sky pull",
        "rms of flux over error at random empty positions; 1 if the errors are right",
        ".3f",
    ),
    Column(
        "limit", "5σ (AB)", "magnitude of a point source of 5 sigma (score scatter included)", ".2f"
    ),
    Column("positive", "+", "brighter than in the template", ".0f", "Sources"),
    Column("negative", "−", "fainter than in the template", ".0f", "Sources"),
    Column("dipoles", "dip.", "a positive beside a negative lobe", ".0f", "Sources"),
    Column(
        "flagged",
        "flag.",
        "of all these: failed fits, bad pixels at the centre, saturation or edge in the footprint",
        ".0f",
        "Sources",
    ),
)
"""Columns of the table of all exposures."""


def survey_row(loaded, summary, *, linked):
    """One row of the survey table: the Summary's values, ready to be shown.

    Parameters
    ----------
    loaded, summary
        The exposure.
    linked
        Whether it has a section of its own.
    """
    name, values = loaded.entry.name, summary.values
    used, asked = values.get("order_used"), values.get("order_asked")
    order = number(used, ".0f")
    if np.isfinite([used, asked]).all() and used < asked:
        order += f" / {asked:.0f}"
    return {
        **values,
        "name": name,
        "outcome": loaded.status,
        "message": loaded.message,
        "stage": loaded.numbers.get("stage", ""),
        "exposure": tag("a", text(name), href=f"#{name}") if linked else text(name),
        "status": status_badge(loaded.status),
        "order": tag("span", order),
    }


def heading(rows):
    """Title and headline numbers."""
    outcomes = Counter(row["outcome"] for row in rows)
    done = outcomes["ok"]
    tiles = [(f"{done} of {len(rows)}", "exposures done")]
    tiles += [(f"{count}", status) for status, count in sorted(outcomes.items()) if status != "ok"]
    sources = sum(_total(rows, key) for key in ("positive", "negative", "dipoles"))
    tiles.append((number(sources, ",d"), f"sources, {_total(rows, 'flagged')} flagged"))
    for key, form, what in (
        ("noise_after", ".3f", "noise rms, median"),
        ("neighbour_after", ".3f", "neighbour correlation, median"),
        ("limit", ".2f", "5σ limit (AB), median"),
    ):
        tiles.append((number(_median(rows, key), form), what))
    shown = "".join(
        tag("div", tag("b", text(value)) + tag("span", text(what)), class_="tile")
        for value, what in tiles
    )
    lead = (
        "What changed between each exposure and its template, and how far the numbers can be "
        "trusted."
    )
    return (
        tag("h1", "Difference imaging report")
        + tag("p", lead, class_="lead")
        + tag("div", shown, class_="tiles")
    )


def _total(rows, key):
    return int(sum(row.get(key, 0) for row in rows))


def _median(rows, key):
    values = [row[key] for row in rows if np.isfinite(row.get(key, np.nan))]
    return float(np.median(values)) if values else np.nan


def survey_table(rows):
    """The table of all exposures."""
    hint = "Point at a heading for its meaning. – stands for a number that does not exist."
    return tag("h2", "Survey") + table(SURVEY_COLUMNS, rows) + tag("p", hint, class_="hint")


def failures(rows):
    """Why exposures have no catalogue; nothing if all have one."""
    failed = [row for row in rows if row["outcome"] != "ok"]
    if not failed:
        return ""
    columns = (
        Column("exposure", "Exposure", form="html"),
        Column("status", "Status", form="html"),
        Column("stage", "Stage", "stage that could not go on"),
        Column("message", "Reason"),
    )
    return tag("h2", "What failed") + table(columns, failed, class_="text")


def left_out(total, shown):
    """A sentence about the exposures without a section."""
    if shown == total:
        return ""
    sentence = (
        f"{shown} of {total} exposures are shown: those that failed and those whose noise is "
        "furthest from what the variance says."
    )
    return tag("p", sentence, class_="hint")
