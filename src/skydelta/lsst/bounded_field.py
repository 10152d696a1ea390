"""Smooth functions over a box of parent pixels, and their exact form on an image's own grid."""

from dataclasses import dataclass

import numpy as np
from numpy.polynomial.chebyshev import chebval2d

from skydelta.errors import UnsupportedError
from skydelta.field import Field

_LARGEST_DEGREE = 12
_RELATIVE_ERROR = 1e-7


@dataclass(frozen=True)
class ChebyshevBoundedField:
    """f(x, y) = sum_ji c_ji T_j(y') T_i(x') on a box (afw: ChebyshevBoundedField.cc).

    x' runs from -1 to 1 between the outer edges of the box's outermost pixels.

    Parameters
    ----------
    coefficients
        (n_y, n_x).
    bbox
        (x_min, y_min, x_max, y_max) of pixel centres, inclusive, parent pixels.
    """

    coefficients: np.ndarray
    bbox: tuple

    def __eq__(self, other):
        same = isinstance(other, ChebyshevBoundedField) and self.bbox == other.bbox
        return same and np.array_equal(self.coefficients, other.coefficients)

    __hash__ = None

    @property
    def degree(self):
        """(y, x)."""
        ny, nx = self.coefficients.shape
        return ny - 1, nx - 1

    def evaluate(self, x, y):
        """Values at parent pixels, arrays of any one shape."""
        x_min, y_min, x_max, y_max = self.bbox
        u = (2.0 * np.asarray(x, float) - x_min - x_max) / (x_max - x_min + 1)
        v = (2.0 * np.asarray(y, float) - y_min - y_max) / (y_max - y_min + 1)
        return chebval2d(v, u, self.coefficients)


@dataclass(frozen=True)
class ProductBoundedField:
    """The product of fields (afw: ProductBoundedField.cc).

    Parameters
    ----------
    factors
        Bounded fields.
    """

    factors: tuple

    @property
    def degree(self):
        """(y, x), or None if a factor is no polynomial."""
        degrees = [factor.degree for factor in self.factors]
        return None if None in degrees else tuple(map(sum, zip(*degrees, strict=True)))

    def evaluate(self, x, y):
        """Values at parent pixels, arrays of any one shape."""
        return np.prod([factor.evaluate(x, y) for factor in self.factors], axis=0)


@dataclass(frozen=True)
class PixelAreaBoundedField:
    """The area of a pixel on the sky (afw: PixelAreaBoundedField.cc).

    Parameters
    ----------
    wcs
        With `pixel_to_sky`, parent pixels to degrees.
    bbox
        (x_min, y_min, x_max, y_max) of pixel centres, inclusive, parent pixels.
    scaling
        Factor on the area in sr.
    """

    wcs: object
    bbox: tuple
    scaling: float

    degree = None

    def evaluate(self, x, y):
        """Values at parent pixels, arrays of any one shape."""
        x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
        corner, right, up = (
            _unit_vectors(*self.wcs.pixel_to_sky(x + dx, y + dy))
            for dx, dy in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
        )
        area = np.linalg.norm(np.cross(right - corner, up - corner), axis=-1)
        return area * self.scaling


def _unit_vectors(ra, dec):
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)


def field_on(bounded, bbox, factor=1.0):
    """A bounded field as a Field of an image's own pixels.

    A polynomial is taken over exactly: interpolated at the Chebyshev nodes of the image, one more
    than its degree, which changes its basis from the field's box to the image. Others are
    interpolated with rising degree.

    Parameters
    ----------
    bounded
        With `evaluate` and `degree`.
    bbox
        (x_min, y_min, x_max, y_max) of the image in parent pixels.
    factor
        What the field is multiplied by.

    Raises
    ------
    UnsupportedError
        If polynomials of degree 12 do not follow it to 1e-7.
    """
    if bounded.degree is not None:
        return _interpolated(bounded, bbox, bounded.degree, factor)
    for degree in range(2, _LARGEST_DEGREE + 1, 2):
        trial = _interpolated(bounded, bbox, (degree, degree), factor)
        x, y = (np.linspace(0.0, n - 1.0, 4 * degree + 1) for n in reversed(trial.shape))
        x, y = (a.ravel() for a in np.meshgrid(x, y))
        truth = factor * bounded.evaluate(x + bbox[0], y + bbox[1])
        if np.max(np.abs(trial.at(x, y) / truth - 1.0)) < _RELATIVE_ERROR:
            return trial
    msg = (
        f"a {type(bounded).__name__} is no polynomial of degree {_LARGEST_DEGREE} to 1e-7: its "
        "calibration cannot be used"
    )
    raise UnsupportedError(msg)


def _interpolated(bounded, bbox, degree, factor):
    ny, nx = bbox[3] - bbox[1] + 1, bbox[2] - bbox[0] + 1
    (v, to_y), (u, to_x) = (_chebyshev_nodes(n + 1) for n in degree)
    x, y = (u + 1.0) * nx / 2.0 - 0.5 + bbox[0], (v + 1.0) * ny / 2.0 - 0.5 + bbox[1]
    values = bounded.evaluate(*np.meshgrid(x, y)) * factor
    return Field(to_y @ values @ to_x.T, (ny, nx))


def _chebyshev_nodes(count):
    """The zeros of T_count, and the matrix from values there to Chebyshev coefficients."""
    angles = np.pi * (np.arange(count) + 0.5) / count
    matrix = 2.0 / count * np.cos(np.outer(np.arange(count), angles))
    matrix[0] /= 2.0
    return np.cos(angles), matrix
