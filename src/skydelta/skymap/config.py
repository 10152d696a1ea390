"""What a rings skymap is made of, and the configurations that surveys published."""

import hashlib
import math
import reprlib
import struct
from dataclasses import dataclass, field
from types import MappingProxyType

from skydelta.errors import BadSkyMapError


@dataclass(frozen=True)
class PlainPatches:
    """Patches of a given size that end where their tract ends ("legacy" in LSST's words).

    Parameters
    ----------
    inner
        (x, y) size of the part of a patch that belongs to no other, px.
    border
        px by which a patch reaches beyond that on all sides.
    """

    inner: tuple[int, int] = (4000, 4000)
    border: int = 100

    ends_with_tract = True
    """Whether outer boxes are cut at the edge of the tract."""

    def __post_init__(self):
        object.__setattr__(self, "inner", _pair("patch inner size", self.inner))
        _require_count("patch border", self.border, 0)

    @property
    def packed(self):
        """What the SHA-1 of the skymap takes up (skymap: tractBuilder.py)."""
        return struct.pack("<iii", *self.inner, self.border)


@dataclass(frozen=True)
class CellPatches:
    """Patches made of square cells, which reach beyond the tract's edge.

    Parameters
    ----------
    cell_inner
        (x, y) size of the part of a cell that belongs to no other, px; both are equal.
    cell_border
        px by which a cell reaches beyond that on all sides.
    cells_per_patch
        Cells along each side of a patch's inner part.
    cells_in_border
        Rows of further cells around that.
    """

    cell_inner: tuple[int, int] = (150, 150)
    cell_border: int = 50
    cells_per_patch: int = 20
    cells_in_border: int = 1

    ends_with_tract = False

    def __post_init__(self):
        object.__setattr__(self, "cell_inner", _pair("cell size", self.cell_inner))
        if self.cell_inner[0] != self.cell_inner[1]:
            msg = f"the cell size is {self.cell_inner}: cells are square"
            raise BadSkyMapError(msg)
        _require_count("cell border", self.cell_border, 0)
        _require_count("number of cells per patch", self.cells_per_patch, 1)
        _require_count("number of cells in the border", self.cells_in_border, 0)

    @property
    def inner(self):
        """(x, y) size of the part of a patch that belongs to no other, px."""
        return tuple(side * self.cells_per_patch for side in self.cell_inner)

    @property
    def border(self):
        """Border of a patch with that of its outermost cells, px."""
        return self.cells_in_border * self.cell_inner[0] + self.cell_border

    @property
    def packed(self):
        """What the SHA-1 of the skymap takes up (skymap: tractBuilder.py)."""
        numbers = (self.cell_border, self.cells_per_patch, self.cells_in_border)
        return struct.pack("<iiiii", *self.cell_inner, *numbers)


@dataclass(frozen=True)
class SkyMapConfig:
    """The numbers that define a rings skymap.

    Parameters
    ----------
    num_rings
        Rings of declination between the two polar caps.
    pixel_scale
        Side of a pixel at a tract's centre, arcsec.
    tract_overlap
        Least distance from a tract's edge to the part of it that belongs to no other, deg.
    patches
        PlainPatches or CellPatches.
    rotation
        Position angle of the pixels' y axis on the sky, deg.
    ra_start
        RA of the centre of the first tract of every ring, deg.
    projection
        Of a tract's WCS. Only TAN: no survey used another, and only for TAN are the edges of
        patches great circles.
    version
        1; or 0 for skymaps made before June 2018 (LSST's DM-14809), in which the first tract of
        the southernmost ring has two numbers and that of the northernmost has none.

    Raises
    ------
    BadSkyMapError
        If a number is not one that a skymap can have.
    """

    num_rings: int
    pixel_scale: float
    tract_overlap: float
    patches: PlainPatches | CellPatches = field(default_factory=PlainPatches)
    rotation: float = 0.0
    ra_start: float = 0.0
    projection: str = "TAN"
    version: int = 1

    def __post_init__(self):
        _require_count("number of rings", self.num_rings, 1)
        for name in ("pixel_scale", "tract_overlap", "rotation", "ra_start"):
            _require_number(name, getattr(self, name))
            object.__setattr__(self, name, float(getattr(self, name)))
        if self.projection != "TAN":
            msg = (
                f"the skymap's projection is {reprlib.repr(self.projection)}: only TAN is supported"
            )
            raise BadSkyMapError(msg)
        _require_count("version", self.version, 0)
        if self.version > 1:
            msg = f"the skymap's version is {self.version}: only 0 and 1 exist"
            raise BadSkyMapError(msg)
        if not self.pixel_scale > 0:
            msg = f"the skymap's pixel_scale is {self.pixel_scale} arcsec: it must be positive"
            raise BadSkyMapError(msg)
        if not 0 <= self.ra_start < 360:
            msg = f"the skymap's ra_start is {self.ra_start} deg: it must lie in [0, 360)"
            raise BadSkyMapError(msg)
        if self.tract_overlap < 0 or self.tract_radius >= math.radians(60):
            msg = (
                f"the skymap's tract_overlap is {self.tract_overlap} deg: it must not be "
                "negative, nor make a tract reach 60 deg or more from its centre"
            )
            raise BadSkyMapError(msg)

    @property
    def ring_size(self):
        """Height of a ring in declination, rad; the two caps together make one more ring."""
        return math.pi / (self.num_rings + 1)

    @property
    def tract_radius(self):
        """Distance from a tract's centre to the middle of its edges before rounding, rad."""
        return 0.5 * self.ring_size + math.radians(self.tract_overlap)

    @property
    def sha1(self):
        """20 bytes by which LSST's registries know the skymap (skymap: baseSkyMap.py)."""
        scales = struct.pack("<dd3sd", self.tract_overlap, self.pixel_scale, b"TAN", self.rotation)
        rings = struct.pack("<id", self.num_rings, self.ra_start)
        packed = b"RingsSkyMap" + self.patches.packed + scales + rings
        return hashlib.sha1(packed, usedforsecurity=False).digest()


def _pair(name, value):
    """(x, y) as a tuple of two positive integers."""
    try:
        x, y = value
    except (TypeError, ValueError) as error:
        msg = f"the skymap's {name} is {reprlib.repr(value)}: it must be two numbers, along x and y"
        raise BadSkyMapError(msg) from error
    for side in (x, y):
        _require_count(name, side, 1)
    return x, y


_LARGEST = 2**31 - 1
"""Of the integers that LSST's SHA-1 packs."""


def _require_count(name, value, least):
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST:
        msg = (
            f"the skymap's {name} is {reprlib.repr(value)}: it must be an integer, at least {least}"
        )
        raise BadSkyMapError(msg)


def _require_number(name, value):
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value):
        msg = f"the skymap's {name} is {reprlib.repr(value)}: it must be a number"
        raise BadSkyMapError(msg)


CONFIGURATIONS = MappingProxyType(
    {
        "DC2": SkyMapConfig(120, 0.2, 1 / 60),
        "DC2_cells_v1": SkyMapConfig(120, 0.2, 1 / 60, CellPatches()),
        "lsst_cells_v1": SkyMapConfig(120, 0.2, 1 / 60, CellPatches()),
        "hsc_rings_v1": SkyMapConfig(120, 0.168, 1 / 60),
        "decam_rings_v1": SkyMapConfig(120, 0.262, 1 / 60),
    }
)
"""Configurations by the names that LSST's registries use."""
