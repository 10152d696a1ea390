"""The pixel grid of a tract and its division into patches.

All tracts of a rings skymap share one grid: only the place of its centre on the sky differs. On
the tangent plane, the edges of tracts and patches are great circles.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from operator import index as integer

import numpy as np

from skydelta.errors import NoSuchPatchError

_ARCSEC = math.radians(1.0 / 3600.0)


@dataclass(frozen=True)
class TractGrid:
    """Pixels and patches of a tract.

    Parameters
    ----------
    config
        SkyMapConfig.
    """

    config: object

    @cached_property
    def _layout(self):
        """(n_patches, lower edge) along x and y, lower edge in px from the centre.

        The tract must hold the four points at its radius to the N, E, S and W. The box of whole
        pixels about them grows to a multiple of a patch, downwards by half of what is lacking
        (skymap: tractInfo.py, tractBuilder.py). Under a rotation LSST takes the box of the same
        four points, which is then smaller than the sky it is meant to hold; so do we.
        """
        turn = math.radians(self.config.rotation)
        reach = max(abs(math.cos(turn)), abs(math.sin(turn)))
        half = reach * math.tan(self.config.tract_radius) / (self.config.pixel_scale * _ARCSEC)
        low, high = math.floor(-half + 0.5), math.ceil(half - 0.5)
        sides = []
        for inner in self.config.patches.inner:
            n = -(-(high - low + 1) // inner)
            sides.append((n, low - (n * inner - (high - low + 1)) // 2))
        return tuple(zip(*sides, strict=True))

    @property
    def n_patches(self):
        """(along x, along y)."""
        return self._layout[0]

    @cached_property
    def crpix(self):
        """0-based pixel (x, y) of the tract's centre."""
        return tuple(-float(low) for low in self._layout[1])

    @cached_property
    def bbox(self):
        """(x_min, y_min, x_max, y_max) of the tract, both ends included; it begins at (0, 0)."""
        nx, ny = self.n_patches
        inner_x, inner_y = self.config.patches.inner
        return 0, 0, nx * inner_x - 1, ny * inner_y - 1

    @cached_property
    def extent(self):
        """The box that holds the outer boxes of all patches."""
        nx, ny = self.n_patches
        return (*self.outer_bbox((0, 0))[:2], *self.outer_bbox((nx - 1, ny - 1))[2:])

    @cached_property
    def reach(self):
        """Angle from the centre to the farthest corner of `extent`, rad."""
        x_min, y_min, x_max, y_max = self.extent
        x, y = [x_min - 0.5, x_max + 0.5], [y_min - 0.5, y_max + 0.5]
        xi, eta = self.to_plane(*np.meshgrid(x, y))
        return float(np.arctan(np.hypot(xi, eta).max()))

    @cached_property
    def cd(self):
        """(2, 2) CD matrix of the WCS, deg per px."""
        turn = math.radians(self.config.rotation)
        cos, sin = math.cos(turn), math.sin(turn)
        return self.config.pixel_scale / 3600.0 * np.array([[-cos, sin], [sin, cos]])

    def to_plane(self, x, y):
        """(xi, eta) on the tangent plane, towards east and north, tan(rad), of pixels x, y."""
        dx, dy = np.asarray(x) - self.crpix[0], np.asarray(y) - self.crpix[1]
        (a, b), (c, d) = np.radians(self.cd)
        return a * dx + b * dy, c * dx + d * dy

    def from_plane(self, xi, eta):
        """Pixel (x, y) of tangent plane coordinates."""
        scale = self.config.pixel_scale * _ARCSEC
        (a, b), (c, d) = np.radians(self.cd) / scale**2  # the matrix is its inverse, but for scale
        return a * xi + b * eta + self.crpix[0], c * xi + d * eta + self.crpix[1]

    def holds(self, x, y):
        """Whether pixel positions lie on the tract; an edge belongs to the higher pixel."""
        _, _, x_max, y_max = self.bbox
        column, row = np.floor(np.asarray(x) + 0.5), np.floor(np.asarray(y) + 0.5)
        return (column >= 0) & (column <= x_max) & (row >= 0) & (row <= y_max)

    def pair(self, patch):
        """Index (x, y) of a patch given by its pair or by its sequential number.

        Raises
        ------
        NoSuchPatchError
            If the tract has no such patch.
        """
        nx, ny = self.n_patches
        try:
            x, y = patch if isinstance(patch, tuple | list) else divmod(integer(patch), nx)[::-1]
            x, y = integer(x), integer(y)
        except (TypeError, ValueError) as error:
            msg = f"{patch!r} is no patch: give (x, y) or the sequential number, as integers"
            raise NoSuchPatchError(msg) from error
        if not (0 <= x < nx and 0 <= y < ny):
            msg = f"there is no patch {patch!r}: a tract has {nx} x {ny}, numbered from 0"
            raise NoSuchPatchError(msg)
        return x, y

    def sequential_index(self, patch):
        """Number of a patch, counted along x first."""
        x, y = self.pair(patch)
        return self.n_patches[0] * y + x

    def patch_holding(self, x, y):
        """Index of the patch in whose inner box a pixel position lies, which is on the tract."""
        return tuple(
            math.floor(position + 0.5) // inner
            for position, inner in zip((x, y), self.config.patches.inner, strict=True)
        )

    def inner_bbox(self, patch):
        """The pixels that belong to this patch alone."""
        x, y = self.pair(patch)
        nx, ny = self.config.patches.inner
        return x * nx, y * ny, (x + 1) * nx - 1, (y + 1) * ny - 1

    def outer_bbox(self, patch):
        """All pixels of a patch."""
        border = self.config.patches.border
        x_min, y_min, x_max, y_max = self.inner_bbox(patch)
        outer = x_min - border, y_min - border, x_max + border, y_max + border
        if not self.config.patches.ends_with_tract:
            return outer
        first, last = self.bbox[:2], self.bbox[2:]
        return (*map(max, outer[:2], first), *map(min, outer[2:], last))

    def patches_near(self, x, y, margin):
        """Indices of the patches whose outer boxes meet the box about positions, plus a margin.

        Parameters
        ----------
        x, y
            Sequences of pixel positions.
        margin
            px.
        """
        ranges = []
        pad = self.config.patches.border + margin + 1
        for positions, inner, n in zip(
            (x, y), self.config.patches.inner, self.n_patches, strict=True
        ):
            first = max(math.floor((min(positions) - pad) / inner), 0)
            last = min(math.floor((max(positions) + pad) / inner), n - 1)
            ranges.append(range(first, last + 1))
        return [(i, j) for j in ranges[1] for i in ranges[0]]
