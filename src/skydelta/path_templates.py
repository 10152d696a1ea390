"""Files by the identifiers in their names: path templates, read in both directions."""

import os
import re
import string
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import islice, product
from pathlib import Path

from skydelta.errors import InputError
from skydelta.lsst.camera import raft_and_sensor
from skydelta.selection import Choice, Selection
from skydelta.tables import parse_patch

_FIELDS = {
    "band": r"[A-Za-z0-9_+-]+",
    "patch": r"\d+,\d+",
    "raft": r"[^-_/]+",
    "sensor": r"[^-/]+",
}
"""What a field of text looks like; numbers are told by their format."""

_VISIT_WIDTHS = (8, 13)
"""Digits of visits in file names: obs_lsst writes 8, from 2020 on 13."""

_MOST_NAMES = 64
"""So many names are tried one by one before the folder is listed."""


class AmbiguousFileError(InputError):
    """Several files answer to one identifier."""

    status = "ambiguous_file"


@dataclass(frozen=True)
class Dataset:
    """Where the files of one kind lie below a repository's root.

    Parameters
    ----------
    template
        Path with fields as of str.format: visit, detector, band, tract, patch (text ``x,y``), and
        raft and sensor, which follow from the detector.
    kind
        What a file is read as.
    """

    template: str
    kind: str

    @cached_property
    def keys(self):
        """Names of the fields that identify a file, in the order of KEYS of gen2."""
        given = {field for part in self._components for field in part.fields}
        return tuple(key for key in ("visit", "detector", "band", "tract", "patch") if key in given)

    @cached_property
    def _components(self):
        return [_Component(text) for text in self.template.split("/")]

    def path(self, data_id):
        """The path below the root of a file, by LSSTCam's names of rafts and sensors.

        An identifier may name its raft and sensor itself.

        Raises
        ------
        ValueError
            If a detector is not one of LSSTCam's, and the template asks for its raft.
        """
        return Path(
            *(part.names(_text_fields(part.fields, data_id))[0] for part in self._components)
        )

    def locate(self, root, data_id):
        """The file of an identifier, None if there is none.

        A camera that calls its rafts and sensors otherwise than LSSTCam is found, too.

        Raises
        ------
        AmbiguousFileError
            If there are several.
        """
        try:
            fields = [_text_fields(part.fields, data_id) for part in self._components]
        except ValueError:
            fields = None
        if fields is not None:
            names = (part.names(f) for part, f in zip(self._components, fields, strict=True))
            for path in (Path(root, *parts) for parts in product(*names)):
                if path.is_file():
                    return path
        wanted = {key: Choice.of(data_id[key]) for key in self.keys}
        found = [path for _, path in self.find(root, Selection(**wanted))]
        if len(found) > 1:
            names = ", ".join(os.path.relpath(path, root) for path in found[:4])
            msg = f"{root} holds {len(found)} files of {_said(data_id)}: {names}"
            raise AmbiguousFileError(msg)
        return found[0] if found else None

    def find(self, root, selection=None):
        """(identifiers, path) of the files that a selection holds, sorted by path.

        Only folders whose names the selection allows are listed.
        """
        found = _descend(Path(root), self._components, selection or Selection(), {})
        return sorted(found, key=lambda one: str(one[1]))

    def first(self, root, n):
        """Identifiers of up to `n` files, found without listing more folders than they need."""
        found = _descend(Path(root), self._components, Selection(), {})
        return [data_id for data_id, _ in islice(found, n)]

    def parse(self, path):
        """The identifiers in the end of a path; None if it is not of this form."""
        parts = Path(path).parts[-len(self._components) :]
        if len(parts) != len(self._components):
            return None
        data_id = {}
        for component, name in zip(self._components, parts, strict=True):
            data_id = component.parse(name, data_id)
            if data_id is None:
                return None
        return _public(data_id)


class _Component:
    """One folder or file name of a template."""

    def __init__(self, text):
        self._pieces = list(string.Formatter().parse(text))
        self.fields = tuple(dict.fromkeys(name for _, name, _, _ in self._pieces if name))
        self._text = text
        self._padded = "{visit:08d}" in text

    def names(self, fields):
        """The names that a file may have: one for each width of visits, the usual one first."""
        texts = [self._text]
        if self._padded:
            texts = [self._text.replace("{visit:08d}", f"{{visit:0{n}d}}") for n in _VISIT_WIDTHS]
        return list(dict.fromkeys(text.format(**fields) for text in texts))

    def parse(self, name, known):
        """`known` fields with those of a name, None if the name does not fit them."""
        match = _pattern(self._text).fullmatch(name)
        if match is None:
            return None
        fields = dict(known)
        for field, text in match.groupdict().items():
            value = _value(field, text)
            if fields.setdefault(field, value) != value:
                return None
        return fields

    def entries(self, folder, selection, known):
        """(fields, path) of what a folder holds of this name."""
        if not self.fields:
            path = folder / self._text
            return [(known, path)] if path.exists() else []
        found = []
        named = self._few_names(selection, known)
        for name in named or _listed(folder):
            fields = self.parse(name, known)
            if fields is not None and all(selection.holds(k, v) for k, v in fields.items()):
                path = folder / name
                if not named or path.exists():
                    found.append((fields, path))
        return found

    def _few_names(self, selection, known):
        """Every name that there can be, None if they are many or cannot be told."""
        values = [
            [known[field]] if field in known else selection.named(field) for field in self.fields
        ]
        if any(v is None for v in values):
            return None
        combinations = list(product(*values)) if _size(values) <= _MOST_NAMES else []
        fields = [dict(zip(self.fields, chosen, strict=True)) for chosen in combinations]
        return [name for each in fields for name in self.names(_texts(each))]


def _size(lists):
    size = 1
    for one in lists:
        size *= len(one)
    return size


@cache
def _pattern(text):
    """The regular expression of a component; a field that comes twice must match twice."""
    out, seen = "", set()
    for literal, field, spec, _ in string.Formatter().parse(text):
        out += re.escape(literal)
        if field is None:
            continue
        if field in seen:
            out += f"(?P={field})"
            continue
        seen.add(field)
        digits = re.fullmatch(r"0?(\d*)d", spec or "")
        width = digits[1] if digits else ""
        shape = (rf"\d{{{width},}}" if width else r"\d+") if digits else _FIELDS[field]
        out += f"(?P<{field}>{shape})"
    return re.compile(out, re.ASCII)


def _descend(folder, components, selection, known):
    first, *rest = components
    for fields, path in first.entries(folder, selection, known):
        if rest:
            yield from _descend(path, rest, selection, fields)
        elif path.is_file():
            yield _public(fields), path


def _listed(folder):
    try:
        return sorted(os.listdir(folder))
    except NotADirectoryError:
        return []
    except OSError as error:
        msg = f"{folder} cannot be listed: {error.strerror}"
        raise InputError(msg) from error


def _value(field, text):
    if field == "patch":
        return parse_patch(text)
    return text if field in _FIELDS else int(text)


def _text_fields(fields, data_id):
    """Values for str.format of the given fields; raft and sensor from the detector."""
    known = _texts(data_id)
    if ("raft" in fields or "sensor" in fields) and "raft" not in known:
        known["raft"], known["sensor"] = raft_and_sensor(data_id["detector"])
    return {field: known[field] for field in fields}


def _texts(data_id):
    known = dict(data_id)
    if "patch" in known:
        known["patch"] = "{},{}".format(*known["patch"])
    return known


def _public(fields):
    """Fields in the order of a data identifier, without raft and sensor."""
    order = ("visit", "detector", "band", "tract", "patch")
    return {key: fields[key] for key in order if key in fields}


def _said(data_id):
    return ", ".join(f"{key} {value}" for key, value in data_id.items())
