"""Gaussian PSFs of LSST files: values at the pixels' centres, normalised on the stamp."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skydelta.errors import BadPsfError
from skydelta.lsst.image_psf import ImagePsf, as_positions, normalised, square_half, square_stamps


class _CentredPsf(ImagePsf):
    """A PSF that is the same everywhere: subclasses give `width`, `height` and `_profile`."""

    def _check(self, **sigmas):
        if self.width < 1 or self.height < 1:
            msg = f"{type(self).__name__} of {self.width} x {self.height} px: there are no pixels"
            raise BadPsfError(msg)
        for name, value in sigmas.items():
            if not (np.isfinite(value) and value > 0):
                msg = f"{type(self).__name__} with {name} = {value}: it must be positive"
                raise BadPsfError(msg)

    @property
    def _centre(self):
        """Element that belongs to the position (afw: Kernel.cc)."""
        return (self.width - 1) // 2, (self.height - 1) // 2

    @property
    def size(self):
        return 2 * square_half(self.width, self.height, self._centre) + 1

    @cached_property
    def _stamp(self):
        x0, y0 = self._centre
        xx, yy = np.arange(self.width) - x0, np.arange(self.height)[:, None] - y0
        profile = self._profile(xx**2 + yy**2)
        return square_stamps(normalised(profile, type(self).__name__), self._centre)

    def stamps(self, x, y):
        x, _ = as_positions(x, y)
        return np.broadcast_to(self._stamp, (x.size, self.size, self.size)).copy()


@dataclass(frozen=True)
class SingleGaussianPsf(_CentredPsf):
    """A circular Gaussian (meas_algorithms: SingleGaussianPsf.cc).

    Parameters
    ----------
    width, height
        Of its box, px.
    sigma
        px.

    Raises
    ------
    BadPsfError
        For an empty box or a sigma that is not positive.
    """

    width: int
    height: int
    sigma: float

    def __post_init__(self):
        self._check(sigma=self.sigma)

    def _profile(self, r2):
        return np.exp(-0.5 * r2 / self.sigma**2)


@dataclass(frozen=True)
class GaussianPsf(SingleGaussianPsf):
    """A circular Gaussian (afw: GaussianPsf.cc).

    Raises
    ------
    BadPsfError
        As `SingleGaussianPsf`, and for an even box.
    """

    def __post_init__(self):
        super().__post_init__()
        if self.width % 2 == 0 or self.height % 2 == 0:
            msg = f"GaussianPsf of {self.width} x {self.height} px: both must be odd"
            raise BadPsfError(msg)


@dataclass(frozen=True)
class DoubleGaussianPsf(_CentredPsf):
    """Two concentric circular Gaussians (meas_algorithms: DoubleGaussianPsf.cc).

    Parameters
    ----------
    width, height
        Of its box, px.
    sigma1, sigma2
        px.
    b
        Peak of the second relative to that of the first.

    Raises
    ------
    BadPsfError
        For an empty box or a sigma that is not positive.
    """

    width: int
    height: int
    sigma1: float
    sigma2: float
    b: float

    def __post_init__(self):
        self._check(sigma1=self.sigma1, **({"sigma2": self.sigma2} if self.b else {}))

    def _profile(self, r2):
        profile = np.exp(-0.5 * r2 / self.sigma1**2)
        if self.b:
            profile += self.b * np.exp(-0.5 * r2 / self.sigma2**2)
        return profile
