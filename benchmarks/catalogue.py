"""How far the catalogue can be trusted: completeness, artefacts and pulls on simulated pairs.

    python benchmarks/catalogue.py [--size 2048] [--seeds 1 2 3] [--pairs 0.9:0.75 0.65:0.75]
                                   [--list offenders.csv]

Each pair (FWHM of science and template in arcsec, 0.2 arcsec pixels) has saturated stars, two
satellite trails, cosmic rays that nobody masked, galaxies with bright cores, 20 mas (0.1 px) of
registration error and 400 events per 2048 x 2048 px. The chain runs in memory with its defaults.
Figures of each pair, and of all together ("all"):

  s50      expected S/N at which half of the events are found, threshold 5, hostless / all
  >7       completeness above an expected S/N of 7 away from masks, %, and lost / all of them
  sources  detections, sky sources left out
  raw      sources that are no event, neither flagged nor dipoles, per square degree
  cut      reliability that keeps 97 % of the unflagged real sources above S/N 6
  art      unflagged artefacts at or above that cut per square degree (number in all)
  real     unflagged real sources at or above it, % of those above the threshold
  at 0.5   artefacts per square degree and real sources in % at a reliability of 0.5
  pull     scatter of (flux - truth) / error: hostless, on hosts; expected S/N above 8, unflagged,
           not blended, and its robust value (68 % range)
  astro    scatter of (position - truth) / error, both axes
  sky      scatter of flux / error of the sky sources
"""

import argparse
import os

# Before numpy: figures are those of one core.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from catalogue_pair import ARTEFACT, REAL, judged_pair

from skydelta.efficiency.fit import fit_completeness
from skydelta.quality import match_events

BRIGHT, KEPT_ABOVE, KEPT = 8.0, 6.0, 0.97


def facts(judged):
    """Arrays of one pair that the figures need: those of its events and those of its sources."""
    pair, columns, catalogue = judged.pair, judged.columns, judged.catalogue
    truth = {name: np.asarray(pair.truth[name]) for name in pair.truth.colnames}
    matches = match_events(truth, columns, judged.difference, pair.science.photo_calib.scale)
    own = ~catalogue["sky_source"]
    good = (judged.kind == REAL) & judged.unflagged & ~columns["deblend_blended"]
    event = judged.event
    true_flux = truth["flux_nJy"][event]
    star = truth["kind"][event] == "variable"
    with np.errstate(invalid="ignore"):
        pull = np.sign(true_flux) * (catalogue["psfFlux"] - true_flux) / catalogue["psfFluxErr"]
        pulls = [(catalogue[a] - truth[a][event]) / catalogue[f"{a}Err"] for a in "xy"]
        sky_pull = (catalogue["psfFlux"] / catalogue["psfFluxErr"])[~own]
    return {
        "events": {
            "snr": matches.snr,
            "found": matches.found,
            "observable": matches.observable,
            "hosted": (truth["on_host"] != 0) | (truth["kind"] == "variable"),
            "away": judged.away() & matches.observable,
        },
        "sources": {
            "kind": judged.kind[own],
            "unflagged": judged.unflagged[own],
            "snr": catalogue["snr"][own],
            "reliability": catalogue["reliability"][own],
            "good": (good & (matches.snr[event] > BRIGHT))[own],
            "hosted": (truth["on_host"] != 0)[event][own],
            "star": star[own],
            "pull": pull[own],
            "xpull": pulls[0][own],
            "ypull": pulls[1][own],
        },
        "sky": sky_pull[np.isfinite(sky_pull)],
        "area": judged.area,
    }


def together(parts):
    """Facts of several pairs as those of one."""
    return {
        **{
            name: {key: np.concatenate([p[name][key] for p in parts]) for key in parts[0][name]}
            for name in ("events", "sources")
        },
        "sky": np.concatenate([p["sky"] for p in parts]),
        "area": sum(p["area"] for p in parts),
    }


def reliability_cut(sources):
    """The reliability that keeps 97 % of the unflagged real sources above S/N 6."""
    keep = (sources["kind"] == REAL) & sources["unflagged"] & (sources["snr"] > KEPT_ABOVE)
    return float(np.quantile(sources["reliability"][keep], 1 - KEPT, method="lower"))


def scatter(values):
    """Standard deviation and its robust twin, as text."""
    if len(values) < 3:
        return "     -     "
    low, high = np.percentile(values, [15.865, 84.135])
    return f"{np.std(values, ddof=1):5.2f}/{(high - low) / 2:5.2f}"


def half(events, keep):
    fit = fit_completeness(events["snr"][keep], events["found"][keep])
    return f"{fit.half:.2f}±{fit.half_error:.2f}"


def figures(given, cut):
    """The row of a pair, as text by column."""
    events, sources = given["events"], given["sources"]
    high = events["away"] & (events["snr"] > 7)
    lost = high & ~events["found"]
    false = (sources["kind"] == ARTEFACT) & sources["unflagged"]
    real = (sources["kind"] == REAL) & sources["unflagged"]
    above = sources["reliability"] >= cut
    half_sure = sources["reliability"] >= 0.5
    good, hosted, star = sources["good"], sources["hosted"], sources["star"]
    lonely = good & ~hosted & ~star
    astro = np.concatenate([sources["xpull"][lonely], sources["ypull"][lonely]])
    seen, calm = events["observable"], events["observable"] & ~events["hosted"]
    return {
        "s50 hostless": half(events, calm),
        "s50 all": half(events, seen),
        ">7 %": f"{100 * (1 - lost.sum() / max(high.sum(), 1)):.2f}",
        "lost": f"{lost.sum()}/{high.sum()}",
        "sources": f"{len(sources['kind'])}",
        "raw": f"{false.sum() / given['area']:.0f}",
        "cut": f"{cut:.3f}",
        "art": f"{(false & above).sum() / given['area']:.0f} ({(false & above).sum()})",
        "real %": f"{100 * (real & above).sum() / max(real.sum(), 1):.1f}",
        "at 0.5": f"{(false & half_sure).sum() / given['area']:.0f}, "
        f"{100 * (real & half_sure).sum() / max(real.sum(), 1):.1f} %",
        "pull hostless": f"{scatter(sources['pull'][lonely])}",
        "pull hosted": f"{scatter(sources['pull'][good & hosted])}",
        "pull stars": f"{scatter(sources['pull'][good & star])}",
        "n": f"{lonely.sum()},{(good & hosted).sum()},{(good & star).sum()}",
        "astro": scatter(astro),
        "sky": scatter(given["sky"]),
    }


def offenders(judged, label):
    """Lines on every unflagged artefact and every event that was lost: for looking at them."""
    catalogue, columns = judged.catalogue, judged.columns
    rows = [
        f"{label},artefact,{catalogue['x'][k]:.1f},{catalogue['y'][k]:.1f},"
        f"{columns['detect_score'][k]:.1f},{columns['detect_score_noise'][k]:.1f},"
        f"{catalogue['reliability'][k]:.3f}"
        for k in np.flatnonzero((judged.kind == ARTEFACT) & judged.unflagged)
    ]
    given = facts(judged)["events"]
    for k in np.flatnonzero(given["away"] & (given["snr"] > 7) & ~given["found"]):
        row = judged.pair.truth[k]
        rows.append(
            f"{label},lost {row['kind']},{row['x']:.1f},{row['y']:.1f},{row['snr_expected']:.1f},,"
        )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pairs", nargs="+", default=["0.9:0.75", "0.65:0.75"])
    parser.add_argument("--list", help="file for a line on every unflagged artefact and lost event")
    arguments = parser.parse_args()
    parts, rows = {}, []
    for text in arguments.pairs:
        for seed in arguments.seeds:
            judged = judged_pair(arguments.size, *map(float, text.split(":")), seed)
            parts[text, seed] = facts(judged)
            rows += offenders(judged, f"{text},{seed}")
            print(f"{text} seed {seed} done", flush=True)
    everything = together(list(parts.values()))
    cut = reliability_cut(everything["sources"])
    table = {f"{text} {seed}": figures(given, cut) for (text, seed), given in parts.items()}
    table |= {
        f"{text} all": figures(together([p for k, p in parts.items() if k[0] == text]), cut)
        for text in arguments.pairs
    }
    table["all"] = figures(everything, cut)
    names = list(table["all"])
    print("| pair | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for label, row in table.items():
        print(f"| {label} | " + " | ".join(row[name] for name in names) + " |")
    if arguments.list:
        with open(arguments.list, "w") as target:
            target.write("pair,seed,what,x,y,score,score_noise,reliability\n")
            target.write("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
