"""Interpolation along one axis as matrices: cubic splines, B-splines, straight lines.

In numpy alone: scipy.interpolate would do it as well, but importing it takes a third of a second of
every process, ten times what these splines take.
"""

import numpy as np

__all__ = ["CardinalSplines", "bspline_matrix", "linear_matrix"]


class CardinalSplines:
    """The cubic splines that are 1 at one node and 0 at the others.

    Outside the nodes the polynomials of the first and last interval go on.

    Parameters
    ----------
    nodes
        (n,) ascending positions, n >= 2.
    natural
        Whether the second derivative is 0 at both ends; else the third is continuous at the
        second node from each end ("not a knot"), which needs n >= 4.

    References
    ----------
    C. de Boor, A Practical Guide to Splines, chapter IV.
    """

    def __init__(self, nodes, *, natural=False):
        self.nodes = np.asarray(nodes, float)
        self._curvature = _second_derivatives(self.nodes, natural)

    def __call__(self, at, derivative=0):
        """(len(at), n) their values, or their first derivatives.

        Parameters
        ----------
        at
            (m,) positions.
        derivative
            0 or 1.
        """
        at = np.asarray(at, float).ravel()
        i = np.clip(np.searchsorted(self.nodes, at, side="right") - 1, 0, self.nodes.size - 2)
        h = self.nodes[i + 1] - self.nodes[i]
        b = (at - self.nodes[i]) / h
        a = 1.0 - b
        if derivative == 0:
            left, right = a, b
            bend_left, bend_right = (a**3 - a) * h**2 / 6.0, (b**3 - b) * h**2 / 6.0
        else:
            left, right = -1.0 / h, 1.0 / h
            bend_left, bend_right = (1.0 - 3.0 * a**2) * h / 6.0, (3.0 * b**2 - 1.0) * h / 6.0
        out = bend_left[:, None] * self._curvature[i]
        out += bend_right[:, None] * self._curvature[i + 1]
        rows = np.arange(at.size)
        out[rows, i] += left
        out[rows, i + 1] += right
        return out


def _second_derivatives(nodes, natural):
    """(n, n): second derivative at each node of each cardinal spline."""
    n, h = nodes.size, np.diff(nodes)
    bends, slopes = np.zeros((n, n)), np.zeros((n, n))
    for i in range(1, n - 1):
        bends[i, i - 1 : i + 2] = h[i - 1], 2.0 * (h[i - 1] + h[i]), h[i]
        slopes[i, i - 1 : i + 2] = 6.0 / h[i - 1], -6.0 / h[i - 1] - 6.0 / h[i], 6.0 / h[i]
    if natural:
        bends[0, 0] = bends[-1, -1] = 1.0
    else:
        bends[0, :3] = h[1], -h[0] - h[1], h[0]
        bends[-1, -3:] = h[-1], -h[-2] - h[-1], h[-2]
    return np.linalg.solve(bends, slopes)


def linear_matrix(nodes, at):
    """(len(at), n): linear interpolation between n nodes, held at the ends."""
    return np.stack([np.interp(at, nodes, column) for column in np.eye(len(nodes))], axis=1)


def bspline_matrix(at, knots, degree=3):
    """(len(at), n): the B-splines on a vector of n + degree + 1 knots.

    Parameters
    ----------
    at
        (m,) positions between the first and last knot; the last counts to the last interval.
    knots
        Ascending; the ends repeated `degree` times more.
    degree
        Of the polynomials.

    References
    ----------
    The recurrence of Cox and de Boor: C. de Boor, A Practical Guide to Splines, chapter IX.
    """
    at, knots = np.asarray(at, float), np.asarray(knots, float)
    inside = np.clip(np.searchsorted(knots, at, side="right") - 1, degree, knots.size - degree - 2)
    out = np.zeros((at.size, knots.size - 1))
    out[np.arange(at.size), inside] = 1.0
    for k in range(1, degree + 1):
        width = knots[k:] - knots[:-k]
        # Splines on knots that coincide are zero.
        slope = np.divide(1.0, width, out=np.zeros_like(width), where=width > 0)
        rising = (at[:, None] - knots[: -k - 1]) * slope[:-1]
        falling = (knots[k + 1 :] - at[:, None]) * slope[1:]
        out = rising * out[:, :-1] + falling * out[:, 1:]
    return out
