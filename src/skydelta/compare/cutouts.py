"""The same places of every method's difference, on one grey scale."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from skydelta.report import pictures
from skydelta.report.html import number, tag, text
from skydelta.report.statistics import local_background, robust_sigma

HALF = 30
"""Half width of a cut-out, px."""

_ROW_WIDTH, _WIDTHS = 1070, (84, 140)
"""Of a row of cut-outs and of one of them, least and most, CSS px."""

_LABEL = "white-space:normal;min-width:8rem;border:0"
"""Style of the words beside a row."""

_SAME = 3.0
"""px; detections closer than this are the same."""

_TYPICAL_SNR = 12.0
"""Expected S/N of the events that are shown."""


@dataclass(frozen=True)
class Place:
    """A position to show, 0-based px, and what is there."""

    x: float
    y: float
    what: str


def chosen_places(prepared, results, threshold):
    """Places that tell methods apart, at most five.

    The brightest constant star; a change on a host and one off hosts where the truth is known, or
    the strongest source that all methods found; the strongest detection that one of the methods
    lacks; the brightest saturated star.

    Parameters
    ----------
    prepared
        skydelta.compare.prepare.Prepared.
    results
        MethodResults that are ok.
    threshold
        Of the detection.

    Returns
    -------
    list of Place
    """
    places = []
    x, y, _ = prepared.stars
    if len(x):
        places.append(Place(x[0], y[0], "brightest constant star"))
    places += _events(prepared.events) if prepared.events is not None else []
    if prepared.events is None:
        places += _strongest(results, prepared, places, threshold, by_all=True)
    places += _strongest(results, prepared, places, threshold, by_all=False)
    places += _saturated(prepared)
    return places


def _events(events):
    hidden = np.asarray(events.get("masked", np.zeros(len(events["x"])))) != 0
    on_host = np.asarray(events.get("on_host", np.zeros(len(events["x"])))) != 0
    places = []
    for which, words in ((~on_host & ~hidden, "off hosts"), (on_host & ~hidden, "on a host")):
        index = np.flatnonzero(which)
        if index.size == 0:
            continue
        snr = np.asarray(events["snr_expected"], float)[index]
        k = index[int(np.argmin(np.abs(np.log(np.maximum(snr, 1e-3) / _TYPICAL_SNR))))]
        name = f"true change {words}, S/N {events['snr_expected'][k]:.0f}"
        places.append(Place(float(events["x"][k]), float(events["y"][k]), name))
    return places


def _strongest(results, prepared, taken, threshold, *, by_all):
    """The strongest detection that all methods have, or that some lack; away from places taken."""
    lists = [np.column_stack([r.details[k] for k in ("x", "y", "score")]) for r in results]
    lists = [points[np.isfinite(points).all(axis=1)] for points in lists]
    far = np.load(prepared.folder / "far.npy", mmap_mode="r")
    trees = [cKDTree(points[:, :2]) for points in lists]
    best, words = 0.0, None
    for points in lists:
        finders = np.sum([tree.query(points[:, :2])[0] < _SAME for tree in trees], axis=0)
        for (x, y, score), count in zip(points.tolist(), finders, strict=True):
            if (count == len(lists)) != by_all or abs(score) < max(threshold, abs(best)):
                continue
            if _inside(far, x, y) and not _is_taken(x, y, taken):
                who = "all" if by_all else f"{count} of {len(lists)}"
                best, words = score, (x, y, f"found by {who}, score {number(score, '+.1f')}")
    return [Place(*words)] if words else []


def _inside(far, x, y, margin=HALF):
    ny, nx = far.shape
    i, j = round(x), round(y)
    return margin <= i < nx - margin and margin <= j < ny - margin and bool(far[j, i])


def _is_taken(x, y, places):
    return any(np.hypot(x - place.x, y - place.y) < HALF for place in places)


def _saturated(prepared):
    """The middle of the largest group of saturated pixels, away from the edges."""
    from scipy import ndimage

    labels, n = ndimage.label(prepared.science.mask.any("SAT"))
    if n == 0:
        return []
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    ny, nx = labels.shape
    for k in np.argsort(-sizes, kind="stable")[:5]:
        y, x = ndimage.center_of_mass(labels == k)
        if sizes[k] and HALF <= x < nx - HALF and HALF <= y < ny - HALF:
            return [Place(float(x), float(y), "saturated star")]
    return []


def gallery(prepared, places, planes):
    """HTML of the cut-outs: a row a place; science, template and every method side by side.

    Parameters
    ----------
    prepared
        skydelta.compare.prepare.Prepared.
    places
        From `chosen_places`.
    planes
        {method: path of its D / sqrt(V)}.
    """
    if not places or not planes:
        return ""
    head = ["", "science", "template", *planes]
    rows = [tag("tr", "".join(tag("th", _heading(name)) for name in head))]
    skies = {name: np.load(prepared.folder / f"{name}.npy") for name in ("science", "template")}
    looks = {name: _look(image) for name, image in skies.items()}
    sigmas = [np.load(path, mmap_mode="r") for path in planes.values()]
    width = int(np.clip(_ROW_WIDTH / (len(planes) + 2) - 4, *_WIDTHS))
    for place in places:
        where = f"{text(place.what)}<br>x {place.x:.0f}, y {place.y:.0f}"
        cells = [tag("td", where, class_="hint", style=_LABEL)]
        for name, image in skies.items():
            level, sigma = looks[name]
            cut = pictures.cutout(image, place.x, place.y, HALF)
            sky = pictures.cutout(level, place.x, place.y, HALF)
            shade = pictures.sky_stretch(cut - sky, level=0.0, sigma=sigma, top=300.0)
            cells.append(_cell(pictures.grey(shade), width))
        for plane in sigmas:
            cut = pictures.cutout(plane, place.x, place.y, HALF)
            cells.append(_cell(sigma_grey(cut), width))
        rows.append(tag("tr", "".join(cells)))
    caption = (
        f"{2 * HALF + 1} px wide. The differences are D/√V on one scale for all methods: white "
        f"−{pictures.SIGMA_RANGE:g}, mid-grey 0, black +{pictures.SIGMA_RANGE:g} sigma."
    )
    grid = tag("div", tag("table", "".join(rows)), class_="wide")
    return (
        tag("h4", "The same places of every difference") + grid + tag("p", caption, class_="hint")
    )


def _heading(name):
    """A name that may be broken after its colon."""
    return text(name).replace(":", ":<br>").replace("_", "_<wbr>")


def _look(image):
    """Local sky of an image and its noise."""
    level = local_background(image)
    return level, robust_sigma((image - level)[np.isfinite(image)])


def sigma_grey(values):
    """(ny, nx, 3) uint8 of D / sqrt(V): white for negative, black for positive."""
    shade = 0.5 * (np.nan_to_num(values.astype(np.float32)) / pictures.SIGMA_RANGE + 1.0)
    return pictures.grey(np.clip(shade, 0.0, 1.0))


def _cell(pixels, width):
    image = tag(
        "img", class_="pixels", src=pictures.data_uri(pixels), width=width, alt="cut-out"
    ).removesuffix("</img>")
    return tag("td", image, style="padding:2px;border:0")
