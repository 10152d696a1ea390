"""The gallery: stamps of the science image, the template and the difference at each detection.

All stamps of an exposure are one PNG that the page shows piece by piece.
"""

import numpy as np

from skydelta.mask import UNUSABLE
from skydelta.report import pictures
from skydelta.report.entries import card, is_flagged
from skydelta.report.html import figure, number, tag, text
from skydelta.report.statistics import robust_sigma

MIN_SNR = 8.0
"""Detections above this signal-to-noise ratio are shown."""

_HALF_FWHM = 4.0
"""Half width of a stamp, FWHM, within 15 to 25 px."""

_GAP = 2
"""Clear px between the stamps of a triplet, and between triplets."""

_WORDS = {
    "pixelFlags": "no position",
    "centroid_flag": "position fit failed",
    "pixelFlags_offimage": "off the image",
    "psfFlux_flag": "PSF flux unusable",
    "shape_flag": "no shape",
    "dipoleFit_flag": "dipole fit failed",
}

_PIXEL_WORDS = {
    "bad": "bad pixels",
    "cr": "cosmic ray",
    "crTemplate": "cosmic ray of the template",
    "edge": "edge",
    "templateEdge": "edge of the template",
    "noPsf": "no PSF to detect with",
    "nodata": "no data",
    "interpolated": "interpolated",
    "saturated": "saturated",
    "sat_template": "saturated in the template",
    "suspect": "near saturation",
    "streak": "satellite trail",
    "halo": "halo or bleed trail",
}
"""Pixel flags in plain words; ", at the centre" where they reach it."""


def gallery(loaded, summary, limit):
    """HTML of an exposure's gallery.

    Parameters
    ----------
    loaded, summary
        skydelta.report.entries.Loaded and skydelta.report.summary.Summary.
    limit
        Largest number of detections shown: first those without a flag, then the others, each the
        most significant first.
    """
    catalogue = loaded.catalogue
    chosen, total = select(catalogue, limit)
    title = tag("h4", f"Detections above S/N {MIN_SNR:g}")
    if total == 0:
        return title + tag("p", "None.", class_="hint")
    if len(chosen) == 0:
        return title + tag("p", f"{total}, none shown.", class_="hint")
    panels = _Panels(loaded, summary)
    triplets = [panels.triplet(catalogue["x"][k], catalogue["y"][k]) for k in chosen]
    name = f"{loaded.entry.name}-stamps"
    cards = "".join(
        figure(_window(name, triplets[0].shape, n), caption(catalogue, k))
        for n, k in enumerate(chosen)
    )
    return (
        title
        + tag("p", text(_hint(len(chosen), total, panels.half)), class_="hint")
        + _sprite(name, triplets)
        + tag("div", cards, class_="gallery")
    )


def select(catalogue, limit):
    """Rows to show, in order, and how many there are above MIN_SNR."""
    snr = np.asarray(catalogue["snr"], float)
    candidates = np.flatnonzero(snr > MIN_SNR)
    flagged = is_flagged(catalogue)[candidates]
    order = np.lexsort((-snr[candidates], flagged))
    return candidates[order][:limit], len(candidates)


def _hint(shown, total, half):
    left_out = total - shown
    which = f"The first {shown} of {total}; {left_out} are left out" if left_out else f"All {total}"
    return (
        f"{which}: those without a flag, then the flagged, each the most significant first. "
        f"Science | template | difference, {2 * half + 1} px. Science and template share one "
        "scale (the template times the kernel sum); the difference in sigmas goes from blue "
        "(fainter) through white to red (brighter), as far as its own peak on both sides; yellow: "
        "unusable pixels."
    )


class _Panels:
    """The three images, ready to be cut."""

    def __init__(self, loaded, summary):
        fwhm = card(loaded.subtracted, "SCIFWHM", 5.0)
        self.half = int(np.clip(np.rint(_HALF_FWHM * fwhm), 15, 25))
        self._science = loaded.science
        self._template = loaded.template.image
        self._kernel_sum = card(loaded.subtracted, "KSUM", 1.0)
        self._sigmas = summary.sigmas
        self._unusable = loaded.difference.mask.any(*UNUSABLE)
        blank = self._science[summary.blank] if summary.blank is not None else self._science
        self._sigma = robust_sigma(blank[np.isfinite(blank)])

    def triplet(self, x, y):
        """Palette indices of the three stamps in a row, (2 half + 1, width) uint8."""
        science, template, difference = (
            pictures.cutout(image, x, y, self.half)
            for image in (self._science, self._template, self._sigmas)
        )
        science, template = (_above_sky(a) for a in (science, template * self._kernel_sum))
        brightest = np.nan_to_num(np.stack([science, template])).max()
        top = float(np.clip(brightest / self._sigma, 30, 1000))
        shades = [
            pictures.grey_index(pictures.sky_stretch(a, level=0.0, sigma=self._sigma, top=top))
            for a in (science, template)
        ]
        unusable = pictures.cutout(self._unusable, x, y, self.half) != 0
        peak = max(float(np.abs(np.nan_to_num(np.where(unusable, 0.0, difference))).max()), 5.0)
        signed = np.arcsinh(difference / 2.0) / np.arcsinh(peak / 2.0)
        index = np.where(unusable, pictures.MASKED, pictures.diverging_index(signed))
        gap = np.full((len(index), _GAP), pictures.CLEAR, np.uint8)
        return np.concatenate([shades[0], gap, shades[1], gap, index], axis=1).astype(np.uint8)


def _above_sky(stamp):
    finite = stamp[np.isfinite(stamp)]
    return stamp - (np.percentile(finite, 20) if finite.size else 0.0)


def _sprite(name, triplets):
    """The one picture, out of sight, that all windows look at; y runs upwards in a stamp."""
    clear = np.full((_GAP, triplets[0].shape[1]), pictures.CLEAR, np.uint8)
    rows = [part for triplet in triplets for part in (triplet[::-1], clear)]
    index = np.concatenate(rows)
    height, width = index.shape
    image = tag("image", id=name, href=pictures.palette_uri(index), width=width, height=height)
    return tag("svg", tag("defs", image), width=0, height=0, class_="sprite")


def _window(name, shape, place):
    """The view of one triplet."""
    height, width = shape
    view = f"0 {place * (height + _GAP)} {width} {height}"
    return tag("svg", tag("use", href=f"#{name}"), class_="stamps", viewBox=view)


def caption(catalogue, k):
    """What is known of a detection, HTML."""
    kind = "dipole" if catalogue["isDipole"][k] else ""
    magnitude = catalogue["psfMag"][k]
    head = [
        f"<b>S/N {number(catalogue['snr'][k], '.1f')}</b>",
        f"{number(catalogue['psfFlux'][k], ',.0f')} ± "
        f"{number(catalogue['psfFluxErr'][k], ',.0f')}\u00a0nJy",
        f"AB\u00a0{number(magnitude, '.2f')}" if np.isfinite(magnitude) else "",
        tag("b", kind) if kind else "",
    ]
    reliability = catalogue["reliability"][k]
    place = [
        f"{number(catalogue['ra'][k], '.5f')}° {number(catalogue['dec'][k], '+.5f')}°",
        f"reliability\u00a0{number(reliability, '.2f')}" if np.isfinite(reliability) else "",
    ]
    flags = flag_words(catalogue, k)
    lines = [" · ".join(filter(None, part)) for part in (head, place)]
    lines.append(f"id {catalogue['diaSourceId'][k]}")
    if flags:
        lines.append(tag("span", text(", ".join(flags)), class_="flags"))
    return "<br>".join(lines)


def flag_words(catalogue, k):
    """The flags of a detection in plain words."""
    words = [phrase for name, phrase in _WORDS.items() if catalogue[name][k]]
    for name, phrase in _PIXEL_WORDS.items():
        centre = f"pixelFlags_{name}Center"
        if catalogue[centre][k] if centre in catalogue else False:
            words.append(f"{phrase} at the centre")
        elif catalogue[f"pixelFlags_{name}"][k]:
            words.append(phrase)
    return words
