"""Where the files of a repository are: found by dataset and identifier, not read."""

import os
from pathlib import Path

from skydelta.errors import MissingFileError
from skydelta.repository.stores import open_stores
from skydelta.selection import KEYS, Selection
from skydelta.tables import exposure_id, parse_patch


class RepositoryFiles:
    """The files of skydelta's results or an LSST gen2 repository, or several of them together.

    A class of its own, so that the stages that only look for files do not depend on all that
    reads them. Parameters are those of skydelta.repository.Repository.
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
            choice["band"] = one_band(choice.get("band"), choice.pop("filter"))
        selection = Selection.of(**choice)
        found = {}
        for store in self._knowing(dataset):
            for data_id, _ in store.datasets[dataset].find(store.root, selection):
                found[tuple(data_id.values())] = data_id
        return [found[key] for key in sorted(found)]

    @property
    def skymap(self):
        """The sky map of the coadds, skydelta.skymap.RingsSkyMap.

        Raises
        ------
        MissingFileError
            If no repository holds one.
        """
        if self._sky_map is None:
            path = self._sky_map_path()
            from skydelta.io.skymap import read_skymap

            self._sky_map = read_skymap(path)
        return self._sky_map

    @property
    def mappings(self):
        """Paths of the tracts_mapping.sqlite3 to ask, in order."""
        if self._tracts_mapping is not None:
            return [self._tracts_mapping]
        own = [store.mapping for store in self.stores]
        found = [path for path in own if path.exists()]
        # Results without their mapping are results cut short: opening it says so.
        return found or [store.mapping for store in self.stores[:1] if store.is_results]

    def _sky_map_path(self):
        """The first sky map there is."""
        name = "deepCoadd_skyMap"
        stores = [store for store in self.stores if name in store.datasets]
        for store in stores:
            path = store.locate(name, {})
            if path is not None:
                return path
        tried = "; ".join(f"{store.path(name, {})} does not exist" for store in stores)
        msg = f"{self.root} holds no sky map ({tried or 'it is no repository of coadds'})"
        raise MissingFileError(f"{msg}: name one, coadd=...", path=os.fspath(self.root))

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
        data_id = plain_id(given)
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
        msg = f"name the band of {said(data_id)}: {known} in {_folders(stores)}"
        raise MissingFileError(msg, bands=bands)


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


def plain_id(given):
    """An identifier of Python's own numbers, ``filter`` called band, without what is None."""
    given = dict(given)
    band = one_band(given.pop("band", None), given.pop("filter", None))
    data_id = {} if band is None else {"band": str(band)}
    unknown = set(given) - set(KEYS)
    if unknown:
        msg = f"{sorted(unknown)[0]!r} is no part of an identifier; there are {', '.join(KEYS)}"
        raise ValueError(msg)
    for key in ("visit", "detector", "tract"):
        if given.get(key) is not None:
            data_id[key] = int(given[key])
    if given.get("patch") is not None:
        data_id["patch"] = parse_index(given["patch"])
    return data_id


def parse_index(patch):
    """(x, y) of a patch given as a pair or as text."""
    if isinstance(patch, str):
        return parse_patch(patch)
    x, y = patch
    return int(x), int(y)


def one_band(band, filter_):
    """The band that is given by either name, None for none; ValueError for two."""
    if band is not None and filter_ is not None and band != filter_:
        msg = f"band {band!r} and filter {filter_!r} are two names of one thing: give one"
        raise ValueError(msg)
    return filter_ if band is None else band


def _what(dataset):
    return "status" if dataset is None or dataset.startswith("deepDiff") else dataset


def said(data_id):
    """An identifier in words."""
    return ", ".join(f"{key} {value}" for key, value in data_id.items())


def _folders(stores):
    return ", ".join(os.fspath(store.root) for store in stores)
