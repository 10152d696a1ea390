"""The columns of comparison.csv: name, unit, meaning, and how the page shows them."""

import csv
from dataclasses import dataclass

from skydelta.io.replacing import replacing
from skydelta.report.html import Column


@dataclass(frozen=True)
class Figure:
    """A column of the table.

    Parameters
    ----------
    key
        Name in the file.
    unit
        Of its values, empty if none.
    meaning
        In one sentence.
    title, group
        Heading on the page, and the one above it.
    form
        Format of a number; None for text.
    pooled
        How exposures are joined: ``"median"``, ``"sum"``, or None where it is done otherwise.
    """

    key: str
    unit: str
    meaning: str
    title: str = ""
    group: str = ""
    form: str | None = None
    pooled: str | None = None

    @property
    def column(self):
        """The Column of the page's tables."""
        unit = f" ({self.unit})" if self.unit else ""
        return Column(
            self.key, self.title, f"{self.key}: {self.meaning}{unit}", self.form, self.group
        )


_NOISE, _STARS, _KERNEL, _FOUND = "Noise", "Stars", "Kernel sum", "Detections"
_TRUTH, _FLUX, _CPU = "Truth, S/N > 8", "Flux", "CPU (s)"

FIGURES = (
    Figure("visit", "", "visit of the exposure"),
    Figure("detector", "", "its detector"),
    Figure("band", "", "its filter"),
    Figure("method", "", "name of the method", "Method"),
    Figure("status", "", "ok, or why there is no result", "Status"),
    Figure("stage", "", "where it failed"),
    Figure("message", "", "what happened and what to do"),
    Figure(
        "noise_rms",
        "",
        "rms of D / sqrt(V) in blank sky, clipped at 6 sigma; 1 if the variance is right",
        *("rms", _NOISE, ".3f", "median"),
    ),
    Figure(
        "neighbour",
        "",
        "correlation of D / sqrt(V) of adjacent pixels in blank sky; 0 if the noise is white",
        *("neighb.", _NOISE, "+.4f", "median"),
    ),
    Figure(
        "score_rms",
        "",
        "robust scatter of the detection score outside the footprints; above 1 it makes false "
        "alarms",
        *("score", _NOISE, ".3f", "median"),
    ),
    Figure(
        "star_rms",
        "",
        "rms of D / sqrt(V) within one FWHM of constant unsaturated stars, the same for every "
        "method",
        *("rms", _STARS, ".2f", "median"),
    ),
    Figure("n_stars", "", "number of these stars", "n", _STARS, ".0f", "sum"),
    Figure(
        "kernel_sum", "", "science counts per template count", *("value", _KERNEL, ".5g", "median")
    ),
    Figure(
        "kernel_sum_error",
        "",
        "its standard error; hotpants and sfft tell none",
        *("error", _KERNEL, ".2g", "median"),
    ),
    Figure(
        "limit_mag",
        "mag",
        "AB magnitude of a point source at the detection threshold, "
        "threshold x score_rms x median flux error",
        *("Limit (AB)", "", ".2f", "median"),
    ),
    Figure("n_positive", "", "sources brighter than the template", "+", _FOUND, ".0f", "sum"),
    Figure("n_negative", "", "sources fainter than the template", "−", _FOUND, ".0f", "sum"),
    Figure("n_dipoles", "", "positive beside negative lobes", *("dip.", _FOUND, ".0f", "sum")),
    Figure(
        "n_events",
        "",
        "true changes of expected S/N above 8, where this method has a difference",
        *("events", _TRUTH, ".0f", "sum"),
    ),
    Figure(
        "n_found", "", "of these, with a detection within 3 px", *("found", _TRUTH, ".0f", "sum")
    ),
    Figure("completeness", "", "n_found / n_events", "fraction", _TRUTH, ".3f"),
    Figure(
        "snr_half",
        "",
        "expected S/N at which half of the changes are found, from all of them",
        *("50 % S/N", "", ".2f"),
    ),
    Figure(
        "n_false",
        "",
        "detections of |score| 5.5 or more, farther than 3 px from every true change and than "
        "10 px from saturated pixels",
        *("n", "False", ".0f", "sum"),
    ),
    Figure("false_rate", "per 4096 x 4096 px", "n_false over the area", *("/ 4k²", "False", ".1f")),
    Figure(
        "flux_bias",
        "",
        "median of measured over true flux less 1, isolated hostless transients above S/N 20",
        *("bias", _FLUX, "+.4f"),
    ),
    Figure("flux_bias_error", "", "its standard error", "±", _FLUX, ".4f"),
    Figure("n_bright", "", "number of these transients", "n", _FLUX, ".0f", "sum"),
    Figure(
        "pull_scatter",
        "",
        "standard deviation of (measured - true flux) / error, isolated hostless transients above "
        "S/N 8; 1 if the errors are right",
        *("pulls", _FLUX, ".2f"),
    ),
    Figure("n_pulls", "", "number of these transients", "n", _FLUX, ".0f", "sum"),
    Figure("cpu_subtract", "s", "CPU time of the subtraction", *("subtr.", _CPU, ".2f", "median")),
    Figure("cpu_decorrelate", "s", "CPU time of the whitening", *("white.", _CPU, ".2f", "median")),
    Figure(
        "cpu_detect_measure",
        "s",
        "CPU time of detection and measurement",
        *("det.+meas.", _CPU, ".2f", "median"),
    ),
    Figure("cpu_total", "s", "sum of the three", "all", _CPU, ".2f", "median"),
    Figure(
        "cpu_engine",
        "s",
        "of cpu_subtract, the external engine alone by its own account; sfft's is without the "
        "compilation of its loops",
        *("engine", _CPU, ".2f", "median"),
    ),
    Figure(
        "peak_mb",
        "MB",
        "largest resident memory of the process, or of the program it ran if that is larger",
        *("Peak (MB)", "", ".0f", "median"),
    ),
    Figure("n_pixels", "", "pixels of the exposure", pooled="sum"),
    Figure("template", "", "template used: the workflow's, or one made of the coadds"),
)
"""All columns, in the order of the file."""

TRUTH_KEYS = (
    *("n_events", "n_found", "completeness", "snr_half", "n_false", "false_rate"),
    *("flux_bias", "flux_bias_error", "n_bright", "pull_scatter", "n_pulls"),
)
"""Columns that need a truth."""


def write_table(path, rows):
    """comparison.csv: one line an exposure and method, numbers with all their digits.

    Parameters
    ----------
    path
        Destination, replaced as a whole.
    rows
        Mappings of the keys of FIGURES; a missing key or None is an empty cell.
    """
    names = [figure.key for figure in FIGURES]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, names, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: row.get(k) for k in names} for row in rows)
