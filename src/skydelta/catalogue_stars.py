"""Which sources of an image are stars of a reference catalogue."""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.errors import NoWcsError

logger = logging.getLogger(__name__)

_ARCSEC = 180.0 * 3600.0 / np.pi
"""arcsec per radian."""

_WIDER = 3.0
"""Offsets of the WCS are looked for within this many matching radii."""

_MIN_PAIRS = 5
_OVER_CHANCE = 5.0
"""An offset is real if so many pairs share it above so many times the number due to chance."""

_EDGE_POINTS = 32


@dataclass(frozen=True, eq=False)
class CatalogueMatch:
    """The sources that are catalogue stars.

    Parameters
    ----------
    selected
        (n,) bool, of the sources as given.
    n_on_image
        Number of the catalogue's stars that lie on the image.
    offset
        (east, north) in arcsec at the image's centre by which the catalogue lies off the image's
        WCS; it was taken out before matching. Zero if none could be told.
    """

    selected: np.ndarray
    n_on_image: int
    offset: tuple


def stars_at(found, shape, wcs, catalogue, *, radius=1.0):
    """The sources of an image that are stars of a catalogue.

    Source and star must be each other's nearest, so that each is matched once. Objects that the
    catalogue knows not to be stars take part, lest their images be given to a star nearby.

    Parameters
    ----------
    found
        (n,) array of `skydelta.stars.STAR_DTYPE`; only x and y (0-based px) are used.
    shape
        (ny, nx) of the image.
    wcs
        Celestial astropy.wcs.WCS of the image.
    catalogue
        skydelta.io.star_catalogue.StarCatalogue.
    radius
        Largest distance of a match, arcsec.

    Returns
    -------
    CatalogueMatch

    Raises
    ------
    NoWcsError
        If the WCS gives no sky position for the image's outline.
    """
    ny, nx = shape
    edge_x, edge_y = _outline(nx, ny)
    outline = _unit_vectors(*_sky(wcs, edge_x, edge_y))
    plane = _TangentPlane.at(_unit_vectors(*_sky(wcs, [(nx - 1) / 2], [(ny - 1) / 2]))[0])
    if not np.isfinite(plane.axes).all() or not np.isfinite(outline).all():
        msg = "the WCS gives no sky position for parts of the image's outline"
        raise NoWcsError(msg)
    outline = plane.project(outline)
    valid = np.flatnonzero(np.isfinite(found["x"]) & np.isfinite(found["y"]))
    sources = plane.project(_unit_vectors(*_sky(wcs, found["x"][valid], found["y"][valid])))
    objects = plane.project(_unit_vectors(catalogue.ra, catalogue.dec))
    is_star = np.ones(len(objects), bool) if catalogue.is_star is None else catalogue.is_star

    low, high = outline.min(axis=0), outline.max(axis=0)
    margin = 2.0 * _WIDER * radius
    with np.errstate(invalid="ignore"):
        near = np.flatnonzero(((objects > low - margin) & (objects < high + margin)).all(axis=1))
    objects, is_star = objects[near], is_star[near]
    sane = np.isfinite(sources).all(axis=1)
    valid, sources = valid[sane], sources[sane]

    offset, n_pairs = _common_offset(sources, objects, radius)
    i, j = _mutual_nearest(sources, objects - offset, radius)
    selected = np.zeros(len(found), bool)
    selected[valid[i[is_star[j]]]] = True
    n_on_image = int((_inside(outline, objects - offset) & is_star).sum())
    level = logging.WARNING if np.hypot(*offset) > radius else logging.INFO
    logger.log(
        level,
        "catalogue %s: %d of its stars on the image, %d of %d sources are stars of it; it lies "
        "%+.3f arcsec east and %+.3f north of the image's WCS (%d pairs)",
        *(catalogue.name, n_on_image, selected.sum(), len(found), *offset, n_pairs),
    )
    return CatalogueMatch(selected, n_on_image, tuple(map(float, offset)))


@dataclass(frozen=True)
class _TangentPlane:
    """Gnomonic projection: arcsec along east and north; it knows neither poles nor RA 0/360."""

    axes: np.ndarray

    @classmethod
    def at(cls, centre):
        east = np.cross((0.0, 0.0, 1.0), centre)
        # On a pole itself, where any direction is as good, numpy would divide by zero.
        east = east / np.linalg.norm(east) if np.any(east != 0) else np.array([0.0, 1.0, 0.0])
        return cls(np.array([east, np.cross(centre, east), centre]))

    def project(self, vectors):
        """(n, 2) arcsec of (n, 3) unit vectors; NaN beyond 80 degrees from the centre."""
        east, north, along = self.axes @ vectors.T
        along = np.where(along > np.cos(np.radians(80.0)), along, np.nan)
        return np.column_stack([east / along, north / along]) * _ARCSEC


def _common_offset(sources, objects, radius):
    """(2,) arcsec that most objects lie off their sources, and how many pairs say so.

    True pairs share one offset, chance ones scatter evenly over the circle searched: the median
    is taken about the place that most pairs crowd around.
    """
    from scipy.spatial import cKDTree

    none = np.zeros(2), 0
    if not len(sources) or not len(objects):
        return none
    pairs = cKDTree(sources).sparse_distance_matrix(
        cKDTree(objects), _WIDER * radius, output_type="ndarray"
    )
    if len(pairs) < _MIN_PAIRS:
        return none
    step = objects[pairs["j"]] - sources[pairs["i"]]
    core = 0.5 * radius
    offset = step[np.argmax(cKDTree(step).query_ball_point(step, core, return_length=True))]
    for _ in range(3):
        close = np.hypot(*(step - offset).T) <= core
        offset = np.median(step[close], axis=0)
    by_chance = len(pairs) * (core / (_WIDER * radius)) ** 2
    if close.sum() < _MIN_PAIRS + _OVER_CHANCE * by_chance:
        logger.info("no offset of the WCS can be told from %d pairs", len(pairs))
        return none
    return offset, int(close.sum())


def _mutual_nearest(sources, objects, radius):
    """Indices of the sources and objects that are each other's nearest, within the radius."""
    from scipy.spatial import cKDTree

    if not len(sources) or not len(objects):
        return np.zeros(0, int), np.zeros(0, int)
    distance, nearest = cKDTree(objects).query(sources)
    back = cKDTree(sources).query(objects)[1]
    i = np.flatnonzero((distance <= radius) & (back[nearest] == np.arange(len(sources))))
    return i, nearest[i]


def _outline(nx, ny):
    """0-based x and y of points along the outer edges of the pixels, in order."""
    t = np.arange(_EDGE_POINTS) / _EDGE_POINTS
    zero, one = np.zeros_like(t), np.ones_like(t)
    return (
        np.concatenate([t, one, 1 - t, zero]) * nx - 0.5,
        np.concatenate([zero, t, one, 1 - t]) * ny - 0.5,
    )


def _inside(outline, points):
    """Whether (n, 2) points lie in a polygon: a ray from each crosses it an odd number of times."""
    inside = np.zeros(len(points), bool)
    x, y = points.T
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _sky(wcs, x, y):
    """ICRS ra, dec in deg of n 0-based pixel positions."""
    if not len(x):
        return np.zeros(0), np.zeros(0)
    if wcs.wcs.lngtyp == "RA":
        return wcs.all_pix2world(x, y, 0, ra_dec_order=True)
    sky = wcs.pixel_to_world(x, y).icrs
    return sky.ra.deg, sky.dec.deg


def _unit_vectors(ra, dec):
    """(n, 3) of positions in deg."""
    ra, dec = np.radians(ra), np.radians(dec)
    with np.errstate(invalid="ignore"):  # of infinite positions
        return np.column_stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
