"""Objects that are carried along unread: their rows, and the objects that these refer to."""

import re

import numpy as np

from skydelta.io.afw.archive import text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.lsst.archive_record import ArchiveRecord
from skydelta.lsst.exposure_info import Deferred

_REFERENCES = {
    "Detector": ("transformMap",),
    "ProductTransmissionCurve": ("a", "b"),
    "TransformMap": ("transform",),
    "TransformedTransmissionCurve": ("nested", "transform"),
}
"""Columns that hold numbers of other objects; the other classes have none."""


def read_record(archive, number):
    """The ArchiveRecord of object `number`; what it refers to is read when asked for."""
    name = archive.class_name(number)
    parts, references = [], []
    for which, rows in enumerate(archive.catalogs(number)):
        columns, flags = columns_of(rows, archive.flag_names(number, which))
        refers = {
            key: [Deferred(archive, int(n)) if n else None for n in columns.pop(key)[1]]
            for key in _REFERENCES.get(name, ())
            if key in columns
        }
        parts.append((columns, flags))
        references.append(refers)
    return ArchiveRecord(name, archive.module(number), tuple(parts), tuple(references))


def write_record(archive, record):
    """Add an ArchiveRecord and all that it refers to."""
    catalogs = []
    for (columns, flags), refers in zip(record.catalogs, record.references, strict=True):
        numbers = {key: ("J", [archive.save(t) for t in things]) for key, things in refers.items()}
        catalogs.append(Catalog({**columns, **numbers}, flags))
    return archive.add(record.name, record.module, *catalogs)


def columns_of(rows, flag_names):
    """({column: (format, values)}, {flag: bools}) of the rows of an object."""
    columns, flags = {}, {}
    if not hasattr(rows, "columns"):  # an object without state
        return columns, flags
    for column in rows.columns:
        form = re.sub(r"\(\d+\)$", "", column.format)
        values = rows[column.name]
        if form.endswith("X"):
            flags = {name: values[:, i].tolist() for i, name in enumerate(flag_names)}
        elif form.endswith("A"):
            columns[column.name] = form, [text_of(value) for value in values]
        else:
            columns[column.name] = form, [np.array(value) for value in values]
    return columns, flags
