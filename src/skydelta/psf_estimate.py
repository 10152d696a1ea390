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
from skydelta.psf import FWHM_PER_SIGMA, GridPsf, adaptive_shape, grid_nodes
from skydelta.psf_table import ResidualTable
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
    cut = _cut_stamps(image, background, variance, mask, stars, size)
    _mask_neighbours(cut, sources)
    order, table_order, n_nodes = next(plan for n, *plan in _PLANS if len(stars) >= n)
    moments = np.column_stack([stars[k] for k in ("ixx", "iyy", "ixy")])
    field = MoffatField.from_moments(
        cut.x, cut.y, moments, np.log(stars["snr"]), image.shape, order
    )
    core = cut.cropped(int(np.ceil(_FIT_RADIUS * fwhm)))
    field, core = fit_moffat_field(field, core)
    cut = cut.placed_like(core)
    table = ResidualTable.of(cut, field, table_order)
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
    sky_prior: tuple  # mean and inverse variance of each sky, from outside the stamps

    def cropped(self, half):
        """The middle 2 half + 1 px, or all of them if there are no more."""
        skip = max(self.data.shape[-1] // 2 - half, 0)
        cut = (slice(None), *(slice(skip, self.data.shape[-1] - skip),) * 2)
        return replace(self, data=self.data[cut], inverse_variance=self.inverse_variance[cut])

    def placed_like(self, other):
        """These stamps with the positions and fluxes of others.

        The sky remains that of the annuli: what a profile without the true wings took for sky
        goes to the table.
        """
        return replace(self, dx=other.dx, dy=other.dy, flux=other.flux)

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


def _cut_stamps(image, background, variance, mask, stars, size):
    x, y = np.rint(stars["x"]).astype(int), np.rint(stars["y"]).astype(int)
    at, inside = _around(x, y, size // 2, image.shape)
    data, var = (image[at] - background.level[at]).astype(float), variance[at].astype(float)
    good = inside & np.isfinite(data) & (var > 0)
    if mask is not None:
        good &= ~mask.any("BAD", "SAT", "CR", "EDGE", "NO_DATA")[at]
    sky, sky_error = _local_sky(image, background, x, y, size // 2)
    return _Stamps(
        data=np.where(good, data, 0.0),
        inverse_variance=np.where(good, 1.0 / np.where(good, var, 1.0), 0.0),
        x=stars["x"].copy(),
        y=stars["y"].copy(),
        dx=stars["x"] - x,
        dy=stars["y"] - y,
        flux=stars["flux"].copy(),
        sky=sky,
        sky_prior=(sky, sky_error**-2.0),
    )


def _around(x, y, half, shape):
    """Indices of the pixels within `half` px of each position, and whether they are inside."""
    offset = np.arange(-half, half + 1)
    rows, columns = y[:, None, None] + offset[:, None], x[:, None, None] + offset
    ny, nx = shape
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    return (np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)), inside


def _local_sky(image, background, x, y, radius):
    """Sky about each star, counts above the background's level, and its standard error.

    The median of blank pixels between 1 and 1.6 `radius`. Fitted together with the star, the sky
    would take the wings of the PSF for its own.
    """
    reach = int(np.ceil(1.6 * radius))
    offset = np.arange(-reach, reach + 1)
    distance = np.hypot(offset[:, None], offset)
    annulus = (distance > radius) & (distance <= 1.6 * radius)
    sky, error = np.zeros(len(x)), np.zeros(len(x))
    for i in range(len(x)):  # one by one: all annuli together would be large
        at, inside = _around(x[i : i + 1], y[i : i + 1], reach, image.shape)
        use = (inside & background.blank[at])[0] & annulus
        rms = background.rms[y[i], x[i]]
        if np.count_nonzero(use) < 50:
            error[i] = rms
            continue
        sky[i] = np.median((image[at] - background.level[at])[0][use])
        # Twice the error of white noise: that of resampled images is correlated.
        error[i] = 2.5 * rms / np.sqrt(np.count_nonzero(use))
    return sky, error


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
