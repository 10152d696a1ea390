"""results/efficiency.html."""

import numpy as np

from skydelta.efficiency import charts
from skydelta.efficiency.statistics import (
    ALL,
    COMPLETE_SNR,
    FLUX_SNR,
    HOSTS,
    fits_of,
    observable,
    select,
)
from skydelta.io.outcome import OK
from skydelta.io.replacing import replacing
from skydelta.report.exposure_section import status_badge
from skydelta.report.html import Column, figure, folded, number, page, table, tag, text
from skydelta.report.page import as_yaml, versions
from skydelta.report.plots import with_unique_ids


def write_page(path, columns, tables, *, methods, config):
    """Write the page, which needs no network.

    Parameters
    ----------
    path
        Destination, replaced as a whole.
    columns
        Of skydelta.efficiency.columns.COLUMNS, all methods.
    tables
        Rows by name: summary, bins, false, exposures.
    methods
        {name: what it changes in the configuration}.
    config
        The whole configuration.
    """
    body = [
        _heading(columns, tables, methods),
        tag("h2", "Completeness"),
        _completeness(columns, tables["bins"], methods, config["detect"]["threshold"]),
        _summary(tables["summary"]),
        tag("h2", "Fluxes"),
        *(_fluxes(columns, tables["bins"], method, len(methods) > 1) for method in methods),
        tag("h2", "False detections"),
        _false(tables["false"]),
        tag("h2", "Exposures"),
        _exposures(tables["exposures"]),
        tag("h2", "How this was made"),
        folded("Methods", tag("pre", text(as_yaml(methods)))),
        folded("Configuration", tag("pre", text(as_yaml(config)))),
        folded("Versions", tag("pre", text(versions()))),
        tag("footer", "Made by snakemake efficiency. Positions are 0-based pixels; AB magnitudes."),
    ]
    with replacing(path) as partial:
        partial.write_text(page("skydelta efficiency", "\n".join(body)), encoding="utf-8")


def _heading(columns, tables, methods):
    done = {_exposure(row) for row in tables["exposures"] if row["status"] == OK}
    every = {_exposure(row) for row in tables["exposures"]}
    first = tables["summary"][0]
    tiles = [
        (f"{len(done)} of {len(every)}", "exposures"),
        (len(methods), "method" if len(methods) == 1 else "methods"),
        (f"{first['n']:,}".replace(",", "\u2009"), f"observable sources, {first['method']}"),
        (_pm(first["snr50"], first["snr50_error"], ".2f"), "S/N found by half"),
        (_pm(first["m50"], first["m50_error"], ".2f"), "AB magnitude found by half"),
    ]
    shown = "".join(
        tag("div", tag("b", text(value)) + tag("span", text(what)), class_="tile")
        for value, what in tiles
    )
    lead = (
        "Point sources of known position and flux, injected into the survey's own exposures before "
        "the subtraction, with the local PSF and photon noise, and looked for by the stages and "
        "the configuration of the survey."
    )
    link = tag("a", "The survey's report", href="report.html")
    return (
        tag("h1", "Efficiency")
        + tag("p", text(lead) + " " + link + ".", class_="lead")
        + tag("div", shown, class_="tiles")
    )


def _exposure(row):
    return row["visit"], row["detector"], row["band"]


def _pm(value, error, form):
    shown = number(value, form)
    return f"{shown} ± {number(error, form)}" if np.isfinite(value) else shown


def _rows(bins, quantity, **names):
    wanted = {"band": ALL, "hosts": ALL, **names, "quantity": quantity}
    return [row for row in bins if all(row[key] == value for key, value in wanted.items())]


def _completeness(columns, bins, methods, threshold):
    samples = {}
    for method in methods:
        fits = fits_of(observable(select(columns, method=method)))
        samples[method] = fits
    of_methods = {m: (_rows(bins, "snr", method=m), samples[m].snr) for m in methods}
    graphs = [
        (
            "snr",
            charts.completeness(of_methods, "snr", threshold=threshold),
            "<b>Completeness against S/N</b>: points with 68 % intervals (Wilson),<br>"
            "curves fitted to the single sources; dashed: the threshold",
        )
    ]
    bands = sorted(set(columns["band"]))
    for method in methods:
        by_band = {}
        for band in bands:
            where = {"band": band if len(bands) > 1 else ALL}
            fit = fits_of(observable(select(columns, method=method, **where))).mag
            by_band[f"{band}"] = (_rows(bins, "mag", method=method, **where), fit)
        title = f", {text(method)}" if len(methods) > 1 else ""
        words = f"<b>Completeness against magnitude</b> by band{title}"
        graphs.append((f"mag-{method}", charts.completeness(by_band, "mag"), words))
    for method in methods:
        places = {}
        for hosts, name in list(HOSTS.items())[1:]:
            fit = fits_of(observable(select(columns, method=method, hosts=hosts))).snr
            places[name] = (_rows(bins, "snr", method=method, hosts=hosts), fit)
        title = f", {text(method)}" if len(methods) > 1 else ""
        words = f"<b>On and off hosts</b>{title}"
        graphs.append(
            (f"hosts-{method}", charts.completeness(places, "snr", threshold=threshold), words)
        )
    quantity = "host_surface_brightness"
    on_hosts = {m: (_rows(bins, quantity, method=m, hosts="hosted"), None) for m in methods}
    if any(rows for rows, _ in on_hosts.values()):
        words = f"<b>On hosts</b>, sources of expected S/N above {COMPLETE_SNR:g}"
        graphs.append(("brightness", charts.completeness(on_hosts, quantity), words))
    return _graphs(graphs)


def _graphs(graphs):
    figures = (
        figure(with_unique_ids(svg, f"efficiency-{_id(name)}"), words, class_="plot")
        for name, svg, words in graphs
    )
    return tag("div", "".join(figures), class_="graphs")


def _id(name):
    return "".join(c if c.isalnum() else "-" for c in name)


_SUMMARY = (
    Column("method", "Method"),
    Column("band", "Band"),
    Column("place", "Placed"),
    Column("n", "n", "observable injected sources", ".0f", "Sources"),
    Column("n_found", "found", "of these, detected", ".0f", "Sources"),
    Column("n_unobservable", "left out", "on unusable pixels or known sources", ".0f", "Sources"),
    Column("m50", "AB", "AB magnitude at which half are found", ".3f", "50 % magnitude"),
    Column("m50_error", "±", "its standard error", ".3f", "50 % magnitude"),
    Column("snr50", "S/N", "expected S/N at which half are found", ".3f", "50 % S/N"),
    Column("snr50_error", "±", "its standard error", ".3f", "50 % S/N"),
    Column("snr_width", "width", "of the curve; 1 for unit noise", ".2f", "50 % S/N"),
    Column("snr99", "99 % S/N", "expected S/N at which 99 % are found", ".2f"),
    Column("plateau", "Plateau", "completeness far above the threshold", ".4f"),
    Column("n_flux", "n", f"clean sources of expected S/N {FLUX_SNR:g} or more", ".0f", "Fluxes"),
    Column("bias", "bias, %", "median of measured over true flux less 1", "+.2f", "Fluxes"),
    Column("bias_error", "±", "its standard error", ".2f", "Fluxes"),
    Column("pull_mean", "pull", "mean of (measured - true) / error", "+.3f", "Fluxes"),
    Column("pull_scatter", "scatter", "standard deviation of the pulls", ".3f", "Fluxes"),
)


def _summary(rows):
    def shown(row):
        percent = {
            name: None if row[f"flux_{name}"] is None else 100 * row[f"flux_{name}"]
            for name in ("bias", "bias_error")
        }
        return {**row, **percent, "place": HOSTS[row["hosts"]]}

    hint = (
        "Expected S/N: injected flux over the flux error of the difference without injections at "
        "that pixel. The curves are cumulative normal distributions with a plateau, fitted by "
        "maximum likelihood; the 50 % values are where they cross one half. Fluxes are those of "
        f"clean detections of expected S/N {FLUX_SNR:g} or more. Point at a heading for its "
        "meaning."
    )
    return table(_SUMMARY, [shown(row) for row in rows]) + tag("p", hint, class_="hint")


def _fluxes(columns, bins, method, several):
    graphs = []
    for quantity in ("mag", "snr"):
        samples = {
            name: charts.judged(_rows(bins, quantity, method=method, hosts=hosts))
            for hosts, name in list(HOSTS.items())[1:]
        }
        if any(samples.values()):
            words = (
                "<b>Flux errors</b> of clean detections, in bins of which half or more are found; "
                "at the faint end noise chooses which"
            )
            graphs.append((f"flux-{quantity}-{method}", charts.fluxes(samples, quantity), words))
    rows = charts.judged(_rows(bins, "host_surface_brightness", method=method, hosts="hosted"))
    if rows:
        words = (
            "<b>Flux errors on hosts</b> by the host's light at the source, expected S/N above "
            f"{COMPLETE_SNR:g}"
        )
        svg = charts.fluxes({"on hosts": rows}, "host_surface_brightness")
        graphs.append((f"flux-host-{method}", svg, words))
    some = observable(select(columns, method=method))
    bright = some["clean"] & (some["snr_expected"] >= FLUX_SNR) & np.isfinite(some["pull"])
    if bright.any():
        words = f"<b>Pulls</b> from expected S/N {FLUX_SNR:g} on;<br>dashed: a unit Gaussian"
        svg = charts.pulls({name: values[bright] for name, values in some.items()})
        graphs.append((f"pulls-{method}", svg, words))
    return (tag("h4", text(method)) if several else "") + _graphs(graphs)


_FALSE = (
    Column("method", "Method"),
    Column("band", "Band"),
    Column("area", "Area (deg²)", "usable area, every realisation counted", ".4f"),
    Column("n_new", "n", "detections of nothing injected or known", ".0f", "False"),
    Column("false_rate", "per deg²", "n over the area", ".1f", "False"),
    Column("false_rate_error", "±", "its Poisson error", ".1f", "False"),
    Column("n_known", "n", "detections of the run without injections", ".0f", "Known"),
    Column("known_rate", "per deg²", "n over the area", ".1f", "Known"),
    Column("n_lost", "lost", "known ones that are not detected again", ".0f", "Known"),
)


def _false(rows):
    hint = (
        "False are detections farther than the match radius from every injected source and from "
        "every source of the same exposure without injections: what the injection itself called "
        "up. Known are the sources without injections, real ones and artefacts."
    )
    return table(_FALSE, rows) + tag("p", hint, class_="hint")


_EXPOSURES = (
    Column("method", "Method"),
    Column("visit", "Visit"),
    Column("detector", "Detector"),
    Column("band", "Band"),
    Column("realisation", "Realisation"),
    Column("badge", "Status", form="html"),
    Column("n_injected", "injected", form=".0f", group="Sources"),
    Column("n_observable", "observable", form=".0f", group="Sources"),
    Column("n_found", "found", form=".0f", group="Sources"),
    Column("n_known", "known", "detections without injections", ".0f", "Detections"),
    Column("n_new", "new", "neither injected nor known", ".0f", "Detections"),
    Column("n_lost", "lost", "known, not detected again", ".0f", "Detections"),
    Column("fwhm", "FWHM (px)", "of the science PSF", ".2f"),
    Column("reason", "Reason"),
)


def _exposures(rows):
    shown = []
    for row in rows:
        reason = f"{row['stage']}: {row['message']}" if row["status"] != OK else ""
        shown.append({**row, "badge": status_badge(row["status"]), "reason": reason})
    return table(_EXPOSURES, shown, class_="text")
