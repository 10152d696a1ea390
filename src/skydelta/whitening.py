"""Decorrelation kernels: what whitens the noise of an image made by convolution.

Reiss & Lupton (DMTN-021) with the kernel sum kept, and with the correlation that resampling left
in the template. For a difference S - K conv T of background variances v_s and v_t,

    P(k) = v_s + v_t rho(k) |K(k)|^2,    psi(k) = sqrt((v_s + v_t ksum^2) / P(k)),

where rho is the transform of the template's noise autocorrelation (sum 1). psi(0) = 1: fluxes are
those of the science image. After it the noise is white with variance v_s + v_t ksum^2.
"""

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


def noise_power(terms, n):
    """Power spectrum of a sum of independent images of white noise, each convolved in turn.

    Parameters
    ----------
    terms
        Sequence of (variance, [kernels]) or (variance, [kernels], correlation): kernels are centred
        odd stamps, possibly none, the correlation the image's own autocorrelation before them, of
        sum 1.
    n
        Grid size.

    Returns
    -------
    ndarray
        (n, n), variance per pixel at each frequency.
    """
    power = np.zeros((n, n))
    for variance, kernels, *correlation in terms:
        term = np.full((n, n), float(variance))
        for rho in correlation:
            term = term * spectrum(rho, n)
        for kernel in kernels:
            term = term * np.abs(transform(kernel, n)) ** 2
        power += term
    return power


def spectrum(correlation, n):
    """(n, n) transform of an autocorrelation; 1 for None, which stands for white noise."""
    return 1.0 if correlation is None else np.maximum(transform(correlation, n).real, 0.0)


def whitening_kernel(power, size):
    """Centred kernel of unit sum that whitens noise of a given power spectrum.

    Parameters
    ----------
    power
        (n, n) positive.
    size
        Odd width; at least twice that of the kernels that coloured the noise.
    """
    psi = centred(1.0 / np.sqrt(power), size)
    return psi / psi.sum()


def decorrelation_kernel(kernel, variance_science, variance_template, correlation=None, size=None):
    """The decorrelation kernel of S - K conv T at one place.

    Parameters
    ----------
    kernel
        (k, k) matching kernel.
    variance_science, variance_template
        Background variances; the template's is that of equivalent white noise.
    correlation
        Centred noise autocorrelation of the template, sum 1; None for white noise.
    size
        Odd width of the result; default 2 k + 1.

    Returns
    -------
    psi
        (size, size), unit sum.
    gain
        Mean over frequencies of rho |K psi|^2 over that of |K psi|^2: what the resampling's
        correlation makes of a template variance propagated with squared kernels.
    """
    size = size or 2 * kernel.shape[-1] + 1
    rho_size = 1 if correlation is None else correlation.shape[-1]
    n = grid_size(2 * size, kernel.shape[-1], rho_size)
    matched = np.abs(transform(kernel, n)) ** 2
    rho = spectrum(correlation, n)
    terms = ((variance_science, []), (variance_template, [kernel], correlation))
    psi = whitening_kernel(noise_power(terms, n), size)
    filtered = matched * np.abs(transform(psi, n)) ** 2
    return psi, float((rho * filtered).mean() / filtered.mean())


def convolve_stamps(a, b, size):
    """Full convolution of centred odd stamps (..., m, m) and (..., n, n), cut to `size`."""
    n = grid_size(a.shape[-1], b.shape[-1], size)
    return centred(transform(a, n) * transform(b, n), size)
