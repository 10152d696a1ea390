"""Decorrelation kernels: what whitens the noise of an image made by convolution.

Reiss & Lupton (DMTN-021) with the kernel sum kept, and with the correlation that resampling left
in the template. For a difference S - K conv T of background variances v_s and v_t,

    P(k) = v_s + v_t rho(k) |K(k)|^2,    psi(k) = sqrt((v_s + v_t ksum^2) / P(k)),

where rho is the transform of the template's noise autocorrelation (sum 1). psi(0) = 1: fluxes are
those of the science image. After it the noise is white with variance v_s + v_t ksum^2.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft


def transform(stamp, n):
    """fft2 of a centred odd stamp on an n x n grid, its middle pixel at the origin."""
    half = stamp.shape[-1] // 2
    padded = np.zeros((*stamp.shape[:-2], n, n))
    padded[..., : stamp.shape[-2], : stamp.shape[-1]] = stamp
    return fft.fft2(np.roll(padded, (-half, -half), axis=(-2, -1)))


def centred(grid, size):
    """The middle size x size of the real image of a transform, origin on the middle pixel."""
    image = fft.ifft2(grid).real
    half, n = size // 2, image.shape[-1]
    if size > n:
        msg = f"cannot cut {size} px from a grid of {n}"
        raise ValueError(msg)
    index = np.arange(-half, half + 1) % n
    return image[..., index[:, None], index[None, :]]


def grid_size(*sizes):
    """Transform size that leaves room for kernels of these sizes to be convolved in turn."""
    return fft.next_fast_len(int(sum(sizes)) + 1, real=True)


def noise_power(variances, filters, correlations):
    """Power spectrum of a sum of independent images of noise, each filtered.

    Parameters
    ----------
    variances
        Of each image's noise before its filter; where it is correlated, of equivalent white noise.
    filters
        `real_transform` of each image's filter.
    correlations
        Spectra of the noise before the filters, as `filters`; 1 for white noise.

    Returns
    -------
    ndarray
        Of a filter's shape, variance per pixel at each frequency.
    """
    terms = zip(variances, correlations, filters, strict=True)
    return sum(v * rho * np.abs(hat) ** 2 for v, rho, hat in terms)


def spectrum(correlation, n):
    """(n, n) transform of an autocorrelation; 1 for None, which stands for white noise."""
    return 1.0 if correlation is None else np.maximum(transform(correlation, n).real, 0.0)


def whitening_kernel(power, size, n):
    """Centred kernel of unit sum that whitens noise of a given power spectrum.

    Parameters
    ----------
    power
        From `noise_power`, positive.
    size
        Odd width; at least twice that of the kernels that coloured the noise.
    n
        Grid size of the transforms.
    """
    psi = _real_centred(1.0 / np.sqrt(power), size, n)
    return psi / psi.sum()


@dataclass(frozen=True)
class Whitened:
    """Filters of a difference f_s conv S - f_t conv T that make its noise white, at one place.

    Parameters
    ----------
    psi
        Decorrelation kernel, unit sum.
    science, template
        f_s conv psi and f_t conv psi: what each image goes through in all.
    science_gain, template_gain
        What the correlation of each image's own noise makes of its variance, propagated with
        squared filters.
    """

    psi: np.ndarray
    science: np.ndarray
    template: np.ndarray
    science_gain: float
    template_gain: float


def whitened(filters, variances, correlations=(None, None), size=None):
    """The whitening of f_s conv S - f_t conv T at one place.

    Parameters
    ----------
    filters
        (f_s, f_t), centred odd stamps; f_s of unit sum, f_t of the flux ratio.
    variances
        Background variances of S and T; those of equivalent white noise.
    correlations
        Centred noise autocorrelations of S and T, sum 1; None for white noise.
    size
        Odd width of psi; default twice the wider filter and 1.

    Returns
    -------
    Whitened
    """
    widest = max(f.shape[-1] for f in filters)
    size = size or 2 * widest + 1
    rho_size = max(1 if rho is None else rho.shape[-1] for rho in correlations)
    n = grid_size(size, widest, rho_size)
    hats = [real_transform(f, n) for f in filters]
    rhos = [1.0 if r is None else np.maximum(real_transform(r, n).real, 0) for r in correlations]
    psi = whitening_kernel(noise_power(variances, hats, rhos), size, n)
    psi_hat = real_transform(psi, n)
    out, gains = [], []
    for f, hat, rho in zip(filters, hats, rhos, strict=True):
        product = hat * psi_hat
        gains.append(_real_gain(rho, product, n))
        out.append(_real_centred(product, size + 2 * (f.shape[-1] // 2), n))
    return Whitened(psi, *out, *gains)


def real_transform(stamp, n):
    """The half of `transform` that determines the other."""
    half = stamp.shape[-1] // 2
    padded = np.zeros((*stamp.shape[:-2], n, n))
    padded[..., : stamp.shape[-2], : stamp.shape[-1]] = stamp
    return fft.rfft2(np.roll(padded, (-half, -half), axis=(-2, -1)))


def _real_centred(half_grid, size, n):
    image = fft.irfft2(half_grid, s=(n, n))
    index = np.arange(-(size // 2), size // 2 + 1) % n
    return image[index[:, None], index]


def _real_gain(rho, kernel_hat, n):
    if np.ndim(rho) == 0:
        return 1.0
    power = np.abs(kernel_hat) ** 2
    # Columns but the first and, for even n, the last stand for two frequencies.
    power[:, 1 : (n + 1) // 2] *= 2.0
    return float((rho * power).sum() / power.sum())


def noise_gain(correlation, kernel):
    """Variance of correlated noise after a kernel over that of white noise; 1 for None."""
    if correlation is None:
        return 1.0
    n = grid_size(2 * kernel.shape[0], correlation.shape[0])
    return power_gain(spectrum(correlation, n), transform(kernel, n))


def power_gain(rho, kernel_hat):
    """The same from transforms: mean of rho |k|^2 over that of |k|^2."""
    power = np.abs(kernel_hat) ** 2
    return float((rho * power).mean() / power.mean())


def convolve_stamps(a, b, size):
    """Full convolution of centred odd stamps (..., m, m) and (..., n, n), cut to `size`."""
    n = grid_size(a.shape[-1], b.shape[-1], size)
    return centred(transform(a, n) * transform(b, n), size)
