"""Reading by name and data identifier, as with an LSST butler."""

import os

from skydelta.errors import MissingFileError
from skydelta.repository import geometry, readers
from skydelta.repository.files import RepositoryFiles, one_band, parse_index, plain_id, said
from skydelta.tables import exposure_id


class Repository(RepositoryFiles):
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
        data_id = self._with_band(None, results, plain_id(given))
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
        band = one_band(band, filter)
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
        band = one_band(band, filter)
        found = geometry.find_exposures(self, int(tract), parse_index(patch), band)
        return [{"visit": v, "detector": d, "band": b} for v, d, b in found]

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

    def _missing(self, dataset, stores, data_id):
        """Why there is nothing to read."""
        lines, status = [], ""
        for store in stores:
            template = store.datasets[dataset].template
            try:
                lines.append(f"{store.path(dataset, data_id)} does not exist")
            except ValueError:  # a detector of another camera: its raft's name is not known
                lines.append(f"no {template} of {said(data_id)} is in {store.root}")
            if store.is_results:
                status += readers.quoted_status(_status_path(store, data_id))
        return MissingFileError(f"{'; '.join(lines)}{status}", path=os.fspath(stores[0].root))


def _status_path(store, data_id):
    return store.root / "status" / f"{exposure_id(**data_id)}.json"
