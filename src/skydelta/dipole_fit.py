"""Two-lobe fits of dipoles on the difference, the science image and the matched template.

A star that sits at p+ with flux F+ on the science image S and at p- with flux F- on the matched
template leaves on the difference

    D = F+ phi_D(x - p+) - F- phi_D(x - p-).

For lobes much closer than the PSF is wide only the product of flux and separation shows on D; the
images before subtraction, where the star itself is seen, break that degeneracy (Reiss 2016,
DMTN-007). The matched template is M = S - D, which needs no kernel and holds for every method of
subtraction; it carries the sky of S, so that one plane is the background of both, and D has none.
What S and M do not model alike (a galaxy, a neighbour, an error of the PSF) pulls at both stars in
the same way and leaves their difference, which D decides, as it is.

All pixels have equal weights within an image, S and M a fixed one relative to D, as in the LSST
stack; errors come from the variance planes, with the noise of S and of M independent.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.cutouts import flat
from skydelta.psf_fit import damped, psf_shifter

_ROUNDS = 25

_CONVERGED = 2e-3

_MAX_STEP = 0.4

N_PARAMETERS = 9
"""F+, dx+, dy+, F-, dx-, dy- and the three terms of the background."""

_LINEAR = [0, 3, 6, 7, 8]
"""Parameters that are no positions."""


@dataclass(frozen=True)
class DipoleStamps:
    """Cut-outs of n dipoles about the same pixels.

    Parameters
    ----------
    x, y
        (n,) int: middle pixels.
    difference, science
        (data, variance, good) of the two images, each (n, size, size).
    weight
        (n, size, size) bool: pixels of the fit.
    """

    x: np.ndarray
    y: np.ndarray
    difference: tuple
    science: tuple
    weight: np.ndarray

    @property
    def half(self):
        """Half width, px."""
        return self.weight.shape[-1] // 2


@dataclass(frozen=True)
class DipoleSolution:
    """Fits of n dipoles.

    Parameters
    ----------
    flux
        (n, 2) fluxes of the lobes, both positive for a star: F+, F-.
    x, y
        (n, 2) their positions, 0-based px.
    covariance
        (n, 6, 6) of F+, F+ dx+, F+ dy+, F-, F- dx-, F- dy-.
    chi2
        (n,) of the model on the difference.
    n_data
        (n,) pixels of the fit.
    """

    flux: np.ndarray
    x: np.ndarray
    y: np.ndarray
    covariance: np.ndarray
    chi2: np.ndarray
    n_data: np.ndarray


def cut_dipoles(difference, science, x, y, half, radius):
    """The stamps of dipoles about integer pixels.

    Parameters
    ----------
    difference, science
        skydelta.cutouts.Pixels of the two images.
    x, y
        (n,) int.
    half
        Half width of the stamps, px.
    radius
        Pixels farther than this from the middle, px, take no part.
    """
    stamps = difference.stamps(x, y, half), science.stamps(x, y, half)
    offset = np.arange(-half, half + 1)
    inside = np.hypot(offset[:, None], offset) <= radius
    weight = stamps[0][2] & stamps[1][2] & inside
    return DipoleStamps(x, y, *stamps, weight)


def fit_dipoles(stamps, psf_difference, psf_science, start, *, relative_weight, limit):
    """Gauss-Newton fits of both lobes and the background.

    Parameters
    ----------
    stamps
        DipoleStamps.
    psf_difference, psf_science
        Psf of the images.
    start
        (x, y), each (n, 2): first positions of the positive and the negative lobe, px.
    relative_weight
        Weight of residuals on the science image and the matched template relative to the
        difference.
    limit
        Largest distance of a lobe from its start along an axis, px.

    Returns
    -------
    DipoleSolution
    """
    model = _Model(stamps, psf_difference, psf_science, relative_weight)
    first = np.stack([start[0] - stamps.x[:, None], start[1] - stamps.y[:, None]], axis=2)
    shift, active = first.astype(float), np.arange(len(stamps.x))
    for _ in range(_ROUNDS):
        if active.size == 0:
            break
        part = model.take(active)
        move = part.position_step(*part.solve_linear(shift[active]))
        moved = np.clip(shift[active] + move, first[active] - limit, first[active] + limit)
        change = np.abs(moved - shift[active]).max(axis=(1, 2))
        shift[active] = moved
        active = active[change > _CONVERGED]
    values, rows, residual = model.solve_linear(shift)
    residual = residual.reshape(model.data.shape)[:, 0]
    variance = stamps.difference[1]
    used = stamps.weight & (variance > 0)
    chi2 = np.where(used, residual**2 / np.where(used, variance, 1.0), 0.0).sum(axis=(1, 2))
    return DipoleSolution(
        flux=values[:, :2],
        x=stamps.x[:, None] + shift[..., 0],
        y=stamps.y[:, None] + shift[..., 1],
        covariance=model.covariance(rows)[:, :6, :6],
        chi2=chi2,
        n_data=used.sum(axis=(1, 2)),
    )


class _Model:
    """Design of the joint fit: rows are D, S and M = S - D, the last two times their weight."""

    def __init__(self, stamps, psf_difference, psf_science, weight):
        self.weight = weight
        good = stamps.weight
        self.good = good.astype(float)
        d = np.where(good, stamps.difference[0], 0.0)
        s = np.where(good, stamps.science[0], 0.0)
        self.data = np.stack([d, weight * s, weight * (s - d)], axis=1)
        self.noise = _noise(stamps, good)
        offset = np.arange(-stamps.half, stamps.half + 1) / max(stamps.half, 1)
        flat_plane = np.ones((offset.size, offset.size))
        self.plane = np.stack([flat_plane, flat_plane * offset, flat_plane * offset[:, None]])
        x, y = stamps.x, stamps.y
        self.lobes = psf_shifter(psf_difference, x, y, stamps.half)[0]
        self.star = psf_shifter(psf_science, x, y, stamps.half)[0]

    def take(self, index):
        """The same for some of the dipoles."""
        part = object.__new__(_Model)
        part.weight, part.plane = self.weight, self.plane
        part.good, part.data = self.good[index], self.data[index]
        part.noise = tuple(v[index] for v in self.noise)
        part.lobes, part.star = self.lobes.take(index), self.star.take(index)
        return part

    def rows(self, shift):
        """(n, 9, 3 size^2): what a unit of each parameter adds to D, w S and w M.

        Parameters of position are flux times shift.
        """
        positive = self.lobes.columns(*shift[:, 0].T)
        negative = self.lobes.columns(*shift[:, 1].T)
        star = self.star.columns(*shift[:, 0].T)
        n, _, size, _ = star.shape
        out = np.zeros((n, N_PARAMETERS, 3, size, size))
        out[:, :3, 0] = positive
        np.negative(negative, out=out[:, 3:6, 0])
        out[:, :3, 1], out[:, 6:, 1] = star, self.plane
        np.subtract(out[:, :, 1], out[:, :, 0], out=out[:, :, 2])
        out[:, :, 1:] *= self.weight
        out *= self.good[:, None, None]
        return out.reshape(n, N_PARAMETERS, -1)

    def solve_linear(self, shift):
        """At given positions: fluxes and background, (n, 5), the rows, the data less the model."""
        rows = self.rows(shift)
        linear = rows[:, _LINEAR]
        matrix = damped(linear @ linear.transpose(0, 2, 1))
        data = self.data.reshape(len(rows), -1)
        values = np.linalg.solve(matrix, linear @ data[..., None])[..., 0]
        return values, rows, data - (values[:, None] @ linear)[:, 0]

    def position_step(self, values, rows, residual):
        """(n, 2, 2) shifts of both lobes in px."""
        matrix = rows @ rows.transpose(0, 2, 1)
        # Positions of a lobe without flux are of no matter: a little damping holds them.
        diagonal = np.diagonal(matrix, axis1=1, axis2=2)
        matrix = damped(matrix) + 1e-3 * diagonal[..., None] * np.eye(N_PARAMETERS)
        step = np.linalg.solve(matrix, rows @ residual[..., None])[..., 0]
        lobes = np.stack([step[:, 1:3], step[:, 4:6]], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            move = lobes / values[:, :2, None]
        return np.clip(np.nan_to_num(move), -_MAX_STEP, _MAX_STEP)

    def covariance(self, rows):
        """(n, 9, 9) for equal weights: S and M have the noise of their own, D is S - M."""
        n, size2 = len(rows), self.good.shape[-1] ** 2
        inverse = np.linalg.inv(damped(rows @ rows.transpose(0, 2, 1)))
        d, s, m = (rows.reshape(n, N_PARAMETERS, 3, size2)[:, :, i] for i in range(3))
        middle = np.zeros_like(inverse)
        of_science, of_template = d + self.weight * s, self.weight * m - d
        for row, variance in zip((of_science, of_template), self.noise, strict=True):
            middle += (row * flat(variance)[:, None]) @ row.transpose(0, 2, 1)
        return inverse @ middle @ inverse


def _noise(stamps, good):
    """Variances of S and of M: what D has more than S, and not less than a tenth of its own."""
    d, s = stamps.difference[1], stamps.science[1]
    matched = np.maximum(d - s, 0.1 * d)
    return np.where(good, s, 0.0), np.where(good, matched, 0.0)
