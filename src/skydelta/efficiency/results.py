"""All realisations together: tables and page."""

import numpy as np

from skydelta.dia_source import Column
from skydelta.efficiency.columns import COLUMNS, empty
from skydelta.efficiency.page import write_page
from skydelta.efficiency.statistics import (
    BIN_COLUMNS,
    FALSE_COLUMNS,
    SUMMARY_COLUMNS,
    binned,
    false_detections,
    summary,
)
from skydelta.io.recovered import read_outcome, write_ecsv, write_injections

EXPOSURE_COLUMNS = (
    Column("method", "U", "", "method of the subtraction"),
    Column("visit", "i8", "", "visit of the exposure"),
    Column("detector", "i4", "", "detector of the exposure"),
    Column("band", "U", "", "filter"),
    Column("realisation", "i4", "", "number of the realisation"),
    Column("status", "U", "", "ok, or why the exposure is left out"),
    Column("stage", "U", "", "where it failed"),
    Column("message", "U", "", "what happened and what to do"),
    Column("n_injected", "i4", "", "sources injected"),
    Column("n_observable", "i4", "", "of these, on usable pixels and not on a known source"),
    Column("n_found", "i4", "", "of the observable ones, detected"),
    Column("n_detected", "f8", "", "detections with injections"),
    Column("n_known", "f8", "", "detections without injections"),
    Column("n_new", "f8", "", "detections of neither"),
    Column("n_lost", "f8", "", "known ones that are not detected again"),
    Column("area", "f8", "deg2", "of usable pixels"),
    Column("fwhm", "f8", "pixel", "of the science PSF"),
)
"""Columns of exposures.ecsv."""


def measure_efficiency(outcomes, output, *, methods, config):
    """Write injections.parquet, the ECSV tables and the page.

    Parameters
    ----------
    outcomes
        Paths of recovered_ID.parquet files.
    output
        With paths as attributes: injections, summary, bins, false, exposures, page.
    methods
        {name: what it changes in the configuration}.
    config
        The whole configuration.
    """
    read = [read_outcome(path) for path in outcomes]
    columns = joined([outcome.columns for outcome in read])
    statuses = [outcome.status for outcome in read]
    rows = [exposure_row(outcome) for outcome in read]
    grid = config["efficiency"]["snr"] if config["efficiency"]["magnitudes"] is None else None
    names = list(methods)
    tables = {
        "summary": (summary(columns, names), SUMMARY_COLUMNS),
        "bins": (binned(columns, names, grid), BIN_COLUMNS),
        "false": (false_detections(statuses, names), FALSE_COLUMNS),
        "exposures": (rows, EXPOSURE_COLUMNS),
    }
    write_injections(output.injections, columns)
    for name, (content, described) in tables.items():
        write_ecsv(getattr(output, name), content, described)
    shown = {name: content for name, (content, _) in tables.items()}
    write_page(output.page, columns, shown, methods=methods, config=config)


def joined(parts):
    """Tables of the same columns as one, in the given order."""
    parts = [part for part in parts if len(part["x"])]
    if not parts:
        return empty()
    return {c.name: np.concatenate([part[c.name] for part in parts]) for c in COLUMNS}


def exposure_row(outcome):
    """A row of EXPOSURE_COLUMNS."""
    columns = outcome.columns
    seen = columns["observable"]
    return outcome.status | {
        "n_injected": len(seen),
        "n_observable": int(seen.sum()),
        "n_found": int((columns["found"] & seen).sum()),
    }
