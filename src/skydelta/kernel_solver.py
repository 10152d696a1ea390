"""The linear algebra of the kernel fit: normal equations, and their solution."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skydelta.errors import BadKernelError
from skydelta.parallel import map_strips

_BATCH = 32
"""Stamps a thread takes at a time."""

_WORST_RCOND = 1e-13
"""Below this reciprocal condition number directions without information are left out."""


def normal_equations(design, data, weights):
    """Per stamp: design W design^T and design W data.

    Parameters
    ----------
    design
        (n, k, pixels).
    data, weights
        (n, pixels).
    """
    count = design.shape[1]
    matrices, vectors = np.empty((len(design), count, count)), np.empty((len(design), count))

    def accumulate(first, last):
        for k in range(first, last):  # one stamp at a time stays in the cache
            root = np.sqrt(weights[k])
            scaled = design[k] * root
            # A matrix times its own transpose: BLAS does half the work.
            np.matmul(scaled, scaled.T, out=matrices[k])
            np.matmul(scaled, root * data[k], out=vectors[k])

    map_strips(accumulate, len(design), _BATCH)
    return matrices, vectors


def spatial_system(matrices, vectors, p, q, scale=None):
    """Sum of the stamps' normal equations for a spatially varying kernel and background.

    The unknowns are [a s | a_1 p ... a_(k-1) p | c q]: the first basis function carries the terms
    `scale`, one constant by default, the others the terms `p`, the background, the last row of each
    matrix, `q`.

    Parameters
    ----------
    matrices
        (n, k + 1, k + 1), background last.
    vectors
        (n, k + 1).
    p, q, scale
        (n, terms) at the stamps, of the kernel, of the background and of the flux scale.
    """
    if scale is None:
        scale = np.ones((len(matrices), 1))
    count, terms, back, first = matrices.shape[1] - 1, p.shape[1], q.shape[1], scale.shape[1]
    varying = (count - 1) * terms
    size = first + varying + back
    system, right = np.zeros((size, size)), np.zeros(size)
    lead, kern = slice(0, first), slice(first, first + varying)
    bg = slice(first + varying, size)

    def outer(a, b):
        return a[:, :, None] * b[:, None, :]

    system[lead, lead] = np.tensordot(matrices[:, 0, 0], outer(scale, scale), axes=(0, 0))
    cross = np.tensordot(matrices[:, 0, 1:-1], outer(scale, p), axes=(0, 0))
    system[lead, kern] = cross.transpose(1, 0, 2).reshape(first, varying)
    system[lead, bg] = np.tensordot(matrices[:, 0, -1], outer(scale, q), axes=(0, 0))
    inner = np.tensordot(matrices[:, 1:-1, 1:-1], outer(p, p), axes=(0, 0))
    system[kern, kern] = inner.transpose(0, 2, 1, 3).reshape(varying, varying)
    cross = np.tensordot(matrices[:, 1:-1, -1], outer(p, q), axes=(0, 0))
    system[kern, bg] = cross.reshape(varying, back)
    system[bg, bg] = np.tensordot(matrices[:, -1, -1], outer(q, q), axes=(0, 0))
    lower = np.tril_indices(size, -1)
    system[lower] = system.T[lower]
    right[lead] = vectors[:, 0] @ scale
    right[kern] = np.einsum("ni,nt->it", vectors[:, 1:-1], p).ravel()
    right[bg] = vectors[:, -1] @ q
    return system, right


@dataclass(frozen=True)
class Solved:
    """Solution of symmetric normal equations.

    Parameters
    ----------
    values
        (n,) unknowns.
    condition
        Condition number of the system scaled to a unit diagonal.
    apply_inverse
        Function of a vector: the inverse, times it.
    """

    values: np.ndarray
    condition: float
    apply_inverse: object

    def variance(self, direction):
        """Variance of sum direction * values: direction^T inverse direction."""
        return float(direction @ self.apply_inverse(direction))


def solve(system, right, prior=None):
    """Solution of symmetric positive normal equations.

    The system is scaled to a unit diagonal, which is what makes its condition number meaningful.
    Where Cholesky's factorisation fails, directions without information are left out.

    Parameters
    ----------
    system, right
        Normal equations.
    prior
        (n,) inverse prior variances, or (n, n) inverse prior covariance, or None.

    Returns
    -------
    Solved

    Raises
    ------
    BadKernelError
        If the system is singular or not finite.
    """
    if prior is not None:
        system = system + (np.diag(prior) if np.ndim(prior) == 1 else prior)
    diagonal = np.diag(system).copy()
    # A basis function without effect (its column is zero) stays out with coefficient 0.
    dead = ~(diagonal > 0)
    diagonal[dead] = 1.0
    scale = 1.0 / np.sqrt(diagonal)
    scaled = system * scale * scale[:, None]
    if not np.all(np.isfinite(scaled)) or not np.all(np.isfinite(right)):
        msg = "the normal equations of the kernel are not finite"
        raise BadKernelError(msg)
    inverse, condition = _cholesky(scaled) if not dead.any() else (None, np.inf)
    if inverse is None:
        inverse, condition = _eigen(scaled)

    def apply_inverse(vector):
        return scale * inverse(scale * vector)

    return Solved(apply_inverse(right), condition, apply_inverse)


def _cholesky(matrix):
    """(function that applies the inverse, condition number); None and inf where it is too bad."""
    try:
        factor = linalg.cho_factor(matrix, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return None, np.inf
    norm = np.abs(matrix).sum(axis=0).max()
    rcond, _ = linalg.lapack.dpocon(factor[0], norm, uplo="L")
    if rcond < _WORST_RCOND:
        return None, np.inf
    return lambda v: linalg.cho_solve(factor, v, check_finite=False), float(1.0 / rcond)


def _eigen(matrix):
    values, vectors = np.linalg.eigh(matrix)
    live = values > values[-1] * _WORST_RCOND
    if not live.any():
        msg = "the normal equations of the kernel are singular: are both images constant?"
        raise BadKernelError(msg)
    vectors, values = vectors[:, live], values[live]
    return lambda v: vectors @ ((vectors.T @ v) / values), float(values[-1] / values[0])
