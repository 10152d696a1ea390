"""Values in the rows of an archive's tables, whatever version of afw wrote them."""

import numpy as np

from skydelta.errors import CorruptFileError


def load(archive, number, method, what):
    """An object of an archive that must have a method; None for number 0.

    Parameters
    ----------
    archive
        InputArchive.
    number
        Of the object.
    method
        Name of one of its methods.
    what
        What it should be, for the message.

    Raises
    ------
    CorruptFileError
        If it is something else.
    """
    thing = archive.load(number)
    if thing is not None and not hasattr(thing, method):
        msg = (
            f"archive object {number} is a {archive.class_name(number)}, but is used as a {what}: "
            "the file is damaged"
        )
        raise CorruptFileError(msg)
    return thing


def point(row, name):
    """The two values (x, y) of a point field.

    Stored as ``name_x`` and ``name_y``, before 2014 as ``name.x`` and ``name.y`` or as one column
    of two values.

    Raises
    ------
    CorruptFileError
        If the row has none of these.
    """
    names = row.array.names
    for joint in "_.":
        if f"{name}{joint}x" in names:
            return row[f"{name}{joint}x"].item(), row[f"{name}{joint}y"].item()
    for spelling in (name, name.replace("_", ".")):
        if spelling in names:
            x, y = np.asarray(row[spelling]).tolist()
            return x, y
    msg = f"the archive's row has no column {name}_x or {name}: {', '.join(names)}"
    raise CorruptFileError(msg)


def point_columns(name, form, value):
    """Columns of a Catalog for a point (x, y): ``name_x`` and ``name_y``."""
    return {f"{name}_x": (form, [value[0]]), f"{name}_y": (form, [value[1]])}


def array_column(form, values):
    """Column of a Catalog that holds one array of fixed length."""
    values = np.ravel(values)
    return f"{values.size}{form}", [values]


def optional(row, name, default=None):
    """A value of a row, or the default where there is no such column."""
    return row[name].item() if name in row.array.names else default
