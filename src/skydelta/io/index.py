"""The two input tables made from folders of FITS files."""

import csv
import re
from collections import ChainMap, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from astropy.io import fits

from skydelta.errors import InputError, TableError
from skydelta.io.footprints import image_header
from skydelta.lsst.camera import detector_of_name
from skydelta.lsst.gen2 import DATASETS

_SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$", re.IGNORECASE)

_SIDE_FILES = (
    # NOIRLab's names: oow and ood beside ooi.
    ("weight", r"(?<=[-_.])oow(?=[-_.])", "ooi"),
    ("mask", r"(?<=[-_.])ood(?=[-_.])", "ooi"),
    ("weight", r"[-_.](weights?|wht|ivar|invvar)(?=$|[-_.])", ""),
    ("mask", r"[-_.](mask|msk|dqmask|flags?|bpm)(?=$|[-_.])", ""),
    ("psf", r"[-_.]psf(ex)?(?=$|[-_.])", ""),
)
"""Kind, what tells it in a file name, and what the image has in its place."""

_VISIT_CARDS = ("VISIT", "EXPNUM", "EXPID", "EXPOSURE")
_AFW_VISIT_CARDS = ("VISIT", "EXPNUM", "IDNUM", "RUNNUM", "EXPID")
"""In afw files EXPID may hold the detector, too, as visit * 200 + detector of HSC does."""

_HSC_VISIT = re.compile(r"HSC([A-Z])(\d{6})00", re.ASCII)
_DETECTOR_CARDS = ("DETECTOR", "CCDNUM", "CCD", "CCDID", "DET-ID", "DETNUM")
_COADDS = ("deepCoadd", "deepCoadd_calexp")
_DETECTOR_NAME_CARDS = ("DETNAME", "CHIPID")
_DETECTOR_NAME = re.compile(r"(?<=[-_.]det)\d{3}(?=\D*$)")
_COADD_NAME = re.compile(r"(?P<tract>\d+)[-_/](?P<patch>\d+,\d+)(?=\D*$)")


@dataclass
class Index:
    """Rows of both tables and what had to be guessed.

    Parameters
    ----------
    exposures, coadds
        Lists of {column: value}.
    notes
        One sentence each.
    """

    exposures: list = field(default_factory=list)
    coadds: list = field(default_factory=list)
    notes: list = field(default_factory=list)
    _rows: dict = field(default_factory=dict, repr=False)

    def row(self, *key):
        """The row of (visit, detector, band) or (tract, patch, band), None if there is none."""
        return self._rows.get(key)

    def add_exposure(self, row):
        """Add a row of the exposures."""
        self.exposures.append(row)
        self._rows[row["visit"], row["detector"], row["band"]] = row

    def add_coadd(self, row):
        """Add a row of the coadds."""
        self.coadds.append(row)
        self._rows[row["tract"], row["patch"], row["band"]] = row


def index_folders(exposures, coadds=()):
    """Find the images below folders and read what the tables say of them from their headers.

    Parameters
    ----------
    exposures, coadds
        Folders, searched to their depths.

    Returns
    -------
    Index

    Raises
    ------
    TableError
        If a folder does not exist, or no folder of exposures holds an image.
    """
    index = Index()
    for path, side, header in _images(exposures, ("calexp",), index.notes):
        index.add_exposure(_exposure_row(path, side, header, index))
    for path, side, header in _images(coadds, _COADDS, index.notes):
        row = _coadd_row(path, side, header, index)
        if row is not None:
            index.add_coadd(row)
    if not index.exposures:
        msg = f"no image in {', '.join(map(str, exposures))}: name a folder with FITS images"
        raise TableError(msg)
    return index


def write_tables(folder, index):
    """Write exposures.csv, and coadds.csv if there are coadds; the paths written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "exposures.csv": (("visit", "detector", "band"), index.exposures),
        "coadds.csv": (("tract", "patch", "band"), index.coadds),
    }
    written = []
    for name, (key, rows) in tables.items():
        if rows:
            with open(folder / name, "w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, (*key, "path", "psf", "weight", "mask"), restval="")
                writer.writeheader()
                writer.writerows(sorted(rows, key=lambda row: [row[k] for k in key]))
            written.append(folder / name)
    return written


def gen2_name(path):
    """What the place of a file in an LSST gen2 repository tells.

    Returns
    -------
    dataset : str or None
        Its name, None for a file that is none of a repository's.
    data_id : dict
        visit, detector, band, tract, patch (x, y): those that it has.
    """
    for dataset, template in DATASETS.items():
        data_id = template.parse(path)
        if data_id is not None:
            return dataset, data_id
    return None, {}


def _images(folders, datasets, notes):
    """(path, side files by kind, header) of each image below the folders.

    Of the files of LSST repositories those of other datasets than the given ones are passed over.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            msg = f"{folder} is not a folder: name folders with FITS files"
            raise TableError(msg)
    paths = [path.resolve() for folder in folders for path in sorted(Path(folder).rglob("*"))]
    images, sides = {}, defaultdict(dict)
    for path in dict.fromkeys(paths):
        kind, key = kind_of(path)
        dataset, _ = gen2_name(path)
        if dataset is not None and dataset not in datasets:
            continue
        if kind == "image" or dataset is not None:
            images[path] = key, dataset
        elif kind is not None:
            sides[key][kind] = str(path)
    for path, (key, dataset) in images.items():
        side = sides.get(key, {})
        try:
            header = image_header(path)
        except InputError as error:
            notes.append(f"left out: {error}")
            continue
        # Keywords of the primary header hold for the image as far as it does not repeat them.
        cards = ChainMap(header, fits.getheader(path, 0))
        if "EXTTYPE" in cards and dataset is None:  # a repository's path says it, for nothing
            from skydelta.io.afw.grid import read_identity

            cards = ChainMap(read_identity(path, cards), *cards.maps)
        yield path, side, cards


def kind_of(path):
    """What a file name tells: its kind and a key that an image shares with its side files.

    Returns
    -------
    kind : str or None
        "image", "psf", "weight", "mask", or None for files of no interest.
    key : tuple
        Folder and name without what tells the kind.
    """
    name = path.name
    if name.endswith(".psf"):
        return "psf", (path.parent, _plain_name(name.removesuffix(".psf")))
    if not _SUFFIX.search(name):
        return None, ()
    stem = _SUFFIX.sub("", name)
    for kind, pattern, replacement in _SIDE_FILES:
        if re.search(pattern, stem, re.IGNORECASE):
            stem = re.sub(pattern, replacement, stem, flags=re.IGNORECASE)
            return kind, (path.parent, _plain_name(stem))
    return "image", (path.parent, _plain_name(stem))


def _plain_name(stem):
    return re.sub(r"[-_.]+", ".", stem)


def _exposure_row(path, side, header, index):
    _, named = gen2_name(path)
    visit = named.get("visit", _visit(header))
    detector = named.get("detector", _detector(header, path))
    band = named["band"] if named else _band(header, path, index.notes)
    if detector is None:
        detector = 0
        index.notes.append(f"{path.name}: no detector number in the header, took 0")
    if visit is None or index.row(visit, detector, band):
        why = "no visit in the header" if visit is None else f"visit {visit} is there already"
        visit = 1 + max((row["visit"] for row in index.exposures), default=0)
        index.notes.append(f"{path.name}: {why}, numbered {visit}")
    return {"visit": visit, "detector": detector, "band": band, "path": str(path), **side}


def _coadd_row(path, side, header, index):
    """Columns of a coadd; None for one whose patch is there already, with its background."""
    dataset, data_id = gen2_name(path)
    if dataset is not None:
        return _gen2_coadd_row(path, side, dataset, data_id, index)
    band = _band(header, path, index.notes)
    tract, patch = _integer(header, ("TRACT",)), _patch(header.get("PATCH"))
    named = _COADD_NAME.search(_SUFFIX.sub("", str(path)))
    if (tract is None or patch is None) and named:
        tract, patch = int(named["tract"]), named["patch"]
    tract = 0 if tract is None else tract
    if patch is None or index.row(tract, patch, band):
        numbers = [int(row["patch"].split(",")[0]) for row in index.coadds if row["tract"] == tract]
        patch = f"{1 + max(numbers, default=-1)},0"
        index.notes.append(f"{path.name}: no tract and patch of its own, took {tract} and {patch}")
    return {"tract": tract, "patch": patch, "band": band, "path": str(path), **side}


def _gen2_coadd_row(path, side, dataset, data_id, index):
    x, y = data_id["patch"]
    row = {**data_id, "patch": f"{x},{y}", "path": str(path), **side}
    twin = index.row(row["tract"], row["patch"], row["band"])
    if twin is None:
        return row
    if dataset == _COADDS[0]:
        twin.update(row)
    note = "patches that are there as deepCoadd and deepCoadd_calexp are taken as deepCoadd"
    if note not in index.notes:
        index.notes.append(note)
    return None


def _visit(header):
    """A visit's number, or None."""
    hsc = _HSC_VISIT.fullmatch(str(header.get("EXP-ID", "")).strip())
    if hsc:
        return 1_000_000 * (ord(hsc[1]) - ord("A")) + int(hsc[2])
    return _integer(header, _AFW_VISIT_CARDS if "AR_HDU" in header else _VISIT_CARDS)


def _detector(header, path):
    """A detector's number: its card, that of an LSSTCam name, or that of a file name's end."""
    number = _integer(header, _DETECTOR_CARDS)
    names = (detector_of_name(header.get(card, "")) for card in _DETECTOR_NAME_CARDS)
    if number is None:
        number = next((one for one in names if one is not None), None)
    match = _DETECTOR_NAME.search(_SUFFIX.sub("", path.name))
    return int(match[0]) if number is None and match else number


def _integer(header, cards):
    """The first of the cards that holds a whole number, or None."""
    for card in cards:
        text = str(header.get(card, "")).strip()
        if text.isascii() and text.isdigit():
            return int(text)
    return None


def _patch(value):
    """Text x,y of a PATCH card, or None."""
    numbers = re.findall(r"\d+", str(value or ""))
    return f"{int(numbers[0])},{int(numbers[1])}" if len(numbers) == 2 else None


def _band(header, path, notes):
    """First word of the FILTER card (or BAND), fit for a file name."""
    words = str(header.get("FILTER") or header.get("BAND") or "").split()
    if not words:
        notes.append(f"{path.name}: no FILTER in the header, took the band 'unknown'")
        return "unknown"
    return re.sub(r"[^A-Za-z0-9_+-]", "_", words[0])
