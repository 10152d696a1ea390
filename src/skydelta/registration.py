"""How two images of the same stars compare: flux ratio, and the shift of one against the other."""

import logging
from dataclasses import dataclass

import numpy as np

from skydelta.cutouts import Pixels, pixel
from skydelta.errors import TooFewStarsError
from skydelta.kernel_problem import affordable_order
from skydelta.polynomial import chebyshev
from skydelta.psf_fit import fit_stamps
from skydelta.star_noise import excess_scatter, median_rows, robust_sigma

log = logging.getLogger(__name__)

_SHIFT_ORDER = 2
_CLIP = 4.0

_MIN_SNR = 3.0
"""Of a star on either image: ratios of noise to noise say nothing."""


@dataclass(frozen=True)
class Registration:
    """Flux ratio and relative astrometry of a science image and a template.

    Parameters
    ----------
    flux_ratio, flux_ratio_error
        Science counts per template count.
    shift_x, shift_y
        (n_terms,) coefficients of the Chebyshev terms of the shift, px: a star at p in the
        template is at p + shift in the science image.
    order
        Their total degree.
    rms_x, rms_y
        Scatter of the stars about it beyond their measurement errors, px.
    shape
        (ny, nx).
    stars
        Columns x, y, flux, snr, used, reason, flux_ratio, residual of the stars.
    """

    flux_ratio: float
    flux_ratio_error: float
    shift_x: np.ndarray
    shift_y: np.ndarray
    order: int
    rms_x: float
    rms_y: float
    shape: tuple
    stars: dict

    def shift(self, x, y):
        """(dx, dy) at n positions, px."""
        terms = chebyshev(self.order, np.atleast_1d(x), np.atleast_1d(y), self.shape)
        return terms @ self.shift_x, terms @ self.shift_y


def register(science, template, stars, *, min_stars=3):
    """PSF fluxes and positions of the same stars on both images, compared.

    Parameters
    ----------
    science, template
        Exposures on one grid.
    stars
        Structured array from `skydelta.kernel_stars.kernel_stars`.
    min_stars
        Fewest stars.

    Returns
    -------
    Registration

    Raises
    ------
    TooFewStarsError
        If fewer stars are measured on both images.
    """
    fits = [_fits(exposure, stars) for exposure in (science, template)]
    with np.errstate(invalid="ignore", divide="ignore"):  # stars without a good pixel
        ratio = fits[0]["flux"] / fits[1]["flux"]
        error = np.abs(ratio) * np.hypot(*(f["flux_error"] / f["flux"] for f in fits))
    measured = np.isfinite(ratio) & (ratio > 0) & np.isfinite(error) & (error > 0)
    for f in fits:
        measured &= f["flux"] > _MIN_SNR * f["flux_error"]
        measured &= ~f["bad_flux"] & ~f["bad_position"]
    _enough(measured, min_stars)
    middle = np.median(ratio[measured])
    scatter = np.where(measured, np.abs(ratio - middle), np.inf)
    limit = _CLIP * np.hypot(error, robust_sigma(ratio[measured]))
    constant = measured & (scatter <= np.maximum(limit, 0.02 * middle))
    _enough(constant, min_stars)
    excess = excess_scatter(ratio[constant] / middle - 1.0, error[constant] / middle) * middle
    weight = 1.0 / (error[constant] ** 2 + excess**2)
    flux_ratio = float((weight * ratio[constant]).sum() / weight.sum())
    order = affordable_order(_SHIFT_ORDER, int(constant.sum()), 3.0)
    terms = chebyshev(order, stars["x"], stars["y"], science.shape)
    shifts = [_fit_shift(fits, axis, terms, constant) for axis in ("x", "y")]
    registration = Registration(
        flux_ratio=flux_ratio,
        flux_ratio_error=float(weight.sum() ** -0.5),
        shift_x=shifts[0][0],
        shift_y=shifts[1][0],
        order=order,
        rms_x=shifts[0][1],
        rms_y=shifts[1][1],
        shape=science.shape,
        stars={
            **{name: stars[name] for name in ("x", "y", "flux", "snr")},
            "used": constant,
            "reason": np.where(constant, "", np.where(measured, "flux ratio", "no weight")),
            "flux_ratio": ratio / flux_ratio,
            "residual": (ratio - flux_ratio) / error,
        },
    )
    log.info(
        "registration: flux ratio %.6g +- %.2g from %d of %d stars, rms shift %.4f, %.4f px",
        flux_ratio,
        registration.flux_ratio_error,
        constant.sum(),
        len(stars),
        registration.rms_x,
        registration.rms_y,
    )
    return registration


def _fits(exposure, stars):
    """PSF fits about each star's own background, the median of a ring."""
    fwhm = exposure.central_psf_shape.fwhm
    half = int(np.clip(np.ceil(1.5 * fwhm), 4, exposure.psf.size // 2))
    pixels = Pixels(exposure)
    x, y = stars["x"], stars["y"]
    xi, yi = pixel(x, pixels), pixel(y, pixels, axis=0)
    wide = int(np.ceil(3.0 * fwhm))
    data, variance, good = pixels.stamps(xi, yi, wide)
    offset = np.arange(-wide, wide + 1)
    ring = np.hypot(offset[:, None], offset) > 2.0 * fwhm
    level = median_rows(data[:, ring], good[:, ring])[:, :, None]
    cut = np.s_[:, wide - half : wide + half + 1, wide - half : wide + half + 1]
    stamps = np.where(good, data - level, 0.0)[cut], variance[cut], good[cut]
    fixed = np.zeros(len(x), bool)
    return fit_stamps(stamps, exposure.psf, x, y, xi, yi, half, fixed)


def _fit_shift(fits, axis, terms, used):
    """(coefficients, scatter beyond the errors) of the shift along one axis, outliers clipped."""
    shift = fits[0][axis] - fits[1][axis]
    error = np.hypot(fits[0][f"{axis}_error"], fits[1][f"{axis}_error"])
    used = used & np.isfinite(shift) & np.isfinite(error)
    floor = 0.01  # px: what PSF models and undersampling leave, so that no star decides alone
    for _ in range(3):
        weight = 1.0 / np.hypot(error, floor)[used]
        coefficients = np.linalg.lstsq(terms[used] * weight[:, None], shift[used] * weight)[0]
        rest = shift - terms @ coefficients
        limit = _CLIP * max(robust_sigma(rest[used]), 1e-6)
        used = used & (np.abs(rest) <= np.maximum(limit, _CLIP * error))
    count, free = used.sum(), terms.shape[1]
    rest *= np.sqrt(count / max(count - free, 1))  # what the fit itself took up
    return coefficients, excess_scatter(rest[used], error[used])


def _enough(good, min_stars):
    if good.sum() < min_stars:
        msg = (
            f"{good.sum()} stars are measured on both images, need {min_stars}: lower "
            "subtract.stars.min_snr or subtract.fit.min_stars"
        )
        raise TooFewStarsError(msg, n_stars=int(good.sum()), n_required=min_stars)
