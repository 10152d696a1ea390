"""The comparison as one page."""

from dataclasses import dataclass, field

from skydelta.compare import charts
from skydelta.compare.columns import FIGURES, TRUTH_KEYS
from skydelta.compare.summary import pooled_details, summarise
from skydelta.io.outcome import OK
from skydelta.io.replacing import replacing
from skydelta.report.exposure_section import status_badge
from skydelta.report.html import Column, figure, folded, page, table, tag, text
from skydelta.report.page import as_yaml, versions
from skydelta.report.plots import with_unique_ids


@dataclass(frozen=True)
class ExposureComparison:
    """All methods on one exposure.

    Parameters
    ----------
    name
        Of the exposure.
    facts
        About it, in one line.
    results
        {method: MethodResult}, in the order of the methods.
    gallery
        HTML of its cut-outs, empty for none.
    """

    name: str
    facts: str
    results: dict
    gallery: str = field(default="", repr=False)


def write_page(path, comparisons, variants, *, config, sources):
    """Write comparison.html, which needs no network.

    Parameters
    ----------
    path
        Destination, replaced as a whole.
    comparisons
        List of ExposureComparison.
    variants
        List of skydelta.compare.variants.Variant.
    config
        The configuration that the variants change.
    sources
        {what: where it came from}: tables, results, truth.
    """
    by_method = {v.name: [c.results[v.name] for c in comparisons] for v in variants}
    summaries = [summarise(name, results) for name, results in by_method.items()]
    body = [
        _heading(comparisons, variants, by_method),
        _summary(summaries),
        _graphs(summaries, by_method),
        _failures(comparisons),
        tag("h2", "Exposures"),
        *(_exposure(comparison) for comparison in comparisons),
        tag("h2", "What the columns mean"),
        _meanings(),
        tag("h2", "How this was made"),
        folded("Methods", tag("pre", text(as_yaml({v.name: v.changes for v in variants})))),
        folded("Sources", tag("pre", text(as_yaml(sources)))),
        folded("Configuration", tag("pre", text(as_yaml(config)))),
        folded("Versions", tag("pre", text(versions()))),
        tag("footer", "Made by skydelta compare. Positions are 0-based pixels; AB magnitudes."),
    ]
    with replacing(path) as partial:
        partial.write_text(page("skydelta comparison", "\n".join(body)), encoding="utf-8")


def _heading(comparisons, variants, by_method):
    complete = sum(all(r.row["status"] == OK for r in results) for results in by_method.values())
    tiles = [
        (len(comparisons), "exposure" if len(comparisons) == 1 else "exposures"),
        (len(variants), "method" if len(variants) == 1 else "methods"),
        (f"{complete} of {len(variants)}", "methods without a failure"),
    ]
    shown = "".join(
        tag("div", tag("b", text(value)) + tag("span", text(what)), class_="tile")
        for value, what in tiles
    )
    lead = (
        "The same exposures and templates, subtracted by several methods; whitening, detection "
        "and measurement are the same for all of them, each in a process of its own."
    )
    return (
        tag("h1", "Comparison of subtraction methods")
        + tag("p", lead, class_="lead")
        + tag("div", shown, class_="tiles")
    )


def _columns(rows, first):
    """The columns of a table that hold something in any of its rows."""
    used = {key for row in rows for key, value in row.items() if value is not None}
    shown = [f for f in FIGURES if f.title and f.key not in ("method", "status")]
    return (*first, *(f.column for f in shown if f.key in used))


def _summary(summaries):
    rows = [
        {**row, "badge": _badge(row["status"]), "exposures": f"{row['done']} / {row['total']}"}
        for row in summaries
    ]
    first = (
        Column("method", "Method"),
        Column("badge", "Status", "ok, and the failures of any exposure", "html"),
        Column("exposures", "ok / all", "exposures done, of all of them"),
    )
    hint = (
        "Over the exposures that are ok: counts are summed; completeness, false detections, "
        "fluxes and pulls are those of all events together; the rest are medians. Point at a "
        "heading for its meaning. – stands for a number that does not exist."
    )
    noise, truth = _split(_columns(rows, ()))
    tables = table((*first, *noise), rows)
    if truth:
        tables += tag("h4", "Against the truth, and cost") + table((first[0], *truth), rows)
    return tag("h2", "Summary") + tables + tag("p", hint, class_="hint")


def _split(columns):
    """Columns that need no truth, and those that do with the cost; all in one without a truth."""
    if not any(c.key in TRUTH_KEYS for c in columns):
        return columns, ()
    later = {"peak_mb", *TRUTH_KEYS} | {c.key for c in columns if c.key.startswith("cpu_")}
    return (
        tuple(c for c in columns if c.key not in later),
        tuple(c for c in columns if c.key in later),
    )


def _badge(statuses):
    return ", ".join(status_badge(status) for status in statuses.split(", "))


def _graphs(summaries, by_method):
    graphs = []
    if any(row.get("cpu_total") is not None for row in summaries):
        graphs.append(("cpu", charts.cpu_bars(summaries), "<b>CPU time</b> by step"))
    events = {
        name: pooled_details([r for r in results if r.row["status"] == OK])
        for name, results in by_method.items()
    }
    events = {name: event for name, event in events.items() if event}
    if events:
        words = (
            "<b>Completeness</b> against the S/N that an event should have;<br>"
            "68 % intervals of the first method"
        )
        graphs.append(("completeness", charts.completeness_lines(events), words))
        words = (
            "<b>False detections</b> of |score| ≥ 5.5, farther<br>"
            "than 10 px from saturated pixels; numbers as found"
        )
        graphs.append(("false", charts.false_bars(summaries), words))
    figures = (
        figure(with_unique_ids(svg, f"compare-{name}"), words, class_="plot")
        for name, svg, words in graphs
    )
    return tag("div", "".join(figures), class_="graphs")


def _failures(comparisons):
    rows = [
        {
            "exposure": comparison.name,
            "method": name,
            "status": status_badge(result.row["status"]),
            "stage": result.row["stage"],
            "message": result.row["message"],
        }
        for comparison in comparisons
        for name, result in comparison.results.items()
        if result.row["status"] != OK
    ]
    if not rows:
        return ""
    columns = (
        Column("exposure", "Exposure"),
        Column("method", "Method"),
        Column("status", "Status", form="html"),
        Column("stage", "Stage", "step that could not go on"),
        Column("message", "Reason"),
    )
    return tag("h2", "What failed") + table(columns, rows, class_="text")


def _exposure(comparison):
    rows = [
        {**result.row, "method": name, "badge": status_badge(result.row["status"])}
        for name, result in comparison.results.items()
    ]
    first = Column("method", "Method"), Column("badge", "Status", form="html")
    noise, truth = _split(_columns(rows, ()))
    tables = table((*first, *noise), rows)
    if truth:
        tables += tag("h4", "Against the truth, and cost") + table((first[0], *truth), rows)
    head = tag("h3", text(comparison.name)) + tag("span", text(comparison.facts), class_="hint")
    content = tag("header", head) + tables + comparison.gallery
    return tag("section", content, class_="exposure", id=comparison.name)


def _meanings():
    rows = [{"key": f.key, "unit": f.unit, "meaning": f.meaning} for f in FIGURES]
    columns = (
        Column("key", "In comparison.csv"),
        Column("unit", "Unit"),
        Column("meaning", "Meaning"),
    )
    return table(columns, rows, class_="text")
