"""Measurement of detected sources on the difference, the science image and the template.

Fluxes are least-squares fits of the local PSF with equal pixel weights: unlike weights that know
each pixel's variance they carry no bias from the photon noise of the source itself. Their errors
come from the variance plane.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.mask import UNUSABLE
from skydelta.psf import shift_stamps
from skydelta.stars import adaptive_moments

APERTURES = (3.0, 4.5, 6.0, 9.0, 12.0)
"""Radii of the circular apertures, px."""

_CHUNK = 1000
_MAX_STEP = 0.5
_MAX_SHIFT = 2.0
_CENTROID_ROUNDS = 6
_BLEND_ROUNDS = 3

_FLAG_PLANES = {
    "bad": ("BAD", "BAD_TEMPLATE"),
    "saturated": ("SAT",),
    "saturatedTemplate": ("SAT_TEMPLATE",),
    "cr": ("CR",),
    "interpolated": ("INTRP",),
    "suspect": ("SUSPECT",),
    "edge": ("EDGE", "NO_DATA"),
    "nodata": ("NO_DATA",),
}
"""Pixel flags of a source by the planes that raise them."""


@dataclass(frozen=True)
class MeasureOptions:
    """How sources are measured.

    Parameters
    ----------
    apertures
        Radii of the circular apertures, px.
    stamp_fwhm
        Half width of the fitted stamps, in FWHM of the PSF.
    """

    apertures: tuple = APERTURES
    stamp_fwhm: float = 2.5


def measure(
    difference, science, template, detections, *, kernel_sum=0.0, kernel_error=0.0, options=None
):
    """Positions, fluxes, shapes and flags of detected sources.

    Parameters
    ----------
    difference
        Exposure the sources were found on.
    science, template
        Exposures on the same grid, for forced fluxes at the same positions.
    detections
        skydelta.detect.Detections.
    kernel_sum, kernel_error
        Sum of the matching kernel and the relative flux error of the matched template: that part
        of the template's flux at the position is added to the PSF flux's error in quadrature.
    options
        MeasureOptions.

    Returns
    -------
    dict
        Column name to array, in the order they are written; names as in the LSST stack, positions
        in 0-based px, fluxes in counts of the image they are measured on, coord_* in radians.
    """
    options = options or MeasureOptions()
    sources = detections.sources
    ny, nx = difference.shape
    fwhm = difference.psf.compute_shape((nx - 1) / 2, (ny - 1) / 2).fwhm
    half = int(np.clip(np.ceil(options.stamp_fwhm * fwhm), 5, difference.psf.size // 2))
    fits = _fit_positions(difference, sources, half)
    columns = _identity_columns(sources)
    columns |= _position_columns(difference.wcs, sources, fits)
    # A dipole's position is that of the pair; forced fluxes are taken there, too.
    x, y = fits["x"], fits["y"]
    columns |= _aperture_columns(difference, x, y, options.apertures)
    columns |= _shape_columns(difference, x, y, half)
    columns |= _forced_columns("ip_diffim_forced_PsfFlux", science, x, y)
    columns |= _forced_columns("ip_diffim_forced_template_PsfFlux", template, x, y)
    matched = kernel_sum * _light_under_psf(template, x, y)
    columns |= _psf_columns(fits, kernel_error * np.abs(matched))
    columns |= _flag_columns(difference, sources, detections.spans, x, y)
    return columns


def _psf_stamps(psf, x, y, half):
    """Centred stamps cut to the half width."""
    middle = psf.size // 2
    cut = slice(middle - half, middle + half + 1)
    return psf.stamps(x, y)[:, cut, cut]


class _Pixels:
    """Cut-outs of an exposure with its unusable pixels told apart; no full plane is copied."""

    def __init__(self, exposure):
        self.exposure = exposure
        self.shape = exposure.shape
        self.unusable = np.int32(exposure.mask.bits(*UNUSABLE))

    def indices(self, x, y, half):
        """Rows, columns of the boxes about integer pixels, clipped, and which lie inside."""
        ny, nx = self.shape
        offset = np.arange(-half, half + 1)
        rows = y[:, None, None] + offset[:, None]
        columns = x[:, None, None] + offset
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        return np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1), inside

    def bits(self, x, y, half):
        """(n, 2 half + 1, 2 half + 1) mask values; 0 beyond the image."""
        rows, columns, inside = self.indices(x, y, half)
        return np.where(inside, self.exposure.mask.array[rows, columns], np.int32(0))

    def stamps(self, x, y, half):
        """(data, variance, good) about integer pixels, float64; bad pixels hold zeros."""
        rows, columns, inside = self.indices(x, y, half)
        variance = self.exposure.variance[rows, columns]
        good = inside & (variance > 0)
        good &= (self.exposure.mask.array[rows, columns] & self.unusable) == 0
        data = np.where(good, self.exposure.image[rows, columns], np.float32(0))
        return data.astype(float), np.where(good, variance, np.float32(0)).astype(float), good

    def level(self):
        """Median of a sample of the usable pixels."""
        sample = slice(None, None, 4), slice(None, None, 4)
        usable = (self.exposure.mask.array[sample] & self.unusable) == 0
        usable &= self.exposure.variance[sample] > 0
        values = self.exposure.image[sample][usable]
        return float(np.median(values)) if values.size else 0.0


def _fit_positions(exposure, sources, half):
    """PSF fits of all sources: position free, neighbours of a blend fitted in turn.

    In every round each source is fitted to the image less the models of the others in its
    footprint.
    """
    pixels = _Pixels(exposure)
    x, y = sources["x"].astype(float), sources["y"].astype(float)
    fits = _fit_all(pixels, exposure.psf, x, y, half, sources["is_dipole"])
    blended = np.flatnonzero(sources["is_deblended"])
    if blended.size:
        for _ in range(_BLEND_ROUNDS):
            _refit_blends(pixels, exposure.psf, sources, fits, blended, half)
    return fits


def _fit_all(pixels, psf, x, y, half, fixed):
    parts = []
    for start in range(0, max(len(x), 1), _CHUNK):
        cut = slice(start, start + _CHUNK)
        xi, yi = _pixel(x[cut], pixels), _pixel(y[cut], pixels, axis=0)
        stamps = pixels.stamps(xi, yi, half)
        parts.append(_fit_stamps(stamps, psf, x[cut], y[cut], xi, yi, half, fixed[cut]))
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _pixel(at, pixels, axis=1):
    """Nearest pixel inside the image."""
    return np.clip(np.rint(at).astype(int), 0, pixels.shape[axis] - 1)


def _fit_stamps(stamps, psf, x, y, xi, yi, half, fixed):
    """Flux and position by Gauss-Newton steps; `fixed` sources keep their position."""
    data, variance, good = stamps
    centred = _psf_stamps(psf, x, y, half)
    dx, dy = x - xi, y - yi
    free = ~fixed
    start_dx, start_dy = dx.copy(), dy.copy()
    for _ in range(_CENTROID_ROUNDS):
        phi = shift_stamps(centred, dx, dy) * good
        flux = _project(phi, data)
        gx, gy = _gradients(phi)
        matrix, right = _position_system(phi, gx * good, gy * good, data, flux)
        step = np.linalg.solve(matrix, right[..., None])[..., 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            move = np.where(np.abs(flux)[:, None] > 0, step[:, 1:] / flux[:, None], 0.0)
        move = np.clip(np.nan_to_num(move), -_MAX_STEP, _MAX_STEP)
        dx = np.where(free, _within(dx + move[:, 0], start_dx), dx)
        dy = np.where(free, _within(dy + move[:, 1], start_dy), dy)
        if not np.any(np.abs(move[free]) > 1e-3):
            break
    phi = shift_stamps(centred, dx, dy) * good
    flux = _project(phi, data)
    norm = (phi**2).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        flux_error = np.sqrt((phi**2 * variance).sum(axis=(1, 2))) / norm
        residual = data - flux[:, None, None] * phi
        chi2 = np.where(variance > 0, residual**2 / np.where(variance > 0, variance, 1), 0)
    x_error, y_error = _position_errors(phi, good, variance, flux)
    stuck = free & ((np.abs(dx - start_dx) >= _MAX_SHIFT) | (np.abs(dy - start_dy) >= _MAX_SHIFT))
    share = norm / np.maximum((shift_stamps(centred, dx, dy) ** 2).sum(axis=(1, 2)), 1e-300)
    return {
        "x": xi + dx,
        "y": yi + dy,
        "x_error": x_error,
        "y_error": y_error,
        "flux": flux,
        "flux_error": flux_error,
        "chi2": chi2.sum(axis=(1, 2)),
        "n_data": good.sum(axis=(1, 2)),
        "area": np.where(norm > 0, phi.sum(axis=(1, 2)) ** 2 / np.where(norm > 0, norm, 1), 0.0),
        "bad_position": stuck,
        "bad_flux": ~np.isfinite(flux) | ~(flux_error > 0) | (share < 0.5),
    }


def _within(value, start):
    return np.clip(value, start - _MAX_SHIFT, start + _MAX_SHIFT)


def _project(phi, data):
    """Least-squares amplitude of phi in the data."""
    norm = (phi**2).sum(axis=(1, 2))
    return (phi * data).sum(axis=(1, 2)) / np.where(norm > 0, norm, np.inf)


def _gradients(phi):
    """Minus the derivatives of stamps along x and y: what a shift by +1 px adds, to first order."""
    gy, gx = np.gradient(phi, axis=(1, 2))
    return -gx, -gy


def _flat(stamps):
    """(..., size, size) as (..., size * size), for no stamps at all, too."""
    return stamps.reshape(*stamps.shape[:-2], stamps.shape[-2] * stamps.shape[-1])


def _position_system(phi, gx, gy, data, flux):
    """Normal equations of (flux, flux dx, flux dy), scaled rows, slightly damped."""
    rows = _flat(np.stack([phi, gx, gy], axis=1))
    residual = _flat(data - flux[:, None, None] * phi)
    matrix = rows @ rows.transpose(0, 2, 1)
    trace = np.trace(matrix, axis1=1, axis2=2)
    matrix = matrix + (1e-9 * trace + 1e-30)[:, None, None] * np.eye(3)
    return matrix, np.einsum("nkp,np->nk", rows, residual)


def _position_errors(phi, good, variance, flux):
    """Standard errors of x and y for equal weights and the given pixel variances."""
    gx, gy = _gradients(phi)
    rows = _flat(np.stack([phi, gx * good, gy * good], axis=1))
    matrix = rows @ rows.transpose(0, 2, 1)
    trace = np.trace(matrix, axis1=1, axis2=2)
    inverse = np.linalg.inv(matrix + (1e-9 * trace + 1e-30)[:, None, None] * np.eye(3))
    noise = (rows * _flat(variance)[:, None]) @ rows.transpose(0, 2, 1)
    covariance = inverse @ noise @ inverse
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = 1.0 / np.abs(flux)
        return (
            np.sqrt(covariance[:, 1, 1]) * scale,
            np.sqrt(covariance[:, 2, 2]) * scale,
        )


def _refit_blends(pixels, psf, sources, fits, blended, half):
    """One round over the blended sources, brightest first, each on the others' residual."""
    order = blended[np.argsort(-np.abs(fits["flux"][blended]), kind="stable")]
    groups = {}
    for k in order:
        groups.setdefault(int(sources["footprint"][k]), []).append(k)
    for members in groups.values():
        for k in members:
            x, y = fits["x"][[k]], fits["y"][[k]]
            xi, yi = _pixel(x, pixels), _pixel(y, pixels, axis=0)
            data, variance, good = pixels.stamps(xi, yi, half)
            reach = half + psf.size // 2
            for other in members:
                apart = max(abs(fits["x"][other] - x[0]), abs(fits["y"][other] - y[0]))
                if other != k and apart <= reach:
                    data = data - _model_on(psf, fits, other, xi[0], yi[0], half) * good
            result = _fit_stamps(
                (data, variance, good), psf, x, y, xi, yi, half, sources["is_dipole"][[k]]
            )
            for name, value in result.items():
                fits[name][k] = value[0]


def _model_on(psf, fits, k, xi, yi, half):
    """The fitted model of source k on the stamp about pixel (xi, yi)."""
    out = np.zeros((2 * half + 1, 2 * half + 1))
    if not np.isfinite(fits["flux"][k]):
        return out
    images, x0, y0 = psf.images([fits["x"][k]], [fits["y"][k]])
    left, bottom = xi - half, yi - half
    size = psf.size
    xa, xb = max(left, x0[0]), min(left + 2 * half + 1, x0[0] + size)
    ya, yb = max(bottom, y0[0]), min(bottom + 2 * half + 1, y0[0] + size)
    if xa < xb and ya < yb:
        out[ya - bottom : yb - bottom, xa - left : xb - left] = (
            fits["flux"][k] * images[0][ya - y0[0] : yb - y0[0], xa - x0[0] : xb - x0[0]]
        )
    return out


def _identity_columns(sources):
    return {
        "footprint": sources["footprint"].astype(np.int32),
        "deblend_nPeaks": sources["n_peaks"].astype(np.int32),
        "deblend_blended": sources["is_deblended"],
        "is_negative": sources["is_negative"],
        "detect_score": sources["score"].astype(np.float32),
    }


def _position_columns(wcs, sources, fits):
    if len(sources):
        ra, dec = wcs.all_pix2world(fits["x"], fits["y"], 0)
    else:
        ra = dec = np.zeros(0)
    return {
        "coord_ra": np.radians(ra),
        "coord_dec": np.radians(dec),
        "base_PeakCentroid_x": sources["x"],
        "base_PeakCentroid_y": sources["y"],
        "base_NaiveCentroid_x": fits["x"],
        "base_NaiveCentroid_y": fits["y"],
        "base_NaiveCentroid_xErr": fits["x_error"],
        "base_NaiveCentroid_yErr": fits["y_error"],
        "base_NaiveCentroid_flag": fits["bad_position"],
        "ip_diffim_NaiveDipoleCentroid_neg_x": sources["x_negative"],
        "ip_diffim_NaiveDipoleCentroid_neg_y": sources["y_negative"],
        "ip_diffim_DipoleFit_flag_classification": sources["is_dipole"],
    }


def _psf_columns(fits, matching_error):
    return {
        "base_PsfFlux_instFlux": fits["flux"],
        "base_PsfFlux_instFluxErr": np.hypot(fits["flux_error"], matching_error),
        "base_PsfFlux_instFluxErr_noise": fits["flux_error"],
        "base_PsfFlux_area": fits["area"],
        "base_PsfFlux_chi2": fits["chi2"],
        "base_PsfFlux_npixels": fits["n_data"].astype(np.int32),
        "base_PsfFlux_flag": fits["bad_flux"],
    }


def _aperture_columns(exposure, x, y, radii):
    """Aperture sums; the edge is one pixel wide and linear, so that areas are exact to 0.3 %."""
    pixels = _Pixels(exposure)
    half = int(np.ceil(max(radii))) + 1
    sums = {r: np.zeros((3, len(x))) for r in radii}
    offset = np.arange(-half, half + 1)
    for start in range(0, len(x), _CHUNK):
        cut = slice(start, start + _CHUNK)
        xi, yi = _pixel(x[cut], pixels), _pixel(y[cut], pixels, axis=0)
        data, variance, good = pixels.stamps(xi, yi, half)
        distance = np.hypot(
            offset[None, None, :] - (x[cut] - xi)[:, None, None],
            offset[None, :, None] - (y[cut] - yi)[:, None, None],
        )
        for r in radii:
            weight = np.clip(r + 0.5 - distance, 0.0, 1.0)
            sums[r][0, cut] = (weight * data).sum(axis=(1, 2))
            sums[r][1, cut] = np.sqrt((weight**2 * variance).sum(axis=(1, 2)))
            sums[r][2, cut] = ((weight > 0) & ~good).any(axis=(1, 2))
    columns = {}
    for r, (flux, error, flag) in sums.items():
        name = f"base_CircularApertureFlux_{r:.1f}".replace(".", "_")
        columns[f"{name}_instFlux"], columns[f"{name}_instFluxErr"] = flux, error
        columns[f"{name}_flag"] = flag > 0
    return columns


def _shape_columns(exposure, x, y, half):
    """Second moments of the sources under matched Gaussian weights, sign removed."""
    n = len(x)
    moments = np.full((3, n), np.nan)
    pixels = _Pixels(exposure)
    ny, nx = exposure.shape
    sigma = exposure.psf.compute_shape((nx - 1) / 2, (ny - 1) / 2).determinant_radius
    for start in range(0, n, _CHUNK):
        cut = slice(start, start + _CHUNK)
        xi, yi = _pixel(x[cut], pixels), _pixel(y[cut], pixels, axis=0)
        data, _, _ = pixels.stamps(xi, yi, half)
        core = data[:, half - 1 : half + 2, half - 1 : half + 2].sum(axis=(1, 2))
        sign = np.where(core < 0, -1.0, 1.0)
        moments[:, cut] = adaptive_moments(data * sign[:, None, None], sigma)[1]
    return {
        "base_SdssShape_xx": moments[0],
        "base_SdssShape_yy": moments[1],
        "base_SdssShape_xy": moments[2],
        "base_SdssShape_flag": ~np.isfinite(moments[0]),
    }


def _forced_columns(name, exposure, x, y):
    """PSF flux at given positions above a local background, both fitted at once."""
    n = len(x)
    flux, error = np.full(n, np.nan), np.full(n, np.nan)
    flag = np.ones(n, bool)
    pixels = _Pixels(exposure)
    half = exposure.psf.size // 2
    for start in range(0, n, _CHUNK):
        cut = slice(start, start + _CHUNK)
        xi, yi = _pixel(x[cut], pixels), _pixel(y[cut], pixels, axis=0)
        data, variance, good = pixels.stamps(xi, yi, half)
        phi = shift_stamps(exposure.psf.stamps(x[cut], y[cut]), x[cut] - xi, y[cut] - yi)
        ring = good & (phi < 0.02 * phi.max(axis=(1, 2), keepdims=True))
        level = _ring_median(data, ring)
        phi = phi * good
        norm = (phi**2).sum(axis=(1, 2))
        safe = np.where(norm > 0, norm, np.inf)
        flux[cut] = (phi * (data - level[:, None, None])).sum(axis=(1, 2)) / safe
        error[cut] = np.sqrt((phi**2 * variance).sum(axis=(1, 2))) / safe
        flag[cut] = ~(error[cut] > 0)
    flux[flag], error[flag] = np.nan, np.nan
    return {f"{name}_instFlux": flux, f"{name}_instFluxErr": error, f"{name}_flag": flag}


def _light_under_psf(exposure, x, y):
    """All light at given positions, as a PSF flux above the image's median level."""
    pixels = _Pixels(exposure)
    half = exposure.psf.size // 2
    level = pixels.level()
    light = np.zeros(len(x))
    for start in range(0, len(x), _CHUNK):
        cut = slice(start, start + _CHUNK)
        xi, yi = _pixel(x[cut], pixels), _pixel(y[cut], pixels, axis=0)
        data, _, good = pixels.stamps(xi, yi, half)
        phi = shift_stamps(exposure.psf.stamps(x[cut], y[cut]), x[cut] - xi, y[cut] - yi) * good
        light[cut] = _project(phi, data - level * good)
    return light


def _ring_median(data, ring):
    """Median of each stamp over its ring; 0 where the ring is empty."""
    values = _flat(np.where(ring, data, np.nan))
    empty = ~ring.any(axis=(1, 2))
    values[empty] = 0.0
    return np.nanmedian(values, axis=1)


def _flag_columns(exposure, sources, spans, x, y):
    """Mask planes in the footprint, and within 3 x 3 px of the centre."""
    n = len(sources)
    mask = exposure.mask
    in_footprint = _footprint_bits(mask.array, spans, sources["footprint"])
    ny, nx = exposure.shape
    xi = np.clip(np.rint(x).astype(int), 0, nx - 1)
    yi = np.clip(np.rint(y).astype(int), 0, ny - 1)
    near = _Pixels(exposure).bits(xi, yi, 1).reshape(n, 9)
    centre = np.bitwise_or.reduce(near, axis=1) if n else np.zeros(0, np.int32)
    columns = {}
    for flag, planes in _FLAG_PLANES.items():
        bits = np.int32(mask.bits(*planes))
        columns[f"base_PixelFlags_flag_{flag}"] = (in_footprint & bits) != 0
        columns[f"base_PixelFlags_flag_{flag}Center"] = (centre & bits) != 0
    outside = (x < 0) | (y < 0) | (x > nx - 1) | (y > ny - 1)
    columns["base_PixelFlags_flag_offimage"] = outside
    return columns


def _footprint_bits(bits, spans, footprints):
    """OR of the mask over the footprint of each source."""
    if len(spans) == 0:
        return np.zeros(len(footprints), np.int32)
    total = np.zeros(int(spans["footprint"].max()) + 1, np.int32)
    lengths = spans["x1"] - spans["x0"] + 1
    rows = np.repeat(spans["y"], lengths)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = np.repeat(spans["x0"], lengths) + np.arange(lengths.sum()) - starts
    np.bitwise_or.at(total, np.repeat(spans["footprint"], lengths), bits[rows, columns])
    return total[footprints]
