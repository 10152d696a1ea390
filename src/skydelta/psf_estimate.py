"""The PSF of an image from its own stars.

An elliptical Moffat profile, its shape a polynomial of the position, carries the PSF where the
noise hides it; a look-up table of the stars' residuals, averaged on sub-pixel aligned stamps,
carries what the profile misses; each annulus of the table is kept as far as it stands out of its
own noise (a Wiener filter).
"""

from dataclasses import dataclass, replace

import numpy as np

from skydelta.background import estimate_background
from skydelta.errors import NoPsfError
from skydelta.moffat import MoffatField, fit_moffat_field
from skydelta.polynomial import chebyshev
from skydelta.psf import FWHM_PER_SIGMA, GridPsf, adaptive_shape, grid_nodes, shift_stamps
from skydelta.stars import find_stars, star_size

_MIN_SIZE, _MAX_SIZE = 15, 61

_PLANS = ((100, 2, 1, 7), (25, 1, 0, 5), (0, 0, 0, 1))
"""Least number of stars, order of the profile's and of the table's polynomials, nodes an axis."""

_FIT_RADIUS = 3.0
"""Radius of the fit of the profile, FWHM of its longer axis."""

_CLEAR_SNR, _ENOUGH_STARS = 30.0, 10
"""Fainter stars, which galaxies mix with, are used only where there are not so many clear ones."""

_MODEL_ERROR = 0.01
"""Relative error of the model, so that the brightest star does not decide alone."""


@dataclass(frozen=True)
class PsfInfo:
    """What is known of an estimated PSF.

    Parameters
    ----------
    n_stars
        Stars used.
    fwhm
        Full width at half maximum in the middle of the image, px: that of a circle of equal area.
    ellipticity
        1 - minor / major axis there, of adaptive second moments.
    beta
        Exponent of the Moffat profile.
    order
        Order of the polynomial in x and y that the PSF follows.
    x, y
        (n_stars,) their positions, 0-based px.
    """

    n_stars: int
    fwhm: float
    ellipticity: float
    beta: float
    order: int
    x: np.ndarray
    y: np.ndarray


def estimate_psf(
    image,
    variance,
    mask=None,
    *,
    saturate=np.inf,
    fwhm_guess=None,
    background=None,
    max_stars=200,
    min_stars=2,
):
    """PSF from the isolated, unsaturated stars of an image.

    Parameters
    ----------
    image, variance
        (ny, nx), counts and counts squared.
    mask
        skydelta.mask.Mask, or None.
    saturate
        Saturation level, counts on the scale of `image`.
    fwhm_guess
        px; default 4, corrected once by what is found.
    background
        Background of the image, estimated if not given.
    max_stars
        Use at most so many of the stars of highest S/N.
    min_stars
        Fewest stars that make a PSF.

    Returns
    -------
    psf : GridPsf
        Stamps whose sum is the share of the flux inside them.
    info : PsfInfo

    Raises
    ------
    NoPsfError
        If there are too few usable stars.
    """
    if background is None:
        holes = mask.any("BAD", "CR", "EDGE", "NO_DATA", "SAT") if mask is not None else None
        background = estimate_background(image, holes)
    sources = _sources(image, variance, mask, saturate, fwhm_guess, background)
    stars = sources[sources["usable"]]
    clear = stars["snr"] > _CLEAR_SNR
    stars = stars[clear][:max_stars] if clear.sum() >= _ENOUGH_STARS else stars[:max_stars]
    if len(stars) < min_stars:
        msg = (
            f"{len(stars)} isolated, unsaturated stars, need {min_stars} to estimate the PSF: "
            "give a PSF (column psf of the table)"
        )
        raise NoPsfError(msg, n_stars=len(stars))
    fwhm = _major_fwhm(stars)
    size = int(np.clip(2 * np.ceil(4.0 * fwhm) + 1, _MIN_SIZE, _MAX_SIZE))
    cut = _cut_stamps(image - background.level, variance, mask, stars, size)
    _mask_neighbours(cut, sources)
    order, table_order, n_nodes = next(plan for n, *plan in _PLANS if len(stars) >= n)
    moments = np.column_stack([stars[k] for k in ("ixx", "iyy", "ixy")])
    field = MoffatField.from_moments(
        cut.x, cut.y, moments, np.log(stars["snr"]), image.shape, order
    )
    core = cut.cropped(int(np.ceil(_FIT_RADIUS * fwhm)))
    field, core = fit_moffat_field(field, core)
    cut = cut.placed_like(core)
    table = _ResidualTable.of(cut, field, table_order)
    psf = _as_grid(field, table, size, n_nodes)
    middle = psf.stamp((image.shape[1] - 1) / 2.0, (image.shape[0] - 1) / 2.0)
    return psf, PsfInfo(
        n_stars=len(stars),
        fwhm=half_maximum_width(middle),
        ellipticity=_ellipticity(adaptive_shape(middle)),
        beta=field.beta,
        order=order,
        x=cut.x,
        y=cut.y,
    )


def _sources(image, variance, mask, saturate, fwhm_guess, background):
    """Sources found with a filter of the stars' own width."""
    fwhm = fwhm_guess or 4.0
    for _ in range(2):
        sources = find_stars(
            image, variance, mask, fwhm=fwhm, background=background, saturate=saturate
        )
        found = _typical_fwhm(sources[sources["usable"]])
        if not abs(np.log(found / fwhm)) > 0.2:
            break
        fwhm = found
    return sources


def _typical_fwhm(stars):
    return float(np.median(star_size(stars)) * FWHM_PER_SIGMA) if len(stars) else np.nan


def _major_fwhm(stars):
    """Median FWHM along the longer axis, px."""
    mean = 0.5 * (stars["ixx"] + stars["iyy"])
    major = mean + np.hypot(0.5 * (stars["ixx"] - stars["iyy"]), stars["ixy"])
    return FWHM_PER_SIGMA * float(np.median(np.sqrt(major)))


@dataclass(frozen=True)
class _Stamps:
    """Stamps of stars and what is known of each; planes are (n, size, size)."""

    data: np.ndarray
    inverse_variance: np.ndarray  # 0 for pixels without a value
    x: np.ndarray
    y: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    flux: np.ndarray
    sky: np.ndarray

    def cropped(self, half):
        """The middle 2 half + 1 px, or all of them if there are no more."""
        skip = max(self.data.shape[-1] // 2 - half, 0)
        cut = (slice(None), *(slice(skip, self.data.shape[-1] - skip),) * 2)
        return replace(self, data=self.data[cut], inverse_variance=self.inverse_variance[cut])

    def placed_like(self, other):
        """These stamps with the positions, fluxes and skies of others."""
        return replace(self, dx=other.dx, dy=other.dy, flux=other.flux, sky=other.sky)

    def stepped(self, flux, sky, move_x, move_y):
        """New fluxes and skies, and positions moved by limited steps (times flux)."""
        flux = np.maximum(flux, 0.3 * self.flux)
        dx, dy = (
            np.clip(d + np.clip(move / flux, -0.3, 0.3), -1.0, 1.0)
            for d, move in ((self.dx, move_x), (self.dy, move_y))
        )
        return replace(self, flux=flux, sky=sky, dx=dx, dy=dy)

    def weight(self, models, clip=4.0):
        """Inverse variances with the model's error; pixels far off the models of unit flux get 0.

        Far off are cosmic rays and neighbours; the profile itself may be off by a tenth.
        """
        signal = self.flux[:, None, None] * models
        good = self.inverse_variance > 0
        error2 = 1.0 / np.where(good, self.inverse_variance, 1.0) + (_MODEL_ERROR * signal) ** 2
        tolerance2 = error2 + (0.1 * signal) ** 2
        off = (self.data - self.sky[:, None, None] - signal) ** 2 > clip**2 * tolerance2
        return np.where(good & ~off, 1.0 / error2, 0.0)


def _cut_stamps(sky_free, variance, mask, stars, size):
    half = size // 2
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    offset = np.arange(-half, half + 1)
    rows, columns = y[:, None, None] + offset[:, None], x[:, None, None] + offset
    ny, nx = sky_free.shape
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    at = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    data, var = sky_free[at].astype(float), variance[at].astype(float)
    good = inside & np.isfinite(data) & (var > 0)
    if mask is not None:
        good &= ~mask.any("BAD", "SAT", "CR", "EDGE", "NO_DATA")[at]
    return _Stamps(
        data=np.where(good, data, 0.0),
        inverse_variance=np.where(good, 1.0 / np.where(good, var, 1.0), 0.0),
        x=stars["x"].copy(),
        y=stars["y"].copy(),
        dx=stars["x"] - x,
        dy=stars["y"] - y,
        flux=stars["flux"].copy(),
        sky=np.zeros(len(stars)),
    )


def _mask_neighbours(cut, sources):
    """No weight for the pixels about other sources, farther out about brighter ones."""
    from scipy.spatial import cKDTree

    half = cut.data.shape[-1] // 2
    fwhm = _typical_fwhm(sources[sources["usable"]])
    offset = np.arange(-half, half + 1)
    own = np.hypot(offset[:, None], offset) < 1.5 * fwhm
    reach = fwhm * np.sqrt(1.0 + np.log10(np.maximum(sources["snr"], 10.0)))
    tree = cKDTree(np.column_stack([sources["x"], sources["y"]]))
    near = tree.query_ball_point(np.column_stack([cut.x, cut.y]), 2.0 * half)
    for i, indices in enumerate(near):
        for j in indices:
            dx, dy = sources["x"][j] - cut.x[i], sources["y"][j] - cut.y[i]
            if np.hypot(dx, dy) > fwhm:  # not the star itself
                dx, dy = dx + cut.dx[i], dy + cut.dy[i]
                close = np.hypot(offset[:, None] - dy, offset - dx) < reach[j]
                cut.inverse_variance[i][close & ~own] = 0.0


@dataclass(frozen=True)
class _ResidualTable:
    """What the stars show beside their profiles, pixel by pixel a polynomial of the position."""

    planes: np.ndarray  # (k, size, size)
    covariance: np.ndarray  # (size, size, k, k)
    shape: tuple
    order: int

    @classmethod
    def of(cls, cut, field, order, rounds=2):
        """Table of the aligned residuals of stars, outliers clipped against the table itself."""
        profile = field.stamps(cut.x, cut.y, cut.data.shape[-1], cut.dx, cut.dy)
        expected = np.zeros_like(profile)
        for _ in range(rounds):
            weight = cut.weight(profile + expected)
            residual = (cut.data - cut.sky[:, None, None]) / cut.flux[:, None, None] - profile
            residual = np.where(weight > 0, residual, expected)
            aligned = shift_stamps(residual, -cut.dx, -cut.dy)
            table = cls._fitted(aligned, weight * cut.flux[:, None, None] ** 2, cut, field, order)
            expected = shift_stamps(table(cut.x, cut.y), cut.dx, cut.dy)
        return table

    @classmethod
    def _fitted(cls, aligned, weight, cut, field, order):
        weight = _without_outliers(aligned, weight)
        terms = chebyshev(order, cut.x, cut.y, field.shape)
        k = terms.shape[1]
        normal = np.einsum("nk,nyx,nl->yxkl", terms, weight, terms, optimize=True)
        # Where no star has a value the table is zero.
        ridge = 1e-6 * np.median(np.trace(normal, axis1=2, axis2=3)) * np.eye(k)
        inverse = np.linalg.inv(normal + ridge)
        right = np.einsum("nk,nyx->yxk", terms, weight * aligned, optimize=True)
        planes = np.moveaxis(np.einsum("yxkl,yxl->yxk", inverse, right), -1, 0)
        left = weight * (aligned - np.tensordot(terms, planes, axes=1)) ** 2
        degrees = np.maximum(np.count_nonzero(weight, axis=0) - k, 1)
        excess = np.maximum(left.sum(axis=0) / degrees, 1.0)
        # The rim holds what is wrong with the stars' sky, not wings.
        planes = planes - np.median(planes[:, _rim(planes.shape[-1])], axis=1)[:, None, None]
        return cls(planes, inverse * excess[:, :, None, None], field.shape, order)

    def __call__(self, x, y):
        """(n, size, size) table at the positions, damped where it is lost in its noise."""
        terms = chebyshev(self.order, x, y, self.shape)
        tables = np.tensordot(terms, self.planes, axes=1)
        noise2 = np.einsum("nk,yxkl,nl->nyx", terms, self.covariance, terms, optimize=True)
        factors = [_wiener(t, v) for t, v in zip(tables, noise2, strict=True)]
        return tables * np.stack(factors)


def _without_outliers(residual, weight, clip=3.5):
    """Weights with 0 for pixels far from the weighted median of the stars."""
    if len(residual) < 4:
        return weight
    order = np.argsort(residual, axis=0)
    share = np.cumsum(np.take_along_axis(weight, order, axis=0), axis=0)
    at = np.argmax(share >= 0.5 * share[-1], axis=0)[None]
    middle = np.take_along_axis(np.take_along_axis(residual, order, axis=0), at, axis=0)
    total = np.maximum(weight.sum(axis=0), 1e-300)
    known = weight > 0
    error2 = 1.0 / np.where(known, weight, 1.0) + 1.6 / total
    pull = np.abs(residual - middle) / np.sqrt(error2)
    spread = np.maximum(1.4826 * np.median(pull, axis=0), 1.0)
    return np.where(pull < clip * spread, weight, 0.0)


def _wiener(table, noise2):
    """(size, size) factors 0 to 1: how far each annulus of `table` stands out of its noise."""
    half = table.shape[-1] // 2
    offset = np.arange(-half, half + 1)
    ring = np.rint(np.hypot(offset[:, None], offset)).astype(int).ravel()

    def over_three_rings(values):
        sums = np.bincount(ring, values.ravel())
        return np.convolve(np.pad(sums, 1), [1, 1, 1], "valid")

    power, noise = over_three_rings(table**2), over_three_rings(noise2)
    factor = np.clip(1.0 - noise / np.maximum(power, 1e-30), 0.0, 1.0)
    return factor[ring].reshape(table.shape)


def _rim(size):
    """(size, size) bool: pixels farther from the middle than the nearest edge."""
    offset = np.arange(size) - size // 2
    return np.hypot(offset[:, None], offset) > size // 2 - 1


def _as_grid(field, table, size, n):
    """Profile and table at n x n nodes; each stamp sums to the profile's flux inside it."""
    ny, nx = field.shape
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, n), grid_nodes(ny, n)))
    profiles = field.stamps(x, y, size)
    stamps = profiles + table(x, y)
    sums = profiles.sum(axis=(1, 2)) / stamps.sum(axis=(1, 2))
    return GridPsf(x, y, stamps * sums[:, None, None])


def half_maximum_width(stamp, upsampling=8):
    """Diameter of the circle with the area of the pixels above half of the maximum, px."""
    from scipy.ndimage import zoom

    size = stamp.shape[-1]
    # Steps of 1/upsampling between the centres of the first and the last pixel.
    fine = zoom(stamp, ((size - 1) * upsampling + 1) / size, order=3)
    area = np.count_nonzero(fine > 0.5 * fine.max()) / upsampling**2
    return float(2.0 * np.sqrt(area / np.pi))


def _ellipticity(shape):
    """1 - minor / major axis."""
    mean = 0.5 * (shape.ixx + shape.iyy)
    spread = np.hypot(0.5 * (shape.ixx - shape.iyy), shape.ixy)
    return float(1.0 - np.sqrt((mean - spread) / (mean + spread)))
