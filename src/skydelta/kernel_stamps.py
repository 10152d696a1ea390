"""The stamps that the matching kernel is fitted to."""

from dataclasses import dataclass, replace

import numpy as np

from skydelta.whitening import convolve_stamps

SCIENCE_BAD = ("BAD", "SAT", "CR", "EDGE", "NO_DATA")
TEMPLATE_BAD = ("BAD", "SAT", "EDGE", "NO_DATA")
"""Planes of pixels that are not fitted; a coadd's cosmic rays are clipped before."""


@dataclass(frozen=True)
class Stamps:
    """Cut-outs of two images about the stars of the fit.

    Parameters
    ----------
    x, y
        (n,) integer pixel of each stamp's centre.
    target, variance
        (n, s, s): counts of the image to be matched and their variance.
    source
        (n, s + 2 half, s + 2 half): counts of the image that is convolved, wider by the half
        kernel on every side.
    good
        (n, s, s) bool, pixels to be fitted.
    source_variance
        (n, s, s) variance of the image that is convolved, or None for a noiseless one.
    source_correlation
        Autocorrelation of its noise, sum 1, or None for white noise.
    """

    x: np.ndarray
    y: np.ndarray
    target: np.ndarray
    variance: np.ndarray
    source: np.ndarray
    good: np.ndarray
    source_variance: np.ndarray | None = None
    source_correlation: np.ndarray | None = None

    def __len__(self):
        return len(self.x)

    def first(self, n):
        """The first n stamps."""
        rows = ("x", "y", "target", "variance", "source", "good", "source_variance")
        planes = {name: getattr(self, name) for name in rows}
        return replace(self, **{k: v[:n] for k, v in planes.items() if v is not None})


def smoothed(stamps, sigma):
    """Stamps of both images convolved with a Gaussian, narrower by what it reaches.

    A kernel that sharpens amplifies the source's noise at the highest frequencies, where it has no
    light; smoothed alike, both images have the same kernel and the fit does not look there.

    Parameters
    ----------
    stamps
        Stamps.
    sigma
        Width of the Gaussian, px.
    """
    from scipy.ndimage import gaussian_filter1d, minimum_filter

    reach = int(np.ceil(3.0 * sigma))
    inner = slice(reach, -reach)

    def smooth(planes):
        for axis in (1, 2):
            planes = gaussian_filter1d(planes, sigma, axis=axis, radius=reach)
        return planes[:, inner, inner]

    width = 2 * reach + 1
    point = np.zeros((1, 4 * reach + 1, 4 * reach + 1))
    point[0, 2 * reach, 2 * reach] = 1.0
    filter_ = smooth(point)[0]
    correlation = convolve_stamps(filter_, filter_, 4 * reach + 1)
    if stamps.source_correlation is not None:
        size = 4 * reach + stamps.source_correlation.shape[0]
        correlation = convolve_stamps(correlation, stamps.source_correlation, size | 1)
    source_variance = stamps.source_variance
    return replace(
        stamps,
        target=smooth(stamps.target),
        variance=stamps.variance[:, inner, inner],
        source=smooth(stamps.source),
        good=minimum_filter(stamps.good, (1, width, width))[:, inner, inner],
        source_variance=None if source_variance is None else source_variance[:, inner, inner],
        source_correlation=correlation,
    )


def cutouts(image, x, y, half, fill):
    """(n, 2 half + 1, 2 half + 1) cut-outs about integer pixels, `fill` beyond the image."""
    ny, nx = image.shape
    offset = np.arange(-half, half + 1)
    rows, columns = y[:, None] + offset, x[:, None] + offset
    at = np.clip(rows, 0, ny - 1)[:, :, None], np.clip(columns, 0, nx - 1)[:, None, :]
    out = image[at]
    for beyond, where in (((rows < 0) | (rows >= ny), 1), ((columns < 0) | (columns >= nx), 2)):
        if beyond.any():
            out[np.broadcast_to(np.expand_dims(beyond, 3 - where), out.shape)] = fill
    return out


def cut_stamps(
    target, source, stars, half, stamp_half, source_correlation=None, *, source_is_science=False
):
    """Stamps of both images about the stars.

    A pixel is fitted if it is good on the target and no bad source pixel, nor one
    beyond the edge, lies under the kernel there.

    Parameters
    ----------
    target
        Exposure to be matched.
    source
        Exposure that the kernel is to convolve, on the same grid.
    stars
        From `kernel_stars`.
    half, stamp_half
        Half widths of the kernel and of the fitted stamps, px.
    source_correlation
        Autocorrelation of the noise of `source`, sum 1, or None for white noise.
    source_is_science
        Whether the science image is the one to be convolved.
    """
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    planes = (TEMPLATE_BAD, SCIENCE_BAD) if source_is_science else (SCIENCE_BAD, TEMPLATE_BAD)
    good = ~cutouts(bad_pixels(target, planes[0]), x, y, stamp_half, True)
    bad = cutouts(bad_pixels(source, planes[1]), x, y, stamp_half + half, True)
    good &= _box_sum(bad, 2 * half + 1) == 0

    def at_good(plane, fill):
        return np.where(good, cutouts(plane, x, y, stamp_half, fill), fill).astype(float)

    wide = cutouts(source.image, x, y, stamp_half + half, 0).astype(float)
    return Stamps(
        x=x,
        y=y,
        target=at_good(target.image, 0),
        variance=at_good(target.variance, 1),
        source=np.where(bad, 0.0, wide),
        good=good,
        source_variance=at_good(source.variance, 1),
        source_correlation=source_correlation,
    )


def _box_sum(stamps, width):
    """Number of true pixels in every width x width box: (n, s, s) to (n, s - width + 1, ...)."""
    total = np.pad(stamps.astype(np.int32), ((0, 0), (1, 0), (1, 0))).cumsum(1).cumsum(2)
    return (
        total[:, width:, width:]
        - total[:, :-width, width:]
        - total[:, width:, :-width]
        + total[:, :-width, :-width]
    )


def bad_pixels(exposure, planes):
    """(ny, nx) bool: in one of the planes, or without variance."""
    return exposure.mask.any(*planes) | ~(exposure.variance > 0)
