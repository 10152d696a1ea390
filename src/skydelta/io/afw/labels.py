"""Rows of filter labels, polygons and summary statistics."""

import numpy as np
import yaml

from skydelta.errors import CorruptFileError
from skydelta.io.afw.archive import bytes_of, text_of
from skydelta.io.afw.output_archive import Catalog
from skydelta.lsst.exposure_info import FilterLabel, SummaryStats
from skydelta.lsst.polygon import Polygon


def read_filter_label(archive, number):
    """The FilterLabel of object `number`."""
    row = archive.row(number)
    has_band, has_physical = row["flags"][:2]
    return FilterLabel(
        text_of(row["band"]) if has_band else "", text_of(row["physical"]) if has_physical else ""
    )


def write_filter_label(archive, label):
    """Add a FilterLabel."""
    columns = {"band": ("32A", [label.band]), "physical": ("32A", [label.physical])}
    flags = {"band_exists": [bool(label.band)], "physical_exists": [bool(label.physical)]}
    return archive.add("FilterLabel", "lsst.afw.image", Catalog(columns, flags))


def read_polygon(archive, number):
    """The Polygon of object `number`, one vertex a row."""
    rows = archive.rows(number)
    if len(rows) < 3:
        msg = f"archive object {number} is a Polygon of {len(rows)} vertices"
        raise CorruptFileError(msg)
    x, y = (rows[f"vertices_{axis}"].tolist() for axis in "xy")
    return Polygon(tuple(zip(x, y, strict=True)))


def write_polygon(archive, polygon):
    """Add a Polygon."""
    x, y = np.array(polygon.vertices, float).T
    columns = {"vertices_x": ("D", x), "vertices_y": ("D", y)}
    return archive.add("Polygon", "", Catalog(columns))


def read_summary_stats(archive, number):
    """The SummaryStats of object `number`, stored as YAML."""
    text = bytes_of(archive.row(number)["bytes"])
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeError) as error:
        msg = f"archive object {number} (ExposureSummaryStats) is not YAML: {error}"
        raise CorruptFileError(msg) from error
    if not isinstance(values, dict):
        msg = f"archive object {number} (ExposureSummaryStats) is no mapping"
        raise CorruptFileError(msg)
    return SummaryStats(values)


def write_summary_stats(archive, stats):
    """Add SummaryStats."""
    text = yaml.safe_dump(dict(stats.values)).encode()
    columns = {"bytes": ("1QB", [np.frombuffer(text, np.uint8)])}
    return archive.add(
        "ExposureSummaryStats", "lsst.afw.image._exposureSummaryStats", Catalog(columns)
    )
