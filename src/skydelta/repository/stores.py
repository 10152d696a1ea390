"""The folders a repository is made of: each knows some datasets and where their files lie."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from skydelta.errors import MissingFileError
from skydelta.lsst import gen2
from skydelta.path_templates import Dataset
from skydelta.repository.parents import data_root, parents_of

log = logging.getLogger(__name__)

_ID = "{visit:08d}-{band}-det{detector:03d}"


def _product(name, kind):
    return Dataset(f"deepDiff/v{{visit:08d}}-f{{band}}/{name.format(_ID)}", kind)


RESULT, DIFFERENCE, SOURCES, DIA_SOURCES = "result", "difference", "sources", "diaSources"
"""Kinds of skydelta's own datasets."""

RESULTS = {
    "deepDiff_templateExp": _product("template_{}.fits", RESULT),
    "deepDiff_subtractedExp": _product("subtracted_{}.fits", RESULT),
    "deepDiff_differenceExp": _product("diffexp_{}.fits", DIFFERENCE),
    "deepDiff_sources": _product("sources_{}.fits", SOURCES),
    "deepDiff_diaSrc": _product("diaSrc_{}.parquet", DIA_SOURCES),
}

_RESULT_FOLDERS = ("status", "deepDiff", "overlaps")


@dataclass(frozen=True)
class Store:
    """One folder.

    Parameters
    ----------
    root
        Its path.
    datasets
        Dataset by name.
    is_results
        Whether it holds what skydelta made, with a status for each exposure.
    """

    root: Path
    datasets: dict
    is_results: bool

    @property
    def mapping(self):
        """Where a tracts_mapping.sqlite3 of it would be."""
        folder = self.root / "overlaps" if self.is_results else self.root
        return folder / "tracts_mapping.sqlite3"

    def path(self, dataset, data_id):
        """Where a file would be if this store had it; ValueError as of `Dataset.path`."""
        return self.root / self.datasets[dataset].path(data_id)

    def locate(self, dataset, data_id):
        """The file, None if there is none."""
        return self.datasets[dataset].locate(self.root, data_id)


def open_stores(*roots):
    """Folders and their parents, each folder before its parents and these before the next folder.

    Parents that are not there are left out with a warning: a repository copied from elsewhere
    still serves what it holds itself.

    Returns
    -------
    list of Store
        In the order in which they are searched, each once.

    Raises
    ------
    MissingFileError
        If one of the folders themselves holds nothing that is known.
    """
    seen = set()
    return [s for root in roots for s in _with_parents(Path(root), seen, is_parent=False)]


def _with_parents(root, seen, *, is_parent):
    if os.path.realpath(root) in seen:
        return
    seen.add(os.path.realpath(root))
    try:
        store = _store(root)
    except MissingFileError as error:
        if not is_parent:
            raise
        log.warning("the parent repository is left out: %s", error)
        return
    yield store
    if not store.is_results:
        for parent in parents_of(root):
            yield from _with_parents(parent, seen, is_parent=True)


def _store(root):
    if _is_gen2(root):
        return Store(data_root(root), gen2.DATASETS, is_results=False)
    if _is_results(root):
        return Store(root, RESULTS, is_results=True)
    msg = f"{root} holds no skydelta results (no {', '.join(_RESULT_FOLDERS)})"
    msg += f" and is no LSST gen2 repository (no {', '.join(gen2.MARKS)})"
    if _is_results(root / "results"):
        msg += f": open {root / 'results'}"
    elif not root.is_dir():
        msg += ": there is no such folder; run the workflow first, or correct its name"
    else:
        msg += ": run the workflow first, or name the folder results or that of a repository"
    raise MissingFileError(msg, path=os.fspath(root))


def _is_gen2(root):
    return any((root / name).exists() or (root / name).is_symlink() for name in gen2.MARKS) or (
        any(root.glob("deepDiff/v*/R*/"))
    )


def _is_results(root):
    return any((root / folder).is_dir() for folder in _RESULT_FOLDERS)
