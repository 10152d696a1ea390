"""The kernel that two PSF models imply.

Where the science image is the sharper one the kernel is a deconvolution: a ringing profile that a
handful of Gaussians cannot follow to the noise of a bright star. It follows from the PSFs
themselves: the k that minimises |target - k conv source|^2 + ridge |k|^2 on a limited support,
which leaves a third of what Gaussians of the same size leave.
"""

import numpy as np
from scipy import fft, linalg

from skydelta.psf import grid_nodes, resize_stamps, shift_stamps
from skydelta.whitening import transform
from skydelta.wings import with_wings

_WING_REACH = 5.5
"""Stamps are continued to this radius, in FWHM: what they end short of is missing from the kernel,
and shows about every bright star."""

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
    n = fft.next_fast_len(source.shape[-1] + max(target.shape[-1], size) + size, real=True)
    from_hat, to_hat = transform(source, n), transform(target, n)
    auto = fft.ifft2(np.abs(from_hat) ** 2).real
    cross = fft.ifft2(np.conj(from_hat) * to_hat).real
    auto[0, 0] *= 1.0 + ridge
    at = np.arange(-(size // 2), size // 2 + 1) % n
    right = cross[at[:, None], at].ravel()
    return _solve_centrosymmetric(_block_toeplitz(auto, size), right).reshape(size, size)


def _solve_centrosymmetric(upper, right):
    """Solution of a positive system of odd size whose matrix stays the same turned by 180 degrees.

    The parts of the solution that are even and odd under the turn do not mix: two systems of half
    the size, a quarter of the work. `upper` holds the rows down to the middle one.
    """
    half = len(right) // 2
    near, turned = upper[:half, :half], upper[:half, :half:-1]
    even = np.empty((half + 1, half + 1))
    even[:half, :half] = near + turned
    even[:half, half] = even[half, :half] = upper[:half, half]
    even[half, half] = 0.5 * upper[half, half]
    back = right[::-1]

    def solve(system, vector):
        factor = linalg.cho_factor(system, overwrite_a=True, check_finite=False)
        return linalg.cho_solve(factor, vector, check_finite=False)

    symmetric = solve(even, np.r_[0.5 * (right + back)[:half], 0.5 * right[half]])
    odd = solve(near - turned, 0.5 * (right - back)[:half])
    first = symmetric[:half]
    return np.concatenate([first + odd, symmetric[half:], (first - odd)[::-1]])


def _block_toeplitz(auto, size):
    """Matrix auto[u - v] of the pixels u and v of a kernel, down to the row of its middle pixel."""
    n = auto.shape[0]
    lags = np.arange(-(size - 1), size) % n
    table = auto[lags[:, None], lags]
    windows = np.lib.stride_tricks.sliding_window_view(table, (size, size))
    # Window (j, i) holds auto[row - (size - 1) + j ...]: reversed, j and i count the lag down.
    upper = windows[::-1, ::-1][: size // 2 + 1]
    return upper.reshape(-1, size * size)[: size * size // 2 + 1]


def psf_kernels(source, target, shape, size, nodes=5, shift=None):
    """Kernels between two PSFs at nodes x nodes places of an image.

    Stamps are continued by their wings first, to where nothing is left of a star.

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
    shift
        Function of (x, y) arrays that gives (dx, dy), px, from a star in the source image to the
        same star in the target image; None for images that are registered.

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
    middle = (nx - 1) / 2.0, (ny - 1) / 2.0
    fwhm = max(psf.compute_shape(*middle).fwhm for psf in (source, target))
    half = max(width // 2, int(np.ceil(_WING_REACH * fwhm)))
    stamps = [
        _tapered(with_wings(resize_stamps(psf.stamps(x, y), width), half), 2 * half + 1)
        for psf in (source, target)
    ]
    if shift is not None:
        stamps[1] = shift_stamps(stamps[1], *shift(x, y))
    kernels = np.stack([matching_kernel(a, b, size) for a, b in zip(*stamps, strict=True)])
    return x, y, kernels


def _tapered(stamps, width):
    """Stamps of a common width that end smoothly: a kernel would ring to follow their edges."""
    half = width // 2
    u = np.arange(-half, half + 1)
    outward = np.clip((np.hypot(u[:, None], u) / (half + 1) - 0.5) / 0.5, 0.0, 1.0)
    return resize_stamps(stamps, width) * np.cos(0.5 * np.pi * outward) ** 2
