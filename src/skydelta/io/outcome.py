"""How an exposure fared: failure markers in place of products, and the status file.

A stage that cannot do an exposure writes, under the product's name, a FITS file that holds only
a primary header with STATUS and STATMSG. Later stages pass it on, so that the reason reaches
``results/status/ID.json`` and no other exposure is affected.
"""

import json

import numpy as np

from skydelta.errors import SkydeltaError
from skydelta.io.replacing import replacing

OK = "ok"


class StageFailure(SkydeltaError):
    """The failure of an earlier stage, met again in its product."""

    def __init__(self, status, message, stage=""):
        super().__init__(message)
        self.status = status
        self.stage = stage


def write_failure(path, error, stage):
    """A failure marker in place of a FITS product."""
    from astropy.io import fits

    from skydelta.io.fits_writer import write_hdus

    primary = fits.PrimaryHDU()
    primary.header["STATUS"] = (error.status, "why there is no product")
    primary.header["STATSTAG"] = (getattr(error, "stage", "") or stage, "stage that failed")
    message = " ".join(str(error).split()).encode("ascii", "replace").decode()
    primary.header["STATMSG"] = message  # astropy writes long strings as CONTINUE cards
    write_hdus(path, [primary])


def raise_failure(header):
    """Raise the failure that a primary header stands for, if it is a marker's.

    Raises
    ------
    StageFailure
    """
    status = header.get("STATUS", OK)
    if status == OK:
        return
    raise StageFailure(status, str(header.get("STATMSG", "")), header.get("STATSTAG", ""))


def write_status(path, status):
    """A status file: sorted JSON, numbers finite or null."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(_plain(status), indent=2, sort_keys=True) + "\n")


def _plain(value):
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value
