"""Rows of detectors: one of the CCD, one of each amplifier (afw: cameraGeom/Detector.cc)."""

import numpy as np

from skydelta.io.afw.archive import text_of
from skydelta.io.afw.fields import bbox_columns, read_bbox
from skydelta.io.afw.output_archive import Catalog
from skydelta.io.afw.records import read_record, write_record
from skydelta.lsst.archive_record import ArchiveRecord
from skydelta.lsst.detector import Amplifier, Detector

_VERSION = 2
_RAW_BOXES = (
    *("raw_bbox", "raw_databbox"),
    *("raw_horizontaloverscanbbox", "raw_verticaloverscanbbox", "raw_prescanbbox"),
)


def read_detector(archive, number):
    """The Detector of object `number`, with its rows as they are."""
    row = archive.row(number)
    names = row.array.columns.names
    return Detector(
        name=text_of(row["name"]),
        number=int(row["id"]),
        serial=text_of(row["serial"]),
        bbox=read_bbox(row),
        amplifiers=tuple(_amplifier(part) for part in archive.rows(number, 1)),
        pixel_size=(float(row["pixelSize_x"]), float(row["pixelSize_y"])),
        physical_type=text_of(row["physicalType"]) if "physicalType" in names else "",
        record=read_record(archive, number),
    )


def _amplifier(row):
    x, y = int(row["bbox_min_x"]), int(row["bbox_min_y"])
    return Amplifier(
        name=text_of(row["name"]),
        bbox=(x, y, x + int(row["bbox_extent_x"]) - 1, y + int(row["bbox_extent_y"]) - 1),
        gain=float(row["gain"]),
        saturation=float(row["saturation"]),
        read_noise=float(row["readnoise"]),
    )


def write_detector(archive, detector):
    """Add a Detector: as it was read, or with the simplest geometry for one made here."""
    if detector.record is not None:
        return write_record(archive, detector.record)
    x, y = (len_ / 2.0 for len_ in _extent(detector.bbox))
    columns = {
        "name": ("1QA", [detector.name]),
        "id": ("J", [detector.number]),
        "type": ("J", [0]),
        "serial": ("1QA", [detector.serial]),
        **bbox_columns(detector.bbox),
        "pixelSize_x": ("D", [detector.pixel_size[0]]),
        "pixelSize_y": ("D", [detector.pixel_size[1]]),
        **{f"fpPosition_{axis}": ("D", [0.0]) for axis in "xyz"},
        "refPoint_x": ("D", [x - 0.5]),
        "refPoint_y": ("D", [y - 0.5]),
        **{angle: ("D", [0.0]) for angle in ("yaw", "pitch", "roll")},
        "transformMap": ("J", [write_record(archive, _transform_map(detector))]),
        "crosstalk": ("1QE", [np.empty(0, np.float32)]),
        "physicalType": ("1QA", [detector.physical_type]),
        "version": ("J", [_VERSION]),
    }
    amplifiers = _amplifier_catalog(detector.amplifiers)
    return archive.add("Detector", "lsst.afw.cameraGeom", Catalog(columns), amplifiers)


def _extent(bbox):
    return bbox[2] - bbox[0] + 1, bbox[3] - bbox[1] + 1


def _amplifier_catalog(amplifiers):
    """All columns that afw's reader asks for; no raw geometry, no linearity."""
    count = len(amplifiers)
    boxes = [amplifier.bbox for amplifier in amplifiers]
    columns = {
        "name": ("1QA", [amplifier.name for amplifier in amplifiers]),
        "bbox_min_x": ("J", [box[0] for box in boxes]),
        "bbox_min_y": ("J", [box[1] for box in boxes]),
        "bbox_extent_x": ("J", [_extent(box)[0] for box in boxes]),
        "bbox_extent_y": ("J", [_extent(box)[1] for box in boxes]),
        "gain": ("D", [amplifier.gain for amplifier in amplifiers]),
        "saturation": ("D", [amplifier.saturation for amplifier in amplifiers]),
        "suspectlevel": ("D", [np.nan] * count),
        "readnoise": ("D", [amplifier.read_noise for amplifier in amplifiers]),
        "readoutcorner": ("J", [0] * count),
        "linearity_coeffs": ("1QD", [np.empty(0)] * count),
        "linearity_type": ("1QA", ["NONE"] * count),
        **{
            f"{name}_{what}_{axis}": ("J", [0] * count)
            for name in _RAW_BOXES
            for what in ("min", "extent")
            for axis in "xy"
        },
        "raw_xyoffset_x": ("J", [0] * count),
        "raw_xyoffset_y": ("J", [0] * count),
        "linearityThreshold": ("D", [np.nan] * count),
        "linearityMaximum": ("D", [np.nan] * count),
        "linearityUnits": ("1QA", ["DN"] * count),
    }
    flags = {name: [False] * count for name in ("hasrawinfo", "raw_flip_x", "raw_flip_y")}
    return Catalog(columns, flags)


def _transform_map(detector):
    """Pixels to focal plane, mm: the detector's middle at the origin, nothing rotated."""
    from starlink import Ast

    from skydelta.lsst.ast_text import text_of as ast_text

    (sx, sy), (nx, ny) = detector.pixel_size, _extent(detector.bbox)
    middle = [-(nx - 1) / 2.0 - detector.bbox[0], -(ny - 1) / 2.0 - detector.bbox[1]]
    mapping = Ast.CmpMap(Ast.ShiftMap(middle), Ast.MatrixMap([sx, sy]), True)
    text = f"1 TransformPoint2ToPoint2 {ast_text(mapping)}".encode()
    stored = {"bytes": ("1QB", [np.frombuffer(text, np.uint8)])}
    transform = ArchiveRecord("TransformPoint2ToPoint2", "lsst.afw.geom", ((stored, {}),), ({},))
    columns = {
        "fromSysName": ("1QA", ["Pixels"]),
        "fromSysDetectorName": ("1QA", [detector.name]),
        "toSysName": ("1QA", ["FocalPlane"]),
        "toSysDetectorName": ("1QA", [""]),
    }
    return ArchiveRecord(
        "TransformMap", "lsst.afw.cameraGeom", ((columns, {}),), ({"transform": [transform]},)
    )
