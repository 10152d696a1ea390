"""What the PSF classes of LSST have in common: stamps of any box, and images between pixels."""

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.psf import Psf

_SHIFT_ORDER = 5


class ImagePsf(Psf):
    """A PSF whose image between pixels is its centred stamp, shifted by Lanczos-5.

    Both as in afw: `stamps` is computeKernelImage, `images` computeImage (afw: Psf.cc,
    recenterKernelImage). Subclasses that know better, as a PSFEx model does, override `images`.
    """

    average_position = (0.0, 0.0)
    """(x, y) about which the PSF is known best, px."""

    def images(self, x, y):
        x, y = as_positions(x, y)
        xi, yi = np.floor(x + 0.5), np.floor(y + 0.5)
        half = self.size // 2
        shifted = lanczos_shift(self.stamps(x, y), x - xi, y - yi)
        return shifted, xi.astype(int) - half, yi.astype(int) - half


def as_positions(x, y):
    """Two float arrays (n,) of n positions."""
    return np.atleast_1d(np.asarray(x, float)), np.atleast_1d(np.asarray(y, float))


def lanczos(distance, order):
    """Lanczos function sinc(d) sinc(d / order), not cut off (afw: FunctionLibrary.h)."""
    return np.sinc(distance) * np.sinc(distance / order)


def lanczos_shift(stamps, dx, dy, order=_SHIFT_ORDER):
    """Stamps moved by less than a pixel, with zeros beyond their edges (afw: offsetImage.cc).

    Parameters
    ----------
    stamps
        (n, size, size).
    dx, dy
        (n,) px, in [-1, 1]; the kernel of each axis is normalised to sum 1.
    order
        Of the Lanczos kernel.
    """
    rows = _shift_matrices(stamps.shape[-2], np.asarray(dy, float), order)
    columns = _shift_matrices(stamps.shape[-1], np.asarray(dx, float), order)
    return rows @ stamps @ np.swapaxes(columns, 1, 2)


def _shift_matrices(size, shift, order):
    """(n, size, size) matrices that interpolate a row at its pixels minus each shift."""
    taps = np.arange(-order, order) + (shift <= 0)[:, None]
    weights = lanczos(taps + shift[:, None], order)
    weights /= weights.sum(axis=1, keepdims=True)
    distance = np.arange(size) - np.arange(size)[:, None]  # of the tap from the new pixel
    position = distance - taps[:, :1, None]
    used = (position >= 0) & (position < 2 * order)
    which = np.broadcast_to(np.arange(len(shift))[:, None, None], position.shape)
    return np.where(used, weights[which, np.clip(position, 0, 2 * order - 1)], 0.0)


def square_stamps(stamps, centre):
    """Stamps of any box in the smallest odd square about their centre pixel.

    Parameters
    ----------
    stamps
        (n, height, width).
    centre
        (x, y) element that belongs to the position.
    """
    height, width = stamps.shape[-2:]
    half = square_half(width, height, centre)
    out = np.zeros((*stamps.shape[:-2], 2 * half + 1, 2 * half + 1), stamps.dtype)
    x0, y0 = half - centre[0], half - centre[1]
    out[..., y0 : y0 + height, x0 : x0 + width] = stamps
    return out


def square_half(width, height, centre):
    """Half the width of the smallest odd square about `centre` that holds a box."""
    (x, y) = centre
    return max(x, y, width - 1 - x, height - 1 - y)


def normalised(stamps, name):
    """Stamps divided by their sums.

    Raises
    ------
    BadPsfError
        If one has no positive sum, or is not finite.
    """
    sums = stamps.sum(axis=(-2, -1), keepdims=True, dtype=float)
    if not np.all(sums > 0):
        msg = f"the {name} has no positive sum at a position asked for: its file cannot be right"
        raise BadPsfError(msg)
    return stamps / sums
