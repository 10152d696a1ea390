"""Low-order polynomials over an image."""

import numpy as np


def n_terms(order):
    """Number of terms x^i y^j with i + j <= order."""
    return (order + 1) * (order + 2) // 2


def degree_of(terms):
    """The total degree of a polynomial of so many terms."""
    return round((np.sqrt(8 * terms + 1) - 3) / 2)


def exponents(order):
    """(i, j) of each term, by rising total degree."""
    return [(total - j, j) for total in range(order + 1) for j in range(total + 1)]


def chebyshev_1d(order, x, length):
    """(order + 1, n): T_k at pixels `x` of an axis of `length` px mapped edge to edge to +-1."""
    t = (2.0 * np.asarray(x, float) + 1.0) / length - 1.0
    out = [np.ones_like(t), t]
    for _ in range(order - 1):
        out.append(2 * t * out[-1] - out[-2])
    return np.stack(out[: order + 1])


def chebyshev(order, x, y, shape):
    """Terms T_i(x) T_j(y), i + j <= order, at n positions: (n, n_terms).

    Parameters
    ----------
    order
        Total degree.
    x, y
        (n,) pixel positions.
    shape
        (ny, nx) of the image the polynomials are scaled to.
    """
    tx = chebyshev_1d(order, x, shape[1])
    ty = chebyshev_1d(order, y, shape[0])
    return np.stack([tx[i] * ty[j] for i, j in exponents(order)], axis=-1)
