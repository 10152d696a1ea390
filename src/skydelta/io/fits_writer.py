"""FITS products: HDUs with their sums, in a file that is replaced as a whole."""

from astropy.io import fits

from skydelta.io.replacing import replacing

_COMMENT = "one's complement sum"
"""Of the cards; astropy's own holds the time, and the same input must give the same bytes."""


def write_hdus(path, hdus):
    """Write HDUs, each with DATASUM and CHECKSUM, and NEXTEND in the first.

    No sum can tell that a file lacks its last HDUs; their number can.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    hdus
        HDUs, a primary one first. The sums are added to their headers.
    """
    hdul = fits.HDUList(list(hdus))
    # Before the sums are taken: writing must not change a header any more.
    hdul.verify("silentfix")
    hdul.update_extend()
    hdul[0].header["NEXTEND"] = (len(hdul) - 1, "number of extensions")
    for hdu in hdul:
        hdu.add_checksum(_COMMENT)
    with replacing(path) as partial:
        hdul.writeto(partial, overwrite=True, output_verify="ignore")
