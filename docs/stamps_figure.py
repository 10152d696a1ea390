"""Subtract the 34 stamps of SN 2021rhu and compare the photometry with ZTF's own.

    python docs/stamps_figure.py [--data ../shared/data/ztf_sn2021rhu]

Prints a table, one line a stamp, and its summary, and draws docs/ztf_sn2021rhu.png.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from astropy.table import Table
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from skydelta import PhotoCalib
from skydelta.stamps import aperture_flux, match_stamp
from skydelta.star_noise import robust_sigma

ROOT = Path(__file__).resolve().parents[1]
GAIN = 6.2
RADIUS = 9.0
SHOWN = 1705361010815015012

INK, MUTED, LINE, PAPER, PANEL = "#23262b", "#6d7178", "#d9d9d3", "#ffffff", "#f3f3ef"
COLOURS = {"g": "#3d7a4a", "r": "#b2382b"}
STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@dataclass(frozen=True)
class Stamp:
    """One triplet and what is made of it; magnitudes are AB."""

    answer: object
    images: dict
    match: object
    magnitude: float
    error: float

    @property
    def deviation(self):
        """Ours minus ZTF's, mag."""
        return self.magnitude - self.answer["magpsf"]


def subtract(folder, answer):
    """The Stamp of one line of ZTF's table."""
    name = f"{answer['candid']}_{answer['band']}"
    images = {
        kind: fits.getdata(folder / "stamps" / f"{name}_{kind}.fits").astype(float)
        for kind in ("sci", "ref", "ztfdiff")
    }
    header = fits.getheader(folder / "stamps" / f"{name}_sci.fits")
    ny, nx = images["sci"].shape
    x, y = nx // 2, ny // 2
    yy, xx = np.mgrid[:ny, :nx]
    supernova = np.hypot(xx - x, yy - y) <= RADIUS
    match = match_stamp(images["sci"], images["ref"], gain=GAIN, mask=supernova)
    flux = aperture_flux(match, x, y, RADIUS)
    calib = PhotoCalib.from_zero_point(header["MAGZP"])
    magnitude, error = calib.to_magnitude(flux.flux, flux.error)
    return Stamp(answer, images, match, float(magnitude), float(error))


def print_table(stamps):
    print(
        f"{'candid':>19} band      mjd    ours   error     ZTF   error   "
        "diff  pull   ksum   error power  chi2"
    )
    for stamp in stamps:
        answer, match = stamp.answer, stamp.match
        pull = stamp.deviation / np.hypot(stamp.error, answer["sigmapsf"])
        print(
            f"{answer['candid']:>19} {answer['band']:>4} {answer['mjd']:8.2f} "
            f"{stamp.magnitude:7.3f} {stamp.error:7.3f} {answer['magpsf']:7.3f} "
            f"{answer['sigmapsf']:7.3f} {stamp.deviation:+6.3f} {pull:+5.2f} "
            f"{match.kernel_sum:6.3f} {match.kernel_sum_error:7.4f} {match.kernel_power:5.2f} "
            f"{match.chi2:5.2f}"
        )


def print_summary(stamps):
    groups = {"all": stamps} | {
        band: [s for s in stamps if s.answer["band"] == band] for band in COLOURS
    }
    for name, members in groups.items():
        deviation = np.array([s.deviation for s in members])
        ours = np.array([s.error for s in members])
        theirs = np.array([s.answer["sigmapsf"] for s in members])
        pulls = [np.std(deviation / e) for e in (ours, theirs, np.hypot(ours, theirs))]
        print(
            f"{name:>3}: {len(members)} stamps, ours - ZTF: median {np.median(deviation):+.4f}, "
            f"standard deviation {deviation.std():.4f}, robust sigma "
            f"{robust_sigma(deviation):.4f} mag; scatter in units of our errors {pulls[0]:.2f}, "
            f"of ZTF's {pulls[1]:.2f}, of both {pulls[2]:.2f}"
        )


def draw(stamps, path):
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.6, 6.9), layout="constrained", facecolor=PAPER)
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.62, 1.0))
        draw_light_curve(top, stamps)
        draw_triplet(bottom, next(s for s in stamps if s.answer["candid"] == SHOWN))
        figure.savefig(path, dpi=150, metadata={"Software": None})


def draw_light_curve(figure, stamps):
    curve, rest = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
    for band, colour in COLOURS.items():
        members = [s for s in stamps if s.answer["band"] == band]
        days = [s.answer["mjd"] for s in members]
        deviation = [1e3 * s.deviation for s in members]
        curve.plot(
            days,
            [s.answer["magpsf"] for s in members],
            "o",
            ms=8.5,
            mfc="none",
            mec=colour,
            mew=0.9,
            label=f"{band}, ZTF",
        )
        curve.plot(
            days, [s.magnitude for s in members], "o", ms=3.8, color=colour, label=f"{band}, ours"
        )
        errors = [1e3 * s.error for s in members]
        rest.errorbar(days, deviation, errors, fmt="o", ms=3.8, lw=0.9, color=colour, ecolor=colour)
    curve.invert_yaxis()
    curve.set_ylabel("AB magnitude")
    curve.legend(loc="upper right", handletextpad=0.3)
    curve.set_title("SN 2021rhu in NGC 7814", loc="left", fontsize=10, fontweight="bold")
    typical = 1e3 * np.median([s.answer["sigmapsf"] for s in stamps])
    rest.axhspan(-typical, typical, color=PANEL, zorder=0)
    rest.axhline(0.0, color=LINE, lw=0.8, zorder=0)
    rest.annotate(
        "ZTF's error",
        (59445.0, -typical - 4.0),
        ha="center",
        va="top",
        fontsize=7.5,
        color=MUTED,
    )
    rest.set_ylim(-115, 115)
    rest.set_ylabel("ours − ZTF\n(mmag)")
    rest.set_xlabel("MJD")
    figure.align_ylabels([curve, rest])


def draw_triplet(figure, stamp):
    figure.get_layout_engine().set(h_pad=0.08)
    axes = figure.subplots(1, 4)
    level = np.median(stamp.images["ref"])
    bright = AsinhNorm(linear_width=150.0, vmin=-120.0, vmax=6000.0)
    faint = AsinhNorm(linear_width=30.0, vmin=-4000.0, vmax=4000.0)
    panels = [
        (stamp.images["sci"] - level, "science", bright, "gray_r"),
        (stamp.images["ref"] - level, "reference", bright, "gray_r"),
        (stamp.match.difference, "our difference", faint, "RdBu_r"),
        (stamp.images["ztfdiff"], "ZTF's difference", faint, "RdBu_r"),
    ]
    ny, nx = stamp.match.difference.shape
    angle = np.linspace(0.0, 2.0 * np.pi, 200)
    for ax, (image, title, norm, colours) in zip(axes, panels, strict=True):
        ax.set_facecolor(PANEL)
        ax.imshow(image, origin="lower", norm=norm, cmap=colours, interpolation="nearest")
        ax.plot(
            nx // 2 + RADIUS * np.cos(angle),
            ny // 2 + RADIUS * np.sin(angle),
            color=INK,
            lw=0.7,
            ls=(0, (3, 2.4)),
        )
        ax.set_title(title, fontsize=9)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(NullLocator())
        for spine in ax.spines.values():
            spine.set_visible(False)
    axes[0].set_xlabel(
        f"MJD {stamp.answer['mjd']:.1f}, {stamp.answer['band']} = {stamp.answer['magpsf']:.2f}",
        fontsize=8,
        color=MUTED,
    )
    axes[1].set_xlabel("63 px = 64 arcsec", fontsize=8, color=MUTED)
    axes[2].set_xlabel("circle: mask and aperture, 9 px", fontsize=8, color=MUTED)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = ROOT.parent / "shared" / "data" / "ztf_sn2021rhu"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "ztf_sn2021rhu.png")
    arguments = parser.parse_args()
    answers = Table.read(arguments.data / "ANSWERS_ztf_photometry.csv")
    stamps = [subtract(arguments.data, answer) for answer in answers]
    print_table(stamps)
    print_summary(stamps)
    draw(stamps, arguments.figure)


if __name__ == "__main__":
    main()
