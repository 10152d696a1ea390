"""Results as an LSST gen2 repository: differences as afw exposures, sources as afw catalogues."""

import logging
import re
from pathlib import Path

import numpy as np

from skydelta.io.outcome import OK, StageFailure, write_status
from skydelta.io.sources import read_sources_table
from skydelta.lsst.gen2 import DATASETS
from skydelta.repository.parents import write_configuration
from skydelta.repository.readers import read_difference
from skydelta.source_ids import band_number, dia_source_ids

log = logging.getLogger(__name__)

MAPPER = "lsst.obs.lsst.imsim.ImsimMapper"
"""The stack's class that knows the paths: that of DC2's images."""

SLOTS = {
    "slot_ApFlux": "base_CircularApertureFlux_12_0",
    "slot_Centroid": "base_NaiveCentroid",
    "slot_PsfFlux": "base_PsfFlux",
    "slot_Shape": "base_SdssShape",
}
"""Names by which the stack finds the measurements of its choice."""

_NO_LSST_DETECTOR = {"raft": "RXX", "sensor": "SXX"}
"""In the names of detectors that LSSTCam does not have."""

_POSITION = re.compile(r"\w*[cC]entroid_(?:neg_|pos_)?(?P<axis>[xy])")


def export_exposure(root, manifest, data_id, *, diffexp, footprints, sources, bands):
    """Write one exposure's difference and sources into an LSST repository.

    An exposure that failed has neither, and files of a former run go.

    Parameters
    ----------
    root
        Folder of the repository.
    manifest
        Path of a JSON file to write: visit, detector, band, status, message and the files' names.
    data_id
        visit, detector and band.
    diffexp, footprints, sources
        Paths of the exposure's products; any of them may be a failure marker.
    bands
        Bands in the order of their numbers in ids.
    """
    root = Path(root)
    names = {
        dataset: DATASETS[dataset].path({**_names_of(data_id["detector"]), **data_id})
        for dataset in ("deepDiff_differenceExp", "deepDiff_diaSrc")
    }
    outcome = {**data_id, "status": OK, "message": "", "files": []}
    try:
        difference = read_difference(diffexp, footprints)
        table = read_sources_table(sources)
    except StageFailure as failure:
        outcome |= {"status": failure.status, "message": str(failure)}
        for name in names.values():
            (root / name).unlink(missing_ok=True)
        log.info("not exported: %s: %s", failure.status, failure)
    else:
        from skydelta.io.afw.exposure_writer import write_afw
        from skydelta.io.afw_catalogue import write_afw_catalogue

        catalogue = stack_sources(table, data_id, difference.xy0, bands)
        write_afw(root / names["deepDiff_differenceExp"], difference)
        write_afw_catalogue(root / names["deepDiff_diaSrc"], catalogue, aliases=SLOTS)
        outcome["files"] = sorted(map(str, names.values()))
    write_status(manifest, outcome)


def export_configuration(root):
    """Write what makes a folder a gen2 repository: its repositoryCfg.yaml."""
    write_configuration(root, MAPPER)


def stack_sources(table, data_id, xy0, bands):
    """Sources as the stack has them: with ids, positions in parent pixels, without columns of text.

    Parameters
    ----------
    table
        astropy Table of instrumental measurements.
    data_id
        visit, detector and band, which the ids are made of: those of the DiaSource catalogue.
    xy0
        Parent pixel of the difference's first pixel.
    bands
        Bands in the order of their numbers in ids.

    Returns
    -------
    astropy.table.Table
        Its first columns are id, parent (0: blends have no rows of their own), coord_ra and
        coord_dec in rad.
    """
    number = band_number(data_id["band"], tuple(bands))
    ids = dia_source_ids(data_id["visit"], data_id["detector"], number, len(table))
    out = table[[name for name in table.colnames if table[name].dtype.kind in "biuf"]]
    out.meta.clear()
    # Ours is the number of a footprint, the stack's the id of another row.
    out.remove_column("parent")
    out.add_column(ids, index=0, name="id")
    out.add_column(np.zeros(len(table), np.int64), index=1, name="parent")
    for name in ("coord_dec", "coord_ra"):
        column = out[name]
        out.remove_column(name)
        out.add_column(column, index=2)
    origin = dict(zip("xy", xy0, strict=True))
    for name in out.colnames:
        match = _POSITION.fullmatch(name)
        if match and origin[match["axis"]]:
            out[name] = out[name] + np.asarray(origin[match["axis"]], out[name].dtype)
    return out


def _names_of(detector):
    """Raft and sensor where LSSTCam has none of that number."""
    from skydelta.lsst.camera import N_DETECTORS

    return {} if detector < N_DETECTORS else _NO_LSST_DETECTOR
