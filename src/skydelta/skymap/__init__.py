"""LSST's rings skymap: the whole sky in overlapping tracts, each tract in patches.

Geometry alone, from the configuration of the skymap; no file is read here (skydelta.io.skymap
does that). `config` says what a skymap is made of, `grid` is the pixel grid that all tracts share,
`tract` puts it on the sky, `rings` numbers the tracts and finds them.

Pixels are 0-based with integers at pixel centres; boxes (x_min, y_min, x_max, y_max) include both
ends. Positions are ICRS in deg.
"""

from skydelta.skymap.config import CONFIGURATIONS, CellPatches, PlainPatches, SkyMapConfig
from skydelta.skymap.rings import RingsSkyMap
from skydelta.skymap.tract import Patch, Tract

__all__ = [
    "CONFIGURATIONS",
    "CellPatches",
    "Patch",
    "PlainPatches",
    "RingsSkyMap",
    "SkyMapConfig",
    "Tract",
]
