"""Polygons on the sky: areas, intersections and what is left uncovered, exact to rounding.

A polygon is a tuple of unit vectors (x, y, z), counter-clockwise as seen from outside the sphere,
joined by great circles. It is simple and smaller than a hemisphere. Vectors know neither poles nor
RA 0/360, so neither is a special case.

Survey footprints have a handful of corners: plain floats are ten times faster here than arrays.
"""

import math
from collections import defaultdict
from itertools import pairwise

_ON_PLANE = 1e-13
"""rad (2e-8 arcsec): corners closer than this to a great circle count as lying on it."""


def unit_vector(ra, dec):
    """(x, y, z) of a sky position in deg."""
    ra, dec = math.radians(ra), math.radians(dec)
    return math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)


def sky_position(vector):
    """(ra, dec) in deg of a vector, RA in [0, 360)."""
    x, y, z = vector
    return math.degrees(math.atan2(y, x)) % 360.0, math.degrees(math.atan2(z, math.hypot(x, y)))


def polygon(ra, dec):
    """The polygon with corners at ra, dec (deg), of either sense of rotation; the first stays."""
    corners = tuple(unit_vector(a, d) for a, d in zip(ra, dec, strict=True))
    return corners if area(corners) >= 0 else (corners[0], *corners[:0:-1])


def separation(a, b):
    """Angle between two unit vectors, rad; exact for small angles and for antipodes."""
    return math.atan2(math.hypot(*_cross(a, b)), _dot(a, b))


def area(corners):
    """Solid angle of a polygon, sr; negative if its corners run clockwise.

    Sum of the signed spherical excesses E of the triangles that fan out from the first corner,
    tan(E / 2) = a.(b x c) / (1 + a.b + b.c + c.a) (Van Oosterom & Strackee 1983). The triple
    product is taken of differences of the corners, which keeps arcsecond polygons accurate.
    """
    total = 0.0
    if len(corners) < 3:
        return total
    a = corners[0]
    for b, c in pairwise(corners[1:]):
        triple = _dot(a, _cross(_minus(b, a), _minus(c, a)))
        total += math.atan2(triple, 1.0 + _dot(a, b) + _dot(b, c) + _dot(c, a))
    return 2.0 * total


def bounding_cap(corners):
    """(centre, radius in rad) of a circle on the sky that holds the polygon."""
    centre = _normalised([math.fsum(axis) for axis in zip(*corners, strict=True)])
    return centre, max(separation(centre, corner) for corner in corners)


def edge_normals(corners):
    """Unit normals of the edges' great circles; n.v >= 0 on the inner side of an edge."""
    normals = []
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        normal = _cross(a, _minus(b, a))
        if math.hypot(*normal) > 0.0:
            normals.append(_normalised(normal))
    return normals


def is_convex(corners):
    """Whether no corner of the polygon points inwards."""
    return all(
        _turn(corners[i - 2], corners[i - 1], corners[i]) >= -1e-9 for i in range(len(corners))
    )


def convex_pieces(corners):
    """Convex polygons that tile a simple one: itself if it is convex, else triangles.

    Raises
    ------
    ValueError
        If the outline crosses itself.
    """
    if is_convex(corners):
        return [corners]
    rest, triangles = list(corners), []
    while len(rest) >= 3:
        ear = next((i for i in range(len(rest)) if _is_ear(rest, i)), None)
        if ear is None:
            if abs(area(rest)) <= 1e-9 * area(corners):
                break  # the rest lies on a line
            msg = "the outline crosses itself"
            raise ValueError(msg)
        triangles.append((rest[ear - 1], rest[ear], rest[(ear + 1) % len(rest)]))
        del rest[ear]
    return triangles


def _is_ear(corners, i):
    """Whether the triangle at corner i lies inside the polygon, free of all other corners."""
    ear = (corners[i - 1], corners[i], corners[(i + 1) % len(corners)])
    if _turn(*ear) <= 0.0:
        return False
    normals = edge_normals(ear)
    others = (corner for corner in corners if corner not in ear)
    return not any(all(_dot(n, v) >= -_ON_PLANE for n in normals) for v in others)


def simplified(corners, tolerance):
    """The polygon without corners that stay within `tolerance` (rad) of a straight outline.

    The first corner, and the one farthest from it, are kept (Douglas & Peucker 1973).
    """
    distances = [separation(corners[0], corner) for corner in corners]
    far = distances.index(max(distances))
    there = _straightened(corners[: far + 1], tolerance)
    back = _straightened((*corners[far:], corners[0]), tolerance)
    return (*there[:-1], *back[:-1])


def _straightened(line, tolerance):
    if len(line) < 3:
        return line
    normal = _cross(line[0], _minus(line[-1], line[0]))
    length = math.hypot(*normal)
    if length == 0.0:
        return line
    offsets = [abs(_dot(normal, corner)) / length for corner in line[1:-1]]
    worst = max(offsets)
    if worst <= tolerance:
        return line[0], line[-1]
    split = offsets.index(worst) + 1
    head = _straightened(line[: split + 1], tolerance)
    return (*head[:-1], *_straightened(line[split:], tolerance))


def clip(corners, normal, offset=0.0):
    """The part of a polygon with n.v + offset >= 0 (one step of Sutherland & Hodgman 1974).

    The polygon need not be convex: where it falls apart, the parts stay joined by edges that run
    to and fro along the great circle, which add nothing to the area.

    Parameters
    ----------
    corners
        The polygon; may be empty.
    normal
        Unit normal n of a great circle.
    offset
        Sine of the angle by which the circle is moved outwards.

    Returns
    -------
    tuple
        A polygon, empty if nothing is left.
    """
    nx, ny, nz = normal
    sides = [nx * x + ny * y + nz * z + offset for x, y, z in corners]
    if not sides or max(sides) <= _ON_PLANE:
        return ()
    if min(sides) >= -_ON_PLANE:
        return corners
    kept = []
    a, side_a = corners[-1], sides[-1]
    for b, side_b in zip(corners, sides, strict=True):
        if (side_a < 0.0) != (side_b < 0.0):
            t = side_a / (side_a - side_b)
            step = _minus(b, a)
            kept.append(_normalised([p + t * d for p, d in zip(a, step, strict=True)]))
        if side_b >= 0.0:
            kept.append(b)
        a, side_a = b, side_b
    return tuple(kept)


def intersection(corners, normals, offset=0.0):
    """The part of a polygon inside a convex one given by its `edge_normals`, as for `clip`."""
    for normal in normals:
        corners = clip(corners, normal, offset)
        if not corners:
            break
    return corners


def difference(corners, normals):
    """What is left of a polygon outside a convex one given by its `edge_normals`.

    Returns
    -------
    list of polygons
        They do not overlap.
    """
    outside = []
    for nx, ny, nz in normals:
        beyond = clip(corners, (-nx, -ny, -nz))
        if beyond:
            outside.append(beyond)
        corners = clip(corners, (nx, ny, nz))
        if not corners:
            break
    return outside


class CapIndex:
    """Circles on the sky, to be found by position.

    Parameters
    ----------
    caps
        List of (centre, radius in rad), as from bounding_cap.
    """

    def __init__(self, caps):
        from scipy.spatial import cKDTree

        self._caps = caps
        octaves = defaultdict(list)
        for i, (_, radius) in enumerate(caps):
            octaves[math.frexp(radius)[1]].append(i)
        # One tree for each size: a single large circle does not widen the search for all others.
        self._trees = [
            (members, max(caps[i][1] for i in members), cKDTree([caps[i][0] for i in members]))
            for members in octaves.values()
        ]

    def meeting(self, centre, radius):
        """Indices of the circles that meet or touch the given one."""
        found = []
        for members, largest, tree in self._trees:
            reach = min(radius + largest, math.pi)
            near = tree.query_ball_point(centre, 2.0 * math.sin(0.5 * reach) + _ON_PLANE)
            found += [members[k] for k in near]
        return [
            i
            for i in found
            if separation(centre, self._caps[i][0]) <= radius + self._caps[i][1] + _ON_PLANE
        ]

    def nearest(self, centre):
        """(index, distance in rad) of the circle whose centre is nearest."""
        chord, i = min(
            (distance, members[k])
            for members, _, tree in self._trees
            for distance, k in [tree.query(centre)]
        )
        return i, 2.0 * math.asin(0.5 * min(chord, 2.0))


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _minus(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def _cross(a, b):
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def _normalised(vector):
    length = math.hypot(*vector)
    return tuple(component / length for component in vector)


def _turn(a, b, c):
    """Sine of the turn at b on the way from a to c, positive to the left; 0 if corners repeat."""
    along, onwards = _minus(b, a), _minus(c, b)
    scale = math.hypot(*along) * math.hypot(*onwards)
    return _dot(b, _cross(along, onwards)) / scale if scale else 0.0
