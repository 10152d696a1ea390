"""The WCS of an lsst-images file: its FITS cards where they are exact, else its AST mappings."""

import numpy as np

from skydelta.errors import CorruptFileError, NoWcsError, UnsupportedError
from skydelta.io.wcs import wcs_from_header


def read_wcs(header, tree, xy0, shape):
    """The WCS of the image's own pixels.

    A projection that FITS can express is in the header, to 1e-4 px (lsst-images
    _transforms/_transform.py: FitsTol). Another one is there as an approximation, or not at all:
    then a TAN-SIP WCS is fitted to the mappings of the tree.

    Parameters
    ----------
    header
        Of the HDU IMAGE.
    tree
        Root of the tree, or None of a cutout without one.
    xy0, shape
        Parent coordinates of the first pixel; (ny, nx).

    Returns
    -------
    wcs : astropy.wcs.WCS
    notes : tuple of str

    Raises
    ------
    NoWcsError
        If there is none, or none that TAN-SIP can follow.
    """
    projection = tree.get("sky_projection") if tree is not None else None
    exact = "CTYPE1" in header and (
        projection is None or projection.get("fits_approximation") is None
    )
    if exact or projection is None:
        return wcs_from_header(header), ()
    from skydelta.lsst.sip_fit import fit_tan_sip

    to_sky = _PixelToSky(projection["pixel_to_sky"])
    try:
        wcs, error, order = fit_tan_sip(lambda x, y: to_sky(x + xy0[0], y + xy0[1]), shape)
    except UnsupportedError as failure:
        raise NoWcsError(str(failure)) from failure
    return wcs, (f"WCS: TAN-SIP of order {order} follows the file's projection to {error:.1g} px",)


class _PixelToSky:
    """The mappings of a projection one after the other: parent pixels to ra, dec in degrees."""

    def __init__(self, node):
        from skydelta.lsst.ast_text import read_object

        texts = [mapping.get("ast") for mapping in node["mappings"].items()]
        if not texts or None in texts:
            msg = (
                "the projection goes through the frames of a camera, which skydelta cannot follow: "
                "write the file again with a FITS approximation of its projection"
            )
            raise NoWcsError(msg)
        self._mappings = [read_object(str(text.value)) for text in texts]
        if any((mapping.Nin, mapping.Nout) != (2, 2) for mapping in self._mappings):
            msg = "the projection's mappings are not all of two axes"
            raise CorruptFileError(msg)

    def __call__(self, x, y):
        at = np.stack([np.asarray(x, float), np.asarray(y, float)])
        for mapping in self._mappings:
            at = mapping.tran(at, True)
        # AST marks what it cannot transform by the lowest number there is.
        ra, dec = np.degrees(np.where(at < -1e300, np.nan, at))
        return np.mod(ra, 360.0), dec
