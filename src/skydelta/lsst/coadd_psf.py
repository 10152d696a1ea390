"""The PSF of a coadd: the mean of its input images' PSFs, each carried to the coadd's pixels."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.lsst.affine_warp import WarpingControl
from skydelta.lsst.image_psf import ImagePsf, as_positions
from skydelta.lsst.warped_psf import derivatives, largest_half, stencil, warped_stamps

_BATCH = 512
"""Positions evaluated at a time, for the memory of their stamps."""

_CIRCLE = 1.2
"""An input is looked at within so many times the radius of its corners: a distortion polynomial
is of no use far outside its image, and most inputs need no look."""


@dataclass(frozen=True)
class CoaddPsfInput:
    """One input image of a coadd.

    Parameters
    ----------
    psf
        Psf on its parent pixels.
    wcs
        Sky WCS of its parent pixels: ``pixel_to_sky`` and ``sky_to_pixel``.
    weight
        In the coadd.
    bbox
        (x_min, y_min, x_max, y_max) of its pixels, inclusive, parent px.
    valid_polygon
        Object with ``contains(x, y)``, or None where all of the box is valid.
    id
        Of the input: visit and detector packed, as the camera does.
    goodpix
        Number of its pixels that went into the coadd, or None.
    tract, patch
        Where the input is a coadd itself (multi-tract templates of dia_pipe), else None.
    """

    psf: object
    wcs: object
    weight: float
    bbox: tuple
    valid_polygon: object = None
    id: int = 0
    goodpix: int | None = None
    tract: int | None = None
    patch: int | None = None

    def contains(self, x, y):
        """Whether its valid pixels contain parent positions; False where they are NaN."""
        x0, y0, x1, y1 = self.bbox
        inside = (x >= x0 - 0.5) & (x < x1 + 0.5) & (y >= y0 - 0.5) & (y < y1 + 0.5)
        if self.valid_polygon is not None and inside.any():
            inside[inside] = self.valid_polygon.contains(x[inside], y[inside])
        return inside

    @property
    def outline(self):
        """x, y (5,) of the middle and the corners of its box."""
        x0, y0, x1, y1 = self.bbox
        return (
            np.array([0.5 * (x0 + x1), x0, x1, x0, x1]),
            np.array([0.5 * (y0 + y1), y0, y0, y1, y1]),
        )

    @cached_property
    def circle(self):
        """Unit vector of its middle, and the cosine of the radius that `_CIRCLE` allows."""
        vectors = _unit_vectors(*self.wcs.pixel_to_sky(*self.outline))
        # The chord, unlike the cosine, is precise for small angles.
        radius = 2 * np.arcsin(0.5 * np.linalg.norm(vectors[1:] - vectors[0], axis=1).max())
        return vectors[0], np.cos(min(_CIRCLE * radius, np.pi))


@dataclass(frozen=True)
class CoaddPsf(ImagePsf):
    """Weighted mean of the PSFs of the inputs that contain the position.

    Each is carried to the coadd's pixels as by `WarpedPsf` and normalised before it is averaged
    (meas_algorithms: CoaddPsf.cc). Its size is that of the largest input, turned as it is.

    Parameters
    ----------
    coadd_wcs
        Sky WCS of the coadd's parent pixels.
    inputs
        CoaddPsfInput, at least one.
    average_position
        (x, y), px; by default as the stack computes it, `mean_position`.
    warping_kernel, cache_size
        As in `WarpingControl`.

    Raises
    ------
    BadPsfError
        Without inputs, for weights that are negative, not finite or all zero, for an input
        without PSF or WCS; on evaluation, where no input contains the position.
    """

    coadd_wcs: object
    inputs: tuple
    average_position: tuple | None = None
    warping_kernel: str = "lanczos3"
    cache_size: int = 10000
    control: WarpingControl = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "inputs", tuple(self.inputs))
        control = WarpingControl(self.warping_kernel, self.cache_size)
        object.__setattr__(self, "control", control)
        if self.coadd_wcs is None or not self.inputs:
            what = "WCS of the coadd" if self.coadd_wcs is None else "input images"
            msg = f"the CoaddPsf has no {what}: the file is damaged, or was never complete"
            raise BadPsfError(msg)
        for one in self.inputs:
            if one.psf is None or one.wcs is None:
                what = "PSF" if one.psf is None else "WCS"
                msg = f"input {one.id} of the CoaddPsf has no {what}: the file is damaged"
                raise BadPsfError(msg)
        weights = np.array([one.weight for one in self.inputs], float)
        if not (np.isfinite(weights).all() and weights.min() >= 0 and weights.max() > 0):
            msg = (
                f"the weights of the CoaddPsf's {len(weights)} inputs run from {weights.min():g} "
                f"to {weights.max():g}: they must be finite, none negative, not all zero"
            )
            raise BadPsfError(msg)
        if self.average_position is None:
            object.__setattr__(self, "average_position", self.mean_position())

    @cached_property
    def size(self):
        return 2 * max(self._half(one) for one in self.inputs) + 1

    def _half(self, one):
        """Half the size of an input's stamps on the coadd."""
        x, y = self.coadd_wcs.sky_to_pixel(*one.wcs.pixel_to_sky(*one.outline))
        matrix = derivatives(*_to_pixel(one.wcs, *self.coadd_wcs.pixel_to_sky(*stencil(x, y))))[2]
        defined = np.isfinite(matrix).all(axis=(1, 2))
        if not defined.any():
            msg = f"the WCS of input {one.id} of the CoaddPsf cannot be inverted on its image"
            raise BadPsfError(msg)
        return largest_half(one.psf, matrix[defined])

    def has_inputs(self, x, y):
        """Whether any input of positive weight contains each position, (n,) bool.

        Parameters
        ----------
        x, y
            (n,) px.
        """
        x, y = as_positions(x, y)
        return self._weights_at(*self.coadd_wcs.pixel_to_sky(x, y)).any(axis=0)

    def _weights_at(self, ra, dec):
        """(n_inputs, n) weights of the inputs at sky positions, 0 where they do not reach."""
        vectors = _unit_vectors(ra, dec)
        weights = np.zeros((len(self.inputs), len(vectors)))
        for k, one in enumerate(self.inputs):
            if not one.weight:
                continue
            centre, cosine = one.circle
            near = np.flatnonzero(vectors @ centre >= cosine)
            if near.size:
                contained = one.contains(*_to_pixel(one.wcs, ra[near], dec[near]))
                weights[k, near[contained]] = one.weight
        return weights

    def stamps(self, x, y):
        x, y = as_positions(x, y)
        out = np.empty((x.size, self.size, self.size))
        for start in range(0, x.size, _BATCH):
            part = slice(start, start + _BATCH)
            out[part] = self._stamps(x[part], y[part])
        return out

    def _stamps(self, x, y):
        ra, dec = (
            np.asarray(a).reshape(5, -1) for a in self.coadd_wcs.pixel_to_sky(*stencil(x, y))
        )
        weights = self._weights_at(ra[0], dec[0])
        total = weights.sum(axis=0)
        if not total.all():
            lost = np.flatnonzero(total == 0)
            k = lost[0]
            more = f" (nor at {lost.size - 1} more)" if lost.size > 1 else ""
            msg = (
                f"the coadd's PSF is not known at ({x[k]:.1f}, {y[k]:.1f}){more}: none of its "
                f"{len(self.inputs)} input images covers it"
            )
            raise BadPsfError(msg)
        mean = np.zeros((x.size, self.size, self.size))
        for one, weight in zip(self.inputs, weights, strict=True):
            use = np.flatnonzero(weight)
            if use.size == 0:
                continue
            u, v, to_source = derivatives(
                *_to_pixel(one.wcs, ra[:, use].ravel(), dec[:, use].ravel())
            )
            stamps = warped_stamps(
                one.psf, (x[use], y[use]), (u, v), to_source, self.control, self.size // 2
            )
            stamps *= (weight[use] / total[use])[:, None, None]
            mean[use] += stamps
        return mean

    def mean_position(self):
        """(x, y): mean of the inputs' average positions, by weight times good pixels.

        The inputs of least weight are left out until some input contains it (meas_algorithms:
        CoaddPsf.cc, computeAveragePosition).

        Raises
        ------
        BadPsfError
            If there is no such position.
        """
        positions, weights = [], []
        for one in self.inputs:
            sky = one.wcs.pixel_to_sky(*as_positions(*one.psf.average_position))
            positions.append(np.ravel(self.coadd_wcs.sky_to_pixel(*sky)))
            weights.append(one.weight * (1 if one.goodpix is None else one.goodpix))
        order = np.argsort(weights, kind="stable")
        positions, weights = np.array(positions)[order], np.array(weights, float)[order]
        for first in range(len(order)):
            if weights[first:].sum() > 0:
                x, y = np.average(positions[first:], axis=0, weights=weights[first:])
                if self.has_inputs(x, y)[0]:
                    return float(x), float(y)
        msg = "no average position of the CoaddPsf lies on one of its inputs: give one"
        raise BadPsfError(msg)


def _unit_vectors(ra, dec):
    """(n, 3) of positions in degrees."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)


def _to_pixel(wcs, ra, dec):
    """Pixels of sky positions, NaN where the WCS finds none."""
    from astropy.wcs import NoConvergence

    try:
        u, v = wcs.sky_to_pixel(ra, dec)
    except NoConvergence as error:
        u, v = np.array(error.best_solution, float).T
        for lost in (error.divergent, error.slow_conv):
            if lost is not None:
                u[lost] = v[lost] = np.nan
    return np.asarray(u, float), np.asarray(v, float)
