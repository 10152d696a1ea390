"""A PSF of the parent image, asked for in the pixels of a part of it."""

from dataclasses import dataclass

import numpy as np

from skydelta.psf import Psf


@dataclass(frozen=True)
class OffsetPsf(Psf):
    """A PSF on parent pixels as one on the pixels of an image cut from the parent.

    Parameters
    ----------
    psf
        The PSF in parent pixels.
    x0, y0
        Parent pixel of the image's first pixel.
    """

    psf: Psf
    x0: int
    y0: int

    @property
    def size(self):
        return self.psf.size

    def stamps(self, x, y):
        return self.psf.stamps(np.asarray(x, float) + self.x0, np.asarray(y, float) + self.y0)

    def images(self, x, y):
        stamps, x0, y0 = self.psf.images(
            np.atleast_1d(np.asarray(x, float)) + self.x0,
            np.atleast_1d(np.asarray(y, float)) + self.y0,
        )
        return stamps, x0 - self.x0, y0 - self.y0

    def compute_shape(self, x, y):
        return self.psf.compute_shape(x + self.x0, y + self.y0)

    def has_inputs(self, x, y):
        """Whether a coadd's PSF has inputs at positions; only where the parent's has this too."""
        return self.psf.has_inputs(np.asarray(x, float) + self.x0, np.asarray(y, float) + self.y0)
