"""Configurations of dia_pipe, LSST's difference imaging on the stack, as those of skydelta."""

from skydelta.dia_pipe.pex_config import ConfigError
from skydelta.dia_pipe.translate import Translation, translate

__all__ = ["ConfigError", "Translation", "translate"]
