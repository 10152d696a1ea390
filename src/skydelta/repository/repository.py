"""Reading by name and data identifier, as with an LSST butler."""

import os
from pathlib import Path

from skydelta.errors import MissingFileError
from skydelta.repository import geometry, readers
from skydelta.repository.stores import open_stores
from skydelta.selection import KEYS, Selection
from skydelta.tables import exposure_id, parse_patch


class Repository:
    """skydelta's results, or an LSST gen2 repository, or several of them together.

    A file is looked for in `root`, in the parents that its configuration names, in `coadd` and its
    parents and in `parents` and theirs; the first that has it wins. ``band`` can also be called
    ``filter``, and can be left out where an exposure has a single one.

    Parameters
    ----------
    root
        The folder ``results`` of a run, or the root of a gen2 repository (a rerun).
    coadd
        A repository of coadds beside it.
    parents
        Further repositories.
    tracts_mapping
        A tracts_mapping.sqlite3; None for those that the repositories hold.

    Raises
    ------
    MissingFileError
        If one of the folders holds neither.
    CorruptFileError
        If the configuration of a repository cannot be understood.
    """

    def __init__(self, root="results", *, coadd=None, parents=(), tracts_mapping=None):
        self.root = Path(root)
        if isinstance(parents, str | os.PathLike):
            parents = (parents,)
        beside = [] if coadd is None else [coadd]
        self.stores = tuple(open_stores(root, *beside, *parents))
        self._tracts_mapping = None if tracts_mapping is None else Path(tracts_mapping)
        self._sky_map = None

    def __repr__(self):
        return f"Repository({os.fspath(self.root)!r})"

    def path(self, dataset, **data_id):
        """Where a file is, or would be.

        Parameters
        ----------
        dataset
            For example ``calexp``, ``src``, ``deepCoadd``, ``deepDiff_differenceExp``,
            ``deepDiff_diaSrc``; an error names all.
        visit, detector
            Numbers of an exposure.
        band, filter
            Its filter, by either name.
        tract, patch
            Number of a tract, (x, y) or text ``"x,y"`` of a patch in it.

        Returns
        -------
        pathlib.Path

        Raises
        ------
        ValueError
            If there is no such dataset, or a part of the identifier is missing.
        MissingFileError
            If the band was not given and cannot be told.
        """
        stores, data_id = self._asked(dataset, data_id)
        for store in stores:
            path = store.locate(dataset, data_id)
            if path is not None:
                return path
        return stores[0].path(dataset, data_id)

    def data_id(self, dataset, **data_id):
        """The whole identifier of a file, the band filled in; parameters are those of `path`.

        Returns
        -------
        dict
            visit, detector, band, tract, patch (x, y): those that the dataset has.
        """
        return self._asked(dataset, data_id)[1]

    def exists(self, dataset, **data_id):
        """Whether there is a file; parameters are those of `path`.

        A result that failed exists, too: `get` raises its failure.
        """
        try:
            stores, data_id = self._asked(dataset, data_id)
        except MissingFileError:
            return False
        return any(store.locate(dataset, data_id) is not None for store in stores)

    def get(self, dataset, **data_id):
        """Read a file; parameters are those of `path`.

        Returns
        -------
        skydelta.exposure.Exposure, astropy.table.Table or skydelta.skymap.RingsSkyMap
            Images, catalogues with units, the sky map.

        Raises
        ------
        SkydeltaError
            A StageFailure with the exposure's status and message, if it failed; a MissingFileError
            if there is no such file, naming where it was looked for; another InputError if it
            cannot be read.
        """
        stores, data_id = self._asked(dataset, data_id)
        for store in stores:
            path = store.locate(dataset, data_id)
            if path is not None:
                return readers.read(store.datasets[dataset], path, band=data_id.get("band"))
        raise self._missing(dataset, stores, data_id)

    def datasets(self, dataset=None, **choice):
        """Names of the datasets, or the identifiers of one dataset's files.

        Parameters
        ----------
        dataset
            None for the names of all that can be asked for.
        visit, detector, band, filter, tract, patch
            Values, lists or text as ``"1..5"`` and ``"1^3"`` that narrow the search down.

        Returns
        -------
        list
            Of text, or of dict: ``repo.get(name, **found[0])``.
        """
        if dataset is None:
            return list(dict.fromkeys(name for store in self.stores for name in store.datasets))
        if "filter" in choice:
            choice["band"] = _one_band(choice.get("band"), choice.pop("filter"))
        selection = Selection.of(**choice)
        found = {}
        for store in self._knowing(dataset):
            for data_id, _ in store.datasets[dataset].find(store.root, selection):
                found[tuple(data_id.values())] = data_id
        return [found[key] for key in sorted(found)]

    def status(self, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """How an exposure ended.

        Returns
        -------
        dict
            ``status`` (``ok``, or a word for what went wrong), ``message`` and numbers.

        Raises
        ------
        MissingFileError
            If the exposure has not been through the workflow.
        """
        results = [store for store in self.stores if store.is_results]
        if not results:
            msg = f"{self.root} holds no results of skydelta, so there is no status"
            raise MissingFileError(msg, path=os.fspath(self.root))
        given = {"visit": visit, "detector": detector, "band": band, "filter": filter}
        data_id = self._with_band(None, results, _plain_id(given))
        return readers.read_status(_status_path(results[0], data_id))

    def find_coadds(self, *, visit, detector, band=None, filter=None):  # noqa: A002 (gen2's name)
        """The coadds under an exposure.

        As a tracts_mapping.sqlite3 says, or for LSST repositories, where none knows the exposure,
        from its outline and those of the patches; `exists` tells which of them were made.

        Returns
        -------
        list of dict
            With tract, patch (x, y) and band, sorted.
        """
        band = _one_band(band, filter)
        found = geometry.find_coadds(self, int(visit), int(detector), band)
        return [{"tract": t, "patch": p, "band": b} for t, p, b in found]

    def find_exposures(self, *, tract, patch, band=None, filter=None):  # noqa: A002 (gen2's name)
        """The exposures that overlap a patch, in one band or in all.

        Parameters
        ----------
        tract, patch
            Number of the tract and (x, y) of the patch in it.
        band, filter
            A filter, by either name.

        Returns
        -------
        list of dict
            With visit, detector and band, sorted: ``repo.get(name, **found[0])``.
        """
        band = _one_band(band, filter)
        found = geometry.find_exposures(self, int(tract), _patch(patch), band)
        return [{"visit": v, "detector": d, "band": b} for v, d, b in found]

    @property
    def skymap(self):
        """The sky map of the coadds, skydelta.skymap.RingsSkyMap.

        Raises
        ------
        MissingFileError
            If no repository holds one.
        """
        if self._sky_map is None:
            if "deepCoadd_skyMap" not in self.datasets():
                msg = f"{self.root} holds no sky map: name a repository of coadds, coadd=..."
                raise MissingFileError(msg, path=os.fspath(self.root))
            self._sky_map = self.get("deepCoadd_skyMap")
        return self._sky_map

    def nearest_coadd(self, ra, dec):
        """The patch of the sky map in whose inner region a position lies.

        Parameters
        ----------
        ra, dec
            ICRS, deg.

        Returns
        -------
        dict
            tract and patch (x, y): ``repo.get("deepCoadd", band="i", **repo.nearest_coadd(...))``.
        """
        tract = self.skymap.find_tract(ra, dec)
        x, y = tract.find_patch(ra, dec).index
        return {"tract": int(tract.id), "patch": (int(x), int(y))}

    @property
    def mappings(self):
        """Paths of the tracts_mapping.sqlite3 to ask, in order."""
        if self._tracts_mapping is not None:
            return [self._tracts_mapping]
        own = [store.mapping for store in self.stores]
        found = [path for path in own if path.exists()]
        # Results without their mapping are results cut short: opening it says so.
        return found or [store.mapping for store in self.stores[:1] if store.is_results]

    def _knowing(self, dataset):
        """The stores that have such a dataset."""
        stores = [store for store in self.stores if dataset in store.datasets]
        if not stores:
            msg = f"there is no dataset {dataset!r}; there are {', '.join(self.datasets())}"
            raise ValueError(msg)
        return stores

    def _asked(self, dataset, given):
        """The stores to look in, and the identifier with all that the dataset needs."""
        stores = self._knowing(dataset)
        keys = {key for store in stores for key in store.datasets[dataset].keys}
        data_id = _plain_id(given)
        missing = keys - set(data_id) - {"band"}
        if missing:
            msg = f"{dataset} is identified by {', '.join(sorted(keys))}: give {sorted(missing)[0]}"
            raise ValueError(msg)
        if "band" in keys and "band" not in data_id:
            data_id = self._with_band(dataset, stores, data_id)
        return stores, {key: data_id[key] for key in KEYS if key in keys}

    def _with_band(self, dataset, stores, data_id):
        """The identifier with the only band that an exposure or patch has."""
        if "band" in data_id:
            return data_id
        for store in stores:
            bands = _bands(store, dataset, data_id)
            if len(bands) == 1:
                return {**data_id, "band": bands[0]}
            if bands:
                break
        known = f"it was taken in {', '.join(bands)}" if bands else f"it has no {_what(dataset)}"
        msg = f"name the band of {_said(data_id)}: {known} in {_folders(stores)}"
        raise MissingFileError(msg, bands=bands)

    def _missing(self, dataset, stores, data_id):
        """Why there is nothing to read."""
        lines, status = [], ""
        for store in stores:
            template = store.datasets[dataset].template
            try:
                lines.append(f"{store.path(dataset, data_id)} does not exist")
            except ValueError:  # a detector of another camera: its raft's name is not known
                lines.append(f"no {template} of {_said(data_id)} is in {store.root}")
            if store.is_results:
                status += readers.quoted_status(_status_path(store, data_id))
        return MissingFileError(f"{'; '.join(lines)}{status}", path=os.fspath(stores[0].root))


def _bands(store, dataset, data_id):
    """The bands that an exposure or patch is there in."""
    if store.is_results:
        head = exposure_id(data_id["visit"], data_id["detector"], "|").split("|")
        names = [path.name for path in (store.root / "status").glob(f"{head[0]}*{head[1]}.json")]
        cut = len(head[0]), len(head[1]) + len(".json")
        return sorted(name[cut[0] : -cut[1]] for name in names)
    selection = Selection.of(**{key: [value] for key, value in data_id.items()})
    found = store.datasets[dataset].find(store.root, selection)
    return sorted({one["band"] for one, _ in found})


def _status_path(store, data_id):
    return store.root / "status" / f"{exposure_id(**data_id)}.json"


def _plain_id(given):
    """An identifier of Python's own numbers, ``filter`` called band, without what is None."""
    given = dict(given)
    band = _one_band(given.pop("band", None), given.pop("filter", None))
    data_id = {} if band is None else {"band": str(band)}
    unknown = set(given) - set(KEYS)
    if unknown:
        msg = f"{sorted(unknown)[0]!r} is no part of an identifier; there are {', '.join(KEYS)}"
        raise ValueError(msg)
    for key in ("visit", "detector", "tract"):
        if given.get(key) is not None:
            data_id[key] = int(given[key])
    if given.get("patch") is not None:
        data_id["patch"] = _patch(given["patch"])
    return data_id


def _patch(patch):
    if isinstance(patch, str):
        return parse_patch(patch)
    x, y = patch
    return int(x), int(y)


def _one_band(band, filter_):
    if band is not None and filter_ is not None and band != filter_:
        msg = f"band {band!r} and filter {filter_!r} are two names of one thing: give one"
        raise ValueError(msg)
    return filter_ if band is None else band


def _what(dataset):
    return "status" if dataset is None or dataset.startswith("deepDiff") else dataset


def _said(data_id):
    return ", ".join(f"{key} {value}" for key, value in data_id.items())


def _folders(stores):
    return ", ".join(os.fspath(store.root) for store in stores)
