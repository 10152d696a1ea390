"""A PSF seen through a mapping of pixels."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.lsst.affine_warp import WarpingControl, half_boxes, warp
from skydelta.lsst.image_psf import ImagePsf, as_positions, normalised

_STEP = 10.0
"""px, of the differences that linearise a mapping: distortions of cameras are smooth over far
more, and what an iterative inverse leaves undone (1e-4 px at most) is divided by it."""


@dataclass(frozen=True)
class WarpedPsf(ImagePsf):
    """A PSF carried from one image to another (meas_algorithms: WarpedPsf.cc).

    The mapping is linearised at the position asked for. The PSF is drawn at the source position of
    the nearest whole target pixel, the part between pixels by its own rule, and interpolated onto
    the target's pixels. (Before May 2022 the stack drew it centred instead.)

    Parameters
    ----------
    psf
        Psf of the source image.
    transform
        From source to target pixels: an object with ``forward(x, y)`` and ``inverse(x, y)``.
    control
        WarpingControl.

    Raises
    ------
    BadPsfError
        On evaluation, where the transform is not defined.
    """

    psf: object
    transform: object
    control: WarpingControl = field(default_factory=WarpingControl)

    @property
    def average_position(self):
        x, y = self.transform.forward(*as_positions(*self.psf.average_position))
        return float(x[0]), float(y[0])

    @cached_property
    def size(self):
        x, y = (np.array([value]) for value in self.average_position)
        return 2 * largest_half(self.psf, linearise(self.transform.inverse, x, y)[2]) + 1

    def stamps(self, x, y):
        x, y = as_positions(x, y)
        u, v, to_source = linearise(self.transform.inverse, x, y)
        lost = ~(np.isfinite(u) & np.isfinite(v) & np.isfinite(to_source).all(axis=(1, 2)))
        if lost.any():
            k = int(np.argmax(lost))
            msg = f"the WarpedPsf's transform is not defined at ({x[k]:.1f}, {y[k]:.1f})"
            raise BadPsfError(msg)
        stamps = warped_stamps(self.psf, (x, y), (u, v), to_source, self.control, self.size // 2)
        return stamps.astype(float)


def linearise(inverse, x, y):
    """Source positions (n,), (n,) of target positions, and (n, 2, 2) derivatives there.

    Parameters
    ----------
    inverse
        Function from target x, y to source x, y, arrays of one shape.
    x, y
        (n,) target px.
    """
    return derivatives(*inverse(*stencil(x, y)))


def stencil(x, y):
    """(5 n,) target positions whose images linearise a mapping: each one, and four around it."""
    dx = np.array([0.0, _STEP, -_STEP, 0.0, 0.0])[:, None]
    dy = np.array([0.0, 0.0, 0.0, _STEP, -_STEP])[:, None]
    return (x + dx).ravel(), (y + dy).ravel()


def derivatives(u, v):
    """What `linearise` gives, from the images of a `stencil`."""
    u, v = (np.asarray(a, float).reshape(5, -1) for a in (u, v))
    matrix = np.array([[u[1] - u[2], u[3] - u[4]], [v[1] - v[2], v[3] - v[4]]]) / (2 * _STEP)
    return u[0], v[0], np.moveaxis(matrix, 2, 0)


def largest_half(psf, to_source):
    """Half the size of square stamps that hold a PSF after any of the maps (n, 2, 2).

    One pixel is added, because a map that varies can take a box over the next whole pixel.
    """
    return int(half_boxes(psf.size, psf.size, to_source).max()) + 1


def warped_stamps(psf, target, source, to_source, control, half_size):
    """Stamps of a PSF on the pixels of another image, centred, each of sum 1.

    Parameters
    ----------
    psf
        Psf of the source.
    target, source
        (x, y) of (n,) positions in target and source pixels.
    to_source
        (n, 2, 2) derivatives of source by target positions.
    control
        WarpingControl.
    half_size
        Half the size of the result.

    Returns
    -------
    ndarray
        (n, 2 half_size + 1, 2 half_size + 1) float32.
    """
    (x, y), (u, v) = target, source
    whole = np.stack([_round(x) - x, _round(y) - y], axis=1)
    at = np.stack([u, v], axis=1) + np.einsum("nij,nj->ni", to_source, whole)
    stamps, x0, y0 = psf.images(at[:, 0], at[:, 1])
    half = half_boxes(stamps.shape[2], stamps.shape[1], to_source)
    origin = at - np.stack([x0, y0], axis=1)
    return normalised(warp(stamps, origin, to_source, half, control, half_size), "warped PSF")


def _round(value):
    """Nearest whole number, halves away from zero, as C's round."""
    return np.trunc(value + np.copysign(0.5, value))
