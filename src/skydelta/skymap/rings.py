"""The rings skymap: how tracts are numbered, and which are where.

The sky is cut into rings of declination and two polar caps; each ring is cut in RA into tracts as
wide as the ring is high, at its edge nearer the equator. Numbers run from the south polar cap, 0,
eastwards along each ring and northwards from ring to ring (skymap: ringsSkyMap.py).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from operator import index as integer

import numpy as np

from skydelta import sphere
from skydelta.errors import InputError, NoSuchPatchError
from skydelta.skymap.config import SkyMapConfig
from skydelta.skymap.grid import TractGrid
from skydelta.skymap.tract import Tract

_ROUNDING = 1e-12
"""rad, by which neighbours may seem apart."""


@dataclass(frozen=True)
class RingsSkyMap:
    """All tracts of a configuration. `skymap[id]` is a tract, `len(skymap)` their number."""

    config: SkyMapConfig

    @cached_property
    def _ring_lengths(self):
        """Number of tracts in each ring."""
        h = self.config.ring_size
        edges = [h * (i + 0.5) - 0.5 * math.pi for i in range(self.config.num_rings)]
        return [
            int(2.0 * math.pi * math.cos(min(abs(edge), abs(edge + h))) / h) + 1 for edge in edges
        ]

    @cached_property
    def _ring_starts(self):
        """Number of tracts in all rings south of each, and of all."""
        return np.concatenate([[0], np.cumsum(self._ring_lengths)])

    @cached_property
    def _grid(self):
        return TractGrid(self.config)

    def __len__(self):
        return int(self._ring_starts[-1]) + 2

    def __getitem__(self, tract_id):
        """The tract of a number.

        Raises
        ------
        NoSuchPatchError
            If there is none; it is an IndexError, too.
        """
        number = self._checked(tract_id)
        ring, step = self._ring_and_step(number)
        ra, dec = self._centre(ring, step)
        return Tract(number, (ra, dec), self._sky_range(ring, step), self._grid)

    def __iter__(self):
        return (self[tract_id] for tract_id in range(len(self)))

    def _checked(self, tract_id):
        try:
            number = integer(tract_id)
        except TypeError as error:
            msg = f"{tract_id!r} is no tract: tracts are numbered by integers"
            raise NoSuchPatchError(msg) from error
        if not 0 <= number < len(self):
            msg = f"there is no tract {number}: this skymap has 0 to {len(self) - 1}"
            raise NoSuchPatchError(msg)
        return number

    def _ring_and_step(self, number):
        """Ring and place in the ring of a tract; ring -1 and num_rings are the polar caps."""
        if number == 0:
            return -1, 0
        if number == len(self) - 1:
            return self.config.num_rings, 0
        # Version 0 takes the first number of a ring for a second one of the ring before it.
        late = 1 if self.config.version == 0 and number > 1 else 0
        ring = int(np.searchsorted(self._ring_starts, number - 1 - late, side="right")) - 1
        return ring, number - 1 - int(self._ring_starts[ring])

    def _centre(self, ring, step):
        """(ra, dec) in deg."""
        if ring in (-1, self.config.num_rings):
            return 0.0, -90.0 if ring == -1 else 90.0
        ra = 2.0 * math.pi * step / self._ring_lengths[ring] + math.radians(self.config.ra_start)
        dec = self.config.ring_size * (ring + 1) - 0.5 * math.pi
        return math.degrees(ra % (2.0 * math.pi)), math.degrees(dec)

    def _sky_range(self, ring, step):
        """(ra_min, ra_max, dec_min, dec_max) in deg of a tract's share of the sky."""
        height = math.degrees(self.config.ring_size)
        south = -90.0 + (ring + 0.5) * height
        if ring == -1:
            return 0.0, 360.0, -90.0, south + height
        if ring == self.config.num_rings:
            return 0.0, 360.0, south, 90.0
        width = 360.0 / self._ring_lengths[ring]
        west = self.config.ra_start + (step - 0.5) * width
        east = self.config.ra_start + (step + 0.5) * width
        if width < 360.0:
            west, east = west % 360.0, east % 360.0
        return west, east, south, south + height

    def find_tract_ids(self, ra, dec):
        """Number of the tract that each position belongs to.

        Parameters
        ----------
        ra, dec
            deg, scalars or arrays of one shape.

        Returns
        -------
        ndarray of int
            Of that shape. Every position belongs to one tract, the more northern or eastern one
            on an edge.

        Raises
        ------
        InputError
            If a coordinate is not finite or a declination beyond a pole.
        """
        ra, dec = _positions(ra, dec)
        h, n_rings = self.config.ring_size, self.config.num_rings
        south = 0.5 * h - 0.5 * math.pi
        ring = np.clip(((dec - south) / h).astype(int), 0, n_rings - 1)
        lengths = np.array(self._ring_lengths)[ring]
        turn = (ra - math.radians(self.config.ra_start)) % (2.0 * math.pi)
        step = (turn / (2.0 * math.pi / lengths) + 0.5).astype(int) % lengths
        if self.config.version == 0:
            ring = ring + ((step == 0) & (ring != 0))
        ids = self._ring_starts[ring] + step + 1
        return np.where(dec < south, 0, np.where(dec > -south, len(self) - 1, ids))

    def find_tract(self, ra, dec):
        """The tract that a position (deg) belongs to."""
        return self[int(self.find_tract_ids(ra, dec))]

    def tracts_at(self, ra, dec):
        """All tracts whose boxes hold a position (deg), overlaps included; sorted by number."""
        _positions(ra, dec)
        near = self._tracts_near(sphere.unit_vector(ra, dec), 0.0)
        return [tract for tract in near if tract.contains(ra, dec)]

    def find_tract_patch_list(self, ra, dec, margin=0.0):
        """All tracts and patches that a region of the sky meets, whatever tract it belongs to.

        Parameters
        ----------
        ra, dec
            deg, the corners of the region one after the other: those of an exposure. Great
            circles join them, and the last to the first; it is smaller than a hemisphere.
        margin
            Patches at most this far away count, too; arcsec. It makes up for edges that are not
            quite straight on the sky.

        Returns
        -------
        list of (Tract, list of Patch)
            Patches whose outer boxes meet the region; both sorted by number. Unlike the stack's
            list, it has no patch that only the region's bounding box meets.

        Raises
        ------
        InputError
            If a coordinate is none, or the outline crosses itself or is too large.
        """
        region = _region(ra, dec)
        margin = _valid_margin(margin)
        centre, radius = sphere.bounding_cap(region)
        near = self._tracts_near(centre, radius + math.radians(margin / 3600.0))
        found = [(tract, tract.find_patches(region, margin)) for tract in near]
        return [(tract, patches) for tract, patches in found if patches]

    @cached_property
    def _centre_vectors(self):
        """(len(self), 3) unit vectors of the tracts' centres."""
        lengths = np.array(self._ring_lengths)
        ring = np.repeat(np.arange(self.config.num_rings), lengths)
        step = np.arange(ring.size) - self._ring_starts[ring]
        if self.config.version == 0:
            places = [self._ring_and_step(number) for number in range(1, len(self) - 1)]
            ring, step = np.transpose(places)
        ra = 2.0 * math.pi * step / lengths[ring] + math.radians(self.config.ra_start)
        dec = self.config.ring_size * (ring + 1) - 0.5 * math.pi
        vectors = np.transpose([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        return np.concatenate([[[0.0, 0.0, -1.0]], vectors, [[0.0, 0.0, 1.0]]])

    def _tracts_near(self, centre, radius):
        """Tracts that may have pixels within a circle (unit vector, rad)."""
        reach = min(radius + self._grid.reach + _ROUNDING, math.pi)
        chord = np.sqrt(((self._centre_vectors - centre) ** 2).sum(axis=1))
        return [self[i] for i in np.flatnonzero(chord <= 2.0 * math.sin(0.5 * reach)).tolist()]


def _positions(ra, dec):
    """Valid positions in rad."""
    ra, dec = np.asarray(ra, float), np.asarray(dec, float)
    if not (np.isfinite(ra).all() and (np.abs(dec) <= 90.0).all()):
        msg = "a position on the sky has no finite RA or no declination within 90 deg: give deg"
        raise InputError(msg)
    return np.radians(ra), np.radians(dec)


def _region(ra, dec):
    """A valid polygon of skydelta.sphere; one or two corners make a point or an arc."""
    _positions(ra, dec)
    if np.ndim(ra) != 1 or np.shape(ra) != np.shape(dec) or np.size(ra) == 0:
        msg = "a region on the sky needs as many RAs as declinations, one of each at least"
        raise InputError(msg)
    region = sphere.polygon(np.asarray(ra, float).tolist(), np.asarray(dec, float).tolist())
    try:
        if len(region) > 3:
            sphere.convex_pieces(region)
        if sphere.bounding_cap(region)[1] < 0.5 * math.pi:
            return region
    except (ValueError, ZeroDivisionError) as error:
        msg = f"{error}: give the corners of the region one after the other, all in one hemisphere"
        raise InputError(msg) from error
    msg = "the region is not smaller than a hemisphere: divide it"
    raise InputError(msg)


def _valid_margin(margin):
    if not 0.0 <= margin < 3600.0:
        msg = f"the margin around a region is {margin} arcsec: it must lie in [0, 3600)"
        raise InputError(msg)
    return float(margin)
