"""Where the pixels of one image fall on another: the WCS on a coarse grid, splines between."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.splines import CardinalSplines

TOLERANCE_PX = 1e-3
"""Largest error of the interpolated mapping, in pixels of the target image."""

_SPACINGS = (256, 128, 64, 32, 16, 8)


@dataclass(frozen=True)
class PixelMap:
    """Positions on a source image as smooth functions of the pixels of a target grid.

    Cubic splines through exact WCS values at the nodes; since a tensor-product spline is linear in
    its nodes, whole blocks of rows cost two small matrix products.

    Parameters
    ----------
    x_nodes, y_nodes
        Target pixel coordinates of the nodes, increasing.
    u_grid, v_grid
        (n_y, n_x) source x and y at the nodes.
    error
        Largest distance from the exact mapping at the centres of the node cells, source px.
    """

    x_nodes: np.ndarray
    y_nodes: np.ndarray
    u_grid: np.ndarray
    v_grid: np.ndarray
    error: float

    @classmethod
    def between(cls, target_wcs, target_shape, source_wcs, *, tolerance=TOLERANCE_PX):
        """The mapping from every pixel of a target grid to a source image.

        Parameters
        ----------
        target_wcs, source_wcs
            Celestial WCS of the two grids.
        target_shape
            (ny, nx) of the target grid.
        tolerance
            Largest allowed interpolation error, source px; the node spacing is halved until the
            cell centres, where a spline is worst, agree with the exact WCS to that.
        """
        ny, nx = target_shape
        for spacing in _SPACINGS:
            x_nodes, y_nodes = _nodes(nx, spacing), _nodes(ny, spacing)
            u, v = _exact(target_wcs, source_wcs, x_nodes, y_nodes)
            trial = cls(x_nodes, y_nodes, u, v, np.inf)
            x_mid = 0.5 * (x_nodes[1:] + x_nodes[:-1])
            y_mid = 0.5 * (y_nodes[1:] + y_nodes[:-1])
            u_mid, v_mid = _exact(target_wcs, source_wcs, x_mid, y_mid)
            du, dv = trial.evaluate(x_mid, y_mid)
            error = float(np.nanmax(np.hypot(du - u_mid, dv - v_mid), initial=0.0))
            if error <= tolerance:
                break
        return cls(x_nodes, y_nodes, u, v, error)

    @cached_property
    def _splines(self):
        return CardinalSplines(self.x_nodes), CardinalSplines(self.y_nodes)

    def _matrix_x(self, x, derivative=0):
        """(x.size, n_nodes): interpolation along x, or its derivative, as a matrix."""
        return self._splines[0](np.asarray(x, float), derivative)

    def _matrix_y(self, y, derivative=0):
        return self._splines[1](np.asarray(y, float), derivative)

    def evaluate(self, x, y, dx=0, dy=0):
        """Source coordinates on the grid of target columns `x` and rows `y`.

        Parameters
        ----------
        x, y
            1-d target coordinates.
        dx, dy
            Order of the derivative along each axis (0 or 1).

        Returns
        -------
        u, v
            (y.size, x.size) float64.
        """
        along_x, along_y = self._matrix_x(x, dx), self._matrix_y(y, dy)
        return along_y @ self.u_grid @ along_x.T, along_y @ self.v_grid @ along_x.T

    def jacobian(self, x, y):
        """d(u, v) / d(x, y) at n target positions: (n, 2, 2), [[u_x, u_y], [v_x, v_y]]."""
        bx, by = self._matrix_x(x), self._matrix_y(y)
        gx, gy = self._matrix_x(x, 1), self._matrix_y(y, 1)
        out = np.empty((len(bx), 2, 2))
        for i, grid in enumerate((self.u_grid, self.v_grid)):
            out[:, i, 0] = np.einsum("nj,ji,ni->n", by, grid, gx)
            out[:, i, 1] = np.einsum("nj,ji,ni->n", gy, grid, bx)
        return out

    def at(self, x, y):
        """Source coordinates of n target positions: u, v of shape (n,)."""
        bx, by = self._matrix_x(x), self._matrix_y(y)
        u = np.einsum("nj,ji,ni->n", by, self.u_grid, bx)
        v = np.einsum("nj,ji,ni->n", by, self.v_grid, bx)
        return u, v

    def area(self, x, y):
        """|d(u, v)/d(x, y)|, the area of a target pixel in source pixels: (y.size, x.size)."""
        ux, vx = self.evaluate(x, y, dx=1)
        uy, vy = self.evaluate(x, y, dy=1)
        return np.abs(ux * vy - uy * vx)


def _nodes(length, spacing):
    count = max(int(np.ceil((length - 1) / spacing)) + 1, 4)
    return np.linspace(0.0, max(length - 1, 1), count)


def _exact(target_wcs, source_wcs, x, y):
    xx, yy = np.meshgrid(x, y)
    lon, lat = target_wcs.all_pix2world(xx.ravel(), yy.ravel(), 0)
    u, v = source_wcs.all_world2pix(lon, lat, 0, quiet=True, tolerance=1e-6)
    return u.reshape(xx.shape), v.reshape(xx.shape)
