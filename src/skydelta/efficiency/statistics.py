"""What the recovered sources say: completeness and fluxes in bins, and the figures of each method.

Binomial intervals are Wilson's and hold 68 % of the probability.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.dia_source import Column
from skydelta.efficiency.fit import CompletenessFit, fit_completeness
from skydelta.report.statistics import wilson_interval

ALL = "all"
HOSTS = {ALL: "all", "hostless": "off hosts", "hosted": "on hosts"}
"""Samples by where the source was placed, and how they are called."""

FLUX_SNR = 8.0
"""Fluxes of a method are judged from this expected S/N on: near the threshold only those that
noise raised are found."""

COMPLETE_SNR = 6.0
"""Completeness against host surface brightness is that of sources above this expected S/N."""

MAG_STEP = {"mag": 0.5, "host_surface_brightness": 1.0}
"""Width of the bins, mag and mag/arcsec^2."""

_SNR_ENDS = (1.5, 3.0)
_FREE_SNR_EDGES = (0, 2, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 10, 14, 20, 30, 50, 100, np.inf)

BIN_COLUMNS = (
    Column("method", "U", "", "method of the subtraction"),
    Column("band", "U", "", "filter, or all"),
    Column("hosts", "U", "", "all, hosted or hostless"),
    Column("quantity", "U", "", "what is binned: snr, mag or host_surface_brightness"),
    Column("low", "f8", "", "lower edge of the bin"),
    Column("high", "f8", "", "upper edge of the bin"),
    Column("centre", "f8", "", "mean over the sources of the bin"),
    Column("n", "i4", "", "observable injected sources"),
    Column("n_found", "i4", "", "of these, detected"),
    Column("n_clean", "i4", "", "of these, neither flagged nor a dipole"),
    Column("completeness", "f8", "", "n_found / n"),
    Column("completeness_low", "f8", "", "its Wilson interval of 68 %, lower end"),
    Column("completeness_high", "f8", "", "its Wilson interval of 68 %, upper end"),
    Column("flux_bias", "f8", "", "median of measured over true flux less 1, clean sources"),
    Column("flux_bias_error", "f8", "", "its standard error"),
    Column("pull_mean", "f8", "", "mean of (measured - true flux) / error, clean sources"),
    Column("pull_scatter", "f8", "", "standard deviation of the same"),
)
"""Columns of efficiency_bins.ecsv. Bins in magnitude and S/N hold all sources; those in host
surface brightness only sources of an expected S/N above COMPLETE_SNR."""

SUMMARY_COLUMNS = (
    Column("method", "U", "", "method of the subtraction"),
    Column("band", "U", "", "filter, or all"),
    Column("hosts", "U", "", "all, hosted or hostless"),
    Column("n", "i4", "", "observable injected sources"),
    Column("n_found", "i4", "", "of these, detected"),
    Column("n_unobservable", "i4", "", "injected on unusable pixels or on a known source"),
    Column("m50", "f8", "mag", "AB magnitude at which half are found, fitted"),
    Column("m50_error", "f8", "mag", "its standard error"),
    Column("m50_width", "f8", "mag", "width of the fitted fall"),
    Column("snr50", "f8", "", "expected S/N at which half are found, fitted"),
    Column("snr50_error", "f8", "", "its standard error"),
    Column("snr_width", "f8", "", "width of the fitted rise"),
    Column("plateau", "f8", "", "completeness far above the threshold, fitted"),
    Column("snr99", "f8", "", "expected S/N at which 99 % are found; NaN if the plateau is lower"),
    Column("n_flux", "i4", "", f"clean sources of expected S/N >= {FLUX_SNR:g}"),
    Column("flux_bias", "f8", "", "of these, median of measured over true flux less 1"),
    Column("flux_bias_error", "f8", "", "its standard error"),
    Column("pull_mean", "f8", "", "of these, mean of (measured - true flux) / error"),
    Column("pull_scatter", "f8", "", "of these, its standard deviation"),
)
"""Columns of efficiency.ecsv, one row a method, band and place."""

FALSE_COLUMNS = (
    Column("method", "U", "", "method of the subtraction"),
    Column("band", "U", "", "filter, or all"),
    Column("area", "f8", "deg2", "usable area searched, every realisation counted"),
    Column("n_new", "i4", "", "detections of no injected source that are not there without them"),
    Column("false_rate", "f8", "1/deg2", "n_new over the area"),
    Column("false_rate_error", "f8", "1/deg2", "its Poisson error"),
    Column("n_lost", "i4", "", "sources of the uninjected run that are not detected again"),
    Column("n_known", "i4", "", "sources of the uninjected run, each realisation counted"),
    Column("known_rate", "f8", "1/deg2", "n_known over the area: real sources and artefacts"),
)
"""Columns of false_detections.ecsv."""


def select(columns, *, method=None, band=ALL, hosts=ALL):
    """The rows of a method, band and place."""
    keep = np.ones(len(columns["x"]), bool)
    if method is not None:
        keep &= columns["method"] == method
    if band != ALL:
        keep &= columns["band"] == band
    if hosts != ALL:
        keep &= columns["on_host"] == (hosts == "hosted")
    return {name: values[keep] for name, values in columns.items()}


def observable(columns):
    """The rows that count."""
    keep = columns["observable"]
    return {name: values[keep] for name, values in columns.items()}


@dataclass(frozen=True)
class Fits:
    """Completeness curves against S/N and against magnitude."""

    snr: CompletenessFit
    mag: CompletenessFit


def fits_of(columns):
    """The Fits of observable sources."""
    return Fits(
        fit_completeness(columns["snr_expected"], columns["found"]),
        fit_completeness(columns["mag"], columns["found"], falling=True),
    )


def flux_figures(columns):
    """Bias and pulls of the clean ones among sources; None where there are too few.

    The error of a median is 1.25 times that of a mean.
    """
    clean = columns["clean"] & np.isfinite(columns["pull"])
    ratio = columns["measured_flux"][clean] / columns["flux"][clean] - 1.0
    # Too bright and too faint mean the same for a source that fades.
    pull = columns["pull"][clean] * np.sign(columns["flux"][clean])
    n = ratio.size
    return {
        "flux_bias": float(np.median(ratio)) if n else None,
        "flux_bias_error": 1.25 * float(np.std(ratio)) / np.sqrt(n) if n > 1 else None,
        "pull_mean": float(np.mean(pull)) if n else None,
        "pull_scatter": float(np.std(pull, ddof=1)) if n > 1 else None,
    }


def summary_row(columns, *, method, band, hosts):
    """A row of SUMMARY_COLUMNS."""
    some = select(columns, method=method, band=band, hosts=hosts)
    seen = observable(some)
    fits = fits_of(seen)
    bright = {name: values[seen["snr_expected"] >= FLUX_SNR] for name, values in seen.items()}
    return {
        "method": method,
        "band": band,
        "hosts": hosts,
        "n": len(seen["x"]),
        "n_found": int(seen["found"].sum()),
        "n_unobservable": len(some["x"]) - len(seen["x"]),
        "m50": fits.mag.half,
        "m50_error": fits.mag.half_error,
        "m50_width": abs(fits.mag.width),
        "snr50": fits.snr.half,
        "snr50_error": fits.snr.half_error,
        "snr_width": fits.snr.width,
        "plateau": fits.snr.plateau,
        "snr99": fits.snr.level(0.99),
        "n_flux": int(bright["clean"].sum()),
        **flux_figures(bright),
    }


def bands_of(columns):
    """``"all"``, and the filters where there are several."""
    bands = sorted(set(columns["band"]))
    return [ALL, *bands] if len(bands) > 1 else [ALL]


def summary(columns, methods):
    """Rows of SUMMARY_COLUMNS for every method, band and place."""
    return [
        summary_row(columns, method=method, band=band, hosts=hosts)
        for method in methods
        for band in bands_of(columns)
        for hosts in HOSTS
    ]


def edges_of(columns, quantity, snr_grid=None):
    """Edges of the bins of a quantity.

    Parameters
    ----------
    columns
        Of the injected sources.
    quantity
        ``"snr_expected"``, ``"mag"`` or ``"host_surface_brightness"``.
    snr_grid
        The grid of S/N that was injected, each value of which is a bin; None for a fixed set.
    """
    if quantity != "snr_expected":
        values = columns[quantity][np.isfinite(columns[quantity])]
        if not values.size:
            return np.array([20.0, 25.0])
        step = MAG_STEP[quantity]
        first, last = np.floor(values.min() / step), np.floor(values.max() / step) + 1
        return step * np.arange(first, last + 1)
    if snr_grid is None or len(snr_grid) < 2:
        return np.array(_FREE_SNR_EDGES)
    grid = np.unique(snr_grid)
    middle = np.sqrt(grid[1:] * grid[:-1])
    return np.r_[grid[0] / _SNR_ENDS[0], middle, grid[-1] * _SNR_ENDS[1]]


def bins(columns, quantity, edges, **names):
    """Rows of BIN_COLUMNS of observable sources, bins [low, high) without sources left out."""
    if quantity == "host_surface_brightness":
        keep = columns["snr_expected"] > COMPLETE_SNR
        columns = {name: values[keep] for name, values in columns.items()}
    index = np.digitize(columns[quantity], edges) - 1
    rows = []
    for k in range(len(edges) - 1):
        inside = index == k
        n = int(np.count_nonzero(inside))
        if n == 0:
            continue
        some = {name: values[inside] for name, values in columns.items()}
        found = int(some["found"].sum())
        low, high = wilson_interval(found, n)
        rows.append(
            {
                **names,
                "quantity": quantity.removesuffix("_expected"),
                "low": float(edges[k]),
                "high": float(edges[k + 1]),
                "centre": float(np.mean(some[quantity])),
                "n": n,
                "n_found": found,
                "n_clean": int(some["clean"].sum()),
                "completeness": found / n,
                "completeness_low": float(low),
                "completeness_high": float(high),
                **flux_figures(some),
            }
        )
    return rows


def binned(columns, methods, snr_grid=None):
    """Rows of BIN_COLUMNS for every method, band, place and quantity."""
    rows = []
    for quantity in ("snr_expected", "mag", "host_surface_brightness"):
        edges = edges_of(columns, quantity, snr_grid)
        for method in methods:
            for band in bands_of(columns):
                for hosts in HOSTS if quantity != "host_surface_brightness" else ("hosted",):
                    some = observable(select(columns, method=method, band=band, hosts=hosts))
                    names = {"method": method, "band": band, "hosts": hosts}
                    rows += bins(some, quantity, edges, **names)
    return rows


def false_detections(statuses, methods):
    """Rows of FALSE_COLUMNS from the statuses of skydelta.io.injections.Outcome."""
    done = [status for status in statuses if status["status"] == "ok"]
    bands = sorted({status["band"] for status in done})
    rows = []
    for method in methods:
        for band in [ALL, *bands] if len(bands) > 1 else [ALL]:
            some = [s for s in done if s["method"] == method and band in (ALL, s["band"])]
            area = sum(s["area"] for s in some)
            counts = {name: sum(s[name] for s in some) for name in ("n_new", "n_lost", "n_known")}
            row = {"method": method, "band": band, "area": area, **counts}
            if area > 0:
                row |= {
                    "false_rate": counts["n_new"] / area,
                    "false_rate_error": np.sqrt(counts["n_new"]) / area,
                    "known_rate": counts["n_known"] / area,
                }
            rows.append(row)
    return rows
