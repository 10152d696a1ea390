"""All exposures of a method in one row."""

import numpy as np

from skydelta.compare.columns import FIGURES
from skydelta.compare.figures import FOUND_SNR
from skydelta.io.outcome import OK
from skydelta.quality import PIXELS, half_completeness_snr


def summarise(method, results):
    """Medians, sums and pooled figures of one method over its exposures that are ok.

    Counts are summed, completeness, false rate, fluxes and pulls are those of all events together,
    everything else is a median.

    Parameters
    ----------
    method
        Its name.
    results
        MethodResults of all exposures.

    Returns
    -------
    dict
        Number by column name, None where there is none; done, total and status.
    """
    good = [result for result in results if result.row["status"] == OK]
    failed = sorted({result.row["status"] for result in results if result.row["status"] != OK})
    row = {
        "method": method,
        "done": len(good),
        "total": len(results),
        "status": ", ".join([OK] * bool(good) + failed),
    }
    for figure in FIGURES:
        values = [r.row[figure.key] for r in good if r.row.get(figure.key) is not None]
        if values and figure.pooled == "median":
            row[figure.key] = float(np.median(values))
        elif values and figure.pooled == "sum":
            row[figure.key] = sum(values)
    return row | _pooled(row, pooled_details(good))


def pooled_details(results):
    """Events, pulls and ratios of several MethodResults, joined; empty without a truth."""
    some = [r.details for r in results if "event_snr" in r.details]
    names = ("event_snr", "event_found", "pulls", "ratios")
    return {name: np.concatenate([d[name] for d in some]) for name in names} if some else {}


def _pooled(row, events):
    if not events:
        return {}
    expected = events["event_snr"] > FOUND_SNR
    ratios, pulls = events["ratios"], events["pulls"]
    return {
        "completeness": events["event_found"][expected].mean() if expected.any() else None,
        "snr_half": half_completeness_snr(events["event_snr"], events["event_found"]),
        "false_rate": row["n_false"] * PIXELS / row["n_pixels"],
        "flux_bias": np.median(ratios) - 1 if ratios.size else None,
        "flux_bias_error": 1.25 * ratios.std() / np.sqrt(ratios.size) if ratios.size > 1 else None,
        "pull_scatter": pulls.std() if pulls.size > 1 else None,
    }
