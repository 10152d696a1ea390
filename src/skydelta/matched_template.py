"""The light that was subtracted: how much of it lies under a point of the difference."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.cutouts import CHUNK, Pixels
from skydelta.exposure import Exposure


@dataclass(frozen=True)
class MatchedTemplate:
    """A template and how it was matched.

    Parameters
    ----------
    exposure
        Template on the grid of the difference, its own counts.
    kernel_sum
        Science counts per template count.
    flux_error
        Relative flux error of the matched template; NaN where it is not known.
    reach
        Half width of the matching kernel, px.
    registration_error
        rms registration error along an axis, px, if it was measured; None if not.
    """

    exposure: Exposure
    kernel_sum: float
    flux_error: float = 0.0
    reach: int = 0
    registration_error: float | None = None

    @classmethod
    def of(cls, exposure, meta):
        """As the header of the difference tells it.

        The relative error is KSCATTER where it is given: what the stars themselves scatter by.
        KFLUXERR allows besides for their being few, twice as much from four of them; a threshold
        on that would hide sources that the catalogue can give with their honest errors.
        """
        # In memory a card can carry its comment.
        cards = {k: v[0] if isinstance(v, tuple) else v for k, v in meta.items()}
        axes = [cards[name] for name in ("ASTRMSX", "ASTRMSY") if name in cards]
        return cls(
            exposure,
            kernel_sum=float(cards["KSUM"]),
            flux_error=float(cards.get("KSCATTER", cards.get("KFLUXERR", np.nan))),
            reach=int(cards.get("KSIZE", 1)) // 2,
            registration_error=float(np.sqrt(np.mean(np.square(axes)))) if axes else None,
        )

    @cached_property
    def level(self):
        """Median of the template's pixels, its counts."""
        return Pixels(self.exposure).level()

    def pixel_light(self, index):
        """Light above that level in pixels by flat index, science counts."""
        values = self.exposure.image.ravel()[index] - np.float32(self.level)
        return np.abs(np.float32(self.kernel_sum) * np.where(np.isfinite(values), values, 0))

    def light(self, x, y, psf):
        """PSF flux of the subtracted light at pixels, and how it changes from pixel to pixel.

        The template's pixels are weighted with the PSF of the difference, as the score weights
        the difference, such that a star has its flux.

        Parameters
        ----------
        x, y
            (n,) int.
        psf
            Psf of the difference.

        Returns
        -------
        light
            (n,) science counts; 0 where a PSF is not known.
        gradient
            (n,) length of its gradient, science counts per px.
        """
        x, y = np.asarray(x, int), np.asarray(y, int)
        light, gradient = np.zeros(len(x)), np.zeros(len(x))
        for start in range(0, len(x), CHUNK):
            cut = slice(start, start + CHUNK)
            light[cut], gradient[cut] = self._light(x[cut], y[cut], psf)
        return light, gradient

    def _light(self, x, y, psf):
        own = self.exposure.psf
        size = min(psf.size, own.size)
        phi, star = (_cropped(p.stamps(x, y), size) for p in (psf, own))
        norm = (phi * star).sum(axis=(1, 2))
        with np.errstate(invalid="ignore"):
            norm = np.where(norm > 0, norm, np.inf)
            phi = np.nan_to_num(phi * (self.kernel_sum / norm)[:, None, None])
        pixels = self._pixels(x, y, size // 2 + 1)
        rows = {-1: slice(0, -2), 0: slice(1, -1), 1: slice(2, None)}

        def seen(dy, dx):
            return np.einsum("nij,nij->n", phi, pixels[:, rows[dy], rows[dx]])

        along_x, along_y = seen(0, 1) - seen(0, -1), seen(1, 0) - seen(-1, 0)
        return seen(0, 0), 0.5 * np.hypot(along_x, along_y)

    def _pixels(self, x, y, half):
        """Boxes of the template above its level, saturated pixels as they are, no data 0."""
        rows, columns, inside = Pixels(self.exposure).indices(x, y, half)
        values = self.exposure.image[rows, columns] - np.float32(self.level)
        empty = np.int32(self.exposure.mask.bits("NO_DATA"))
        known = inside & np.isfinite(values)
        known &= (self.exposure.mask.array[rows, columns] & empty) == 0
        return np.where(known, values, np.float32(0))


def _cropped(stamps, size):
    first = (stamps.shape[-1] - size) // 2
    return stamps[:, first : first + size, first : first + size]


def model_noise(matched, x, y, psf, flux_sigma, *, model_error, registration_error):
    """Standard errors of PSF fluxes with what the subtraction itself may have got wrong.

    hypot(flux_sigma, e L, r |grad L|): L is the subtracted light, e the relative error of the
    model of it, the kernel's own measured flux error included, and r the registration error.

    Parameters
    ----------
    matched
        MatchedTemplate.
    x, y
        (n,) int, pixels.
    psf
        Psf of the difference.
    flux_sigma
        (n,) errors from the pixels' noise, counts.
    model_error
        Relative error of the matched template at a star, beside the measured one.
    registration_error
        px, along one axis, where the stars did not tell. None where the score allows for it
        already.

    Returns
    -------
    ndarray
        (n,) counts.
    """
    light, gradient = matched.light(x, y, psf)
    relative = np.hypot(model_error, np.nan_to_num(matched.flux_error))
    shift = 0.0
    if registration_error is not None:
        measured = matched.registration_error
        shift = registration_error if measured is None else measured
    return np.sqrt(flux_sigma**2 + (relative * light) ** 2 + (shift * gradient) ** 2)
