"""All statuses as one table, and how many exposures ended in which way."""

import csv
import json
from collections import Counter
from pathlib import Path

from skydelta.io.outcome import OK
from skydelta.io.replacing import replacing

COLUMNS = (
    *("visit", "detector", "band", "status", "stage", "message"),
    *("n_sources", "n_negative", "n_dipoles", "n_sky_sources", "stars_used", "stars_rejected"),
    *("star_residual", "kernel_sum", "kernel_flux_error", "fwhm_science_px", "fwhm_template_px"),
    *("score_rms", "sky_flux_pull", "limiting_magnitude", "zero_point", "notes"),
)
"""Columns of summary.csv: keys of the status files. Numbers that do not exist are empty cells."""


def write_summary(path, statuses):
    """Write summary.csv: a line for each exposure.

    Parameters
    ----------
    path
        Destination.
    statuses
        Paths of the status files, in the order of the lines.

    Returns
    -------
    collections.Counter
        Number of exposures by status.
    """
    outcomes = Counter()
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for each in statuses:
            status = json.loads(Path(each).read_text(encoding="utf-8"))
            outcomes[status["status"]] += 1
            writer.writerow(status | {"notes": "; ".join(status.get("notes", ()))})
    return outcomes


def read_outcomes(path):
    """{(visit, detector, band): status} of a summary.csv."""
    with open(path, newline="", encoding="utf-8") as lines:
        return {
            (int(row["visit"]), int(row["detector"]), row["band"]): row["status"]
            for row in csv.DictReader(lines)
        }


def count_outcomes(path):
    """Number of exposures by status of a summary.csv."""
    return Counter(read_outcomes(path).values())


def sentence(outcomes):
    """How many exposures ended in which way, in words.

    Parameters
    ----------
    outcomes
        Number of exposures by status.
    """
    total, done = sum(outcomes.values()), outcomes.get(OK, 0)
    if done == total:
        return f"all {total} exposures are ok"
    return f"{done} of {total} exposures are ok, {total - done} failed: {reasons(outcomes)}"


def reasons(outcomes):
    """The statuses that are not ok with their numbers, most frequent first."""
    failed = [(n, status) for status, n in outcomes.items() if status != OK and n]
    return ", ".join(f"{status} {n}" for n, status in sorted(failed, key=lambda f: (-f[0], f[1])))
