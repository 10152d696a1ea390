"""Skymaps by name, by their numbers, from YAML and from LSST's skyMap.pickle."""

import os
import reprlib
from dataclasses import fields
from pathlib import Path

from skydelta.errors import BadSkyMapError, CorruptFileError, InputError, MissingFileError
from skydelta.io.skymap_pickle import config_of_pickle
from skydelta.skymap.config import CONFIGURATIONS, CellPatches, PlainPatches, SkyMapConfig
from skydelta.skymap.rings import RingsSkyMap

_LARGEST_BYTES = 1 << 20
"""A rings skymap takes a kilobyte; nothing larger is looked at."""

_YAML_SUFFIXES = (".yaml", ".yml")


def skymap_from(source):
    """A skymap given by name, by its numbers or by a file.

    Parameters
    ----------
    source
        Name of a published configuration (skydelta.skymap.CONFIGURATIONS); or a mapping
        ``{rings: {...}}`` with the parameters of SkyMapConfig, ``patches: {inner, border}`` or
        ``cells: {...}`` those of PlainPatches or CellPatches; or the path of a file.

    Returns
    -------
    RingsSkyMap

    Raises
    ------
    BadSkyMapError, MissingFileError, CorruptFileError
    """
    if isinstance(source, dict):
        return RingsSkyMap(_config_of_mapping(source))
    if isinstance(source, str) and source in CONFIGURATIONS:
        return RingsSkyMap(CONFIGURATIONS[source])
    if isinstance(source, str) and not os.path.exists(source) and Path(source).suffix == "":
        msg = f"there is neither a skymap nor a file {source!r}: known are {_known_names()}"
        raise BadSkyMapError(msg)
    if isinstance(source, str | os.PathLike):
        return read_skymap(source)
    msg = f"the skymap is {reprlib.repr(source)}: give a name, a file or {{rings: {{...}}}}"
    raise BadSkyMapError(msg)


def read_skymap(path):
    """The skymap of a file: LSST's skyMap.pickle, or YAML by its suffix.

    The YAML file holds a name or a mapping as for skymap_from. The pickle is never unpickled: no
    code that it names is imported or run.

    Returns
    -------
    RingsSkyMap

    Raises
    ------
    MissingFileError, CorruptFileError
        If the file is not there, cannot be read, or is cut off.
    BadSkyMapError
        If it holds something else than a rings skymap.
    """
    path = os.fspath(path)
    data = _contents(path)
    try:
        if path.lower().endswith(_YAML_SUFFIXES):
            return RingsSkyMap(_config_of_yaml(data))
        return RingsSkyMap(config_of_pickle(data))
    except InputError as error:
        raise type(error)(f"{path}: {error}", path=path) from error


def _contents(path):
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except FileNotFoundError as error:
        msg = f"{path} does not exist"
        raise MissingFileError(msg, path=path) from error
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror or error}"
        raise CorruptFileError(msg, path=path) from error
    if len(data) > _LARGEST_BYTES:
        msg = f"{path} is larger than {_LARGEST_BYTES} bytes: it is no rings skymap"
        raise BadSkyMapError(msg, path=path)
    return data


def _known_names():
    return ", ".join(CONFIGURATIONS)


def _config_of_yaml(data):
    import yaml

    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        msg = f"it is no readable YAML: {error}"
        raise CorruptFileError(msg) from error
    if isinstance(content, str):
        if content not in CONFIGURATIONS:
            msg = f"there is no skymap {reprlib.repr(content)}: known are {_known_names()}"
            raise BadSkyMapError(msg)
        return CONFIGURATIONS[content]
    return _config_of_mapping(content)


def _config_of_mapping(content):
    """SkyMapConfig of {rings: {...}}."""
    if not isinstance(content, dict) or list(content) != ["rings"]:
        given = reprlib.repr(content)
        msg = f"a skymap is {{rings: {{...}}}} or one of {_known_names()}, not {given}"
        raise BadSkyMapError(msg)
    numbers = dict(_mapping("rings", content["rings"]))
    kinds = {"patches": PlainPatches, "cells": CellPatches}
    given = [key for key in kinds if key in numbers]
    if len(given) == 2:
        msg = "a skymap has either patches or cells, not both"
        raise BadSkyMapError(msg)
    for key in given:
        numbers["patches"] = _built(key, kinds[key], _mapping(key, numbers.pop(key)))
    return _built("rings", SkyMapConfig, numbers)


def _mapping(key, value):
    if not isinstance(value, dict):
        msg = f"the skymap's {key!r} is {reprlib.repr(value)}: it must be a mapping of parameters"
        raise BadSkyMapError(msg)
    return value


def _built(key, kind, numbers):
    known = [field.name for field in fields(kind)]
    wrong = [name for name in numbers if name not in known]
    if wrong:
        name = reprlib.repr(wrong[0])
        msg = f"the skymap's {key!r} has no parameter {name}: there are {', '.join(known)}"
        raise BadSkyMapError(msg)
    required = ["num_rings", "pixel_scale", "tract_overlap"] if kind is SkyMapConfig else []
    missing = [name for name in required if name not in numbers]
    if missing:
        msg = f"the skymap's {key!r} lacks {', '.join(missing)}"
        raise BadSkyMapError(msg)
    return kind(**numbers)
