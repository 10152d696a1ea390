"""World coordinates of LSST images: parent pixels to ICRS and back.

Every class here has `pixel_to_sky` and `sky_to_pixel`; pixels are 0-based parent pixels, sky
positions ra and dec in degrees.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class FitsSkyWcs:
    """A FITS WCS on parent pixels.

    Parameters
    ----------
    wcs
        astropy.wcs.WCS of the image's own grid.
    xy0
        (x0, y0): parent pixel of the first pixel of that grid.
    """

    wcs: object
    xy0: tuple = (0, 0)

    def pixel_to_sky(self, x, y):
        """Ra, dec of parent pixels; arrays of any one shape."""
        return self.wcs.all_pix2world(x - self.xy0[0], y - self.xy0[1], 0)

    def sky_to_pixel(self, ra, dec):
        """Parent pixels of ra, dec."""
        x, y = self.wcs.all_world2pix(ra, dec, 0)
        return x + self.xy0[0], y + self.xy0[1]


@dataclass(frozen=True)
class AstSkyWcs:
    """A WCS of any shape, as an AST FrameSet (afw: SkyWcs).

    Parameters
    ----------
    text
        AST's text of a FrameSet from 0-based parent pixels to ICRS ra, dec in radians.
    approximation
        The same of the FITS approximation that afw may store beside it; "" for none.

    Raises
    ------
    CorruptFileError
        When first evaluated, if the text is no such thing.
    """

    text: str
    approximation: str = ""

    @classmethod
    def from_fits(cls, wcs, xy0=(0, 0)):
        """From an astropy WCS of the image's own grid and the parent pixel of its first pixel."""
        from skydelta.lsst.ast_frames import frame_set_of_fits
        from skydelta.lsst.ast_text import text_of

        return cls(text_of(frame_set_of_fits(wcs, xy0)))

    @cached_property
    def _frames(self):
        from skydelta.errors import CorruptFileError
        from skydelta.lsst.ast_text import read_object

        frames = read_object(self.text)
        if frames.Class != "FrameSet" or (frames.Nin, frames.Nout) != (2, 2):
            msg = f"the SkyWcs is an AST {frames.Class}, not a FrameSet of two axes"
            raise CorruptFileError(msg)
        return frames

    def __getstate__(self):
        return {"text": self.text, "approximation": self.approximation}

    def __setstate__(self, state):
        self.__dict__.update(state)

    def pixel_to_sky(self, x, y):
        """Ra, dec (deg) of parent pixels; arrays of any one shape."""
        ra, dec = np.degrees(self._transformed(x, y, forward=True))
        return np.mod(ra, 360.0), dec

    def sky_to_pixel(self, ra, dec):
        """Parent pixels of ra, dec (deg): AST's inverse, which for fitted polynomials is a fit."""
        return tuple(self._transformed(np.radians(ra), np.radians(dec), forward=False))

    def _transformed(self, first, second, *, forward):
        from starlink import Ast

        from skydelta.errors import CorruptFileError

        first, second = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
        try:
            out = self._frames.tran(np.stack([first.ravel(), second.ravel()]), forward)
        except Ast.AstError as error:
            msg = f"the SkyWcs cannot be evaluated ({str(error).strip().splitlines()[0]})"
            raise CorruptFileError(msg) from error
        # AST marks what it cannot transform by its own "bad" number, the lowest there is.
        out = np.where(out < -1e300, np.nan, out)
        return out[0].reshape(first.shape), out[1].reshape(first.shape)
