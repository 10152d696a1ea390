"""The section of one exposure: its images, kernel, noise, stars, notes and detections."""

import numpy as np

from skydelta.mask import UNUSABLE
from skydelta.report import pictures, plots
from skydelta.report.entries import card, is_flagged
from skydelta.report.gallery import gallery
from skydelta.report.html import Column, figure, folded, number, table, tag, text
from skydelta.report.statistics import LAGS
from skydelta.stage import is_provenance

_CORRELATION_RANGE = 0.2
"""Noise correlations are shown between plus and minus this."""


def exposure_section(loaded, summary, coadds=None, *, max_stamps=60):
    """HTML of one exposure.

    Parameters
    ----------
    loaded
        skydelta.report.entries.Loaded.
    summary
        skydelta.report.summary.Summary of it.
    coadds
        Names of the coadds under it, or None if not known.
    max_stamps
        Largest number of detections in the gallery.
    """
    entry = loaded.entry
    head = tag("h3", text(entry.name)) + status_badge(loaded.status)
    head += tag("span", _facts(loaded, coadds), class_="hint")
    parts = [tag("header", head)]
    if loaded.message and not loaded.is_ok:
        parts.append(tag("p", text(loaded.message)))
    parts.append(_images(loaded, summary))
    if loaded.kernel is not None:
        parts.append(_kernel_and_stars(loaded))
    if summary.after is not None:
        parts.append(_noise(summary, entry.name))
    if _has_stamps(loaded, summary):
        parts.append(gallery(loaded, summary, max_stamps))
    parts.append(_notes(loaded))
    return tag("section", "".join(parts), class_="exposure", id=entry.name)


def _has_stamps(loaded, summary):
    """Whether there are detections, and the three images on one grid to cut stamps from."""
    if loaded.catalogue is None or summary.sigmas is None:
        return False
    shapes = {getattr(e, "shape", None) for e in (loaded.science, loaded.template, summary.sigmas)}
    return len(shapes) == 1


def status_badge(status):
    """The status as a coloured word."""
    return tag("span", text(status), class_=f"status{' ok' if status == 'ok' else ''}")


def _facts(loaded, coadds):
    facts = []
    if loaded.difference is not None:
        ny, nx = loaded.difference.shape
        facts.append(f"{nx} × {ny} px")
        if np.isfinite(loaded.difference.mjd):
            facts.append(f"MJD {loaded.difference.mjd:.5f}")
        if np.isfinite(loaded.difference.exptime):
            facts.append(f"{loaded.difference.exptime:g} s")
        calib = loaded.difference.photo_calib
        if calib is not None:
            facts.append(f"zero point {calib.zero_point:.3f} mag")
    if coadds is not None:
        facts.append(f"{len(coadds)} coadds: {'; '.join(coadds)}" if coadds else "no coadd")
    return text(" · ".join(facts))


def _images(loaded, summary):
    panels = []
    mask = loaded.difference.mask if loaded.difference is not None else None
    if loaded.science is not None:
        science_mask = ~np.isfinite(loaded.science)
        if mask is not None and mask.array.shape == science_mask.shape:
            science_mask |= mask.any("BAD", "SAT", "CR")
        uri = pictures.sky_picture(loaded.science, science_mask)
        overlay = compass(loaded.difference.wcs, loaded.science.shape) if mask is not None else ""
        panels.append(figure(_sky(uri, loaded.science.shape, overlay), "<b>Science</b>"))
    if loaded.template is not None:
        shape = loaded.template.shape
        empty = loaded.template.mask.any("NO_DATA")
        image = np.where(empty, np.float32(np.nan), loaded.template.image)
        uri = pictures.sky_picture(image, loaded.template.mask.any(*UNUSABLE))
        panels.append(figure(_sky(uri, shape), "<b>Template</b> on the science grid"))
    if summary.sigmas is not None:
        unusable = mask.any(*UNUSABLE)
        uri = pictures.difference_picture(summary.sigmas, unusable)
        fwhm = card(loaded.subtracted, "SCIFWHM", 4.0)
        circles = _circles(loaded.catalogue, fwhm, unusable.shape) if loaded.catalogue else ""
        keys = "".join(
            f'<span class="key {kind}"></span>{kind}'
            for kind in ("positive", "negative", "dipole", "flagged", "masked")
        )
        caption = f"<b>Difference</b> / √V, ±{pictures.SIGMA_RANGE:g} sigma;{keys}"
        panels.append(figure(_sky(uri, unusable.shape, circles), caption))
    return tag("div", "".join(panels), class_="row three") if panels else ""


def _sky(uri, shape, overlay=""):
    """A picture with drawings in image pixels on it; y runs upwards, so that svg y is -y."""
    ny, nx = shape
    factor = pictures.shrink_factor(shape)
    height, width = (n // factor * factor for n in shape)
    image = (
        f'<image href="{uri}" x="-0.5" y="{0.5 - height}" width="{width}" height="{height}" '
        'preserveAspectRatio="none"/>'
    )
    view = f"-0.5 {0.5 - ny} {nx} {ny}"
    return f'<svg class="sky" viewBox="{view}">{image}{overlay}</svg>'


def _circles(catalogue, fwhm, shape):
    flagged = is_flagged(catalogue)
    radius = max(2.0 * fwhm, 0.012 * max(shape))
    out = []
    for k in range(len(flagged)):
        kind = "negative" if catalogue["isNegative"][k] else "positive"
        kind = "dipole" if catalogue["isDipole"][k] else kind
        words = f"{kind}, S/N {catalogue['snr'][k]:.1f}, {catalogue['psfFlux'][k]:.0f} nJy"
        look = f"{kind} flagged" if flagged[k] else kind
        out.append(
            f'<circle class="{look}" cx="{catalogue["x"][k]:.1f}" cy="{-catalogue["y"][k]:.1f}" '
            f'r="{radius:.1f}"><title>{words}</title></circle>'
        )
    return "".join(out)


def compass(wcs, shape):
    """Arrows to north and east, in the lower left corner."""
    ny, nx = shape
    length, margin = 0.07 * max(shape), 0.1 * max(shape)
    ra, dec = (float(v) for v in wcs.all_pix2world((nx - 1) / 2, (ny - 1) / 2, 0))
    step = 1.0 / 3600.0
    arrows = []
    for name, dra, ddec in (("N", 0, step), ("E", step / np.cos(np.radians(dec)), 0)):
        x, y = wcs.wcs_world2pix([ra, ra + dra], [dec, dec + ddec], 0)
        angle = np.arctan2(y[1] - y[0], x[1] - x[0])
        dx, dy = length * np.cos(angle), length * np.sin(angle)
        arrows.append(
            f'<line x1="{margin:.1f}" y1="{-margin:.1f}" x2="{margin + dx:.1f}" '
            f'y2="{-margin - dy:.1f}" stroke="#23262b" stroke-width="1.4" '
            'vector-effect="non-scaling-stroke"/>'
            f'<text x="{margin + 1.3 * dx:.1f}" y="{-margin - 1.3 * dy:.1f}" '
            f'text-anchor="middle" dominant-baseline="central" '
            f'style="font-size:{0.03 * max(shape):.1f}px">{name}</text>'
        )
    return "".join(arrows)


def _pixels(uri, width, alt):
    return tag("img", class_="pixels", src=uri, width=width, alt=alt).removesuffix("</img>")


def _kernel_and_stars(loaded):
    figures = _kernel(loaded.kernel)
    if len(loaded.stars["snr"]):
        figures += _stars(loaded.stars, loaded.entry.name)
    return tag("h4", "Matching kernel and its stars") + tag("div", figures, class_="graphs")


def _kernel(kernel):
    ny, nx = kernel.shape
    x, y = (a.ravel() for a in np.meshgrid(*(np.linspace(0.1, 0.9, 3) * n for n in (nx, ny))))
    grid = kernel.at(x, y)
    middle = kernel.image((nx - 1) / 2, (ny - 1) / 2)
    top = float(np.abs(grid).max())

    def shade(k):
        return pictures.diverging(np.arcsinh(10.0 * k / top) / np.arcsinh(10.0))

    sprite = pictures.grid_of([shade(k) for k in grid], 3)
    centre, field = (
        _pixels(pictures.data_uri(pixels), 190, alt)
        for pixels, alt in (
            (shade(middle), "kernel at the image centre"),
            (sprite, "kernels over the field"),
        )
    )
    return figure(
        centre, f"<b>Kernel</b> at the centre, {kernel.size} px;<br>blue negative, red positive"
    ) + figure(field, "at 10, 50 and 90 %<br>of each axis")


def _noise(summary, name):
    before, after = summary.before, summary.after
    raw = summary.raw_sigmas[summary.blank]
    histogram = plots.noise_histogram(raw, summary.sigmas[summary.blank])
    profile = plots.lag_profile(before.autocorrelation, after.autocorrelation, LAGS)
    sprite = pictures.side_by_side(
        [
            pictures.diverging(noise.autocorrelation / _CORRELATION_RANGE)
            for noise in (before, after)
        ],
        gap=1,
    )
    rms = f"rms {number(before.rms, '.3f')} before, <b>{number(after.rms, '.3f')}</b> after; "
    rms += f"mean {number(after.mean, '+.3f')}"
    lag = (
        f"neighbours {number(before.neighbour, '.3f')} before, "
        f"<b>{number(after.neighbour, '.3f')}</b> after"
    )
    count = number(after.count, ",d")
    figures = (
        _plot(histogram, f"{name}-h", f"<b>Noise</b> of {count} blank px:<br>{rms}")
        + _plot(profile, f"{name}-l", f"<b>Correlation</b> of the noise:<br>{lag}")
        + figure(
            _pixels(pictures.data_uri(sprite), 270, "noise autocorrelation"),
            f"Autocorrelation of the noise before | after, lags to {LAGS} px, "
            f"±{_CORRELATION_RANGE:g}",
        )
    )
    return tag("h4", "Noise") + tag("div", figures, class_="graphs")


def _plot(svg, prefix, caption):
    return figure(plots.with_unique_ids(svg, prefix), caption, class_="plot")


def _stars(stars, name):
    used = np.asarray(stars["used"], bool)
    reasons, counts = np.unique(np.asarray(stars["reason"])[~used], return_counts=True)
    why = ", ".join(f"{n} by {r.strip()}" for r, n in zip(reasons, counts, strict=True))
    caption = f"<b>Stars</b> of the kernel fit: {used.sum()} used, {(~used).sum()} rejected"
    caption += f" ({text(why)})" if why else ""
    return _plot(plots.star_residuals(stars), f"{name}-s", caption)


def _notes(loaded):
    rows = []
    for source, exposure in (("template", loaded.template), ("difference", loaded.difference)):
        if exposure is not None:
            rows += [{"source": source, "note": n} for n in exposure.notes if not is_provenance(n)]
    columns = Column("source", "Image"), Column("note", "What was estimated, repaired or lowered")
    notes = table(columns, rows, class_="text") if rows else ""
    numbers = [{"key": k, "value": _plain(v)} for k, v in sorted(loaded.numbers.items())]
    status = table((Column("key", "Key"), Column("value", "Value")), numbers, class_="text")
    title = tag("h4", "Notes") if notes else ""
    return title + notes + folded("All numbers of the status file", status)


def _plain(value):
    return f"{value:.6g}" if isinstance(value, float) else str(value)
