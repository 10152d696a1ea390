"""A tract on the sky and its patches."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta import sphere
from skydelta.errors import NoOverlapError


@dataclass(frozen=True)
class Tract:
    """A tract: a tangent plane with its pixel grid.

    Parameters
    ----------
    id
        Number of the tract in its skymap.
    centre
        (ra, dec) of the tangent point, deg; it is CRVAL.
    sky_range
        (ra_min, ra_max, dec_min, dec_max) in deg of the sky that belongs to this tract alone.
        ra_min > ra_max if RA 0 lies within; (0, 360) for the polar caps.
    grid
        TractGrid.
    """

    id: int
    centre: tuple[float, float]
    sky_range: tuple[float, float, float, float]
    grid: object

    @property
    def bbox(self):
        """(x_min, y_min, x_max, y_max) in px, both ends included; it begins at (0, 0)."""
        return self.grid.bbox

    @property
    def n_patches(self):
        """(along x, along y)."""
        return self.grid.n_patches

    @cached_property
    def wcs(self):
        """The astropy WCS of the tract's pixels."""
        return _tan_wcs(self.centre, self.grid.crpix, self.grid.cd)

    @cached_property
    def _axes(self):
        """(3, 3): unit vectors east and north at the centre, and of the centre.

        North, where the centre is a pole, is along the meridian of FITS's default LONPOLE, which
        is 0 at the north pole and 180 elsewhere (Calabretta & Greisen 2002, section 2.2).
        """
        ra, dec = map(math.radians, self.centre)
        east = np.array([-math.sin(ra), math.cos(ra), 0.0])
        centre = np.array(sphere.unit_vector(*self.centre))
        north = np.array(
            [-math.sin(dec) * math.cos(ra), -math.sin(dec) * math.sin(ra), math.cos(dec)]
        )
        sign = -1.0 if self.centre[1] >= 90.0 else 1.0
        return np.array([sign * east, sign * north, centre])

    def sky_to_pixel(self, ra, dec):
        """Pixel x, y of positions in deg; NaN for those 90 deg or more from the centre.

        As the WCS gives it, to 1e-8 px, but free of astropy's overhead.
        """
        ra, dec = np.radians(ra), np.radians(dec)
        return self._vector_to_pixel(
            np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
        )

    def _vector_to_pixel(self, vectors):
        east, north, height = np.tensordot(self._axes, vectors, axes=1)
        height = np.where(height > 0.0, height, np.nan)
        return self.grid.from_plane(east / height, north / height)

    def contains(self, ra, dec):
        """Whether positions (deg) lie in the tract's box; of the shape of ra and dec."""
        return self.grid.holds(*self.sky_to_pixel(ra, dec))

    def outline(self):
        """The tract's box as a polygon of skydelta.sphere, along the outer pixels' edges."""
        return self._outline(self.bbox)

    def corners(self):
        """(ra, dec), each of 4 values in deg, of the corners of the tract's box.

        The sequence is that of the pixels: lower left, lower right, upper right, upper left.
        """
        return self._corners(self.bbox)

    def inner_polygon(self, steps=64):
        """The sky that belongs to this tract alone, as a polygon of skydelta.sphere.

        Parallels are not great circles: each is broken into `steps` arcs, those around polar caps
        into four times as many. With 120 rings, 64 keep within 0.2 arcsec of the parallel at the
        poles, 0.004 arcsec at declination 45.
        """
        ra_min, ra_max, dec_min, dec_max = self.sky_range
        if abs(self.centre[1]) >= 90.0:
            ra = np.linspace(0.0, 360.0, 4 * steps, endpoint=False)
            dec = np.full(ra.size, dec_max if self.centre[1] < 0 else dec_min)
            return sphere.polygon(ra, dec)
        ra = np.linspace(ra_min, ra_max + 360.0 * (ra_max <= ra_min), steps + 1)
        dec = np.repeat([dec_min, dec_max], ra.size)
        return sphere.polygon(np.concatenate([ra, ra[::-1]]), dec)

    def find_patch(self, ra, dec):
        """The patch in whose inner box a position (deg) lies.

        Raises
        ------
        NoOverlapError
            If the position is not on the tract.
        """
        x, y = map(float, self.sky_to_pixel(ra, dec))
        if not self.grid.holds(x, y):
            msg = f"({ra}, {dec}) is not on tract {self.id}: ask the skymap for its tract first"
            raise NoOverlapError(msg)
        return self.patch(self.grid.patch_holding(x, y))

    def patch(self, index):
        """The patch of a given index (x, y), or of a sequential number.

        Raises
        ------
        NoSuchPatchError
            If there is none.
        """
        return Patch(self, self.grid.pair(index))

    def __iter__(self):
        """All patches, in the sequence of their numbers."""
        nx, ny = self.n_patches
        return (self.patch(number) for number in range(nx * ny))

    def patch_index(self, number):
        """Index (x, y) of the patch of a sequential number."""
        return self.grid.pair(number)

    def sequential_index(self, index):
        """Sequential number of the patch of an index (x, y)."""
        return self.grid.sequential_index(index)

    def find_patches(self, polygon, margin=0.0):
        """The patches whose outer boxes a polygon meets.

        Parameters
        ----------
        polygon
            As in skydelta.sphere.
        margin
            A patch at most this far away counts, too; arcsec.

        Returns
        -------
        list of Patch
            In the sequence of their numbers.
        """
        offset = math.sin(math.radians(margin / 3600.0))
        facing = sphere.clip(polygon, tuple(self._axes[2]))
        on_tract = sphere.intersection(facing, self._edges(self.grid.extent), offset)
        if not on_tract:
            return []
        x, y = self._vector_to_pixel(np.transpose(on_tract))
        # Away from the centre, the tangent plane is stretched by 1 / cos² of the distance.
        margin_px = margin / self.grid.config.pixel_scale / math.cos(self.grid.reach) ** 2
        return [
            self.patch(index)
            for index in self.grid.patches_near(x.tolist(), y.tolist(), margin_px)
            if sphere.intersection(on_tract, self._edges(self.grid.outer_bbox(index)), offset)
        ]

    def _corners(self, box):
        vectors = self._corner_vectors(box)
        ra = np.degrees(np.arctan2(vectors[1], vectors[0])) % 360.0
        return ra, np.degrees(np.arctan2(vectors[2], np.hypot(vectors[0], vectors[1])))

    def _corner_vectors(self, box):
        """(3, 4) unit vectors, lower left first, counter-clockwise in pixels."""
        x_min, y_min, x_max, y_max = box
        x = np.array([x_min - 0.5, x_max + 0.5, x_max + 0.5, x_min - 0.5])
        y = np.array([y_min - 0.5, y_min - 0.5, y_max + 0.5, y_max + 0.5])
        xi, eta = self.grid.to_plane(x, y)
        vectors = np.tensordot(self._axes.T, np.array([xi, eta, np.ones(4)]), axes=1)
        return vectors / np.sqrt((vectors**2).sum(axis=0))

    def _outline(self, box):
        """Lower left first, then against the sense of the pixels, whose x axis runs west."""
        return tuple(map(tuple, self._corner_vectors(box)[:, [0, 3, 2, 1]].T.tolist()))

    def _edges(self, box):
        return sphere.edge_normals(self._outline(box))


@dataclass(frozen=True)
class Patch:
    """A patch of a tract.

    Parameters
    ----------
    tract
        Tract.
    index
        (x, y).
    """

    tract: Tract
    index: tuple[int, int]

    @property
    def sequential_index(self):
        """Number of the patch in its tract, counted along x first."""
        return self.tract.grid.sequential_index(self.index)

    @property
    def inner_bbox(self):
        """(x_min, y_min, x_max, y_max) in tract pixels of what belongs to this patch alone."""
        return self.tract.grid.inner_bbox(self.index)

    @property
    def outer_bbox(self):
        """(x_min, y_min, x_max, y_max) in tract pixels of the whole patch, as its coadd has it."""
        return self.tract.grid.outer_bbox(self.index)

    @property
    def shape(self):
        """(ny, nx) of the whole patch."""
        x_min, y_min, x_max, y_max = self.outer_bbox
        return y_max - y_min + 1, x_max - x_min + 1

    @cached_property
    def wcs(self):
        """The astropy WCS of the patch's own pixels, from (0, 0) at the outer box's corner."""
        (x, y), (x_min, y_min) = self.tract.grid.crpix, self.outer_bbox[:2]
        return _tan_wcs(self.tract.centre, (x - x_min, y - y_min), self.tract.grid.cd)

    @property
    def pixel_scale(self):
        """Side of a pixel of the patch's mean area, rad."""
        ny, nx = self.shape
        return math.sqrt(sphere.area(self.outline()) / (nx * ny))

    def outline(self):
        """The outer box as a polygon of skydelta.sphere: what a Footprint holds."""
        return self.tract._outline(self.outer_bbox)

    def corners(self):
        """(ra, dec), each of 4 values in deg, of the outer box; as for Tract.corners."""
        return self.tract._corners(self.outer_bbox)


def _tan_wcs(centre, crpix, cd):
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = centre
    wcs.wcs.crpix = [crpix[0] + 1.0, crpix[1] + 1.0]
    wcs.wcs.cd = cd
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs
