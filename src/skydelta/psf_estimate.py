"""The PSF of an image from its own stars.

An elliptical Moffat profile carries the PSF where the noise hides it; a look-up table of the
stars' residuals, averaged on sub-pixel aligned stamps, carries what the profile misses; each
annulus of the table is kept as far as it stands out of its own noise (a Wiener filter).
"""

from dataclasses import dataclass

import numpy as np

from skydelta.background import estimate_background
from skydelta.errors import NoPsfError
from skydelta.psf import FWHM_PER_SIGMA, GridPsf, adaptive_shape, grid_nodes, shift_stamps
from skydelta.stars import find_stars, star_size

_MIN_SIZE, _MAX_SIZE = 15, 61

_STARS_FOR_ORDER = ((100, 2), (25, 1), (0, 0))
"""Least number of stars for a polynomial of each order over the image."""

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
        Full width at half maximum of the mean PSF, px: of the circle of the area above it.
    ellipticity
        1 - minor / major axis, of adaptive second moments.
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
    max_stars=300,
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
    stars = sources[sources["usable"]][:max_stars]
    if len(stars) < min_stars:
        msg = (
            f"{len(stars)} isolated, unsaturated stars, need {min_stars} to estimate the PSF: "
            "give a PSF (column psf of the table)"
        )
        raise NoPsfError(msg, n_stars=len(stars))
    cut = _cut_stamps(image - background.level, variance, mask, stars, _stamp_size(stars))
    _mask_neighbours(cut, stars, sources)
    return _as_grid(*_fit_mean_psf(cut, stars), stars, image.shape)


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


def _stamp_size(stars):
    """2 ceil(4 FWHM) + 1 px of the longer axis, within limits."""
    mean = 0.5 * (stars["ixx"] + stars["iyy"])
    major = mean + np.hypot(0.5 * (stars["ixx"] - stars["iyy"]), stars["ixy"])
    fwhm = FWHM_PER_SIGMA * float(np.median(np.sqrt(major)))
    return int(np.clip(2 * np.ceil(4.0 * fwhm) + 1, _MIN_SIZE, _MAX_SIZE))


@dataclass
class _Stamps:
    """Star stamps and the state of their fit; planes are (n, size, size)."""

    data: np.ndarray
    weight: np.ndarray  # inverse variance, 0 for pixels without a value
    dx: np.ndarray
    dy: np.ndarray
    flux: np.ndarray
    sky: np.ndarray


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
    weight = np.where(good, 1.0 / np.where(good, var, 1.0), 0.0)
    return _Stamps(
        np.where(good, data, 0.0),
        weight,
        stars["x"] - x,
        stars["y"] - y,
        stars["flux"].copy(),
        np.zeros(len(stars)),
    )


def _mask_neighbours(cut, stars, sources):
    """No weight for the pixels about other sources, farther out about brighter ones."""
    from scipy.spatial import cKDTree

    half = cut.data.shape[-1] // 2
    fwhm = _typical_fwhm(stars)
    offset = np.arange(-half, half + 1)
    own = np.hypot(offset[:, None], offset) < 1.5 * fwhm
    reach = fwhm * np.sqrt(1.0 + np.log10(np.maximum(sources["snr"], 10.0)))
    tree = cKDTree(np.column_stack([sources["x"], sources["y"]]))
    near = tree.query_ball_point(np.column_stack([stars["x"], stars["y"]]), 2.0 * half)
    for i, indices in enumerate(near):
        x0, y0 = stars["x"][i] - cut.dx[i], stars["y"][i] - cut.dy[i]
        for j in indices:
            dx, dy = sources["x"][j] - x0, sources["y"][j] - y0
            if np.hypot(dx - cut.dx[i], dy - cut.dy[i]) > fwhm:  # not the star itself
                close = np.hypot(offset[:, None] - dy, offset - dx) < reach[j]
                cut.weight[i][close & ~own] = 0.0


def _fit_mean_psf(cut, stars, rounds=5):
    """The constant PSF, its Moffat profile, and the aligned residuals of each star with weights."""
    size = cut.data.shape[-1]
    moffat = Moffat.from_moments(*(np.median(stars[k]) for k in ("ixx", "iyy", "ixy")))
    psf = moffat.stamp(size)
    for _ in range(rounds):
        _fit_stars(cut, psf)
        residual, weight = _aligned_residuals(cut, psf)
        mean, noise = _clipped_mean(residual, weight)
        psf, moffat = _regularised(psf + mean, noise, moffat)
    return psf, moffat, _aligned_residuals(cut, psf)


def _fit_stars(cut, psf):
    """One linear step of each star's flux, sky and position under the PSF given."""
    models = shift_stamps(np.broadcast_to(psf, cut.data.shape), cut.dx, cut.dy)
    slope_y, slope_x = np.gradient(models, axis=(1, 2))
    ones = np.ones_like(models)
    basis = np.stack([models, ones, -slope_x, -slope_y], axis=1)
    n = len(models)
    basis = basis.reshape(n, 4, -1)
    weight = _robust_weight(cut, models).reshape(n, -1)
    normal = np.einsum("nip,np,njp->nij", basis, weight, basis)
    right = np.einsum("nip,np,np->ni", basis, weight, cut.data.reshape(n, -1))
    flux, sky, shift_x, shift_y = np.linalg.solve(normal, right[:, :, None])[:, :, 0].T
    cut.flux, cut.sky = np.maximum(flux, 1e-3 * np.abs(cut.flux)), sky
    cut.dx = np.clip(cut.dx + np.clip(shift_x / cut.flux, -0.3, 0.3), -1, 1)
    cut.dy = np.clip(cut.dy + np.clip(shift_y / cut.flux, -0.3, 0.3), -1, 1)


def _robust_weight(cut, models, clip=4.0):
    """Inverse variances with the model's error; pixels far off the model (neighbours) get 0."""
    signal = cut.flux[:, None, None] * models
    good = cut.weight > 0
    error2 = 1.0 / np.where(good, cut.weight, 1.0) + (_MODEL_ERROR * signal) ** 2
    tolerance2 = error2 + (0.1 * signal) ** 2
    off = (cut.data - cut.sky[:, None, None] - signal) ** 2 > clip**2 * tolerance2
    return np.where(good & ~off, 1.0 / error2, 0.0)


def _aligned_residuals(cut, psf):
    """Residuals of the stars in units of their flux, moved to the middle pixel, and weights."""
    models = shift_stamps(np.broadcast_to(psf, cut.data.shape), cut.dx, cut.dy)
    flux, sky = cut.flux[:, None, None], cut.sky[:, None, None]
    weight = _robust_weight(cut, models)
    residual = np.where(weight > 0, (cut.data - sky) / flux - models, 0.0)
    return shift_stamps(residual, -cut.dx, -cut.dy), weight * flux**2


def _clipped_mean(residual, weight, clip=3.5):
    """Weighted mean over the stars and its standard error, each pixel clipped."""
    use = weight > 0
    if len(residual) > 3:
        middle = np.median(residual, axis=0)
        pull = (residual - middle) * np.sqrt(weight)
        spread = np.maximum(1.4826 * np.median(np.abs(pull), axis=0), 1.0)
        use &= np.abs(pull) < clip * spread
    weight = np.where(use, weight, 0.0)
    total = weight.sum(axis=0)
    known = total > 0
    total = np.where(known, total, 1.0)
    mean = np.where(known, (weight * residual).sum(axis=0) / total, 0.0)
    scatter2 = (weight**2 * (residual - mean) ** 2).sum(axis=0) / total**2
    degrees = max(len(residual) - 1, 1) / len(residual)
    error = np.sqrt(np.maximum(scatter2 / degrees, 1.0 / total))
    return mean, np.where(known, error, np.inf)


def _wiener(table, noise):
    """(size, size) factors 0 to 1: how far each annulus of `table` stands out of its noise."""
    half = table.shape[-1] // 2
    offset = np.arange(-half, half + 1)
    ring = np.rint(np.hypot(offset[:, None], offset)).astype(int)
    known = np.isfinite(noise)
    count = np.maximum(np.bincount(ring[known], minlength=ring.max() + 1), 1)

    def mean_over_rings(values):
        sums = np.bincount(ring[known], values[known], minlength=ring.max() + 1)
        return np.convolve(np.pad(sums, 1), [1, 1, 1], "valid") / np.convolve(
            np.pad(count, 1), [1, 1, 1], "valid"
        )

    power, noise2 = mean_over_rings(table**2), mean_over_rings(noise**2)
    factor = np.clip(1.0 - noise2 / np.maximum(power, 1e-30), 0.0, 1.0)
    return np.where(known, factor[ring], 0.0)


def _regularised(stamp, noise, start):
    """A mean stamp as its Moffat profile and what stands out of the noise beside it.

    The level of the stars' sky and that of the PSF's wings cannot be told apart but by the
    profile: the pedestal of its fit is sky. The sum is the share of the profile's flux inside.
    """
    moffat, amplitude, pedestal = Moffat.fitted(stamp, start)
    profile = moffat.stamp(stamp.shape[-1])
    table = stamp - pedestal - amplitude * profile
    psf = amplitude * profile + table * _wiener(table, noise)
    return psf * (profile.sum() / psf.sum()), moffat


def _as_grid(psf, moffat, aligned, stars, shape):
    """The constant PSF, or nodes of a polynomial where there are stars enough for one."""
    order = next(o for n, o in _STARS_FOR_ORDER if len(stars) >= n)
    info = PsfInfo(
        n_stars=len(stars),
        fwhm=half_maximum_width(psf),
        ellipticity=_ellipticity(adaptive_shape(psf)),
        beta=float(moffat.beta),
        order=order,
        x=stars["x"].copy(),
        y=stars["y"].copy(),
    )
    if order == 0:
        return GridPsf.constant(psf), info
    change = _PolynomialChange(aligned, stars, order, shape)
    ny, nx = shape
    n = 2 * order + 1
    x, y = (a.ravel() for a in np.meshgrid(grid_nodes(nx, n), grid_nodes(ny, n)))
    raw = zip(psf + change(x, y), change.noise(x, y), strict=True)
    return GridPsf(x, y, np.stack([_regularised(*node, moffat)[0] for node in raw])), info


def half_maximum_width(stamp, upsampling=8):
    """Diameter of the circle with the area of the pixels above half of the maximum, px."""
    from scipy.ndimage import zoom

    half = stamp.shape[-1] // 2
    # Steps of 1/upsampling between the centres of the first and the last pixel.
    fine = zoom(stamp, (2 * half * upsampling + 1) / (2 * half + 1), order=3, grid_mode=False)
    area = np.count_nonzero(fine > 0.5 * fine.max()) / upsampling**2
    return float(2.0 * np.sqrt(area / np.pi))


def _ellipticity(shape):
    """1 - minor / major axis."""
    mean = 0.5 * (shape.ixx + shape.iyy)
    spread = np.hypot(0.5 * (shape.ixx - shape.iyy), shape.ixy)
    return float(1.0 - np.sqrt((mean - spread) / (mean + spread)))


class _PolynomialChange:
    """Polynomial in the position, pixel by pixel, of the stars' residuals from the mean PSF."""

    def __init__(self, aligned, stars, order, shape):
        residual, weight = aligned
        self.order = order
        self.shape = shape
        self.range = [(stars[k].min(), stars[k].max()) for k in ("x", "y")]
        n, size = len(residual), residual.shape[-1]
        terms = self._terms(stars["x"], stars["y"])
        # One weight per star keeps a single solution for all pixels; clipped residuals are 0.
        star_weight = np.sqrt(np.median(weight, axis=(1, 2)))
        star_weight = np.minimum(star_weight, 3.0 * np.median(star_weight))[:, None]
        residual = residual.reshape(n, -1)
        inverse = np.linalg.pinv(terms * star_weight)
        coefficients = inverse @ (residual * star_weight)
        left = (residual - terms @ coefficients) * star_weight
        noise2 = (left**2).sum(axis=0) / (n - terms.shape[1])
        errors = np.sqrt((inverse**2).sum(axis=1)[:, None] * noise2)
        self.planes = coefficients.reshape(-1, size, size)
        self.errors = errors.reshape(-1, size, size)

    def __call__(self, x, y):
        """(n, size, size) changes at the positions, in units of the flux."""
        return np.tensordot(self._terms(x, y), self.planes, axes=1)

    def noise(self, x, y):
        """(n, size, size) standard errors of the changes."""
        return np.sqrt(np.tensordot(self._terms(x, y) ** 2, self.errors**2, axes=1))

    def _terms(self, x, y):
        """(n, k) products of Legendre polynomials; positions are held at the outermost stars."""
        from numpy.polynomial.legendre import legvander

        axes = []
        for values, limits, length in zip((x, y), self.range, self.shape[::-1], strict=True):
            held = np.clip(values, *limits)
            axes.append(legvander(2.0 * held / (length - 1) - 1.0, self.order))
        return np.column_stack(
            [
                axes[0][:, i] * axes[1][:, j]
                for j in range(self.order + 1)
                for i in range(self.order + 1 - j)
            ]
        )


@dataclass(frozen=True)
class Moffat:
    """Elliptical Moffat profile of unit flux, (beta - 1) sqrt(det) / pi (1 + q)^-beta.

    q = xx dx^2 + yy dy^2 + 2 xy dx dy about (x, y), px from the middle of a stamp.
    """

    xx: float
    yy: float
    xy: float
    beta: float
    x: float = 0.0
    y: float = 0.0

    @classmethod
    def from_moments(cls, ixx, iyy, ixy, beta=3.0):
        """Profile with the half-maximum ellipse of a Gaussian of these moments."""
        determinant = ixx * iyy - ixy**2
        scale = (2.0 ** (1.0 / beta) - 1.0) / (2.0 * np.log(2.0))
        return cls(*(scale * a / determinant for a in (iyy, ixx, -ixy)), beta)

    def stamp(self, size):
        """(size, size) integrals over the pixels, the profile centred on the middle pixel."""
        return self._integrals(size, 0.0, 0.0)

    def _integrals(self, size, x, y):
        """Means of 2 x 2 points a pixel (Gauss-Legendre, exact for cubics)."""
        half = size // 2
        point = 0.5 / np.sqrt(3.0)
        axis = np.arange(-half, half + 1)[:, None] + [-point, point]
        dx, dy = axis.ravel() - x, axis.ravel()[:, None] - y
        q = self.xx * dx**2 + self.yy * dy**2 + 2.0 * self.xy * dx * dy
        norm = (self.beta - 1.0) * np.sqrt(self.xx * self.yy - self.xy**2) / np.pi
        values = norm * np.exp(-self.beta * np.log1p(q))
        return values.reshape(size, 2, size, 2).mean(axis=(1, 3))

    @classmethod
    def fitted(cls, stamp, start):
        """Least-squares profile of a stamp, its amplitude and the pedestal it stands on."""
        from scipy.optimize import least_squares

        size = stamp.shape[-1]

        def profile(p):
            xx, yy = np.exp(p[0]), np.exp(p[1])
            beta = 1.2 + np.exp(p[3])
            return cls(xx, yy, np.tanh(p[2]) * np.sqrt(xx * yy), beta, p[4], p[5])

        def linear_part(p):
            shape = profile(p)
            basis = np.column_stack(
                [shape._integrals(size, shape.x, shape.y).ravel(), np.ones(stamp.size)]
            )
            return basis, np.linalg.solve(basis.T @ basis, basis.T @ stamp.ravel())

        def residual(p):
            basis, factors = linear_part(p)
            return stamp.ravel() - basis @ factors

        correlation = np.clip(start.xy / np.sqrt(start.xx * start.yy), -0.99, 0.99)
        first = [
            *np.log([start.xx, start.yy]),
            np.arctanh(correlation),
            np.log(max(start.beta - 1.2, 0.1)),
            0.0,
            0.0,
        ]
        bounds = np.array([[-12, 4], [-12, 4], [-4, 4], [-2, 3.5], [-2, 2], [-2, 2]], float).T
        first = np.clip(first, bounds[0] + 1e-3, bounds[1] - 1e-3)
        best = least_squares(residual, first, bounds=bounds, x_scale="jac").x
        return profile(best), *linear_part(best)[1]
