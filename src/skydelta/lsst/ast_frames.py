"""A FITS WCS as the AST FrameSet that lsst.afw stores for it.

Frames after afw (geom/detail/frameSetUtils.cc): PIXELS (0-based parent pixels), IWC (FITS
intermediate world coordinates, deg), SKY (ICRS, rad), each connected to the one before.
"""

import numpy as np
from starlink import Ast

from skydelta.errors import UnsupportedError
from skydelta.io.wcs import header_of


def frame_set_of_fits(wcs, xy0):
    """The FrameSet of an astropy WCS.

    Parameters
    ----------
    wcs
        Celestial astropy.wcs.WCS of the image's own grid.
    xy0
        (x0, y0): parent pixel of the first pixel of that grid.

    Raises
    ------
    UnsupportedError
        If AST does not know the projection.
    """
    channel = Ast.FitsChan(None, None, "Encoding=FITS-WCS, IWC=1, SipReplace=0")
    raw, why = None, "no frames found"
    try:
        for card in header_of(wcs).cards:
            channel.putfits(str(card), False)
        channel.clear("Card")
        raw = channel.read()
    except (Ast.AstError, UnicodeError) as error:
        why = str(error).strip().splitlines()[0]
    if raw is None:
        msg = f"AST cannot express the WCS of the header ({why})"
        raise UnsupportedError(msg)
    numbers = {raw.getframe(i).Domain: i for i in range(1, raw.Nframe + 1)}
    grid, iwc, sky = numbers["GRID"], numbers["IWC"], raw.Current
    # ra, dec in this order whatever the header's, and ICRS.
    standard = raw.getframe(sky).convert(Ast.SkyFrame("System=ICRS"))
    frames = Ast.FrameSet(Ast.Frame(2, "Domain=PIXELS"))
    to_grid = Ast.ShiftMap([1.0 - xy0[0], 1.0 - xy0[1]])
    frames.addframe(
        1, Ast.CmpMap(to_grid, raw.getmapping(grid, iwc), True).simplify(), raw.getframe(iwc)
    )
    to_sky = Ast.CmpMap(raw.getmapping(iwc, sky), standard.getmapping(1, standard.Current), True)
    frames.addframe(2, to_sky, standard.getframe(standard.Current))
    _keep_reference(frames, np.asarray(wcs.wcs.crpix) - 1.0 + xy0)
    return frames


def _keep_reference(frames, pixel):
    """The sky position of CRPIX as an attribute that transforms ignore: afw's getSkyOrigin."""
    ra, dec = frames.tran(pixel[:, None]).ravel()
    frames.set(f"SkyRefIs=Ignored,SkyRef(1)={ra:.17g},SkyRef(2)={dec:.17g}")
