"""Which coadds lie under an exposure of a repository, and which exposures on a coadd.

A tracts_mapping.sqlite3 knows at once. Where none does, outlines are compared: of patches from
the sky map, or where there is none from the headers of the coadds.
"""

from math import degrees

from skydelta.errors import InputError, MissingFileError
from skydelta.io.footprints import Footprint, read_footprint, read_footprints
from skydelta.io.tracts_mapping import exposures_of, overlaps_of
from skydelta.overlap import find_overlaps
from skydelta.sphere import sky_position
from skydelta.tables import CoaddRow, ExposureRow

COADDS = ("deepCoadd", "deepCoadd_calexp")
"""Datasets of coadds in the order in which they are looked for."""

MARGIN_PX = 10.0
"""As in the stack's own mapping: an exposure's box is grown by so much."""


def find_coadds(repository, visit, detector, band):
    """(tract, (x, y), band) of the coadds under an exposure, sorted."""
    for mapping in repository.mappings:
        found = overlaps_of(mapping, visit, detector, band)
        if found:
            return found
    if not _holds_images(repository):
        return []
    data_id = {"visit": visit, "detector": detector}
    if band is not None:
        data_id["band"] = band
    data_id = repository.data_id("calexp", **data_id)
    path, band = repository.path("calexp", **data_id), data_id["band"]
    footprint = read_footprint(path)
    skymap = sky_map(repository)
    if skymap is not None:
        return [(tract, patch, band) for tract, patch in patches_under(skymap, footprint)]
    exposure = ExposureRow(visit, detector, band, str(path))
    coadds, footprints = _coadds_of_headers(repository, band=band)
    if not coadds:
        msg = (
            f"{repository.root} holds no tracts_mapping.sqlite3 that knows visit {visit}, no sky "
            f"map and no coadd in {band}: name a repository of coadds, coadd=..."
        )
        raise MissingFileError(msg)
    overlaps = find_overlaps(
        [exposure], coadds, {**footprints, exposure.path: footprint}, margin_px=MARGIN_PX
    )
    return [(o.tract, o.patch, o.band) for o in overlaps]


def find_exposures(repository, tract, patch, band):
    """(visit, detector, band) of the exposures on a patch, sorted."""
    mappings = repository.mappings
    for mapping in mappings:
        found = exposures_of(mapping, tract, patch, band)
        if found:
            return found
    # A mapping that knows nothing of the patch, though it exists, says that there is nothing.
    if mappings or not _holds_images(repository):
        return []
    choice = {} if band is None else {"band": [band]}
    exposures = [
        ExposureRow(
            one["visit"], one["detector"], one["band"], str(repository.path("calexp", **one))
        )
        for one in repository.datasets("calexp", **choice)
    ]
    footprints = read_footprints([row.path for row in exposures])
    coadd = _footprint_of_patch(repository, tract, patch, band)
    bands = sorted({row.band for row in exposures})
    coadds = [CoaddRow(tract, patch, name, "the patch") for name in bands]
    overlaps = find_overlaps(
        exposures, coadds, {**footprints, "the patch": coadd}, margin_px=MARGIN_PX
    )
    return sorted((o.visit, o.detector, o.band) for o in overlaps)


def sky_map(repository):
    """The repository's sky map, None if there is none."""
    try:
        return repository.skymap
    except MissingFileError:
        return None


def patches_under(skymap, footprint, margin_px=MARGIN_PX):
    """(tract, (x, y)) of the patches whose outer boxes an outline meets, sorted.

    Parameters
    ----------
    skymap
        skydelta.skymap.RingsSkyMap.
    footprint
        Footprint of an exposure.
    margin_px
        Patches that come this close count, too.
    """
    ra, dec = zip(*(sky_position(corner) for corner in footprint.outline), strict=True)
    margin = 3600.0 * degrees(margin_px * footprint.pixel_scale)
    found = skymap.find_tract_patch_list(ra, dec, margin)
    return sorted((int(t.id), tuple(map(int, p.index))) for t, patches in found for p in patches)


def patch_footprint(skymap, tract, patch):
    """The Footprint of a patch's outer box."""
    box = skymap[tract].patch(patch)
    return Footprint(tuple(box.outline()), box.pixel_scale)


def _holds_images(repository):
    return "calexp" in repository.datasets()


def _footprint_of_patch(repository, tract, patch, band):
    skymap = sky_map(repository)
    if skymap is not None:
        return patch_footprint(skymap, tract, patch)
    choice = {"tract": [tract], "patch": [patch]} | ({} if band is None else {"band": [band]})
    for dataset in COADDS:
        for one in repository.datasets(dataset, **choice):
            return read_footprint(repository.path(dataset, **one))
    x, y = patch
    msg = (
        f"{repository.root} holds no sky map and no coadd of tract {tract}, patch {x},{y}: "
        "name a repository of coadds, coadd=..."
    )
    raise MissingFileError(msg)


def _coadds_of_headers(repository, **choice):
    """Rows and footprints of all coadds, from their headers."""
    rows = {}
    for dataset in COADDS:
        for one in repository.datasets(dataset, **choice):
            path = str(repository.path(dataset, **one))
            rows.setdefault((one["tract"], one["patch"]), CoaddRow(**one, path=path))
    footprints = read_footprints([row.path for row in rows.values()])
    return list(rows.values()), {
        path: found for path, found in footprints.items() if not isinstance(found, InputError)
    }
