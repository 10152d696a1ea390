"""Principal components of the kernels of single stars, as a basis of few functions.

As `usePcaForSpatialKernel` of the LSST stack: every star's own kernel, brought to unit sum; their
mean, whose coefficient is the flux scale; the components that vary most about it.
"""

import numpy as np
from scipy import linalg


def principal_components(problem, equations, used, count):
    """Rows that combine a basis into the mean kernel and its `count` principal components.

    Parameters
    ----------
    problem
        Problem in the original basis.
    equations
        Its normal equations.
    used
        (n,) bool, stars to learn from.
    count
        Components beside the mean.

    Returns
    -------
    ndarray
        (m + 1, n_basis), m the smaller of `count` and what the stars allow.
    """
    everyone = problem.solve(equations, used, (0, 0))
    matrices, vectors = (part[used] for part in equations)
    centre = np.append(everyone.at[0], 0.0)
    # Each star's deviation from the kernel of all, no larger than its own noise allows: the prior
    # counts as one average star.
    typical = matrices.mean(axis=0)
    at = np.diag_indices_from(typical)
    typical[at] = typical[at] * (1.0 + 1e-6) + 1e-12 * np.trace(typical)
    rest = vectors - matrices @ centre
    deviation = np.linalg.solve(matrices + typical, rest[:, :, None])[:, :-1, 0]
    values = centre[:-1] + deviation
    shapes = values[:, 1:] / values[:, :1]
    weight = np.sqrt(np.maximum(matrices[:, 0, 0], 0.0))
    weight /= weight.sum()
    mean = weight @ shapes
    # Components orthogonal as changes of an average star's pixels over their noise: there alone
    # does the noise of the coefficients not pass for variation.
    metric = np.linalg.cholesky(typical[1:-1, 1:-1])
    spread = np.sqrt(weight)[:, None] * (shapes - mean)
    _, strength, rows = np.linalg.svd(spread @ metric, full_matrices=False)
    keep = min(count, int((strength > 1e-10 * strength[:1].sum()).sum()))
    components = linalg.solve_triangular(metric, rows[:keep].T, lower=True, trans="T").T
    images = components @ problem.basis.functions[1:].reshape(len(mean), -1)
    components /= np.linalg.norm(images, axis=1, keepdims=True)
    matrix = np.zeros((keep + 1, len(mean) + 1))
    matrix[0, 0], matrix[0, 1:] = 1.0, mean
    matrix[1:, 1:] = components
    return matrix
