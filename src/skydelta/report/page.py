"""The report as one file."""

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from skydelta.report import survey
from skydelta.report.entries import load, read_status
from skydelta.report.exposure_section import exposure_section
from skydelta.report.html import folded, page, tag, text
from skydelta.report.summary import summarise
from skydelta.report.truth import compare, read_truth
from skydelta.report.truth_section import truth_section
from skydelta.tables import exposure_id

_PACKAGES = ("skydelta", "numpy", "scipy", "astropy", "photutils", "matplotlib", "snakemake")


def write_report(path, entries, *, config, truth=None, overlaps=None, max_pictures=40, gallery=60):
    """Write the report: one HTML file that needs no network.

    The same input gives the same bytes.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    entries
        Sequence of ReportEntry, in the order they are to be listed.
    config
        The configuration that was used, as read from YAML.
    truth
        Path of the truth table (CSV) of a simulation, or None.
    overlaps
        Path of overlaps.csv, to name the coadds under each exposure, or None.
    max_pictures
        Only so many exposures get a section of their own: the failed ones and those whose noise
        is furthest from what its variance says. The table has all of them.
    gallery
        Largest number of detections shown as stamps in a section.
    """
    from skydelta.io.replacing import replacing

    events = read_truth(truth) if truth is not None else None
    coadds = _coadds(overlaps) if overlaps is not None else None
    pictured = _most_telling(entries, max_pictures)
    rows, sections, comparisons = [], [], {}
    for entry in entries:
        # One exposure at a time: all of them together would not fit into memory.
        loaded = load(entry)
        summary = summarise(loaded)
        shown = entry.name in pictured
        rows.append(survey.survey_row(loaded, summary, linked=shown))
        if events is not None and loaded.catalogue is not None:
            comparisons[entry.name] = compare(events, loaded)
        if shown:
            under = None if coadds is None else coadds.get(entry.name, [])
            sections.append(exposure_section(loaded, summary, under, max_stamps=gallery))
    body = [
        survey.heading(rows),
        survey.survey_table(rows),
        survey.failures(rows),
        truth_section(comparisons) if comparisons else "",
        tag("h2", "Exposures"),
        survey.left_out(len(entries), len(sections)),
        *sections,
        tag("h2", "How this was made"),
        folded("Configuration", tag("pre", text(as_yaml(config)))),
        folded("Versions", tag("pre", text(versions()))),
        tag("footer", "Made by skydelta. Positions are 0-based pixels, y upwards; ICRS; AB."),
    ]
    with replacing(path) as partial:
        partial.write_text(page("skydelta report", "\n".join(body)), encoding="utf-8")


def _most_telling(entries, limit):
    """Names of the exposures to show: failures, then by the distance of the score's rms from 1."""
    if len(entries) <= limit:
        return {entry.name for entry in entries}
    ranked = sorted(range(len(entries)), key=lambda k: (-_oddity(entries[k]), k))
    return {entries[k].name for k in ranked[:limit]}


def _oddity(entry):
    from skydelta.errors import SkydeltaError
    from skydelta.io.detections import read_detections

    if read_status(entry.status).get("status") != "ok":
        return np.inf
    try:
        score_rms = read_detections(entry.footprints).score_rms
    except (SkydeltaError, OSError):
        return np.inf
    return abs(score_rms - 1.0) if np.isfinite(score_rms) else 0.0


def _coadds(overlaps):
    """Names of the coadds under each exposure, by the exposure's name."""
    import csv

    found = {}
    with open(overlaps, newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            name = exposure_id(int(row["visit"]), int(row["detector"]), row["band"])
            found.setdefault(name, []).append(f"{row['tract']} ({row['patch']})")
    return found


def as_yaml(config):
    """A configuration as YAML; what is no plain value becomes text."""
    import json

    import yaml

    # Through JSON, which knows plain values only: a path becomes text instead of a Python object.
    plain = json.loads(json.dumps(config, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def versions():
    """Versions of Python and of the packages, one a line."""
    import platform

    lines = [f"python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            lines.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join(lines)
