"""Haloes: what saturated stars leave around their cores, on either image.

Wings, ghosts and spikes of a saturated star are not in any PSF model, and whatever a kernel makes
of its clipped core spreads about it. How far that goes is measured: rings about the saturated
pixels belong to the halo while the difference scatters more there than its variance says, and so
do connected pixels of excess that stick out of them, the spikes.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from skydelta.local_psf import reference_place
from skydelta.mask import UNUSABLE

_SATURATED = ("SAT", "SAT_TEMPLATE")

_LEAST_PIXELS = 4
"""Smaller groups of saturated pixels are hot ones or single flukes."""

_CLIP = 10.0
"""sigma; one transient in a ring shall not make it a halo."""

_EXCESS = 1.3
"""rms of D / sigma, its clipped outliers aside, of a ring of the halo."""

_SPIKE = 2.0
"""Local mean |D| / sigma of a spike; that of pure noise is 0.8."""

_SPIKE_BOX = 5
"""px, side of the box of that mean."""

_FAR, _FARTHEST = 4.0, 80
"""The halo ends within this many core radii beyond the core, and so many px, in any case."""


@dataclass(frozen=True)
class Halo:
    """The halo of one group of saturated pixels.

    Parameters
    ----------
    y, x
        First row and column of `pixels`.
    pixels
        (h, w) bool.
    """

    y: int
    x: int
    pixels: np.ndarray


def find_halos(exposure):
    """Haloes about the saturated pixels of a difference's two images.

    Parameters
    ----------
    exposure
        Difference with PSF; SAT and SAT_TEMPLATE tell its saturated pixels.

    Returns
    -------
    list of Halo
        Saturated pixels themselves are in none of them.
    """
    saturated = exposure.mask.any(*_SATURATED)
    if not saturated.any():
        return []
    fwhm = exposure.psf.compute_shape(*reference_place(exposure.psf, exposure.shape)).fwhm
    labels, count = ndimage.label(saturated, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    halos = []
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if sizes[label] >= _LEAST_PIXELS:
            halos.append(_halo(exposure, labels, label, box, sizes[label], fwhm))
    return halos


def _halo(exposure, labels, label, box, size, fwhm):
    """The Halo of one labelled group of `size` pixels in a box."""
    far = int(min(np.ceil(_FAR * np.sqrt(size / np.pi) + 2 * fwhm), _FARTHEST))
    cut = tuple(
        slice(max(s.start - far, 0), min(s.stop + far, n))
        for s, n in zip(box, exposure.shape, strict=True)
    )
    distance = ndimage.distance_transform_edt(labels[cut] != label)
    z = _significance(exposure, cut)
    radius = max(_radius(z, distance, far, fwhm), fwhm)
    near = distance <= radius
    pixels = near | _spikes(z, near, distance <= far)
    return Halo(cut[0].start, cut[1].start, pixels & (labels[cut] == 0))


def _significance(exposure, cut):
    """|D| / sigma of a cut-out, clipped; NaN where unusable."""
    variance = exposure.variance[cut]
    bits = np.int32(exposure.mask.bits(*UNUSABLE))
    usable = (variance > 0) & np.isfinite(variance) & ((exposure.mask.array[cut] & bits) == 0)
    z = np.full(variance.shape, np.nan)
    z[usable] = np.minimum(np.abs(exposure.image[cut][usable]) / np.sqrt(variance[usable]), _CLIP)
    return z


def _radius(z, distance, far, fwhm):
    """Px from the saturated pixels into the first two quiet rings, each half an FWHM wide."""
    width = max(0.5 * fwhm, 1.5)
    known = np.isfinite(z) & (distance > 0) & (distance <= far)
    ring = (distance[known] / width).astype(int)
    count = np.bincount(ring, minlength=1)
    # A robust rms: the median of |z| is 0.6745 for unit noise, whatever a few sources add.
    order = np.argsort(ring, kind="stable")
    parts = np.split(z[known][order], np.cumsum(count)[:-1])
    rms = np.array([np.median(p) / 0.6745 if p.size >= 8 else np.nan for p in parts])
    loud = rms > _EXCESS
    quiet = ~loud & np.r_[~loud[1:], True]
    return width * (1.0 + (float(np.argmax(quiet)) if quiet.any() else len(loud)))


def _spikes(z, near, allowed):
    """Connected pixels of excess that touch the halo's rings."""
    known = np.isfinite(z)
    weight = ndimage.uniform_filter(known.astype(float), _SPIKE_BOX)
    mean = ndimage.uniform_filter(np.where(known, z, 0.0), _SPIKE_BOX)
    excess = allowed & (weight > 0.3) & (mean > _SPIKE * weight)
    return ndimage.binary_propagation(near, mask=excess | near)
