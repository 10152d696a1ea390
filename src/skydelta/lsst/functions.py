"""Functions of two variables that LSST files hold (afw: FunctionLibrary.h).

Every class is called with x and y, arrays of one shape.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.errors import BadPsfError


@dataclass(frozen=True)
class GaussianFunction2:
    """An elliptical Gaussian of integral 1; angle of its first axis from x, in radians."""

    sigma1: float
    sigma2: float
    angle: float

    def __call__(self, x, y):
        c, s = np.cos(self.angle), np.sin(self.angle)
        r2 = ((c * x + s * y) / self.sigma1) ** 2 + ((c * y - s * x) / self.sigma2) ** 2
        return np.exp(-0.5 * r2) / (2 * np.pi * self.sigma1 * self.sigma2)


@dataclass(frozen=True)
class DoubleGaussianFunction2:
    """Two circular Gaussians of common integral 1; ampl2 is the ratio of their peaks."""

    sigma1: float
    sigma2: float
    ampl2: float

    def __call__(self, x, y):
        r2 = np.asarray(x) ** 2 + np.asarray(y) ** 2
        total = 2 * np.pi * (self.sigma1**2 + self.ampl2 * self.sigma2**2)
        first = np.exp(-0.5 * r2 / self.sigma1**2)
        return (first + self.ampl2 * np.exp(-0.5 * r2 / self.sigma2**2)) / total


@dataclass(frozen=True)
class PolynomialFunction2:
    """A polynomial; coefficients of 1, x, y, x^2, x y, y^2, x^3...

    Raises
    ------
    BadPsfError
        For a number of coefficients that no order has.
    """

    coefficients: tuple

    def __post_init__(self):
        self.order  # noqa: B018  checks the number

    @property
    def order(self):
        """Largest sum of the powers."""
        number = len(self.coefficients)
        order = int(np.sqrt(2 * number)) - 1
        if (order + 1) * (order + 2) != 2 * number:
            msg = f"no polynomial of x and y has {number} coefficients: the file is damaged"
            raise BadPsfError(msg)
        return order

    def __call__(self, x, y):
        x, y = np.asarray(x, float), np.asarray(y, float)
        return self._sum(
            [x**i for i in range(self.order + 1)], [y**i for i in range(self.order + 1)]
        )

    def _sum(self, x_terms, y_terms):
        total, which = 0.0, iter(self.coefficients)
        for degree in range(self.order + 1):
            for j in range(degree + 1):
                total = total + next(which) * x_terms[degree - j] * y_terms[j]
        return total


@dataclass(frozen=True)
class Chebyshev1Function2(PolynomialFunction2):
    """The same of Chebyshev polynomials of x and y scaled from a box to [-1, 1].

    Parameters
    ----------
    coefficients
        Of T_i(x) T_j(y), in the order of `PolynomialFunction2`.
    minimum, maximum
        (x, y) corners of the box.
    """

    minimum: tuple = (-1.0, -1.0)
    maximum: tuple = (1.0, 1.0)

    def __call__(self, x, y):
        scaled = [
            (2 * np.asarray(value, float) - (low + high)) / (high - low)
            for value, low, high in zip((x, y), self.minimum, self.maximum, strict=True)
        ]
        return self._sum(*(_chebyshev(value, self.order) for value in scaled))


def _chebyshev(x, order):
    terms = [np.ones_like(x), x]
    while len(terms) <= order:
        terms.append(2 * x * terms[-1] - terms[-2])
    return terms
