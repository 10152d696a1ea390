"""Measurement of detected sources on the difference, the science image and the template.

Fluxes are least-squares fits of the local PSF with equal pixel weights: unlike weights that know
each pixel's variance they carry no bias from the photon noise of the source itself. Their errors
come from the variance plane.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.cutouts import CHUNK, Pixels, flat, pixel
from skydelta.psf import shift_stamps
from skydelta.psf_fit import fit_positions, project
from skydelta.stars import adaptive_moments

APERTURES = (3.0, 4.5, 6.0, 9.0, 12.0)
"""Radii of the circular apertures, px."""

_FLAG_PLANES = {
    "bad": ("BAD",),
    "saturated": ("SAT",),
    "saturatedTemplate": ("SAT_TEMPLATE",),
    "cr": ("CR",),
    "interpolated": ("INTRP",),
    "suspect": ("SUSPECT",),
    "edge": ("EDGE", "NO_DATA"),
    "nodata": ("NO_DATA",),
    "crTemplate": ("CR_TEMPLATE",),
    "streak": ("STREAK",),
    "halo": ("HALO",),
    "templateEdge": ("TEMPLATE_EDGE",),
    "noPsf": ("NO_PSF",),
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
    fits = fit_positions(difference, sources, half)
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


def _identity_columns(sources):
    return {
        "footprint": sources["footprint"].astype(np.int32),
        "deblend_nPeaks": sources["n_peaks"].astype(np.int32),
        "deblend_blended": sources["is_deblended"],
        "is_negative": sources["is_negative"],
        "detect_score": sources["score"].astype(np.float32),
        "detect_score_noise": sources["score_noise"].astype(np.float32),
        "sky_source": sources["is_sky"],
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
    pixels = Pixels(exposure)
    half = int(np.ceil(max(radii))) + 1
    sums = {r: np.zeros((3, len(x))) for r in radii}
    offset = np.arange(-half, half + 1)
    for start in range(0, len(x), CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
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
    pixels = Pixels(exposure)
    ny, nx = exposure.shape
    sigma = exposure.psf.compute_shape((nx - 1) / 2, (ny - 1) / 2).determinant_radius
    for start in range(0, n, CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
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
    pixels = Pixels(exposure)
    half = exposure.psf.size // 2
    for start in range(0, n, CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
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
    pixels = Pixels(exposure)
    half = exposure.psf.size // 2
    level = pixels.level()
    light = np.zeros(len(x))
    for start in range(0, len(x), CHUNK):
        cut = slice(start, start + CHUNK)
        xi, yi = pixel(x[cut], pixels), pixel(y[cut], pixels, axis=0)
        data, _, good = pixels.stamps(xi, yi, half)
        phi = shift_stamps(exposure.psf.stamps(x[cut], y[cut]), x[cut] - xi, y[cut] - yi) * good
        light[cut] = project(phi, data - level * good)
    return light


def _ring_median(data, ring):
    """Median of each stamp over its ring; 0 where the ring is empty."""
    values = flat(np.where(ring, data, np.nan))
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
    near = Pixels(exposure).bits(xi, yi, 1).reshape(n, 9)
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
