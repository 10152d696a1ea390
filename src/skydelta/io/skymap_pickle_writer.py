"""A rings skymap as the skyMap.pickle that lsst.skymap loads, written without it.

The pickle asks for RingsSkyMap(unreduceConfig(RingsSkyMapConfig, text), version); the text is a
pex_config. That is the form of files made before cells (2021), which later versions read, too.
"""

import struct
from pathlib import Path

from skydelta.io.replacing import replacing
from skydelta.skymap.config import PlainPatches

_MODULE = "lsst.skymap.ringsSkyMap"
_CLASS = "RingsSkyMapConfig"

_PROTOCOL_4, _FRAME, _STOP = b"\x80\x04", b"\x95", b"."
_SHORT_TEXT, _BYTES, _SMALL_INTEGER = b"\x8c", b"B", b"K"
_GLOBAL, _PAIR, _CALL = b"\x93", b"\x86", b"R"
"""Opcodes of pickle (Python: pickletools)."""


def write_skymap_pickle(path, config):
    """Write a skyMap.pickle; the same configuration gives the same bytes.

    Parameters
    ----------
    path
        Destination; replaced as a whole or not at all.
    config
        skydelta.skymap.SkyMapConfig.

    Raises
    ------
    ValueError
        If its patches are made of cells, which this form cannot say.
    """
    if not isinstance(config.patches, PlainPatches):
        msg = "a skymap of cells cannot be written as skyMap.pickle"
        raise ValueError(msg)
    with replacing(Path(path)) as partial:
        partial.write_bytes(_pickle(config))


def _pickle(config):
    text = _settings(config).encode("ascii")
    body = b"".join(
        (
            _global(_MODULE, "RingsSkyMap"),
            _global("lsst.pex.config.config", "unreduceConfig"),
            _global(_MODULE, _CLASS),
            _BYTES + struct.pack("<I", len(text)) + text,
            _PAIR + _CALL,
            _SMALL_INTEGER + bytes([config.version]),
            _PAIR + _CALL + _STOP,
        )
    )
    return _PROTOCOL_4 + _FRAME + struct.pack("<Q", len(body)) + body


def _global(module, name):
    return _text(module) + _text(name) + _GLOBAL


def _text(text):
    encoded = text.encode("ascii")
    return _SHORT_TEXT + bytes([len(encoded)]) + encoded


def _settings(config):
    """The configuration as a pex_config writes it: one assignment a line, in Python."""
    values = {
        "patchInnerDimensions": list(config.patches.inner),
        "patchBorder": config.patches.border,
        "tractOverlap": config.tract_overlap,
        "pixelScale": config.pixel_scale,
        "projection": config.projection,
        "rotation": config.rotation,
        "numRings": config.num_rings,
        "raStart": config.ra_start,
    }
    name = f"{_MODULE}.{_CLASS}"
    head = f"import {_MODULE}\nassert type(config)=={name}, 'config is not a {name}'\n"
    return head + "".join(f"config.{key}={value!r}\n" for key, value in values.items())
