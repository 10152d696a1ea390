"""The kernel that two PSF models imply, and other least-squares deconvolutions of small images.

Where the science image is the sharper one the kernel is a deconvolution: a ringing profile that a
handful of Gaussians cannot follow to the noise of a bright star. It follows from the PSFs
themselves: the k that minimises |target - k conv source|^2 + ridge |k|^2 on a limited support,
which leaves a third of what Gaussians of the same size leave.
"""

import numpy as np
from scipy import fft, linalg

from skydelta.psf import grid_nodes, resize_stamps
from skydelta.whitening import transform

RIDGE = 1e-5
"""Of the source's power: frequencies it holds less of than 0.3 % are not amplified further."""


def matching_kernel(source, target, size, ridge=RIDGE):
    """The kernel of a given size that turns one small image into another best.

    Parameters
    ----------
    source, target
        Centred odd stamps.
    size
        Odd width of the kernel.
    ridge
        Added to the diagonal of the normal matrix, in units of sum source^2.

    Returns
    -------
    ndarray
        (size, size), not normalised.
    """
    return _least_squares(target[None], source, size, ridge)[0]


def deconvolved(images, source, size, ridge=RIDGE):
    """The kernels k_i of which source conv k_i comes closest to images_i; their sums are kept.

    Parameters
    ----------
    images
        (n, m, m) centred odd stamps.
    source
        Centred odd stamp of unit sum.
    size, ridge
        As of `matching_kernel`.

    Returns
    -------
    ndarray
        (n, size, size).
    """
    kernels = _least_squares(images, source, size, ridge)
    # What the ridge took from the sums goes back as a profile that the support surely holds.
    profile = resize_stamps(source, size)
    missing = images.sum(axis=(1, 2)) - kernels.sum(axis=(1, 2))
    return kernels + missing[:, None, None] * (profile / profile.sum())


def _least_squares(targets, source, size, ridge):
    n = fft.next_fast_len(source.shape[-1] + max(targets.shape[-1], size) + size, real=True)
    from_hat, to_hat = transform(source, n), transform(targets, n)
    auto = fft.ifft2(np.abs(from_hat) ** 2).real
    cross = fft.ifft2(np.conj(from_hat) * to_hat).real
    half = size // 2
    v, u = (a.ravel() for a in np.mgrid[-half : half + 1, -half : half + 1])
    matrix = auto[(v[:, None] - v) % n, (u[:, None] - u) % n]
    matrix[np.diag_indices_from(matrix)] += ridge * auto[0, 0]
    factor = linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)
    solved = linalg.cho_solve(factor, cross[:, v % n, u % n].T)
    return solved.T.reshape(len(targets), size, size)


def psf_kernels(source, target, shape, size, nodes=5):
    """Unit-sum kernels between two PSFs at nodes x nodes places of an image.

    Parameters
    ----------
    source, target
        Psf of either image.
    shape
        (ny, nx).
    size
        Odd width of the kernels, px.
    nodes
        Places along each axis.

    Returns
    -------
    x, y
        (nodes^2,) px.
    kernels
        (nodes^2, size, size).
    """
    ny, nx = shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, nodes), grid_nodes(ny, nodes)))
    width = min(source.size, target.size)
    pairs = zip(*(_tapered(psf.stamps(x, y), width) for psf in (source, target)), strict=True)
    kernels = np.stack([matching_kernel(a, b, size) for a, b in pairs])
    return x, y, kernels / kernels.sum(axis=(1, 2), keepdims=True)


def _tapered(stamps, width):
    """Stamps of a common width that end smoothly: a kernel would ring to follow their edges."""
    half = width // 2
    u = np.arange(-half, half + 1)
    outward = np.clip((np.hypot(u[:, None], u) / (half + 1) - 0.5) / 0.5, 0.0, 1.0)
    return resize_stamps(stamps, width) * np.cos(0.5 * np.pi * outward) ** 2
