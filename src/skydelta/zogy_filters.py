"""The filters of proper image subtraction (Zackay, Ofek & Gal-Yam 2016), for one place.

In the units of the science image, with F_r = 1, F_n the flux ratio beta, and
v = s_n^2 + beta^2 s_r^2, their equation (13) over F_D is

    D = c_n N - c_r R,    c_n = sqrt(v / den) P_r,    c_r = beta sqrt(v / den) P_n,
    den = s_n^2 |P_r|^2 + beta^2 s_r^2 |P_n|^2:

white noise of variance v, in which a source of N keeps its flux. Its PSF is P_D = c_n P_n, and the
score, their (12) up to a constant, P_D* D = k_n N - k_r R.

Only the ratio of the PSFs counts, up to a phase that D and P_D share: with K = P_n / P_r,

    c_n = sqrt(v / (s_n^2 + beta^2 s_r^2 |K|^2)),    c_r = beta K c_n.

K is taken as the least-squares kernel between the two PSFs, small and bounded. The quotient of two
transforms that both fall to nothing is one of rounding, truncation and aliasing, and rings; and
where the template is the broader image its inverse would hang on the noise that resampling left at
the highest frequencies.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ZogyFilters:
    """Transforms on an n x n grid, origin on its first pixel.

    Parameters
    ----------
    science, template
        c_n and c_r.
    psf
        Transform of the PSF of the difference.
    variance
        Of the difference of two backgrounds.
    """

    science: np.ndarray
    template: np.ndarray
    psf: np.ndarray
    variance: float

    @property
    def score_science(self):
        """k_n = P_D* c_n."""
        return np.conj(self.psf) * self.science

    @property
    def score_template(self):
        """k_r = P_D* c_r."""
        return np.conj(self.psf) * self.template

    @property
    def power(self):
        """Sum of P_D^2 over pixels: score over this is the flux of a source at a pixel."""
        return float((np.abs(self.psf) ** 2).mean())


def zogy_filters(
    ratio,
    psf,
    variances,
    flux_ratio,
    *,
    spectra=(1.0, 1.0),
):
    """The filters for two PSFs.

    Parameters
    ----------
    ratio
        (n, n) transform of K = P_n / P_r, of unit sum.
    psf
        (n, n) transform of the science PSF.
    variances
        Background variances of the two, those of equivalent white noise.
    flux_ratio
        beta: science counts per template count.
    spectra
        (n, n) transforms of the noise autocorrelations of the two, of sum 1; 1 for white noise.

    Returns
    -------
    ZogyFilters
    """
    total = variances[0] + flux_ratio**2 * variances[1]
    new, ref = variances[0] * spectra[0], flux_ratio**2 * variances[1] * spectra[1]
    science = np.sqrt(total / (new + ref * np.abs(ratio) ** 2))
    template = flux_ratio * ratio * science
    return ZogyFilters(science, template, science * psf, float(total))
