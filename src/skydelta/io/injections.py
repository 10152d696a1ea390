"""Exposures with injections, and the difference that they are to be found on."""

import json

import numpy as np

from skydelta.efficiency.columns import INJECTED, typed
from skydelta.efficiency.draw import Depth
from skydelta.io.differences import read_for_detection
from skydelta.io.native import write_exposure
from skydelta.io.outcome import OK, StageFailure
from skydelta.io.products import open_product, table_hdu
from skydelta.score import score_image


def read_depth(path, min_good_weight):
    """The skydelta.efficiency.draw.Depth of a difference exposure, as detection sees it.

    Parameters
    ----------
    path
        diffexp_ID.fits.
    min_good_weight
        Of the section `detect`.
    """
    exposure, psf, score = read_for_detection(path)
    if score is not None:
        return Depth(exposure, score.flux_sigma)
    sigma = score_image(exposure, psf=psf, min_good_weight=min_good_weight)[1]
    return Depth(exposure, sigma)


def refuse_failed(path):
    """Raise the failure that a status file tells of.

    Raises
    ------
    StageFailure
    """
    with open(path, encoding="utf-8") as lines:
        status = json.load(lines)
    if status["status"] != OK:
        raise StageFailure(status["status"], status["message"], status.get("stage", ""))


def write_injected(path, exposure, injected, fwhm):
    """An exposure with injections, native, with what was injected as the table INJECTED."""
    units = {c.name: c.unit for c in INJECTED if c.unit}
    table = table_hdu(injected, "INJECTED", units, {"FWHM": (fwhm, "[pix] of the science PSF")})
    write_exposure(path, exposure, [table])


def read_injected(path):
    """(columns of INJECTED, FWHM of the science PSF in px) of an injected exposure."""
    with open_product(path) as hdul:
        hdu = hdul["INJECTED"]
        values = {c.name: np.array(hdu.data[c.name]) for c in INJECTED}
        return typed(values, INJECTED), float(hdu.header["FWHM"])
