"""Stars of an image: detected, measured, and told from everything that is not one.

Every star of an image has the shape of its PSF, so stars form a clump in size and ellipticity;
galaxies, blends and cosmic rays scatter around it.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.background import estimate_background
from skydelta.mask import Mask
from skydelta.moments import adaptive_moments
from skydelta.parallel import map_strips, map_tiles
from skydelta.polynomial import chebyshev
from skydelta.psf import FWHM_PER_SIGMA, grid_nodes
from skydelta.splines import linear_matrix

STAR_DTYPE = np.dtype(
    [
        *((name, "f8") for name in ("x", "y", "flux", "snr", "peak")),
        *((name, "f8") for name in ("ixx", "iyy", "ixy", "crowding", "stellarity")),
        *((name, "?") for name in ("isolated", "saturated", "masked", "usable")),
    ]
)
"""Columns of `find_stars`: x, y in 0-based px; flux and peak in counts; moments in px^2."""

_HOLES = ("BAD", "CR", "EDGE", "NO_DATA", "CR_TEMPLATE")
_SATURATED = ("SAT", "SAT_TEMPLATE")

_SIZE_SCATTER = 0.06
"""Scatter of ln(size) and of the ellipticities of equal stars: PSF changes across a detector."""

_CLUMP_WIDTH = 2.0
"""Distance in units of that scatter beyond which a source counts little as a star."""

_DEFAULT_FWHM = 4.0

_BATCH = 128
"""Sources measured at a time: their stamps stay in the cache."""


def find_stars(
    image,
    variance,
    mask=None,
    *,
    psf=None,
    fwhm=None,
    background=None,
    passes=2,
    saturate=np.inf,
    threshold=10.0,
    max_stars=2000,
    isolation=None,
    max_crowding=0.1,
):
    """Sources of an image, the brightest first, with what tells a good star.

    Parameters
    ----------
    image, variance
        (ny, nx), counts and counts squared.
    mask
        skydelta.mask.Mask of the same shape, or None.
    psf
        PSF that stars are compared with; without one they are compared with the densest clump of
        shapes in the image.
    fwhm
        px; default that of `psf`, or 4.
    background
        Background of the image, estimated if not given ...
    passes
        ... with so many rounds of leaving its sources out.
    saturate
        Saturation level, counts on the scale of `image`.
    threshold
        Smallest signal-to-noise ratio of a detection.
    max_stars
        Measure at most so many of the brightest unsaturated sources.
    isolation
        Distance within which no neighbour may disturb a star, px; default 4 FWHM.
    max_crowding
        A star is isolated if no neighbour's peak exceeds this fraction of its own.

    Returns
    -------
    ndarray
        Structured array of `STAR_DTYPE`, sorted by falling S/N. `flux` and `snr` are those of an
        elliptical Gaussian matched to the source; `crowding` is the peak of the worst neighbour
        over its own; `masked` has unusable pixels; `stellarity` runs from 1 (the shape of the PSF)
        to 0, and `usable` means isolated, unsaturated, unmasked and star-shaped (above 0.5).
    """
    if background is None:
        holes = mask.any(*_HOLES, *_SATURATED) if mask is not None else None
        background = estimate_background(image, holes, passes=passes)
    if fwhm is None:
        fwhm = psf.compute_shape(*_middle(image.shape)).fwhm if psf is not None else _DEFAULT_FWHM
    planes = _Planes.of(image, mask, saturate, background)
    x, y, height = _peaks(planes.sky_free, variance, background, fwhm, threshold)
    peaks = x, y, height, _crowding(x, y, height, isolation or 4.0 * fwhm)
    stars = _measure(planes, variance, peaks, fwhm, max_stars)
    stars["isolated"] = stars["crowding"] < max_crowding
    stars["stellarity"] = _stellarity(stars, psf, image.shape)
    stars["usable"] = (
        stars["isolated"] & ~stars["saturated"] & ~stars["masked"] & (stars["stellarity"] > 0.5)
    )
    return stars[np.argsort(-stars["snr"], kind="stable")]


def star_size(stars):
    """Determinant radius of each source, px: (Ixx Iyy - Ixy^2)^(1/4)."""
    return np.maximum(stars["ixx"] * stars["iyy"] - stars["ixy"] ** 2, 0.0) ** 0.25


def _middle(shape):
    return (shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0


@dataclass(frozen=True)
class _Planes:
    """What the search looks at, each (ny, nx)."""

    sky_free: np.ndarray
    usable: np.ndarray
    saturated: np.ndarray

    @classmethod
    def of(cls, image, mask, saturate, background):
        """Sky taken off, pixels with a value and saturated pixels told, strip by strip."""
        sky_free = np.empty(image.shape, np.float32)
        usable, saturated = np.empty(image.shape, bool), np.empty(image.shape, bool)

        def prepare(y0, y1):
            rows = slice(y0, y1)
            np.isfinite(image[rows], out=usable[rows])
            np.greater_equal(image[rows], saturate, out=saturated[rows])
            if mask is not None:
                part = Mask(mask.array[rows], mask.planes)
                usable[rows] &= ~part.any(*_HOLES)
                saturated[rows] |= part.any(*_SATURATED)
            sky_free[rows] = image[rows] - background.level_of(y0, y1)
            sky_free[rows][~usable[rows]] = 0

        map_strips(prepare, len(image))
        return cls(sky_free, usable, saturated)


def _peaks(sky_free, variance, background, fwhm, threshold):
    """Local maxima of the image smoothed to the width of a star: x, y (int) and height."""
    smooth = gaussian_smooth(sky_free, fwhm / FWHM_PER_SIGMA)
    ny = len(smooth)
    # Noise of the smoothed image over that of a pixel, measured: it knows of correlated noise.
    rows = np.arange(0, ny, max(1, ny // 512))
    ratio = smooth[rows] / np.sqrt(variance[rows])
    sky = ratio[background.blank_rows(rows) & np.isfinite(ratio)]
    factor = threshold * 1.4826 * np.median(np.abs(sky))
    with np.errstate(invalid="ignore"):  # the variance of an unusable pixel is NaN
        limit = factor * np.sqrt(np.nanmin(variance[rows]))

    def search(y0, y1):
        y0, y1 = max(y0, 1), min(y1, ny - 1)
        y, x = np.nonzero(smooth[y0:y1, 1:-1] > limit)
        y, x = y + y0, x + 1
        height = smooth[y, x]
        highest = height > factor * np.sqrt(variance[y, x])
        y, x, height = y[highest], x[highest], height[highest]
        top = np.ones(len(x), bool)
        for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
            neighbour = smooth[y + dy, x + dx]
            # Of equal neighbours the first in reading order is the peak.
            top &= height > neighbour if (dy, dx) > (0, 0) else height >= neighbour
        return x[top], y[top], height[top]

    found = map_strips(search, ny)
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def gaussian_smooth(image, sigma, truncate=3.0):
    """Image convolved with a Gaussian of unit sum, zero outside; float32."""
    radius = int(truncate * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    # As products with banded matrices: several times faster than a filter along either axis.
    chunk, (ny, nx) = 64, image.shape
    band = np.zeros((chunk, chunk + 2 * radius), np.float32)
    for row in range(chunk):
        band[row, row : row + kernel.size] = kernel
    along_x = np.empty((ny, nx), np.float32)
    smooth = np.empty((ny, nx), np.float32)

    def cut(start, length):
        """(output, input, band) of one chunk of an axis."""
        stop = min(start + chunk, length)
        low, high = max(start - radius, 0), min(stop + radius, length)
        part = band[: stop - start, low - start + radius : high - start + radius]
        return slice(start, stop), slice(low, high), part

    def rows(y0, y1):
        for start in range(0, nx, chunk):
            out, source, part = cut(start, nx)
            along_x[y0:y1, out] = image[y0:y1, source] @ part.T

    def columns(y0, y1):
        for start in range(y0, y1, chunk):
            out, source, part = cut(start, ny)
            smooth[out] = part @ along_x[source]

    map_strips(rows, ny)
    map_strips(columns, ny)
    return smooth


def _crowding(x, y, height, radius):
    """Height of the highest neighbour within `radius` px over that of each peak itself."""
    from scipy.spatial import cKDTree

    crowding = np.zeros(len(x))
    if len(x) > 1:
        i, j = cKDTree(np.column_stack([x, y])).query_pairs(radius, output_type="ndarray").T
        np.maximum.at(crowding, i, height[j] / height[i])
        np.maximum.at(crowding, j, height[i] / height[j])
    return crowding


def _measure(planes, variance, peaks, fwhm, max_stars):
    """Shapes and fluxes of the brightest unsaturated peaks whose stamps lie on the image."""
    x, y, height, crowding = peaks
    half = int(np.ceil(2.5 * fwhm))
    ny, nx = planes.sky_free.shape
    inside = (x >= half) & (x < nx - half) & (y >= half) & (y < ny - half)
    order = np.flatnonzero(inside & ~planes.saturated[y, x])
    order = order[np.argsort(-height[order], kind="stable")][:max_stars]
    if not len(order):
        return np.zeros(0, STAR_DTYPE)
    batches = np.array_split(order, -(-len(order) // _BATCH))
    measured = map_tiles(
        lambda some: _measured(planes, variance, x[some], y[some], crowding[some], half, fwhm),
        batches,
    )
    return np.concatenate(list(measured))


def _measured(planes, variance, x, y, crowding, half, fwhm):
    """The stars about the pixels x, y; those without moments left out."""
    offset = np.arange(-half, half + 1)
    at = (y[:, None, None] + offset[:, None], x[:, None, None] + offset)
    radius = np.hypot(offset[:, None], offset)
    core, ring = radius <= fwhm, radius > half
    stamps, good = planes.sky_free[at].astype(float), planes.usable[at]
    local_sky = np.nanmedian(np.where(good, stamps, np.nan)[:, ring], axis=1)
    stamps = np.where(good, stamps - local_sky[:, None, None], 0.0)
    centre, moments, weight = adaptive_moments(stamps, fwhm / FWHM_PER_SIGMA)
    power = np.sum(weight**2, axis=(1, 2))
    signal = np.sum(weight * stamps, axis=(1, 2))
    noise = np.sqrt(np.nansum(weight**2 * variance[at], axis=(1, 2)))

    stars = np.zeros(len(x), STAR_DTYPE)
    stars["x"], stars["y"] = x + centre[0], y + centre[1]
    stars["flux"], stars["snr"] = signal / power, signal / noise
    stars["peak"] = planes.sky_free[y, x]
    stars["ixx"], stars["iyy"], stars["ixy"] = moments
    stars["crowding"] = crowding
    stars["saturated"] = (planes.saturated[at] & core).any(axis=(1, 2))
    stars["masked"] = (~good & core).any(axis=(1, 2)) | ((~good).mean(axis=(1, 2)) > 0.1)
    return stars[np.isfinite(stars["ixx"])]


def _shape_space(moments):
    """(n, 3): ln size and the two ellipticities, in units of their scatter among equal stars."""
    xx, yy, xy = moments
    size = np.maximum(xx * yy - xy * xy, 1e-6) ** 0.25
    e1, e2 = (xx - yy) / (xx + yy), 2 * xy / (xx + yy)
    return np.column_stack([np.log(size), e1, e2]) / _SIZE_SCATTER


def _stellarity(stars, psf, shape):
    """1 / (1 + (d / 3)^2), d the distance from the PSF's shape in units of the stars' scatter."""
    if not len(stars):
        return np.zeros(0)
    space = _shape_space((stars["ixx"], stars["iyy"], stars["ixy"]))
    # The moments of a star of S/N s scatter by about 1 / s.
    scatter = np.hypot(1.0, 1.5 / stars["snr"] / _SIZE_SCATTER)[:, None]
    expected = _psf_shapes(psf, stars, shape) if psf is not None else _clump(stars, space, shape)
    distance = np.sqrt((((space - expected) / scatter) ** 2).sum(axis=1))
    return np.where(np.isfinite(distance), 1.0 / (1.0 + (distance / 3.0) ** 2), 0.0)


def _psf_shapes(psf, stars, shape, n=5):
    """(n_stars, 3) shape of the PSF at each star, between n x n points of the image."""
    ny, nx = shape
    y, x = grid_nodes(ny, n), grid_nodes(nx, n)
    yy, xx = np.meshgrid(y, x, indexing="ij")
    stamps = psf.stamps(xx.ravel(), yy.ravel())
    space = _shape_space(adaptive_moments(stamps, np.median(star_size(stars)))[1])
    wy, wx = linear_matrix(y, stars["y"]), linear_matrix(x, stars["x"])
    return np.einsum("nj,ni,jik->nk", wy, wx, space.reshape(n, n, 3))


def _clump(stars, space, shape, min_snr=20.0):
    """(n, 3) shape that a star would have at each source's place; NaN if there is no clump.

    The densest place in shape space is a star's shape somewhere; from there a polynomial of the
    position is followed by weighted fits that forget what lies off it.
    """
    good = stars["isolated"] & ~stars["saturated"] & ~stars["masked"] & (stars["snr"] > min_snr)
    # Anything narrower than a well-sampled star is a cosmic ray.
    good &= star_size(stars) * FWHM_PER_SIGMA > 1.5
    good = np.flatnonzero(good)[np.argsort(-stars["snr"][good], kind="stable")][:500]
    if len(good) < 2:
        return np.full(space.shape, np.nan)
    points, worth = space[good], np.log(stars["snr"][good])
    distance2 = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    density = (np.exp(-0.5 * distance2) * worth).sum(axis=1)
    expected = points[np.argmax(density)]
    order = 2 if len(good) >= 50 else 1 if len(good) >= 25 else 0
    for degree in range(order + 1):
        terms = chebyshev(degree, stars["x"], stars["y"], shape)
        for _ in range(10):
            distance2 = ((points - expected) ** 2).sum(axis=1)
            weight = worth / (1.0 + distance2 / _CLUMP_WIDTH**2) ** 2
            scale = np.sqrt(weight)[:, None]
            fit = np.linalg.lstsq(terms[good] * scale, points * scale)[0]
            expected = terms[good] @ fit
    return terms @ fit
