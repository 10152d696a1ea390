"""The linear algebra of the kernel fit: convolved stamps, normal equations, their solution."""

import numpy as np

from skydelta.errors import BadKernelError
from skydelta.kernel_basis import basis_transform, profiles


def convolved_stamps(template, spec):
    """Every basis function convolved with every stamp.

    Parameters
    ----------
    template
        (n, s + 2 half, s + 2 half).
    spec
        BasisSpec of half width `half`.

    Returns
    -------
    ndarray
        (n, n_basis, s * s).
    """
    width = template.shape[-1]
    inner = width - 2 * spec.half
    bands = [[_band_matrix(p, inner, width) for p in group] for group in profiles(spec)]
    along_x = [[template @ band.T for band in group] for group in bands]
    raw = np.empty((len(template), len(spec.terms), inner, inner))
    for k, (m, i, j) in enumerate(spec.terms):
        raw[:, k] = bands[m][j] @ along_x[m][i]
    flat = raw.reshape(len(template), len(spec.terms), inner * inner)
    return basis_transform(spec) @ flat


def _band_matrix(profile, inner, width):
    """(inner, width): valid convolution with a 1-d profile as a matrix."""
    band = np.zeros((inner, width))
    flipped = profile[::-1]
    for row in range(inner):
        band[row, row : row + flipped.size] = flipped
    return band


def normal_equations(design, data, weights):
    """Per stamp: design W design^T and design W data.

    Parameters
    ----------
    design
        (n, k, pixels).
    data, weights
        (n, pixels).
    """
    weighted = design * weights[:, None, :]
    return weighted @ design.transpose(0, 2, 1), np.einsum("nkp,np->nk", weighted, data)


def spatial_system(matrices, vectors, p, q):
    """Sum of the stamps' normal equations for a spatially varying kernel and background.

    The unknowns are [a_0 | a_1 p ... a_(k-1) p | c q]: the first basis function is constant over
    the image, the others carry the terms `p`, the background, the last row of each matrix, `q`.

    Parameters
    ----------
    matrices
        (n, k + 1, k + 1), background last.
    vectors
        (n, k + 1).
    p, q
        (n, terms) polynomials at the stamps, of the kernel and of the background.
    """
    count, terms, back = matrices.shape[1] - 1, p.shape[1], q.shape[1]
    varying = (count - 1) * terms
    size = 1 + varying + back
    system, right = np.zeros((size, size)), np.zeros(size)
    kern, bg = slice(1, 1 + varying), slice(1 + varying, size)
    pp = p[:, :, None] * p[:, None, :]
    pq = p[:, :, None] * q[:, None, :]
    qq = q[:, :, None] * q[:, None, :]
    system[0, 0] = matrices[:, 0, 0].sum()
    system[0, kern] = np.einsum("ni,nt->it", matrices[:, 0, 1:-1], p).ravel()
    system[0, bg] = matrices[:, 0, -1] @ q
    inner = np.tensordot(matrices[:, 1:-1, 1:-1], pp, axes=(0, 0))
    system[kern, kern] = inner.transpose(0, 2, 1, 3).reshape(varying, varying)
    cross = np.tensordot(matrices[:, 1:-1, -1], pq, axes=(0, 0))
    system[kern, bg] = cross.reshape(varying, back)
    system[bg, bg] = np.tensordot(matrices[:, -1, -1], qq, axes=(0, 0))
    lower = np.tril_indices(size, -1)
    system[lower] = system.T[lower]
    right[0] = vectors[:, 0].sum()
    right[kern] = np.einsum("ni,nt->it", vectors[:, 1:-1], p).ravel()
    right[bg] = vectors[:, -1] @ q
    return system, right


def solve(system, right, prior=None):
    """Solution of symmetric normal equations, their inverse and condition number.

    The system is scaled to a unit diagonal, which is what makes its condition number meaningful.

    Parameters
    ----------
    system, right
        Normal equations.
    prior
        Inverse prior variances added to the diagonal, or None.

    Raises
    ------
    BadKernelError
        If the system is singular or not finite.
    """
    if prior is not None:
        system = system + np.diag(prior)
    diagonal = np.diag(system).copy()
    # A basis function without effect (its column is zero) stays out with coefficient 0.
    diagonal[diagonal <= 0] = 1.0
    scale = 1.0 / np.sqrt(diagonal)
    scaled = system * scale * scale[:, None]
    if not np.all(np.isfinite(scaled)):
        msg = "the normal equations of the kernel are not finite"
        raise BadKernelError(msg)
    values, vectors = np.linalg.eigh(scaled)
    live = values > values[-1] * 1e-13
    if not live.any():
        msg = "the normal equations of the kernel are singular: are both images constant?"
        raise BadKernelError(msg)
    inverse = (vectors[:, live] / values[live]) @ vectors[:, live].T
    inverse = inverse * scale * scale[:, None]
    return inverse @ right, inverse, float(values[-1] / values[live][0])
