"""PSFEx models as LSST's fork of PSFEx evaluates them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.lsst.image_psf import ImagePsf, as_positions, normalised, square_half, square_stamps

_ENVELOPE = 5.0
_REACH = 6
"""The interpolation takes this many model pixels to each side, the last of weight zero."""

_BATCH = 64
"""Images evaluated at a time, so that they stay in the processor's cache."""


@dataclass(frozen=True)
class PsfexPsf(ImagePsf):
    """Component images whose coefficients are polynomials of the position.

    A sum of components on the model's own pixels, resampled to the image's with Lanczos-5 at the
    sub-pixel position asked for, divided by its sum (meas_extensions_psfex: PsfexPsf.cc; psfex:
    poly.c, vignet.c).

    Parameters
    ----------
    components
        (n, height, width) float32.
    degree
        Degree of the polynomial of each group.
    group
        (group of x, group of y), 0-based: two axes of one group share its degree.
    context
        ((offset, scale), (offset, scale)): the polynomial's variables are (x - offset) / scale, of
        0-based parent pixels.
    pixstep
        Size of a model pixel in image pixels.
    average_position
        (x, y) of the stars that made it, px.

    Raises
    ------
    BadPsfError
        If components and polynomial do not fit, or values are not finite.
    """

    components: np.ndarray
    degree: tuple
    group: tuple = (0, 0)
    context: tuple = ((0.0, 1.0), (0.0, 1.0))
    pixstep: float = 1.0
    average_position: tuple = (0.0, 0.0)

    def __post_init__(self):
        if len(self.group) != 2 or len(self.context) != 2:
            msg = (
                f"the PsfexPsf depends on {len(self.group)} quantities: only models of the "
                "position (x and y) can be evaluated"
            )
            raise BadPsfError(msg)
        if not all(0 <= g < len(self.degree) for g in self.group) or min(self.degree) < 0:
            msg = f"the PsfexPsf has no degree for each of the groups {self.group}: {self.degree}"
            raise BadPsfError(msg)
        shape = np.shape(self.components)
        if len(shape) != 3 or len(self._powers) != shape[0] or 0 in shape:
            msg = (
                f"the PsfexPsf's polynomial has {len(self._powers)} terms, its components are an "
                f"array of shape {shape}: expected (terms, height, width)"
            )
            raise BadPsfError(msg)
        scales = [scale for _, scale in self.context]
        sound = all(np.isfinite(scales)) and all(scales) and 0 < self.pixstep < np.inf
        if not (sound and np.isfinite(self.components).all()):
            msg = (
                "the PsfexPsf has components that are not finite, or no valid scale "
                f"({scales}) or pixel step ({self.pixstep})"
            )
            raise BadPsfError(msg)

    @property
    def _powers(self):
        """Powers (of x, of y) of the polynomial's terms, those of x running fastest."""
        gx, gy = self.group
        return [
            (i, j)
            for j in range(self.degree[gy] + 1)
            for i in range(self.degree[gx] + 1 - (j if gx == gy else 0))
        ]

    @property
    def box(self):
        """(width, height) of the images in the stack, px: odd."""
        step = np.float32(self.pixstep)
        return tuple(int(np.float32(n) * step) // 2 * 2 + 1 for n in self.components.shape[:0:-1])

    @property
    def _centre(self):
        return self.box[0] // 2, self.box[1] // 2

    @property
    def size(self):
        return 2 * square_half(*self.box, self._centre) + 1

    def _coefficients(self, x, y):
        (x0, sx), (y0, sy) = self.context
        u, v = (x - x0) / sx, (y - y0) / sy
        terms = [u**i * v**j for i, j in self._powers]
        return np.stack(terms, axis=-1).astype(np.float32)

    @cached_property
    def _resampled(self):
        """The components on the image's pixels: the resampling is linear."""
        zero = np.zeros(1, np.float32)
        rows, columns = self._matrices(zero, zero)
        return np.matmul(rows, self.components.astype(float)) @ np.swapaxes(columns, 1, 2)

    def stamps(self, x, y):
        basis = self._coefficients(*as_positions(x, y))
        images = np.tensordot(basis.astype(float), self._resampled, axes=1)
        return square_stamps(normalised(images, "PsfexPsf"), self._centre)

    def images(self, x, y):
        x, y = as_positions(x, y)
        basis = self._coefficients(x, y)
        (xi, dx), (yi, dy) = _split(x), _split(y)
        width, height = self.box
        images = np.empty((x.size, height, width), np.float32)
        flat = np.ascontiguousarray(self.components, np.float32).reshape(len(self._powers), -1)
        for start in range(0, x.size, _BATCH):
            part = slice(start, start + _BATCH)
            model = (basis[part] @ flat).reshape(-1, *self.components.shape[1:])
            rows, columns = self._matrices(dx[part], dy[part])
            images[part] = rows @ model @ np.swapaxes(columns, 1, 2)
        half = self.size // 2
        stamps = square_stamps(normalised(images.astype(float), "PsfexPsf"), self._centre)
        return stamps, xi - half, yi - half

    def _matrices(self, dx, dy):
        """(n, height, model height) and (n, width, model width) float32 resampling matrices."""
        step = np.float32(1) / np.float32(self.pixstep)
        model, image = self.components.shape[1:], self.box[::-1]
        return tuple(
            _resampling(m, n, -shift * step, float(step))
            for m, n, shift in zip(model, image, (dy, dx), strict=True)
        )


def _split(position):
    """Whole pixels and the fraction in (-0.5, 0.5] that is left, float32 as in PsfexPsf.cc.

    Below zero the stack rounds towards zero, by which its box is one pixel off; here it is not.
    """
    whole = np.ceil(position - 0.5)
    return whole.astype(int), (position - whole).astype(np.float32)


def _resampling(n_model, n_image, shift, step):
    """(n, n_image, n_model) float32 weights of the model's pixels in the image's (vignet.c).

    Image pixel i lies at model pixel n_model // 2 + shift + (i - n_image // 2) step. Weights are
    normalised over the taps inside the model; pixels outside it get nothing.
    """
    start = n_model // 2 + np.asarray(shift, float) - (n_image // 2) * step
    first = np.where(start < 0, np.floor(1 - start / step), 0)
    count = np.floor((n_model - 1 - start - first * step) / step + 1)
    pixel = np.arange(n_image)
    inside = (pixel >= first[:, None]) & (pixel < (first + count)[:, None])
    at = np.where(inside, start[:, None] + pixel * step, 0.0)
    whole = np.floor(at)
    tap = np.arange(-_REACH, _REACH)
    weights = _lanczos_taps(at - whole, tap)
    index = whole.astype(int)[..., None] + tap
    weights[(index < 0) | (index >= n_model) | ~inside[..., None]] = 0.0
    total = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(total > 0, total, 1.0)
    out = np.zeros((*at.shape, n_model + 2 * _REACH), np.float32)
    np.put_along_axis(out, index + _REACH, weights.astype(np.float32), axis=-1)
    return out[..., _REACH:-_REACH]


def _lanczos_taps(fraction, tap):
    """Lanczos-5 at fraction - tap for whole taps, with three sines for each fraction."""
    distance = fraction[..., None] - tap
    phase, turn = np.pi / _ENVELOPE * fraction, np.pi / _ENVELOPE * tap
    slow = np.sin(phase)[..., None] * np.cos(turn) - np.cos(phase)[..., None] * np.sin(turn)
    fast = np.sin(np.pi * fraction)[..., None] * np.where(tap % 2, -1.0, 1.0)
    near = np.abs(distance) < 1e-5
    divisor = np.where(near, 1.0, distance**2 * (np.pi**2 / _ENVELOPE))
    weights = np.where(near, 1.0, fast * slow / divisor)
    weights[np.abs(distance) > _ENVELOPE] = 0.0
    return weights
