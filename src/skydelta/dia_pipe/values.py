"""Values of the stack's options as those of skydelta's keys.

Each function makes a converter: it raises TypeError, naming what belongs there, for a value that
the stack itself refuses, and NotHereError for one that the stack takes and skydelta does not.
"""

import sys

from skydelta.dia_pipe.pex_config import ConfigError

_LARGEST = 2**31 - 1


class NotHereError(Exception):
    """A value that the stack takes and skydelta does not."""


def converted(setting, convert, out):
    """The value of a setting; None, and the setting left out, if skydelta cannot have it."""
    try:
        return convert(setting.value)
    except TypeError as error:
        msg = f"line {setting.line}: {setting.text}: the stack takes {error} here"
        raise ConfigError(msg, line=setting.line) from error
    except NotHereError as error:
        out.leave(setting, str(error))
    return None


def whole(least, most=_LARGEST):
    """Integers between limits."""

    def convert(value):
        if isinstance(value, bool) or not isinstance(value, int):
            msg = "a whole number"
            raise TypeError(msg)
        if not least <= value <= most:
            msg = f"skydelta takes {least} to {most}"
            raise NotHereError(msg)
        return value

    return convert


def number(*, above=None, least=0, most=sys.float_info.max):
    """Numbers between limits, as float."""

    def convert(value):
        if isinstance(value, bool) or not isinstance(value, int | float):
            msg = "a number"
            raise TypeError(msg)
        if not least <= value <= most or (above is not None and value <= above):
            low = f"above {above}" if above is not None else f"from {least}"
            high = f" to {most}" if most < sys.float_info.max else ""
            msg = f"skydelta takes numbers {low}{high}"
            raise NotHereError(msg)
        return float(value)

    return convert


def listed(convert_item):
    """Lists that are not empty."""

    def convert(value):
        if not isinstance(value, list | tuple):
            msg = "a list"
            raise TypeError(msg)
        if not value:
            msg = "skydelta takes at least one value"
            raise NotHereError(msg)
        return [convert_item(item) for item in value]

    return convert


def switch(true, false):
    """One value for True and one for False."""

    def convert(value):
        if not isinstance(value, bool):
            msg = "True or False"
            raise TypeError(msg)
        return true if value else false

    return convert


def choice(meanings):
    """Names, each with its meaning."""

    def convert(value):
        if not isinstance(value, str):
            msg = "text"
            raise TypeError(msg)
        if value not in meanings:
            msg = f"skydelta knows {', '.join(meanings)}"
            raise NotHereError(msg)
        return meanings[value]

    return convert


flag = switch(true=True, false=False)


def radii(value):
    """Aperture radii: those of measure.apertures must have 12 px."""
    given = listed(number(above=0))(value)
    if 12.0 not in given:
        msg = "12 px must be among the radii of measure.apertures, for apFlux"
        raise NotHereError(msg)
    return given
