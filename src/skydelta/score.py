"""The matched filter: score and flux error of a PSF at every pixel.

With data D, pixel variances V and the local PSF phi the score at a pixel is
sum phi D / V over sqrt(sum phi^2 / V), the significance of the best PSF flux there (equal to
ZOGY's S_corr where the noise is white). Unusable pixels weigh nothing.
"""

import numpy as np
from scipy import fft

from skydelta.convolve import convolve_tile, kernel_transform, padded_cut, tile_size, tiles
from skydelta.local_psf import is_known, reference_place, tile_stamp
from skydelta.mask import UNUSABLE
from skydelta.parallel import map_tiles
from skydelta.psf import resize_stamps


def score_image(exposure, *, psf=None, min_good_weight=0.5):
    """Score and flux error of a PSF at every pixel.

    Parameters
    ----------
    exposure
        Difference with PSF.
    psf
        Psf to filter with; default that of the exposure.
    min_good_weight
        Pixels whose PSF lies by less than this fraction (of phi^2) on usable ones score 0.

    Returns
    -------
    score
        (ny, nx) float32, in sigma.
    flux_sigma
        (ny, nx) float32, standard error of the PSF flux, counts; inf where the score is void.
    """
    known = (exposure.variance > 0) & np.isfinite(exposure.variance)
    unusable = exposure.mask.any(*UNUSABLE) | ~known
    weight = np.zeros(exposure.shape, np.float32)
    np.divide(1.0, _smooth_variance(exposure.variance, unusable), out=weight, where=~unusable)
    weighted = np.where(unusable, np.float32(0), exposure.image) * weight
    psf = psf or exposure.psf
    half = psf.size // 2
    size = tile_size(exposure.shape, half)
    score = np.zeros(exposure.shape, np.float32)
    sigma = np.full(exposure.shape, np.inf, np.float32)

    def filtered(plane, kernel, box):
        y0, y1, x0, x1 = box
        cut = padded_cut(plane, y0, y1, x0, x1, half).astype(np.float32, copy=False)
        transform = fft.rfft2(cut, s=(size, size))
        kernel_hat = kernel_transform(kernel, size)
        return convolve_tile(transform, kernel_hat, size, (y1 - y0, x1 - x0), half)

    def fill(box):
        y0, y1, x0, x1 = box
        # Correlation with the PSF is convolution with its reflection.
        phi = tile_stamp(psf, box)[::-1, ::-1]
        if not is_known(phi):
            return  # void: see skydelta.local_psf.unknown_boxes
        top = filtered(weighted, phi, box)
        bottom = filtered(weight, phi**2, box)
        valid = bottom > 0
        if padded_cut(unusable, y0, y1, x0, x1, half).any():
            lost = filtered(unusable, phi**2, box) / np.float32((phi**2).sum())
            valid &= lost < 1 - min_good_weight
        root = np.sqrt(np.where(valid, bottom, 1.0))
        score[y0:y1, x0:x1] = np.where(valid, top / root, 0.0)
        sigma[y0:y1, x0:x1] = np.where(valid, 1.0 / root, np.inf)

    for _ in map_tiles(fill, tiles(exposure.shape, half, size)):
        pass
    if psf is not exposure.psf:
        sigma /= np.float32(_response(psf, exposure))
    return score, sigma


def _response(psf, exposure):
    """What a filter other than the PSF makes of a star of unit flux, over its own square."""
    place = reference_place(psf, exposure.shape)
    phi, own = (p.stamp(*place) for p in (psf, exposure.psf))
    size = min(phi.shape[0], own.shape[0])
    return (resize_stamps(phi, size) * resize_stamps(own, size)).sum() / (phi**2).sum()


def _smooth_variance(variance, unusable, width=5):
    """Means of the usable variance over width x width px.

    A variance plane made from the data is high where the noise is high: weights taken from single
    pixels would favour the low ones, and pull the score down everywhere.
    """
    total = _box_sum(np.where(unusable, np.float32(0), variance), width)
    count = _box_sum((~unusable).astype(np.float32), width)
    np.maximum(count, np.float32(0.5), out=count)
    total /= count
    total[unusable] = 1.0
    return total


def _box_sum(plane, width):
    """Sums over width x width px, zeros beyond the edges; plain additions of shifted views."""
    half = width // 2
    for axis in (0, 1):
        total = plane.copy()
        for shift in range(1, half + 1):
            ahead = [slice(None)] * 2
            behind = [slice(None)] * 2
            ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
            total[tuple(behind)] += plane[tuple(ahead)]
            total[tuple(ahead)] += plane[tuple(behind)]
        plane = total
    return plane
