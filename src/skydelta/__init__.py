"""skydelta: difference imaging from science exposures and coadds to a calibrated catalogue.

Importing the package costs nothing: public names are resolved on first use.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "Exposure": "skydelta.exposure",
    "Mask": "skydelta.mask",
    "PhotoCalib": "skydelta.photocalib",
    "Repository": "skydelta.repository",
    "SkydeltaError": "skydelta.errors",
    "read_exposure": "skydelta.io.reader",
    "write_exposure": "skydelta.io.native",
}

__all__ = ["__version__", *sorted(_PUBLIC)]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    msg = f"module 'skydelta' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__():
    return __all__
