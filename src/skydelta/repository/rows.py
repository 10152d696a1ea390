"""The exposures and coadds that the workflow takes from repositories, in place of two tables."""

import hashlib
import logging
import os
from dataclasses import asdict
from itertools import product

from skydelta.errors import TableError
from skydelta.io.footprints import (
    Footprint,
    code_digest,
    file_stamp,
    load_cache,
    read_footprints,
    store_cache,
)
from skydelta.io.tracts_mapping import mapped_coadds
from skydelta.repository.files import RepositoryFiles
from skydelta.repository.geometry import patch_footprint, patches_under, sky_map
from skydelta.selection import Selection
from skydelta.tables import CoaddRow, ExposureRow

log = logging.getLogger(__name__)

_MOST_NAMED = 12
"""Identifiers that a message lists."""


def open_repositories(section):
    """The RepositoryFiles that a configuration's section names: exposures, coadds, or both.

    Parameters
    ----------
    section
        With calexp, coadd and tracts_mapping, paths or None.
    """
    roots = [root for root in (section["calexp"], section["coadd"]) if root]
    return RepositoryFiles(roots[0], parents=roots[1:], tracts_mapping=section["tracts_mapping"])


def chosen_exposures(repository, select):
    """The exposures of a repository that a selection holds.

    An exposure whose visit, detector and band are named one by one is there even if its file is
    not, so that it ends with a status.

    Parameters
    ----------
    repository
        RepositoryFiles.
    select
        Values for visit, detector and band, as in the configuration.

    Returns
    -------
    list of ExposureRow
        Sorted.

    Raises
    ------
    TableError
        If there is none, saying which there are.
    """
    selection = Selection.of(**{key: select[key] for key in ("visit", "detector", "band")})
    found = {}
    for store in repository.stores:
        if "calexp" in store.datasets:
            for data_id, path in store.datasets["calexp"].find(store.root, selection):
                found.setdefault(tuple(data_id.values()), str(path))
    for key in _named(selection, found):
        data_id = dict(zip(("visit", "detector", "band"), key, strict=True))
        found[key] = str(repository.path("calexp", **data_id))
    if not found:
        raise TableError(_nothing("exposure (calexp)", repository, "calexp", select))
    return [ExposureRow(*key, path) for key, path in sorted(found.items())]


def chosen_coadds(repository, dataset, select, exposures, *, cache=None, margin_px=10.0):
    """The coadds of a repository that may lie under exposures, those of a selection only.

    Neither folders nor headers of coadds are read where a tracts_mapping.sqlite3 or a sky map
    tells which patches to look for.

    Parameters
    ----------
    repository
        RepositoryFiles.
    dataset
        ``deepCoadd`` or ``deepCoadd_calexp``.
    select
        Values for tract and patch, as in the configuration.
    exposures
        Rows of the exposures.
    cache
        Folder in which outlines are kept from one call to the next; None for no cache.
    margin_px
        Patches count that come this close to an exposure.

    Returns
    -------
    rows : list of CoaddRow
        Those that exist, sorted.
    footprints : dict
        Footprint by path of those whose patch the sky map knows.

    Raises
    ------
    TableError
        If there is no coadd at all, or none of those selected. An exposure beside the coadds that
        there are is no error: it ends with the status no_overlap.
    """
    selection = Selection.of(**{key: select[key] for key in ("tract", "patch")})
    skymap = sky_map(repository)
    left, wanted = list(exposures), set()
    for mapping in repository.mappings:
        known = [(exposure, keys) for exposure, keys in mapped_coadds(mapping, left) if keys]
        wanted |= {key for _, keys in known for key in keys}
        done = {exposure.key for exposure, _ in known}
        left = [exposure for exposure in left if exposure.key not in done]
    if left and skymap is not None:
        wanted |= _patches_by_skymap(skymap, left, cache, margin_px)
    elif left:
        log.info("no sky map and no mapping tells the patches under %d exposures", len(left))
        wanted |= set(_all_coadds(repository, dataset, selection, left))
    rows, footprints = [], {}
    for tract, patch, band in sorted(wanted):
        if selection.holds("tract", tract) and selection.holds("patch", patch):
            data_id = {"tract": tract, "patch": patch, "band": band}
            if repository.exists(dataset, **data_id):
                path = str(repository.path(dataset, **data_id))
                rows.append(CoaddRow(tract, patch, band, path))
                if skymap is not None:
                    footprints[path] = patch_footprint(skymap, tract, patch)
    if not rows:
        message = _nothing("coadd under the exposures", repository, dataset, select)
        if selection != Selection() or not _is_there(repository, dataset):
            raise TableError(message)
        log.warning(message)
    return rows, footprints


def _named(selection, found):
    """(visit, detector, band) named one by one, of which no file was found in any band."""
    named = [selection.named(key) for key in ("visit", "detector", "band")]
    if any(values is None for values in named):
        return []
    there = {key[:2] for key in found}
    bands = {visit: band for visit, _, band in found}
    missing = [key for key in product(*named[:2]) if key not in there]
    keys = []
    for visit, detector in missing:
        # A visit has one band: that of its other detectors, or the only one that is meant.
        band = bands.get(visit, named[2][0] if len(named[2]) == 1 else None)
        if band is None:
            log.warning("visit %d, detector %d: no calexp in any of the bands", visit, detector)
        else:
            keys.append((visit, detector, band))
    return keys


def _patches_by_skymap(skymap, exposures, cache, margin_px):
    """(tract, patch, band) of the patches under exposures, from the sky map."""
    store = None if cache is None else os.path.join(cache, "footprints.json")
    footprints = read_footprints([row.path for row in exposures], store)
    known = None if cache is None else os.path.join(cache, "patches.json")
    digest = _digest(skymap, exposures, margin_px)
    found = None if known is None else load_cache(known, digest)
    if found is None:
        found = [
            [tract, patch, row.band]
            for row in exposures
            if isinstance(footprints[row.path], Footprint)
            for tract, patch in patches_under(skymap, footprints[row.path], margin_px)
        ]
        if known is not None:
            store_cache(known, digest, found)
    return {(tract, tuple(patch), band) for tract, patch, band in found}


def _digest(skymap, exposures, margin_px):
    """Hash of all that the patches under exposures depend on."""
    lines = [code_digest(__file__), repr(asdict(skymap.config)), repr(margin_px)]
    lines += [f"{row.band} {row.path} {file_stamp(row.path)}" for row in exposures]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _all_coadds(repository, dataset, selection, exposures):
    """(tract, patch, band) of all coadds of the exposures' bands: their headers will be read."""
    bands = sorted({row.band for row in exposures})
    choice = Selection.of(band=bands)
    for store in repository.stores:
        if dataset in store.datasets:
            wanted = Selection(tract=selection.tract, patch=selection.patch, band=choice.band)
            for one, _ in store.datasets[dataset].find(store.root, wanted):
                yield one["tract"], one["patch"], one["band"]


def _is_there(repository, dataset):
    stores = [store for store in repository.stores if dataset in store.datasets]
    return any(store.datasets[dataset].first(store.root, 1) for store in stores)


def _nothing(what, repository, dataset, select):
    """Why a selection finds nothing, with what there is."""
    asked = ", ".join(f"{key} {value}" for key, value in select.items() if value is not None)
    roots = ", ".join(os.fspath(store.root) for store in repository.stores)
    msg = f"no {what} of {asked or 'any kind'} in {roots}"
    there = [
        f"{store.datasets[dataset].template} below {store.root}: {_contents(store, dataset)}"
        for store in repository.stores
        if dataset in store.datasets
    ]
    return f"{msg}; {'; '.join(there) or f'none of them is a repository with {dataset}'}"


def _contents(store, dataset):
    """The first identifiers of a dataset, and whether there are more."""
    found = store.datasets[dataset].first(store.root, _MOST_NAMED + 1)
    if not found:
        return "nothing"
    named = ["-".join(_text(value) for value in one.values()) for one in found[:_MOST_NAMED]]
    more = " ..." if len(found) > _MOST_NAMED else ""
    return f"{'-'.join(found[0])} {', '.join(named)}{more}"


def _text(value):
    return "{},{}".format(*value) if isinstance(value, tuple) else str(value)
