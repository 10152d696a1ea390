"""Polygons in pixels: where an exposure, or an input of a coadd, is valid."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Polygon:
    """A simple polygon (afw: geom::polygon::Polygon).

    Parameters
    ----------
    vertices
        ((x, y), ...) in parent pixels, 0-based; the first may be repeated as the last.
    """

    vertices: tuple

    def contains(self, x, y):
        """Whether positions lie inside, by counting the edges to their right.

        Parameters
        ----------
        x, y
            Parent pixels, arrays of any one shape.

        Returns
        -------
        ndarray
            bool, of that shape. Of points on an edge, those on a left or lower one are inside.
        """
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        inside = np.zeros(x.shape, bool)
        x1, y1 = self.vertices[-1]
        for x2, y2 in self.vertices:
            crosses = (y1 > y) != (y2 > y)
            if y1 != y2:
                inside ^= crosses & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
            x1, y1 = x2, y2
        return inside

    @property
    def bbox(self):
        """(x_min, y_min, x_max, y_max)."""
        points = np.array(self.vertices)
        return (*map(float, points.min(axis=0)), *map(float, points.max(axis=0)))
