"""The linear problem of the kernel fit: unknowns, priors, solutions for subsets of the stars."""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skydelta.field import Field, polynomial_field, spline_terms
from skydelta.kernel import SpatialKernel
from skydelta.kernel_solver import normal_equations, solve, spatial_system
from skydelta.polynomial import chebyshev, n_terms


@dataclass(frozen=True)
class Fit:
    """A solution, and its kernel at the stars.

    Parameters
    ----------
    kernel
        SpatialKernel.
    order, background_order
        Degrees of its polynomials.
    at
        (n, n_basis) coefficients of the basis functions at each star.
    background_at
        (n,) counts.
    sum_error
        Formal standard error of the kernel sum at the image centre.
    condition
        Of the scaled normal matrix.
    """

    kernel: SpatialKernel
    order: int
    background_order: int
    at: np.ndarray
    background_at: np.ndarray
    sum_error: float
    condition: float

    def model(self, design, rows=slice(None)):
        """(convolved source, background), each (n, pixels), at the stamps."""
        part = (self.at[rows, None, :] @ design[rows, :-1])[:, 0]
        return part, self.background_at[rows, None]


@dataclass(frozen=True)
class Problem:
    """The stamps of a fit, convolved with the basis, and how to solve for any subset of them.

    Parameters
    ----------
    basis
        Basis.
    design, data
        (n, n_basis + 1, pixels) and (n, pixels).
    x, y
        (n,) px.
    shape
        (ny, nx) of the image.
    options
        FitOptions.
    noise_gram
        (n_basis, n_basis) covariance that unit noise of the convolved image has after the basis
        functions, or None for a noiseless image.
    source_variance
        (n, pixels) variance of the convolved image; taken as constant under a kernel.
    penalty
        Strength of the roughness prior, relative to the stars' information.
    """

    basis: object
    design: np.ndarray
    data: np.ndarray
    x: np.ndarray
    y: np.ndarray
    shape: tuple
    options: object
    noise_gram: np.ndarray | None = None
    source_variance: np.ndarray | None = None
    penalty: float = 0.0

    def equations(self, weights, used):
        """Normal equations of every stamp, freed of the noise of the convolved image.

        Noise in the design draws a least-squares solution towards zero; its expected share of the
        normal matrix, weight times covariance, is known and taken off (Fuller 1987, section 2.2).
        Where the stars hold no more than noise there is nothing to free, and the plain solution,
        drawn to zero, is the safe one: nothing is taken off directions with less than 1.5 times
        the information of noise, all off those with more than 3 times.
        """
        matrices, vectors = normal_equations(self.design, self.data, weights)
        if self.noise_gram is not None:
            share = (weights * self.source_variance).sum(axis=1)
            noise = share[:, None, None] * self.noise_gram
            information = matrices[used, :-1, :-1].sum(axis=0)
            noise = noise @ _share(information, noise[used].sum(axis=0))
            matrices[:, :-1, :-1] -= 0.5 * (noise + noise.transpose(0, 2, 1))
        return matrices, vectors

    def solve(self, equations, used, orders=None):
        """The Fit to the `used` stamps; spatial orders by their number unless given."""
        options, count = self.options, int(used.sum())
        order, background_order = orders or self.orders(count)
        p = chebyshev(order, self.x, self.y, self.shape)
        q = chebyshev(max(background_order, 0), self.x, self.y, self.shape)
        s, scale_of = self._scale_terms()
        matrices, vectors = (part[used] for part in equations)
        system, right = spatial_system(matrices, vectors, p[used], q[used], s[used])
        n_scale, n_basis, terms = s.shape[1], len(self.basis), p.shape[1]
        varying = slice(n_scale, n_scale + (n_basis - 1) * terms)
        prior = self._prior(matrices, vectors, system, varying, terms, n_scale)
        if options.background_order is None:  # no background: pinned to zero
            prior[varying.stop :, varying.stop :] += np.eye(q.shape[1]) * 1e12 * np.trace(system)
        solved = solve(system, right, prior)
        values = solved.values
        shapes = values[varying].reshape(n_basis - 1, terms)
        background = values[varying.stop :]
        kernel = self._kernel(values[:n_scale], shapes, background, max(background_order, 0))
        at = np.column_stack([s @ values[:n_scale], p @ shapes.T])
        ny, nx = self.shape
        direction = np.zeros(len(right))
        centre = np.array([(nx - 1) / 2.0]), np.array([(ny - 1) / 2.0])
        direction[:n_scale] = scale_of(*centre)[0]
        error = np.sqrt(max(solved.variance(direction), 0.0))
        level = q @ background
        return Fit(kernel, order, background_order, at, level, float(error), solved.condition)

    def orders(self, count):
        """Degrees (kernel, background) that `count` stars carry."""
        options = self.options
        background = 0 if options.background_order is None else options.background_order
        return (
            affordable_order(options.order, count, options.stars_per_term),
            affordable_order(background, count, options.stars_per_term),
        )

    def _scale_terms(self):
        """((n, terms) of the flux scale at the stars, function of positions that gives them)."""
        options, order = self.options, self.options.flux_scale_order
        if options.flux_scale == "bspline":

            def terms(x, y):
                return spline_terms(order + 3, x, y, self.shape)
        else:
            degree = order if options.flux_scale == "polynomial" else 0

            def terms(x, y):
                return chebyshev(degree, x, y, self.shape)

        return terms(self.x, self.y), terms

    def _prior(self, matrices, vectors, system, varying, terms, n_scale):
        """Inverse prior covariance of the unknowns: a ridge, and roughness where asked."""
        prior = np.zeros_like(system)
        light = matrices[:, 0, 0].sum()
        level = max(abs(vectors[:, 0].sum() / light) if light > 0 else 0.0, 1e-30)
        if self.options.ridge > 0:
            at = np.arange(varying.start, varying.stop)
            prior[at, at] = 1.0 / (self.options.ridge * level) ** 2
        if self.options.flux_scale == "bspline":  # splines without a star stay near the level
            n = n_scale
            spread = np.eye(n) - np.full((n, n), 1.0 / n)
            prior[:n, :n] += spread * 1e-4 * light / n
        if self.penalty > 0:
            rough = self.basis.roughness
            inner = np.trace(system[varying, varying]) / terms
            rough = rough * self.penalty * inner / np.trace(rough[1:, 1:])
            prior[varying, varying] += np.kron(rough[1:, 1:], np.eye(terms))
            if n_scale == 1:
                prior[0, 0] += rough[0, 0]
                first = varying.start + terms * np.arange(len(rough) - 1)
                prior[0, first] += rough[0, 1:]
                prior[first, 0] += rough[0, 1:]
        return prior

    def _kernel(self, scale, shapes, background, background_order):
        basis, shape = self.basis, tuple(self.shape)
        coefficients = np.zeros((len(basis), shapes.shape[1]))
        coefficients[1:] = shapes
        constant = len(scale) == 1
        if constant:
            coefficients[0, 0] = scale[0]
        kernel = basis.kernel(coefficients, shape)
        level = polynomial_field(background, background_order, shape)
        images, fields = kernel.images, kernel.fields
        if not constant:
            images = np.concatenate([images, basis.functions[:1]])
            fields = (*fields, _scale_field(scale, self.options, shape))
        return SpatialKernel(images, fields, level, shape)


def _share(information, noise):
    """The matrix W for which noise W is the part of the noise to be taken off."""
    # A function without effect would make the noise singular.
    noise = 0.5 * (noise + noise.T) + 1e-8 * np.trace(noise) * np.eye(len(noise))
    mu, vectors = linalg.eigh(information, noise)
    share = np.clip((mu - 1.5) / 1.5, 0.0, 1.0)
    return (vectors * share) @ vectors.T @ noise


def _scale_field(scale, options, shape):
    if options.flux_scale == "bspline":
        count = options.flux_scale_order + 3
        return Field(scale.reshape(count, count), shape, "bspline")
    return polynomial_field(scale, options.flux_scale_order, shape)


def affordable_order(requested, n_stars, stars_per_term):
    """Highest polynomial degree up to `requested` with enough stars for each of its terms."""
    for order in range(requested, 0, -1):
        if n_terms(order) * stars_per_term <= n_stars:
            return order
    return 0
