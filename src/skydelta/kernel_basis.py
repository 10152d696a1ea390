"""The Alard-Lupton basis: Gaussians times polynomials, all but the first with zero sum."""

from dataclasses import dataclass

import numpy as np

SIGMA_MIN = 0.7
"""Narrowest Gaussian, px: below it a sampled Gaussian is a delta function."""

BETA = 2.0
"""Ratio of consecutive Gaussian widths."""

DEFAULT_SIGMAS = (0.7, 1.5, 3.0, 6.0)
DEFAULT_DEGREES = (4, 2, 2, 0)
"""As in the LSST stack, and a wide Gaussian for the wings, which differ with the seeing."""
SIZE_LIMITS = (21, 51)

_ZERO_SUM = 1e-6
"""A sum below this fraction of the norm counts as zero."""


@dataclass(frozen=True)
class BasisSpec:
    """What a Gaussian-polynomial basis is made of.

    Parameters
    ----------
    sigmas
        Gaussian widths, px.
    degrees
        Total degree of the polynomial on each Gaussian.
    size
        Odd width of the kernel, px.

    Raises
    ------
    ValueError
        If the lengths differ, a width is not positive, or the size is even.
    """

    sigmas: tuple
    degrees: tuple
    size: int

    def __post_init__(self):
        if len(self.sigmas) != len(self.degrees):
            msg = f"{len(self.sigmas)} Gaussian widths but {len(self.degrees)} degrees"
            raise ValueError(msg)
        if min(self.sigmas) <= 0 or min(self.degrees) < 0:
            msg = f"widths must be positive and degrees not negative: {self.sigmas} {self.degrees}"
            raise ValueError(msg)
        if self.size % 2 == 0 or self.size < 3:
            msg = f"the kernel size must be odd and at least 3, got {self.size}"
            raise ValueError(msg)

    @property
    def half(self):
        """Half width, px."""
        return self.size // 2

    @property
    def terms(self):
        """Per basis function: (index of the Gaussian, degree in x, degree in y)."""
        return [
            (m, i, j)
            for m, degree in enumerate(self.degrees)
            for i in range(degree + 1)
            for j in range(degree + 1 - i)
        ]


def scaled_spec(sigma_science, sigma_template, *, degrees=DEFAULT_DEGREES, size_factor=6.0):
    """Basis matched to the two seeings, as the LSST stack scales it (2026 rule).

    Parameters
    ----------
    sigma_science, sigma_template
        Gaussian sigmas of the two PSFs on the science grid, px.
    degrees
        Polynomial degree of each Gaussian.
    size_factor
        The kernel is this many times the widest sigma across, within 21 to 51 px.

    Returns
    -------
    BasisSpec
        Widths BETA^k max(SIGMA_MIN, sigma_K / BETA) with sigma_K^2 = |sigma_s^2 - sigma_t^2|;
        DEFAULT_SIGMAS for equal seeing and as many Gaussians.
    """
    difference = abs(sigma_science**2 - sigma_template**2)
    if difference < 1e-6 and len(degrees) == len(DEFAULT_SIGMAS):
        sigmas = DEFAULT_SIGMAS
    else:
        first = max(SIGMA_MIN, np.sqrt(difference) / BETA)
        sigmas = tuple(float(first * BETA**k) for k in range(len(degrees)))
    return BasisSpec(sigmas, tuple(degrees), kernel_size(sigmas, size_factor))


def kernel_size(sigmas, size_factor=6.0):
    """Odd size of a kernel of these widths: size_factor times the widest, within SIZE_LIMITS."""
    size = int(size_factor * max(sigmas)) | 1
    return int(np.clip(size, *SIZE_LIMITS))


def profiles(spec):
    """The 1-d factors: profiles[m][i] = g_m(u) (u / h)^i, each (size,), g_m of unit sum."""
    u = np.arange(-spec.half, spec.half + 1, dtype=float)
    out = []
    for sigma, degree in zip(spec.sigmas, spec.degrees, strict=True):
        gauss = np.exp(-0.5 * (u / sigma) ** 2)
        gauss /= gauss.sum()
        out.append([gauss * (u / spec.half) ** i for i in range(degree + 1)])
    return out


def gaussian_basis(spec):
    """Basis functions: the first of unit sum, the others of zero sum and unit norm.

    Sums are judged relative to the norm of the function. The LSST stack compares them with the
    machine epsilon, so that a Gaussian of 0.1 px keeps terms of non-zero sum and with them a
    kernel sum that varies over the image.

    Returns
    -------
    ndarray
        (n_basis, size, size), [y, x].
    """
    transform = basis_transform(spec)
    return np.einsum("bt,tyx->byx", transform, raw_functions(spec))


def raw_functions(spec):
    """(n_basis, size, size): the products of profiles, before any normalisation."""
    factors = profiles(spec)
    return np.stack([np.outer(factors[m][j], factors[m][i]) for m, i, j in spec.terms])


def basis_transform(spec):
    """(n_basis, n_basis) matrix from the raw separable functions to the normalised basis.

    Since it is linear, images may be convolved with the separable functions and combined after.
    """
    raw = raw_functions(spec)
    sums = raw.sum(axis=(1, 2))
    norms = np.sqrt((raw**2).sum(axis=(1, 2)))
    count = len(raw)
    transform = np.zeros((count, count))
    transform[0, 0] = 1.0 / sums[0]
    first = raw[0] / sums[0]
    for i in range(1, count):
        if abs(sums[i]) > _ZERO_SUM * norms[i]:
            function = raw[i] / sums[i] - first
            scale = 1.0 / max(np.sqrt((function**2).sum()), 1e-300)
            # A function that equals the first up to its scale adds nothing: keep it null.
            if np.sqrt((function**2).sum()) < _ZERO_SUM * np.sqrt((first**2).sum()):
                continue
            transform[i, i] = scale / sums[i]
            transform[i, 0] = -scale / sums[0]
        elif norms[i] > 0:
            transform[i, i] = 1.0 / norms[i]
    return transform
