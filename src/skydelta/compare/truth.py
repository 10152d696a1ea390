"""The table of the truth, and the events of one exposure in it."""

import numpy as np

from skydelta.errors import TableError

REQUIRED = ("visit", "detector", "band", "x", "y", "flux_nJy", "snr_expected")
"""Columns that a comparison needs; masked, on_host and kind are used where they are."""


def read_truth(path):
    """The table as arrays by column name.

    Raises
    ------
    TableError
        If it cannot be read or a column is missing.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"band": str, "kind": str})
    except OSError as error:
        msg = f"the table of the truth {path} cannot be read: {error.strerror}"
        raise TableError(msg) from error
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        msg = f"the table of the truth {path} is not CSV: {error}"
        raise TableError(msg) from error
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        msg = f"the table of the truth {path} lacks the columns {', '.join(missing)}"
        raise TableError(msg)
    return {name: table[name].to_numpy() for name in table.columns}


def events_of(truth, exposure):
    """The rows of one exposure, or None without a truth.

    Parameters
    ----------
    truth
        From `read_truth`, or None.
    exposure
        Row of the table of exposures.
    """
    if truth is None:
        return None
    here = (truth["visit"] == exposure.visit) & (truth["detector"] == exposure.detector)
    here &= truth["band"] == exposure.band
    return {name: np.asarray(values[here]) for name, values in truth.items()}
