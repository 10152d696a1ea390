"""A made-up sky seen by a made-up camera: surveys and image pairs whose truth is known.

GalSim draws every source. `sky` makes the catalogue, `astrometry` and `optics` say where and how
sharp it lands, `render` draws it, `detector` adds noise and defects, `tract` cuts coadds into
patches; `survey` and `pair` put these together. `lsst` does so on LSST's skymap, in its formats:
`lsst_plan`, `lsst_inputs`, `lsst_coadds` and `lsst_info` make the parts, `psfex_optics` and
`stamped` their PSFs, `lsst_writers` and `lsst_sources` the files.
"""

from skydelta.simulate.pair import SimulatedPair, simulate_pair
from skydelta.simulate.survey import SurveyTables, simulate_survey

__all__ = ["SimulatedPair", "SurveyTables", "simulate_pair", "simulate_survey"]
