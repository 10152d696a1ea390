"""The two stamps of a subtraction, checked, without NaN, and on one square grid."""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import BadImageError, BadVarianceError, InputError
from skydelta.fill import fill_holes


@dataclass(frozen=True)
class StampPair:
    """Both stamps, padded to squares and their NaN filled, and what is known of their pixels.

    Parameters
    ----------
    shape
        (ny, nx) of the stamps as they were given; all planes are (side, side).
    science, template
        Counts.
    missing_science, missing_template
        bool, pixels without a value, those of the padding among them.
    mask
        bool, science pixels that the fit must not see.
    variance, template_variance
        Counts squared, or None.
    gain
        Electrons per science count, or None.
    """

    shape: tuple
    science: np.ndarray
    template: np.ndarray
    missing_science: np.ndarray
    missing_template: np.ndarray
    mask: np.ndarray
    variance: np.ndarray | None
    template_variance: np.ndarray | None
    gain: float | None

    @classmethod
    def of(cls, science, template, variance, template_variance, mask, gain):
        """The pair, or a typed refusal: see `skydelta.stamps.match_stamp`."""
        science, template = np.asarray(science, float), np.asarray(template, float)
        shape = science.shape
        if science.ndim != 2 or template.shape != shape:
            msg = f"the stamps must be 2-d and of one shape, got {shape} and {template.shape}"
            raise InputError(msg)
        mask = np.zeros(shape, bool) if mask is None else np.asarray(mask, bool)
        if mask.shape != shape:
            msg = f"the mask must have the stamps' shape {shape}, got {mask.shape}"
            raise InputError(msg)
        for name, image in (("science", science), ("template", template)):
            if not np.isfinite(image).any():
                msg = f"the {name} stamp has no finite pixel"
                raise BadImageError(msg)
        known = np.isfinite(science)
        variance = _variance_plane(variance, shape, known, "variance")
        known = np.isfinite(template)
        extra = _variance_plane(template_variance, shape, known, "template_variance")
        lost_science, lost_template = _square(science), _square(template)
        missing = ~np.isfinite(lost_science), ~np.isfinite(lost_template)
        filled = _filled(lost_science, missing[0]), _filled(lost_template, missing[1])
        return cls(
            shape,
            *filled,
            *missing,
            _square(mask, fill=True),
            None if variance is None else _square(variance, fill=1.0),
            None if extra is None else _square(extra, fill=1.0),
            gain,
        )

    def turned(self, convolve):
        """(source, its missing pixels, target, its missing pixels) for a direction."""
        template = self.template, self.missing_template
        science = self.science, self.missing_science
        return (*template, *science) if convolve == "template" else (*science, *template)


def _variance_plane(variance, shape, known, name):
    if variance is None:
        return None
    if np.ndim(variance) and np.shape(variance) != shape:
        msg = f"{name} must have the stamps' shape {shape}, got {np.shape(variance)}"
        raise InputError(msg)
    plane = np.broadcast_to(np.asarray(variance, float), shape)
    if not (plane[known] > 0).all() or not np.isfinite(plane[known]).all():
        msg = f"{name} must be positive and finite wherever the stamp is finite"
        raise BadVarianceError(msg)
    return np.where(known, plane, np.median(plane[known]))


def _filled(image, missing):
    """The image without NaN; `fill_holes` expects no background."""
    level = np.median(image[~missing])
    return fill_holes(np.where(missing, 0.0, image - level), missing) + level


def _square(image, fill=np.nan):
    """The image padded at its far edges to equal axes."""
    ny, nx = image.shape
    side = max(ny, nx)
    return np.pad(image, ((0, side - ny), (0, side - nx)), constant_values=fill)
