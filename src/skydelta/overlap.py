"""Which coadds lie under which exposure, and how much of the exposure they cover.

Outlines are polygons on the sphere. Fractions are ratios of solid angles, exact to rounding, so
neither rotated patches nor overlapping ones are counted wrongly.
"""

import hashlib
import logging
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from skydelta import sphere
from skydelta.errors import MissingFileError, NoOverlapError
from skydelta.io.footprints import (
    Footprint,
    code_digest,
    file_stamp,
    load_cache,
    read_footprints,
    store_cache,
)
from skydelta.io.tracts_mapping import mapped_coadds

logger = logging.getLogger(__name__)

_NEGLIGIBLE = 1e-9
"""Fraction of an exposure (a hundredth of a pixel) below which an overlap is rounding."""

_MOST_WARNINGS = 10


@dataclass(frozen=True, slots=True)
class Overlap:
    """One coadd under one exposure; `fraction` of the exposure's area lies on the coadd."""

    visit: int
    detector: int
    band: str
    tract: int
    patch: tuple[int, int]
    fraction: float

    @property
    def exposure_key(self):
        """(visit, detector, band)."""
        return self.visit, self.detector, self.band

    @property
    def coadd_key(self):
        """(tract, patch, band)."""
        return self.tract, self.patch, self.band


@dataclass(frozen=True, slots=True)
class Coverage:
    """What one exposure can expect: ``ok``, ``no_overlap`` or the status of its input error.

    Parameters
    ----------
    fraction
        Part of the exposure's area on at least one coadd; NaN if its outline is not known.
    n_coadds
        Number of coadds under it.
    message
        Why it cannot be done; empty if it can.
    """

    visit: int
    detector: int
    band: str
    status: str
    fraction: float
    n_coadds: int
    message: str = ""


def survey_overlaps(
    exposures, coadds, *, mapping=None, footprints=None, cache=None, margin_px=10.0
):
    """All that the overlap stage has to say.

    Parameters
    ----------
    exposures, coadds
        Rows of the two tables.
    mapping
        A tracts_mapping.sqlite3 that decides which coadd belongs to which exposure; None to find
        out from the outlines.
    footprints
        Footprints by path known beforehand, of images that may not exist yet; the headers of all
        others are read. A file named here is not opened.
    cache
        Folder in which footprints are kept from one call to the next; None for no cache.
    margin_px
        A coadd also counts if it lies at most this far from the exposure, in exposure pixels.

    Returns
    -------
    overlaps : list of Overlap
        Sorted by exposure and coadd.
    coverage : list of Coverage
        One for each exposure, in the order of the table.
    """
    footprints = _all_footprints(exposures, coadds, footprints, cache)
    if mapping is None:
        overlaps = find_overlaps(exposures, coadds, footprints, margin_px=margin_px)
    else:
        overlaps = mapped_overlaps(exposures, coadds, footprints, mapping)
    return overlaps, find_coverage(exposures, coadds, footprints, overlaps)


def find_overlaps(exposures, coadds, footprints, *, margin_px=10.0):
    """The coadds of its own band that each exposure overlaps.

    Parameters
    ----------
    exposures, coadds
        Rows of the two tables.
    footprints
        Footprint by path; images without one (an InputError, or no entry) overlap nothing.
    margin_px
        As in survey_overlaps. An exposure that only comes near its coadds overlaps none.

    Returns
    -------
    list of Overlap
        Sorted by exposure and coadd.
    """
    exposures = [row for row in exposures if _outline(footprints, row) is not None]
    coadds = [row for row in coadds if _outline(footprints, row) is not None]
    convex = _ConvexPieces(footprints)
    overlaps = []
    for exposure, candidates in _neighbours(exposures, coadds, footprints, margin_px):
        footprint = footprints[exposure.path]
        offset = math.sin(margin_px * footprint.pixel_scale)
        found = []
        for coadd in candidates:
            pieces = convex[coadd.path]
            fraction = _fraction(footprint, pieces)
            if fraction > 0.0 or _comes_near(footprint, pieces, offset):
                found.append(_overlap(exposure, coadd, fraction))
        if any(overlap.fraction > 0.0 for overlap in found):
            overlaps += found
    return _sorted(overlaps)


def mapped_overlaps(exposures, coadds, footprints, mapping):
    """The coadds of each exposure as a tracts_mapping.sqlite3 has them.

    Rows of the mapping whose exposure or coadd is not in the tables are left out; fractions are
    taken from the footprints, NaN where one is missing.

    Returns
    -------
    list of Overlap
        Sorted by exposure and coadd.
    """
    by_key = {coadd.key: coadd for coadd in coadds}
    convex = _ConvexPieces(footprints)
    overlaps = []
    for exposure, keys in mapped_coadds(mapping, exposures):
        for coadd in (by_key[key] for key in keys if key in by_key):
            known = all(_outline(footprints, row) is not None for row in (exposure, coadd))
            fraction = math.nan
            if known:
                fraction = _fraction(footprints[exposure.path], convex[coadd.path])
            overlaps.append(_overlap(exposure, coadd, fraction))
    return _sorted(overlaps)


def find_coverage(exposures, coadds, footprints, overlaps):
    """Status and covered fraction of each exposure; coadds that overlap each other count once.

    Returns
    -------
    list of Coverage
        In the order of the exposures.
    """
    paths = {coadd.key: coadd.path for coadd in coadds}
    under = defaultdict(list)
    for overlap in overlaps:
        under[overlap.exposure_key].append(overlap)
    convex = _ConvexPieces(footprints)
    explain = _NoOverlapMessages(coadds, footprints)
    result = []
    for exposure in exposures:
        mine = under[exposure.key]
        footprint = footprints.get(exposure.path)
        if not isinstance(footprint, Footprint):
            error = footprint or MissingFileError(f"no footprint of {exposure.path} is known")
            status, fraction, message = error.status, math.nan, str(error)
        else:
            parts = [(o.fraction, convex[paths[o.coadd_key]]) for o in mine if o.fraction > 0.0]
            fraction = _covered_fraction(footprint, parts)
            status, message = "ok", ""
            if fraction == 0.0:
                status, message = NoOverlapError.status, explain(exposure.band, footprint)
        result.append(Coverage(*exposure.key, status, fraction, len(mine), message))
    return result


def overlap_edges(exposures, coadds, *, mapping=None, footprints=None, cache=None, margin_px=10.0):
    """The coadds each exposure needs, for the workflow's graph.

    Parameters are those of survey_overlaps. With a `cache` the answer itself is kept too, so that
    a start with unchanged tables, mapping and images costs one look at each file's time and size.

    Returns
    -------
    dict
        List of CoaddRow by (visit, detector, band), in the order of tract and patch. It is empty
        for an exposure that does not exist or cannot be read, and leaves such coadds out.
    """
    if cache is None:
        indices = _edge_indices(exposures, coadds, mapping, footprints, cache, margin_px)
    else:
        store = Path(cache) / "edges.json"
        digest = _digest(exposures, coadds, mapping, footprints, margin_px)
        indices = load_cache(store, digest)
        if indices is None:
            indices = _edge_indices(exposures, coadds, mapping, footprints, cache, margin_px)
            store_cache(store, digest, indices)
    return {
        exposure.key: [coadds[i] for i in wanted]
        for exposure, wanted in zip(exposures, indices, strict=True)
    }


def _edge_indices(exposures, coadds, mapping, footprints, cache, margin_px):
    """Positions in the coadd table, one list for each exposure."""
    footprints = _all_footprints(exposures, coadds, footprints, cache)
    if mapping is None:
        overlaps = find_overlaps(exposures, coadds, footprints, margin_px=margin_px)
    else:
        overlaps = [
            overlap
            for overlap in mapped_overlaps(exposures, coadds, footprints, mapping)
            if not math.isnan(overlap.fraction)
        ]
    _warn_of_unreadable(coadds, footprints)
    position = {coadd.key: i for i, coadd in enumerate(coadds)}
    indices = {exposure.key: [] for exposure in exposures}
    for overlap in overlaps:
        indices[overlap.exposure_key].append(position[overlap.coadd_key])
    return list(indices.values())


def _all_footprints(exposures, coadds, given, cache):
    given = {} if given is None else given
    paths = [row.path for row in (*exposures, *coadds) if row.path not in given]
    store = None if cache is None else Path(cache) / "footprints.json"
    return {**read_footprints(paths, store), **given}


def _outline(footprints, row):
    footprint = footprints.get(row.path)
    return footprint.outline if isinstance(footprint, Footprint) else None


class _ConvexPieces(dict):
    """Edge normals of the convex pieces of each image, by path; made at the first use."""

    def __init__(self, footprints):
        super().__init__()
        self._footprints = footprints

    def __missing__(self, path):
        pieces = sphere.convex_pieces(self._footprints[path].outline)
        self[path] = [sphere.edge_normals(piece) for piece in pieces]
        return self[path]


def _neighbours(exposures, coadds, footprints, margin_px):
    """(exposure, coadds of its band whose bounding circle meets its own), one by one."""
    by_band = defaultdict(list)
    for coadd in coadds:
        by_band[coadd.band].append(coadd)
    indices = {
        band: sphere.CapIndex([sphere.bounding_cap(footprints[c.path].outline) for c in rows])
        for band, rows in by_band.items()
    }
    for exposure in exposures:
        if exposure.band not in indices:
            continue
        footprint = footprints[exposure.path]
        centre, radius = sphere.bounding_cap(footprint.outline)
        # The corners of the margin lie farther out than its sides.
        reach = radius + math.sqrt(2.0) * margin_px * footprint.pixel_scale
        rows = by_band[exposure.band]
        yield exposure, [rows[i] for i in indices[exposure.band].meeting(centre, reach)]


def _fraction(footprint, pieces):
    """Part of a footprint inside the (disjoint, convex) pieces of an image."""
    shared = sum(sphere.area(sphere.intersection(footprint.outline, n)) for n in pieces)
    fraction = shared / footprint.area
    return min(fraction, 1.0) if fraction > _NEGLIGIBLE else 0.0


def _comes_near(footprint, pieces, offset):
    return any(sphere.intersection(footprint.outline, normals, offset) for normals in pieces)


def _covered_fraction(footprint, parts):
    """Part of a footprint inside the union of several images.

    Parameters
    ----------
    footprint
        Of the exposure.
    parts
        (fraction, convex pieces) of each image under it.
    """
    if not parts:
        return 0.0
    fractions = [fraction for fraction, _ in parts]
    if len(parts) == 1 or max(fractions) == 1.0:
        return max(fractions)
    bare = [footprint.outline]
    for _, pieces in sorted(parts, key=lambda part: -part[0]):
        for normals in pieces:
            left = [rest for outline in bare for rest in sphere.difference(outline, normals)]
            bare = [rest for rest in left if sphere.area(rest) > _NEGLIGIBLE * footprint.area]
    if not bare:
        return 1.0
    covered = 1.0 - sum(map(sphere.area, bare)) / footprint.area
    return max(covered, *fractions)


def _overlap(exposure, coadd, fraction):
    return Overlap(*exposure.key, coadd.tract, coadd.patch, fraction)


def _sorted(overlaps):
    return sorted(overlaps, key=lambda o: (o.exposure_key, o.tract, o.patch))


class _NoOverlapMessages:
    """Why an exposure overlaps no coadd, with the place of the nearest one."""

    def __init__(self, coadds, footprints):
        self._coadds = coadds
        self._footprints = footprints
        self._by_band = {}
        self._n_unreadable = _warn_of_unreadable(coadds, footprints)

    def __call__(self, band, footprint):
        rows, index = self._band(band)
        centre, _ = sphere.bounding_cap(footprint.outline)
        where = "RA {:.4f}, Dec {:+.4f} deg".format(*sphere.sky_position(centre))
        message = f"no coadd of band {band!r} lies under the exposure at {where}"
        if rows:
            i, angle = index.nearest(centre)
            message += f"; the nearest, {rows[i].id}, is centred {math.degrees(angle):.3f} deg away"
        else:
            message += f"; bands of the coadds: {self._bands()}"
        if self._n_unreadable:
            message += f"; {self._n_unreadable} coadds could not be read (see the log)"
        return message

    def _bands(self):
        return ", ".join(sorted({coadd.band for coadd in self._coadds})) or "none"

    def _band(self, band):
        if band not in self._by_band:
            rows = [
                coadd
                for coadd in self._coadds
                if coadd.band == band and _outline(self._footprints, coadd) is not None
            ]
            caps = [sphere.bounding_cap(_outline(self._footprints, row)) for row in rows]
            self._by_band[band] = rows, sphere.CapIndex(caps)
        return self._by_band[band]


def _warn_of_unreadable(coadds, footprints):
    """Log the coadds that are left out; returns their number."""
    unreadable = [c for c in coadds if not isinstance(footprints.get(c.path), Footprint)]
    for coadd in unreadable[:_MOST_WARNINGS]:
        reason = footprints.get(coadd.path, "its footprint is not known")
        logger.warning("coadd %s is left out: %s", coadd.id, reason)
    if len(unreadable) > _MOST_WARNINGS:
        logger.warning("%d more coadds are left out", len(unreadable) - _MOST_WARNINGS)
    return len(unreadable)


def _digest(exposures, coadds, mapping, footprints, margin_px):
    """Hash of all that the edges depend on."""
    code = code_digest(__file__)
    lines = [f"{code} {margin_px!r} {mapping} {mapping and file_stamp(mapping)}"]
    lines += [f"{row.key} {row.path} {file_stamp(row.path)}" for row in (*exposures, *coadds)]
    lines += [f"{path} {known!r}" for path, known in sorted((footprints or {}).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
