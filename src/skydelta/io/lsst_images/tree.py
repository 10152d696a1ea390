"""The JSON tree of an lsst-images file, and the arrays it refers to."""

import json
import math
import re

import numpy as np

from skydelta.errors import CorruptFileError, UnsupportedError

_MODEL = re.compile(r".*/(?P<name>\w+)-(?P<version>[\d.]+)\w*")
_SOURCE = re.compile(r"fits:(?P<name>[\w/\-]+)(,(?P<ver>\d+))?(\[(?P<column>\d+)\])?")

_LARGEST = 2**31

_NEWEST = 1
"""Of the file's layout (FMTVER) and of its schemas (min_read_version)."""


def _is_number(value):
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


class Node:
    """A value of the tree that knows where it stands.

    Parameters
    ----------
    value
        What json made of it.
    hdul
        The open file, for the arrays.
    path
        Keys from the root, for messages.
    """

    def __init__(self, value, hdul, path=""):
        self.value, self._hdul, self.path = value, hdul, path

    def __getitem__(self, key):
        """A member that must be there.

        Raises
        ------
        CorruptFileError
            If it is not.
        """
        known = isinstance(self.value, dict) and key in self.value
        if not known and not (isinstance(self.value, list) and key in range(len(self.value))):
            msg = f"the file's JSON tree has no {self.path}/{key}: fetch the file again"
            raise CorruptFileError(msg)
        return Node(self.value[key], self._hdul, f"{self.path}/{key}")

    def get(self, key):
        """A member, or None where it is missing or null."""
        if isinstance(self.value, dict) and self.value.get(key) is not None:
            return self[key]
        return None

    def number(self, key, default=None):
        """A member as a float; `default`, if one is given, where it is missing or null."""
        node = self.get(key) if default is not None else self[key]
        if node is None:
            return default
        if not _is_number(node.value):
            raise node.wrong("a number")
        return float(node.value)

    def integer(self, key):
        """A member as an int.

        Raises
        ------
        CorruptFileError
            If it is none.
        """
        value = self.number(key)
        if value != round(value) or abs(value) > _LARGEST:
            raise self[key].wrong("an integer")
        return int(value)

    def items(self):
        """The members of a list.

        Raises
        ------
        CorruptFileError
            If it is none.
        """
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [self[k] for k in range(len(self.value))]

    def numbers(self):
        """The members of a list of numbers.

        Raises
        ------
        CorruptFileError
            If it is none.
        """
        if not all(_is_number(item.value) for item in self.items()):
            raise self.wrong("a list of numbers")
        return [float(number) for number in self.value]

    def wrong(self, expected):
        """The error of a value of another kind than expected."""
        text = repr(self.value)
        text = text if len(text) < 60 else f"{text[:57]}..."
        msg = f"{self.path} of the file's JSON tree is {text}, not {expected}"
        return CorruptFileError(msg)

    def array(self):
        """The array this node is, or refers to.

        Raises
        ------
        CorruptFileError
            If the file does not have it, or not in the shape the tree tells.
        """
        if self.get("source") is None:
            return self._inline()
        match = _SOURCE.fullmatch(str(self["source"].value))
        if match is None:
            msg = f"{self.path}/source of the JSON tree names no HDU: {self['source'].value!r}"
            raise CorruptFileError(msg)
        data = self._hdu_data(match["name"], int(match["ver"] or 1))
        if match["column"]:
            data = np.asarray(data.field(int(match["column"]) - 1))
        elif list(data.shape) != self["shape"].value:
            msg = (
                f"{self.path} is of shape {list(data.shape)} in the file, and "
                f"{self['shape'].value} in its JSON tree"
            )
            raise CorruptFileError(msg)
        return data

    def _inline(self):
        try:
            array = np.array(self["data"].value, dtype=str(self["datatype"].value))
        except (TypeError, ValueError) as error:
            raise self.wrong(f"an array ({error})") from error
        if array.dtype.kind not in "biuf" or not array.size:
            raise self.wrong("an array of numbers")
        return array

    def _hdu_data(self, name, version):
        try:
            return self._hdul[name, version].data
        except KeyError as error:
            msg = f"{self.path} should be in the HDU {name} {version}, which the file lacks"
            raise CorruptFileError(msg) from error


def schema_of(hdul):
    """Name of the kind of object a file holds, as ``visit_image``; None of a bare cutout.

    Raises
    ------
    UnsupportedError
        If a newer program wrote it, in a way this one does not know.
    """
    header = hdul[0].header
    if "DATAMODL" not in header:
        return None
    version = header.get("FMTVER", _NEWEST)
    if not isinstance(version, int):
        msg = f"FMTVER is {version!r}, not an integer: fetch the file again"
        raise CorruptFileError(msg)
    _require_readable(version, "FMTVER")
    match = _MODEL.fullmatch(str(header["DATAMODL"]).strip())
    if match is None:
        msg = f"DATAMODL names no schema of lsst-images: {header['DATAMODL']!r}"
        raise CorruptFileError(msg)
    return match["name"]


def read_tree(hdul):
    """The root of the tree.

    Raises
    ------
    CorruptFileError
        If there is none, or it is not JSON.
    UnsupportedError
        If a newer program wrote it, in a way this one does not know.
    """
    names = [hdu.name for hdu in hdul]
    if "JSON" not in names or not len(hdul["JSON"].data):
        msg = "an lsst-images file without its JSON table: fetch it again"
        raise CorruptFileError(msg)
    try:
        value = json.loads(np.asarray(hdul["JSON"].data["JSON"][0]).tobytes())
    except (ValueError, KeyError) as error:
        msg = f"the JSON tree cannot be read ({error}): fetch the file again"
        raise CorruptFileError(msg) from error
    root = Node(value, hdul)
    _require_readable(root.number("min_read_version", _NEWEST), "min_read_version")
    return root


def _require_readable(version, name):
    if version > _NEWEST:
        msg = (
            f"written by a newer lsst-images: {name} is {version:g}, and this program reads up to "
            f"{_NEWEST}; convert the file with lsst-images-admin, or update skydelta"
        )
        raise UnsupportedError(msg)
