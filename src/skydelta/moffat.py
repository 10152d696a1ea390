"""Elliptical Moffat profiles whose shape follows the position in the image.

I(d) = (beta - 1) / (pi sqrt|C|) (1 + d^T C^-1 d)^-beta, of unit flux; C in px^2 is a polynomial of
the position, as the second moments of seeing and optics are.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.polynomial import chebyshev

_POINT = 0.5 / np.sqrt(3.0)
"""Half distance of the two Gauss-Legendre points of a pixel, px: integrals exact for cubics."""

_MIN_BETA, _MAX_BETA = 1.3, 12.0


@dataclass(frozen=True)
class MoffatField:
    """Moffat profiles over an image.

    Parameters
    ----------
    coefficients
        (k, 3), of the polynomials Cxx, Cyy and Cxy, px^2.
    beta
        Exponent, the same everywhere.
    shape
        (ny, nx) of the image.
    degree
        Of the polynomials.
    """

    coefficients: np.ndarray
    beta: float
    shape: tuple
    degree: int

    @classmethod
    def from_moments(cls, x, y, moments, weight, shape, degree, beta=3.0):
        """Polynomials through the second moments (n, 3), as those of Gaussians of equal FWHM."""
        terms = chebyshev(degree, x, y, shape)
        scale = np.sqrt(weight)[:, None]
        fit = np.linalg.lstsq(terms * scale, moments * scale)[0]
        return cls(fit * (2.0 * np.log(2.0) / (2.0 ** (1.0 / beta) - 1.0)), beta, shape, degree)

    def matrices(self, x, y):
        """(n, 2, 2) C at the positions, its axes kept above 0.3 px."""
        cxx, cyy, cxy = (chebyshev(self.degree, x, y, self.shape) @ self.coefficients).T
        matrices = np.stack([np.stack([cxx, cxy], -1), np.stack([cxy, cyy], -1)], -2)
        values, vectors = np.linalg.eigh(matrices)
        values = np.maximum(values, 0.1)
        return np.einsum("nij,nj,nkj->nik", vectors, values, vectors)

    def stamps(self, x, y, size, dx=0.0, dy=0.0):
        """(n, size, size) integrals over the pixels, (dx, dy) off the middle pixel."""
        inverse = np.linalg.inv(self.matrices(x, y))
        zero = np.zeros(len(inverse))
        px, py = _points(size, zero + dx, zero + dy)
        norm = (self.beta - 1.0) / np.pi * np.sqrt(np.linalg.det(inverse))
        q = _quadratic(inverse, px, py)
        return norm[:, None, None] * _pixel_means(np.exp(-self.beta * np.log1p(q)))


def fit_moffat_field(field, stars, rounds=8):
    """Joint least squares of a field and of each star's flux, sky and position.

    Gauss-Newton; the four unknowns of each star are eliminated from the normal equations (Schur
    complement), which leaves those of the field.

    Parameters
    ----------
    field
        MoffatField to start from.
    stars
        Object with (n, size, size) `data` and `weight(models)`, positions `x`, `y` in the image,
        offsets `dx`, `dy` from the middle pixel, `flux` and `sky`, its mean and inverse variance
        beforehand `sky_prior`, and `stepped(...)`.
    rounds
        Gauss-Newton steps.

    Returns
    -------
    field : MoffatField
    stars
        With the fitted positions, fluxes and skies.
    """
    terms = chebyshev(field.degree, stars.x, stars.y, field.shape)
    k = terms.shape[1]
    for _ in range(rounds):
        basis, to_field = _derivatives(field, stars)
        models = basis[:, 0]
        weight = stars.weight(models)
        n = len(models)
        basis, weight = basis.reshape(n, 8, -1), weight.reshape(n, 1, -1)
        data = stars.data.reshape(n, -1)
        normal = (basis * weight) @ basis.swapaxes(1, 2)
        diagonal = normal[:, range(8), range(8)]
        # A star that lost all its pixels has no equations: it keeps still.
        normal[:, range(8), range(8)] = np.where(diagonal > 0, diagonal * (1.0 + 1e-8), 1.0)
        right = ((basis * weight) @ data[:, :, None])[:, :, 0]
        mean, precision = stars.sky_prior
        normal[:, 1, 1] += precision
        right[:, 1] += precision * mean
        own, shared = normal[:, :4, :4], normal[:, 4:, :4]
        eliminate = shared @ np.linalg.inv(own)
        reduced = normal[:, 4:, 4:] - eliminate @ shared.swapaxes(1, 2)
        reduced_right = right[:, 4:] - (eliminate @ right[:, :4, None])[:, :, 0]
        # Steps of (A, beta) of each star as linear functions of the field's coefficients.
        jacobian = np.zeros((n, 4, 3 * k + 1))
        jacobian[:, :3, :-1] = np.einsum("nij,nk->nijk", to_field, terms).reshape(n, 3, -1)
        jacobian[:, 3, -1] = 1.0
        jacobian *= stars.flux[:, None, None]
        left = np.einsum("nia,nij,njb->ab", jacobian, reduced, jacobian)
        step = np.linalg.lstsq(left, np.einsum("nia,ni->a", jacobian, reduced_right))[0]
        local = right[:, :4] - np.einsum("nij,nj->ni", shared.swapaxes(1, 2), jacobian @ step)
        flux, sky, move_x, move_y = np.linalg.solve(own, local[:, :, None])[:, :, 0].T
        stars = stars.stepped(flux, sky, move_x, move_y)
        beta = np.clip(field.beta + np.clip(step[-1], -0.5, 0.5), _MIN_BETA, _MAX_BETA)
        limit = 0.3 * np.abs(field.coefficients[0, :2]).mean()
        change = np.clip(step[:-1].reshape(3, k).T, -limit, limit)
        field = MoffatField(field.coefficients + change, float(beta), field.shape, field.degree)
    return field, stars


def _derivatives(field, stars):
    """Derivatives of the stars' models and the step of A = C^-1 for a step of C.

    Returns
    -------
    basis
        (n, 8, size, size): the profile of unit flux, sky, and the derivatives of that profile
        with respect to dx, dy, Axx, Ayy, Axy (its norm left to the flux) and beta.
    to_field
        (n, 3, 3) d(Axx, Ayy, Axy) / d(Cxx, Cyy, Cxy).
    """
    a = np.linalg.inv(field.matrices(stars.x, stars.y))
    px, py = _points(stars.data.shape[-1], stars.dx, stars.dy)
    q = _quadratic(a, px, py)
    norm = (field.beta - 1.0) / np.pi * np.sqrt(np.linalg.det(a))
    log = np.log1p(q)
    value = norm[:, None, None] * np.exp(-field.beta * log)
    slope = -field.beta * value / (1.0 + q)
    ax, ay, axy = (a[:, i, j][:, None, None] for i, j in ((0, 0), (1, 1), (0, 1)))
    means = [
        _pixel_means(plane)
        for plane in (
            value,
            -2.0 * slope * (ax * px + axy * py),
            -2.0 * slope * (ay * py + axy * px),
            slope * px * px,
            slope * py * py,
            2.0 * slope * px * py,
            -value * log,
        )
    ]
    basis = np.stack([means[0], np.ones_like(means[0]), *means[1:]], axis=1)
    xx, yy, xy = a[:, 0, 0], a[:, 1, 1], a[:, 0, 1]
    to_field = -np.stack(
        [
            np.stack([xx * xx, xy * xy, 2 * xx * xy], -1),
            np.stack([xy * xy, yy * yy, 2 * xy * yy], -1),
            np.stack([xx * xy, xy * yy, xx * yy + xy * xy], -1),
        ],
        axis=1,
    )
    return basis, to_field


def _points(size, dx, dy):
    """(n, 1, 2 size) x and (n, 2 size, 1) y of two points a pixel and axis, from the centres."""
    half = size // 2
    axis = (np.arange(-half, half + 1)[:, None] + [-_POINT, _POINT]).ravel()
    return axis[None, None, :] - dx[:, None, None], axis[None, :, None] - dy[:, None, None]


def _quadratic(a, px, py):
    xx, yy, xy = (a[:, i, j][:, None, None] for i, j in ((0, 0), (1, 1), (0, 1)))
    return xx * px * px + yy * py * py + 2.0 * xy * px * py


def _pixel_means(points):
    """Means of the 2 x 2 points of each pixel."""
    rows = points[:, 0::2] + points[:, 1::2]
    return 0.25 * (rows[:, :, 0::2] + rows[:, :, 1::2])
