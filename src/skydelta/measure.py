"""Measurement of detected sources on the difference, the science image and the template.

Dipoles are told from pairs of sources first (`skydelta.dipoles`), then all sources are fitted
(`skydelta.sources_fit`), then what is measured at their positions follows.
"""

from dataclasses import dataclass

import numpy as np

from skydelta.dipoles import PREFERENCE, DipoleFits, fit_all_dipoles, resolve_dipoles
from skydelta.errors import BadPsfError
from skydelta.photometry import aperture_columns, forced_fluxes, shape_columns
from skydelta.pixel_flags import flag_columns, footprint_sizes
from skydelta.psf import FWHM_PER_SIGMA, grid_nodes
from skydelta.reliability import reliability_columns
from skydelta.sources_fit import fit_sources, split_sources

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
    deblend
        Neighbours are fitted together and single peaks that are two sources parted; else each
        source is fitted as if it were alone.
    dipoles
        Dipoles are fitted and classified; else `detect`'s pairs of peaks are the dipoles.
    dipole_preference
        Least preference for two lobes over one PSF of what is called a dipole, 0 to 1.
    reliability
        Whether sources get a score of how real they look.
    """

    apertures: tuple = APERTURES
    stamp_fwhm: float = 2.5
    deblend: bool = True
    dipoles: bool = True
    dipole_preference: float = PREFERENCE
    reliability: bool = True


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
        skydelta.detections.Detections.
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
    psf = difference.psf
    sigma = _typical_sigma(psf, difference.shape)
    fwhm = FWHM_PER_SIGMA * sigma
    half = int(min(max(np.ceil(options.stamp_fwhm * fwhm), 5), psf.size // 2))
    sources, dipoles = detections.sources, DipoleFits.none(len(detections.sources))
    if options.dipoles:
        dipoles = fit_all_dipoles(
            difference, science, sources, fwhm, preference=options.dipole_preference
        )
        sources, dipoles = resolve_dipoles(sources, dipoles, fwhm)
    fits = fit_sources(difference, sources, dipoles, half, fwhm, deblend=options.deblend)
    if options.deblend:
        sources, dipoles, fits = split_sources(difference, sources, dipoles, fits, half, fwhm)
    columns = _identity_columns(sources)
    columns["footprint_bbox_size"] = footprint_sizes(detections.spans, sources["footprint"])
    columns |= _blend_columns(sources, fits)
    columns |= _position_columns(difference.wcs, sources, fits)
    columns |= _dipole_columns(sources, dipoles)
    # A dipole's position is that of the pair; forced fluxes are taken there, too.
    x, y = fits["x"], fits["y"]
    columns |= aperture_columns(difference, x, y, options.apertures)
    columns |= shape_columns(difference, x, y, half, sigma)
    columns |= _forced_columns("ip_diffim_forced_PsfFlux", *forced_fluxes(science, x, y)[:2])
    flux, error, light = forced_fluxes(template, x, y)
    columns |= _forced_columns("ip_diffim_forced_template_PsfFlux", flux, error)
    columns |= _psf_columns(fits, kernel_error * np.abs(kernel_sum * light))
    columns |= flag_columns(difference, sources["footprint"], detections.spans, x, y, _FLAG_PLANES)
    if options.reliability:
        columns |= reliability_columns(difference, columns, kernel_sum)
    return columns


def _typical_sigma(psf, shape):
    """Determinant radius of the PSF in the middle, or of the places that have one nearest to it.

    Raises
    ------
    BadPsfError
        If it has none anywhere.
    """
    ny, nx = shape
    ys, xs = (grid_nodes(n, 5) for n in shape)
    places = sorted(
        ((x, y) for y in ys for x in xs),
        key=lambda at: np.hypot(at[0] - (nx - 1) / 2, at[1] - (ny - 1) / 2),
    )
    for x, y in places:
        try:
            return psf.compute_shape(x, y).determinant_radius
        except BadPsfError as error:
            failure = error
    raise failure


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
        "base_NaiveCentroid_x_y_Cov": fits["xy_covariance"],
        "base_NaiveCentroid_flag": fits["bad_position"],
        "ip_diffim_NaiveDipoleCentroid_neg_x": sources["x_negative"],
        "ip_diffim_NaiveDipoleCentroid_neg_y": sources["y_negative"],
    }


def _blend_columns(sources, fits):
    """Children of a footprint: names of the LSST stack, without rows for the parents."""
    blended = sources["is_deblended"]
    children = np.where(blended, sources["n_peaks"], 0).astype(np.int32)
    return {
        "parent": np.where(blended, sources["footprint"], 0).astype(np.int32),
        "deblend_nChild": children,
        "deblend_parentNPeaks": children.copy(),
        "deblend_tooManyPeaks": fits["too_many"],
        "deblend_failed": fits["failed"],
    }


def _dipole_columns(sources, dipoles):
    """Two-lobe fits; the negative lobe's flux is negative, as in the stack."""
    name = "ip_diffim_DipoleFit"
    columns = {}
    for i, (lobe, sign) in enumerate((("pos", 1.0), ("neg", -1.0))):
        columns[f"{name}_{lobe}_instFlux"] = sign * dipoles.flux[:, i]
        columns[f"{name}_{lobe}_instFluxErr"] = dipoles.flux_error[:, i]
        columns[f"{name}_{lobe}_centroid_x"] = dipoles.x[:, i]
        columns[f"{name}_{lobe}_centroid_y"] = dipoles.y[:, i]
    with np.errstate(invalid="ignore", divide="ignore"):
        chi2dof = dipoles.chi2[:, 2] / np.maximum(dipoles.n_data - 6, 1)
        columns |= {
            f"{name}_instFlux": dipoles.mean_flux,
            f"{name}_instFluxErr": dipoles.mean_error,
            f"{name}_fluxDiff": dipoles.flux_difference,
            f"{name}_fluxDiffErr": dipoles.difference_error,
            f"{name}_centroid_x": dipoles.x.mean(axis=1),
            f"{name}_centroid_y": dipoles.y.mean(axis=1),
            f"{name}_separation": dipoles.separation,
            f"{name}_orientation": dipoles.orientation,
            f"{name}_chi2dof": chi2dof,
            f"{name}_nData": dipoles.n_data.astype(np.int32),
            f"{name}_signalToNoise": dipoles.signal_to_noise,
            f"{name}_preference": dipoles.preference,
        }
    return columns | {
        f"{name}_flag_classification": sources["is_dipole"],
        f"{name}_flag_classificationAttempted": dipoles.attempted,
        f"{name}_flag": dipoles.failed,
        f"{name}_flag_edge": dipoles.at_edge,
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


def _forced_columns(name, flux, error):
    return {
        f"{name}_instFlux": flux,
        f"{name}_instFluxErr": error,
        f"{name}_flag": ~np.isfinite(flux),
    }
