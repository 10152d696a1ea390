"""World coordinates of LSST images: parent pixels to ICRS and back.

Every class here has `pixel_to_sky` and `sky_to_pixel`; pixels are 0-based parent pixels, sky
positions ra and dec in degrees.
"""

from dataclasses import dataclass


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
