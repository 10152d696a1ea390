"""The configuration of a skymap out of LSST's skyMap.pickle, without unpickling it."""

import ast
import warnings

from skydelta.errors import BadSkyMapError, CorruptFileError
from skydelta.io.pickled import Call, Name, read_pickle
from skydelta.skymap.config import CellPatches, PlainPatches, SkyMapConfig

_NOT_RINGS = {
    "DiscreteSkyMap": "a list of tracts placed by hand",
    "DodecaSkyMap": "a dodecahedron",
    "EquatSkyMap": "an equatorial band",
    "HealpixSkyMap": "HEALPix",
}
"""Other classes of lsst.skymap and how they divide the sky."""


def config_of_pickle(data):
    """The configuration of a pickled lsst.skymap.RingsSkyMap.

    Parameters
    ----------
    data
        bytes of the pickle.

    Returns
    -------
    SkyMapConfig

    Raises
    ------
    CorruptFileError
        If the pickle, or the configuration in it, is cut off or damaged.
    BadSkyMapError
        If it is no rings skymap.
    """
    return _config_of_object(read_pickle(data))


def _config_of_object(skymap):
    """SkyMapConfig of a pickled lsst.skymap.RingsSkyMap(config, version)."""
    _require_rings(skymap)
    match skymap.arguments:
        case [Call(Name(module, "unreduceConfig"), [Name(), text]), int(version)] if _within(
            module, "lsst.pex.config"
        ):
            return _config_of_settings(_settings(_text(text)), version)
    msg = "the pickled RingsSkyMap is not of the known form (configuration, version)"
    raise BadSkyMapError(msg)


def _require_rings(skymap):
    if not (isinstance(skymap, Call) and isinstance(skymap.function, Name)):
        msg = "the pickle holds no skymap"
        raise BadSkyMapError(msg)
    name = skymap.function
    if not _within(name.module, "lsst.skymap"):
        msg = f"the pickle holds no skymap: it asks for {name}, which was not run"
        raise BadSkyMapError(msg)
    if name.name in _NOT_RINGS:
        msg = f"it is a {name.name} ({_NOT_RINGS[name.name]}): only rings skymaps are supported"
        raise BadSkyMapError(msg)
    if name.name != "RingsSkyMap":
        msg = f"it is a {name}: only rings skymaps are supported"
        raise BadSkyMapError(msg)


def _within(module, package):
    return module == package or module.startswith(f"{package}.")


def _text(stored):
    """The configuration's text, which versions of pickle and Python store in three ways."""
    match stored:
        case str():
            return stored
        case bytes():
            encoded = stored
        case Call(Name("_codecs", "encode"), [str(text), "latin1"]):
            encoded = text.encode("latin1", errors="replace")
        case _:
            msg = "the pickled configuration is no text"
            raise BadSkyMapError(msg)
    try:
        return encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"the pickled configuration is no text: {error}"
        raise CorruptFileError(msg) from error


def _settings(text):
    """Values by name, such as ``tractBuilder['legacy'].patchBorder``, of a pex_config's text.

    The text is Python, one assignment of a constant to a field of ``config`` a line, and imports
    and an assertion about the class. It is parsed, not executed.
    """
    try:
        # Python warns about odd literals even where nothing is run.
        with warnings.catch_warnings(action="ignore"):
            statements = ast.parse(text).body
        return {
            ast.unparse(target).removeprefix("config."): ast.literal_eval(value)
            for target, value in map(_assignment, statements)
            if target is not None
        }
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        msg = f"the pickled configuration is damaged: {error}"
        raise CorruptFileError(msg) from error


def _assignment(statement):
    match statement:
        case ast.Assign(targets=[ast.Attribute() as target], value=value):
            return target, value
        case ast.Import() | ast.Assert():
            return None, None
    msg = f"line {statement.lineno} is more than a setting"
    raise ValueError(msg)


def _config_of_settings(settings, version):
    """SkyMapConfig of the fields of lsst.skymap's RingsSkyMapConfig."""
    try:
        return SkyMapConfig(
            num_rings=settings["numRings"],
            pixel_scale=settings["pixelScale"],
            tract_overlap=settings["tractOverlap"],
            patches=_patches(settings),
            rotation=settings["rotation"],
            ra_start=settings["raStart"],
            projection=settings["projection"],
            version=version,
        )
    except KeyError as error:
        msg = f"the pickled configuration lacks {error}"
        raise BadSkyMapError(msg) from error


def _patches(settings):
    """Before there were cells (2021), the settings of patches had no builder in front."""
    builder = settings.get("tractBuilder.name")
    if builder is None:
        return PlainPatches(settings["patchInnerDimensions"], settings["patchBorder"])
    field = f"tractBuilder[{builder!r}]."
    if builder == "legacy":
        return PlainPatches(
            settings[f"{field}patchInnerDimensions"], settings[f"{field}patchBorder"]
        )
    if builder == "cells":
        return CellPatches(
            settings[f"{field}cellInnerDimensions"],
            settings[f"{field}cellBorder"],
            settings[f"{field}numCellsPerPatchInner"],
            settings[f"{field}numCellsInPatchBorder"],
        )
    msg = f"the skymap's tract builder is {builder!r}: only 'legacy' and 'cells' are supported"
    raise BadSkyMapError(msg)
